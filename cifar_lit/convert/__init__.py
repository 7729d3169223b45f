"""Bundles of other people's checkpoints, without running anything of theirs: `python -m cifar_lit.convert old.pth -o bundle/`."""

import re
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from cifar_lit import bundle, card
from cifar_lit.bundle import Facts
from cifar_lit.convert.architecture import recognise
from cifar_lit.convert.state import State, find
from cifar_lit.data import cifar100
from cifar_lit.pickles.archive import opened
from cifar_lit.pickles.limits import ConvertError, printable

__all__ = ["ConvertError", "Converted", "Options", "check_output", "read", "write"]

# As the recipes of these checkpoints normalise: their digits, not those of cifar_lit.data.
MEAN, STD = (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a checkpoint does not say. None: CIFAR-100's, and a note that this is assumed. license: of the weights.

    weights: where in the file they are, such as `ema.module`; None: where they usually are.
    """

    classes: tuple[str, ...] | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    image_size: int = cifar100.IMAGE_SIZE
    title: str | None = None
    license: str = "unknown"
    weights: str | None = None


@dataclass(frozen=True, kw_only=True)
class Converted:
    """A foreign checkpoint as this project has it. format, place: where its weights were. fields: what it says beside them."""

    source: Path
    facts: Facts
    weights: dict[str, Tensor]
    format: str
    place: str
    fields: dict[str, str] = field(default_factory=dict)
    license: str = "unknown"

    @property
    def parameters(self) -> int:
        """How many numbers were learned; statistics are not."""
        statistics = ("running_mean", "running_var", "num_batches_tracked")
        return sum(tensor.numel() for name, tensor in self.weights.items() if not name.endswith(statistics))


def read(source: Path, options: Options = Options()) -> Converted:  # noqa: B008  frozen
    """The network in a foreign checkpoint. Nothing in the file is run, imported or called. Raises ConvertError in one line."""
    with opened(source) as contents:
        state = find(contents, options.weights)
        if "facts.network" in state.fields or any(name.startswith("facts.network.") for name in state.fields):
            raise ConvertError(f"{source}: a checkpoint of this project, which needs no converting: predict takes it as it is")
        found = recognise(state)
        format_ = contents.format
    if not re.fullmatch(r"[a-z0-9.-]+", options.license):
        raise ConvertError(f"license {options.license!r}: give it as the Hub names it, such as mit, apache-2.0 or unknown")
    facts, assumed = _facts(source, found.network, options)
    notes = [*found.notes, *assumed, *state.notes, *_said(state)]
    facts = Facts(**{**vars(facts), "notes": tuple(printable(note, most=600) for note in notes)})
    return Converted(
        source=source,
        facts=facts,
        weights=found.weights,
        format=format_,
        place=state.place,
        fields=state.fields,
        license=options.license,
    )


def check_output(folder: Path, *, force: bool = False) -> None:
    """Raise ConvertError where something is in the bundle's place that may not be replaced."""
    if not folder.exists():
        return
    if not force:
        raise ConvertError(f"{folder}: there already; name another folder, or replace it with --force")
    if not folder.is_dir() or (any(folder.iterdir()) and not bundle.is_bundle(folder)):
        raise ConvertError(f"{folder}: no bundle, so --force does not replace it")


def write(converted: Converted, folder: Path, *, force: bool = False) -> None:
    """Write the bundle, whole or not at all. Raises ConvertError as `check_output` does, and OSError from the disk."""
    check_output(folder, force=force)
    text = card.converted(converted.facts, printable(converted.source.name), converted.license)
    bundle.save(folder, converted.weights, converted.facts, text)


def _facts(source: Path, network: dict[str, object], options: Options) -> tuple[Facts, list[str]]:
    outputs = int(str(network["num_classes"]))
    notes = []
    classes = options.classes
    if classes is not None and len(classes) != outputs:
        raise ConvertError(f"{source}: has {outputs} classes, but {len(classes)} names were given")
    if classes is None and outputs == len(cifar100.CLASSES):
        classes = cifar100.CLASSES
        notes.append("class names are assumed: CIFAR-100's in alphabetical order, which is that of its labels")
    elif classes is None:
        classes = tuple(f"class {index}" for index in range(outputs))
        notes.append("class names are not known")
    known = classes == cifar100.CLASSES
    if options.mean is None or options.std is None:
        notes.append("the normalisation of images is assumed: CIFAR-100's mean and deviation")
    try:
        facts = Facts(
            title=printable(options.title or source.stem) or "converted",
            data="cifar100" if known else "unknown",
            network=network,
            classes=classes,
            superclasses=cifar100.SUPERCLASSES if known else (),
            superclass_of=cifar100.SUPERCLASS_OF if known else (),
            mean=options.mean or MEAN,
            std=options.std or STD,
            image_size=(options.image_size, options.image_size),
        )
    except ValueError as error:
        raise ConvertError(f"{source}: {error}") from None
    return facts, notes


def _said(state: State) -> list[str]:
    said = [f"{where} = {value}" for where, value in state.fields.items()]
    return [f"the file says, and nobody checked: {line}" for line in said]
