"""Where images come from: CIFAR-100, class folders, or drawn ones. The targets of conf/data."""

import logging
from dataclasses import dataclass, field
from pathlib import Path

from cifar_lit.data import cifar100, folder, synthetic
from cifar_lit.data.dataset import DataError, DataMissing, Dataset
from cifar_lit.data.module import ImageData

log = logging.getLogger(__name__)


@dataclass(kw_only=True, eq=False)
class CIFAR100(ImageData):
    """CIFAR-100 (Krizhevsky 2009). root: holds it in any known layout, or will, once downloaded.

    fallback: `synthetic` trains on drawn images where CIFAR-100 can be neither found nor downloaded; null refuses.
    """

    root: str
    download: bool
    fallback: str | None
    layout: cifar100.Layout | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.fallback not in (None, "synthetic"):
            raise ValueError(f"data.fallback={self.fallback}: allowed is synthetic or null")

    def counts(self) -> tuple[int, int]:
        self.layout = cifar100.find(self.root)
        if self.layout is None and not self.download and self.fallback is None:
            raise DataError(
                f"no CIFAR-100 under data.root={self.root}, and data.download=false: put it there, or use data=synthetic"
            )
        return cifar100.facts.SIZES

    @property
    def side(self) -> int:
        return 32

    def read(self) -> Dataset:
        try:
            return cifar100.load(self.root, download=self.download, layout=self.layout)
        except DataMissing as missing:
            if self.fallback is None:
                raise
            banner = "!" * 100
            log.warning(
                "%s\n!!  %s\n!!  TRAINING ON SYNTHETIC IMAGES INSTEAD: the result says nothing about CIFAR-100.\n%s",
                banner,
                missing,
                banner,
            )
            return synthetic.load()


@dataclass(kw_only=True, eq=False)
class Folder(ImageData):
    """Any images in class folders, `root/train/<class>/*` and `root/test/<class>/*`.

    image_size: pixels a side to resize to; null where all images are of one size already.
    """

    root: str
    image_size: int | None

    def counts(self) -> tuple[int, int]:
        return folder.count(Path(self.root))

    @property
    def side(self) -> int | None:
        return self.image_size

    def read(self) -> Dataset:
        return folder.load(Path(self.root), self.image_size)


@dataclass(kw_only=True, eq=False)
class Synthetic(ImageData):
    """Drawn images of 100 classes in 20 superclasses: for trying things out, and for tests. Needs no files."""

    train_per_class: int
    test_per_class: int
    image_size: int

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("train_per_class", "test_per_class", "image_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"data.{name}={getattr(self, name)}: allowed is 1 or more")

    def counts(self) -> tuple[int, int]:
        return 100 * self.train_per_class, 100 * self.test_per_class

    @property
    def side(self) -> int:
        return self.image_size

    def read(self) -> Dataset:
        return synthetic.load(self.train_per_class, self.test_per_class, self.image_size)
