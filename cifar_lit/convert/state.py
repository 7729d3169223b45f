"""Where the weights lie among all that a file holds, and what else it says."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from cifar_lit.pickles.archive import Contents
from cifar_lit.pickles.limits import ConvertError, printable
from cifar_lit.pickles.records import Record, show
from cifar_lit.pickles.tensors import Array, Weight

# What the weights are called where there is more beside them, the likeliest first.
_KEYS = (
    "model_state_dict", "state_dict", "model_state", "net_state_dict", "model", "net", "network", "weights", "model_weights",
    "params", "best_model_state_dict", "best_model_state", "best_state_dict", "model_ema", "ema_state_dict", "ema",
)  # fmt: skip
_DEPTH = 4
_MOST = 40  # fields that a report shows
_DROPOUT = ("dropout", "dropout_rate", "drop_rate", "dropout_prob", "dropout_p", "p_dropout")
# By these Lightning, Hydra and jsonargparse name code to call. Here they are words.
_CODE = ("_target_", "_instantiator", "_class_path", "class_path")

Stored = Weight | Array


@dataclass
class State:
    """The weights of a file by name, where they were, and what the file says beside them, in words."""

    weights: dict[str, Stored]
    place: str
    fields: dict[str, str] = field(default_factory=dict)
    dropout: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def find(contents: Contents, wanted: str | None = None) -> State:
    """The weights to convert, and the fields beside them. wanted: where they are, if not where they usually are.

    Raises ConvertError for none, and for several without a choice.
    """
    found = dict(_candidates(contents.value))
    if not found:
        kind = show(contents.value, depth=1)
        raise ConvertError(f"holds no weights by name (a state dict); what it holds: {kind}")
    place = _choose(list(found), wanted)
    state = State(found.pop(place), place)
    # Numbers may be stored once and named often, which no network does: the file would grow when it is read.
    total = sum(weight.nbytes for weight in state.weights.values())
    if total > contents.size + (1 << 20):
        raise ConvertError(f"its tensors repeat each other: {total:,} bytes from a file of {contents.size:,}; made up")
    if found:
        state.notes.append(f"more weights in the file, not converted: {', '.join(found)}")
    if contents.records:
        named = ", ".join(f"{kind} ({count})" for kind, count in list(contents.records.items())[:20])
        state.notes.append(f"objects of classes that were not loaded, kept as plain records: {named}")
    _say(contents.value, state)
    return state


def _candidates(value: Any, place: str = "", depth: int = 0) -> Iterator[tuple[str, dict[str, Stored]]]:
    """State dicts by where they are: tables of named weights, and modules that were pickled whole."""
    if isinstance(value, Record):
        weights = dict(_module(value))
        if weights:
            yield place or "the pickled module", weights
            return
        value = value.fields()
    if not isinstance(value, dict) or depth > _DEPTH:
        return
    weights = {key: item for key, item in value.items() if isinstance(key, str) and isinstance(item, Stored)}
    if any(key.rpartition(".")[2] == "weight" for key in weights):
        yield place or "the file itself", weights
    for key, item in list(value.items())[:1000]:
        if isinstance(key, str) and isinstance(item, dict | Record):
            yield from _candidates(item, f"{place}.{key}" if place else key, depth + 1)


def _module(record: Record, prefix: str = "", depth: int = 0) -> Iterator[tuple[str, Stored]]:
    """The parameters and buffers of a pickled nn.Module, by name."""
    fields = record.fields() if depth < 12 else {}
    for kind in ("_parameters", "_buffers"):
        table = fields.get(kind)
        for name, weight in table.items() if isinstance(table, dict) else ():
            if isinstance(weight, Stored):
                yield f"{prefix}{printable(name)}", weight
    children = fields.get("_modules")
    for name, child in children.items() if isinstance(children, dict) else ():
        if isinstance(child, Record):
            yield from _module(child, f"{prefix}{printable(name)}.", depth + 1)


def _choose(places: list[str], wanted: str | None) -> str:
    if wanted is not None:
        if wanted not in places:
            raise ConvertError(f"holds no weights at {printable(wanted)}; it holds some at: {', '.join(places[:8])}")
        return wanted
    # Where this project's own callback averaged the weights, those are the ones that were evaluated.
    if "callbacks.EMA.net" in places:
        return "callbacks.EMA.net"
    if len(places) == 1 or places[0] == "the file itself":
        return places[0]
    ranked = sorted(places, key=lambda place: (place.count("."), _KEYS.index(last) if (last := _last(place)) in _KEYS else 99))
    if _last(ranked[0]) in _KEYS:
        return ranked[0]
    raise ConvertError(f"holds several networks: {', '.join(places[:8])}; name the one that is wanted with --weights")


def _last(place: str) -> str:
    return place.rpartition(".")[2]


def _say(value: Any, state: State) -> None:
    """Write down what the file says beside its weights: epoch, accuracy, configuration, as deep as people nest them."""
    waiting: list[tuple[str, Any, int]] = [("", value, 0)]
    seen: set[int] = set()
    while waiting and len(state.fields) < _MOST:
        place, item, depth = waiting.pop(0)
        if id(item) in seen:
            continue
        seen.add(id(item))
        entries = item.fields() if isinstance(item, Record) else item if isinstance(item, dict) else {}
        for key, inner in list(entries.items())[:1000]:
            where = f"{place}.{show(key, 0)}" if place else show(key, 0)
            _remark(state, key, where, inner)
            if where == state.place or _is_numbers(inner) or isinstance(key, int):  # an optimizer's state has numbers as keys
                continue
            if isinstance(inner, dict | Record) and depth < _DEPTH:
                waiting.append((where, inner, depth + 1))
            # The fields of a record are shown with it.
            if not isinstance(inner, dict) and not isinstance(item, Record) and len(state.fields) < _MOST:
                state.fields[where] = show(inner)


def _is_numbers(value: Any) -> bool:
    """Whether a value is weights, a table of them or a module, of which nothing is to be said."""
    if isinstance(value, dict):
        return any(isinstance(item, Stored) for item in list(value.values())[:1000])
    return isinstance(value, Stored) or (isinstance(value, Record) and "_modules" in value.fields())


def _remark(state: State, key: Any, where: str, value: Any) -> None:
    if not isinstance(key, str) or len(state.dropout) + len(state.notes) > _MOST:
        return
    if key in _CODE:
        state.notes.append(f"the file names code to call, which was not followed: {where} = {show(value)}")
    if key in _DROPOUT and isinstance(value, float | int) and not isinstance(value, bool) and 0 <= value < 1:
        state.dropout[where] = float(value)
