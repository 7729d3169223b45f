"""What was asked for on the command line, and the test images that go with a bundle."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from cifar_lit import hub
from cifar_lit.bundle import Facts
from cifar_lit.data import of_bundle
from cifar_lit.data.dataset import Dataset
from cifar_lit.predict import Predictor
from cifar_lit.seeding import numpy_generator


@dataclass(frozen=True, kw_only=True)
class Request:
    """One request. bundle: a bundle, run directory, checkpoint or hub:user/name. root: of the test images; None: as usual.

    images: the user's own, instead of test images. label: the class to explain; None: the predicted one. top: how many pairs.
    budget, points, span: of a landscape, how much is measured, points along each direction, and how far it goes; None: as usual.
    """

    bundle: str
    out: Path
    root: str | None = None
    images: tuple[str, ...] = ()
    label: str | None = None
    top: int = 8
    seed: int = 0
    budget: str = "hour"
    points: int | None = None
    span: float | None = None
    device: str = "auto"

    @cached_property
    def predictor(self) -> Predictor:
        """Loaded when first asked for. Raises CheckpointError, ValueError."""
        return Predictor(hub.place(self.bundle), device=self.device)

    @cached_property
    def tests(self) -> Dataset:
        """The data set of the bundle, whose test images are wanted. Raises DataError."""
        return data_of(self.predictor.facts, self.root)


@dataclass(frozen=True)
class Sample:
    """A prepared picture (H, W, 3) uint8, what it is called, and the index of its class, where that is known."""

    pixels: np.ndarray
    name: str
    truth: int | None


def samples(request: Request, count: int) -> list[Sample]:
    """The user's images, or `count` test images that the seed alone decides. Raises PictureError, DataError."""
    if request.images:
        return [Sample(request.predictor.prepare(path), Path(path).name, None) for path in request.images]
    tests = request.tests
    total = len(tests.test.labels)
    chosen = numpy_generator(request.seed, "explain").permutation(total)[:count]
    return [
        Sample(request.predictor.prepare(tests.test.images[index]), f"test image {index}", int(tests.test.labels[index]))
        for index in chosen
    ]


def data_of(facts: Facts, root: str | None) -> Dataset:
    """The data set that a network was trained on, for its test images. Nothing is downloaded. Raises DataError."""
    return of_bundle.load(facts.data, facts.classes, facts.image_size, root, facts.origin.get("overrides"))
