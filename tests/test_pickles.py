"""The machine that reads pickles: the values it gives, and that it never runs or imports anything."""

import argparse
import dataclasses
import datetime
import enum
import io
import pathlib
import pickle
import sys
import types
from collections import Counter, OrderedDict, defaultdict

import numpy as np
import pytest

from cifar_lit.convert import ConvertError
from cifar_lit.pickles.records import Name, Record, show
from cifar_lit.pickles.tensors import Array
from cifar_lit.pickles.unpickle import Machine

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


def loads(data):
    return Machine(io.BytesIO(data), lambda saved: ("storage", saved)).load()


def refused(data):
    with pytest.raises(ConvertError) as error:
        loads(data)
    assert "\n" not in str(error.value) and len(str(error.value)) < 700
    return str(error.value)


class Mode(enum.Enum):
    FAST = "fast"


@dataclasses.dataclass
class Plain:
    lr: float = 0.1
    dropout: float = 0.3


@dataclasses.dataclass
class Nested:
    inner: Plain = dataclasses.field(default_factory=Plain)
    mode: Mode = Mode.FAST
    names: list = dataclasses.field(default_factory=lambda: ["a", "b"])


@dataclasses.dataclass(slots=True)
class Slotted:
    lr: float = 0.1
    epochs: int = 30


@dataclasses.dataclass(frozen=True, slots=True)
class FrozenSlotted:
    lr: float = 0.1


class WithSetState:
    def __getstate__(self):
        return {"width": 8}

    def __setstate__(self, state):
        raise AssertionError("never called")


class WithNew:
    def __new__(cls, *args, **options):
        return super().__new__(cls)

    def __getnewargs_ex__(self):
        return ("a",), {"width": 8}


class Listed(list):
    pass


class Tabled(dict):
    pass


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_plain_values_are_themselves(protocol):
    value = {
        "text": "größe\n\U0001f600", "number": -3, "large": 2**70, "real": 0.1, "yes": True, "no": False, "nothing": None,
        "list": [1, [2, (3, (4, 5, 6, 7), ())]], "bytes": b"a\x00\xff", ("a", 1): "tuple key", 5: "number key", 1.5: 0, None: 1,
        "empty": [{}, [], (), ""], "long": list(range(3000)), "bytearray": bytearray(b"xyz"),
    }  # fmt: skip
    assert loads(pickle.dumps(value, protocol)) == value


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_known_classes_become_plain_values(protocol):
    value = {
        "ordered": OrderedDict(a=1, b=2),
        "default": defaultdict(list, a=[1]),
        "counter": Counter("aab"),
        "path": pathlib.PurePosixPath("/data/runs"),
        "set": {3},
        "time": datetime.datetime(2024, 5, 17, 8, 30, 1),
        "day": datetime.date(2024, 5, 17),
        "float64": np.float64(73.57),
        "float32": np.float32(0.5),
        "int64": np.int64(-3),
    }
    found = loads(pickle.dumps(value, protocol))
    assert found == {
        "ordered": {"a": 1, "b": 2}, "default": {"a": [1]}, "counter": {"a": 2, "b": 1}, "path": "/data/runs", "set": [3],
        "time": "2024-05-17 08:30:01", "day": "2024-05-17", "float64": 73.57, "float32": 0.5, "int64": -3,
    }  # fmt: skip


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("array", [
    np.arange(12.0).reshape(3, 4), np.asfortranarray(np.arange(12, dtype=np.float32).reshape(3, 4)),
    np.arange(6, dtype=">f4").reshape(2, 3), np.array([True, False]), np.array(3, dtype=np.int16), np.zeros((0, 2)),
], ids=["f8", "fortran", "big", "bool", "scalar", "empty"])  # fmt: skip
def test_numpy_arrays(array, protocol):
    found = loads(pickle.dumps(array, protocol))
    assert isinstance(found, Array)
    tensor = found.tensor()
    assert tuple(tensor.shape) == array.shape and np.array_equal(tensor.numpy(), array)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_objects_of_other_classes_become_records_with_fields(protocol):
    def fields(value):
        found = loads(pickle.dumps(value, protocol))
        assert isinstance(found, Record)
        return found, found.fields()

    plain, said = fields(Plain(lr=0.05))
    assert said == {"lr": 0.05, "dropout": 0.3} and str(plain.kind) == f"{__name__}.Plain"
    assert show(plain) == f"{__name__}.Plain(lr=0.05, dropout=0.3)"
    _, said = fields(Nested())
    assert said["inner"].fields() == {"lr": 0.1, "dropout": 0.3} and said["names"] == ["a", "b"]
    assert "fast" in show(said["mode"]) or "FAST" in show(said["mode"])
    assert fields(argparse.Namespace(lr=0.1, depth=18))[1] == {"lr": 0.1, "depth": 18}
    assert fields(WithSetState())[1] == {"width": 8}
    assert fields(types.SimpleNamespace(lr=0.1))[1] == {"lr": 0.1}
    listed, _ = fields(Listed([1, 2, 3]))
    assert listed.items == [1, 2, 3] or [1, 2, 3] in listed.args
    tabled, _ = fields(Tabled(a=1))
    assert tabled.entries == {"a": 1} and tabled.fields() == {"a": 1}
    error, _ = fields(ValueError("bad"))
    assert error.args == ("bad",)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_slots_and_keyword_constructors(protocol):
    slotted = loads(pickle.dumps(Slotted(), protocol))
    assert list(slotted.fields().values()) == [0.1, 30]
    assert list(loads(pickle.dumps(FrozenSlotted(), protocol)).fields().values()) == [0.1]
    assert "8" in show(loads(pickle.dumps(WithNew(), protocol)))


def test_records_are_keys_and_repeated_objects_stay_one():
    config = Plain()
    found = loads(pickle.dumps([config, config, {Mode.FAST: 1}]))
    assert found[0] is found[1] and isinstance(next(iter(found[2])), Record)


def test_old_opcodes():
    """INST, OBJ, PERSID and the text forms, which Python 2 wrote."""
    assert str(loads(b"(I1\nI2\ni__main__\nConfig\n.").kind) == "__main__.Config"
    assert loads(b"(I1\nI2\ni__main__\nConfig\n.").args == (1, 2)
    assert loads(b"(c__main__\nConfig\nI1\no.").args == (1,)
    assert loads(b"(lp0\nI01\naS'x'\naF1.5\naL5L\naVy\na.") == [True, "x", 1.5, 5, "y"]
    assert loads(b"P7\n.") == ("storage", "7")
    assert loads(b"(I1\n(I2\n01.") == 1  # POP of a mark


def test_pickles_of_one_file_share_no_memory():
    machine = Machine(io.BytesIO(b"I1\np0\n.g0\n."), lambda saved: None)
    assert machine.load() == 1
    with pytest.raises(ConvertError):
        machine.load()


def test_names_are_never_imported(monkeypatch):
    monkeypatch.setitem(sys.modules, "a_module_that_is_there", types.SimpleNamespace(f=None))
    before = set(sys.modules)
    found = loads(b"\x80\x04\x8c\x07antigra\x8c\x01x\x93.")
    assert found == Name("antigra", "x")
    loads(b"cthis\ns\n(tR.")
    loads(b"canother_missing.module\nf\n(tR.")
    assert isinstance(loads(b"ca_module_that_is_there\nf\n(tR."), Record)
    assert set(sys.modules) == before


def test_chains_of_getattr_stay_records():
    data = b"cbuiltins\ngetattr\n(cmodels\nNet\nS'forward'\ntR(S'x'\ntR."
    found = loads(data)
    assert isinstance(found, Record) and isinstance(found.kind, Record) and found.args == ("x",)
    assert show(found).startswith("builtins.getattr(models.Net, forward")


def test_classes_that_the_machine_uses_cannot_be_changed():
    """BUILD on a name, and on what names stand for: pickle.Unpickler would set attributes of the class itself."""
    assert "gives attributes to a Name" in refused(b"ccollections\nOrderedDict\n}S'x'\nI1\nsb.")
    assert "gives attributes to a int" in refused(b"I1\n}b.")
    assert isinstance(loads(b"ca\nB\n)\x81}S'__class__'\nca\nC\nsb."), Record)
    assert isinstance(loads(b"ca\nB\n)\x81}S'__setstate__'\nca\nC\nsb}S'fields'\nI1\nsb."), Record)


@pytest.mark.parametrize("data", [
    b"", b".", b"(", b"N", b"0.", b"I1\n", b"\x80\x02", b"}I1\ns.", b"]}a", b"K\x01\x85R.", b"h\x05.", b"cos\n", b"\x93.",
    b"\x82\x01.", b"\x97.", b"\x98.", b"(I1\nd.", b"}]I1\ns.", b"}}I1\ns.", b"}\x8f\x90I1\ns.", b"\xff\xff", b"K",
    b"X\xff\xff\xff\x7fab.",
    b"\x8a\x05\x01", b"T\xff\xff\xff\xffx.", b"ca\nb\nI1\nR.", b"I1\n(tR.", b"ctorch._utils\n_rebuild_tensor_v2\n(I1\ntR.",
    b"cnumpy.core.multiarray\n_reconstruct\n(tR(I1\nI2\ntb.", b"ctorch._utils\n_rebuild_parameter\n(tR.",
])  # fmt: skip
def test_damaged_pickles_are_refused(data):
    refused(data)


def test_shows_whatever_a_file_holds_in_few_words():
    endless = []
    endless.append(endless)
    tangled = {}
    tangled["self"] = tangled
    record = Record(Name("a", "B"))
    record.state = {"me": record, "kind": record}
    record.kind = record
    deep = []
    for _ in range(100_000):
        deep = [deep]
    laughs = ["ha"]
    for _ in range(40):
        laughs = [laughs] * 10
    many = {str(index): index for index in range(100_000)}
    for value in (
        endless,
        tangled,
        record,
        deep,
        laughs,
        many,
        10**5000,
        "x" * 10**6,
        "a\nb\x1b[2J\ud800`<script>",
        b"x" * 10**6,
    ):
        text = show(value)
        assert len(text) < 600 and text.isprintable() and "<" not in text and "`" not in text
    assert show(2**300) == "a number of 301 bits" and show("a\nb\x1b[2J") == "a b [2J"
