"""The LightningDataModule: which images are trained on, validated on and tested on, and which engine makes the batches."""

import logging
import os
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path

import lightning as L
import torch

from cifar_lit.augment.policy import Policy
from cifar_lit.data import cifar100, folder, synthetic
from cifar_lit.data.dataset import DataError, DataMissing, Dataset, Split
from cifar_lit.data.loaders import DeviceLoader, Normalize, Place, PlainLoader, TrainingLoader, WorkerLoader
from cifar_lit.data.order import holdout

log = logging.getLogger(__name__)

ENGINES = ("auto", "device", "workers")
VALIDATIONS = ("holdout", "test")
# A split larger than this share of the device's free memory is streamed rather than kept there.
_RESIDENT_SHARE = 0.4


def cores() -> int:
    """Processor cores that this process may use; where the system does not say (macOS), all of them."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(kw_only=True, eq=False)
class ImageData(L.LightningDataModule, ABC):
    """Images of one source.

    validation: `holdout` keeps `val_size` stratified training images for choosing, and the test images are seen once, at
    the end; `test` validates on the test images, as many papers do. engine: `device` augments whole batches on the
    training device, `workers` image by image in `workers` processes, `auto` takes `device` where the policy allows.
    """

    augment: Policy
    seed: int
    batch_size: int
    eval_batch_size: int
    validation: str
    val_size: int
    engine: str
    workers: int | None
    drop_last: bool
    dataset: Dataset | None = field(default=None, init=False)
    promised: int = field(default=0, init=False)
    worker_loader: WorkerLoader | None = field(default=None, init=False)
    place: Place = field(default=Place(torch.device("cpu")), init=False)

    def __post_init__(self) -> None:
        super().__init__()
        for name in ("batch_size", "eval_batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"data.{name}={getattr(self, name)}: allowed is 1 or more")
        for name, allowed in (("engine", ENGINES), ("validation", VALIDATIONS)):
            if getattr(self, name) not in allowed:
                raise ValueError(f"data.{name}={getattr(self, name)}: allowed is {', '.join(allowed)}")
        if self.engine == "device" and not self.augment.batched:
            raise ValueError(f"data.engine=device: {self.augment.unbatched} has no batched form; use data.engine=workers")
        if self.workers is not None and self.workers < 0:
            raise ValueError(f"data.workers={self.workers}: allowed is 0 or more, or null for one a core")

    @abstractmethod
    def sizes(self) -> tuple[int, int]:
        """How many training and test images there will be, found out without reading any. Raises DataError."""

    @abstractmethod
    def read(self) -> Dataset:
        """The images. Raises DataError."""

    def check(self) -> None:
        """Refuse sizes that cannot work, before anything is read."""
        images = self.training_images() + (self.val_size if self.validation == "holdout" else 0)
        if self.validation == "holdout" and not 0 < self.val_size < images:
            raise ValueError(
                f"data.val_size={self.val_size} of {images} training images: allowed is 1 to {images - 1};"
                " data.validation=test holds none out"
            )
        if self.batch_size > self.training_images():
            raise ValueError(f"data.batch_size={self.batch_size} is more than the {self.training_images()} images to train on")

    def training_images(self) -> int:
        """How many images an epoch has: by what `sizes` promises until they are read."""
        if self.dataset is not None:
            images = len(self.dataset.train.labels)
        else:
            self.promised = self.promised or self.sizes()[0]
            images = self.promised
        return images - self.val_size if self.validation == "holdout" else images

    def setup(self, stage: str | None = None) -> None:
        if self.dataset is not None:
            return
        self.dataset = dataset = self.read()
        self.check()  # a fallback has other sizes than were promised
        self.train, self.validate = dataset.train, dataset.test
        if self.validation == "holdout":
            kept, held = holdout(dataset.train.labels, self.val_size)
            self.train, self.validate = (Split(dataset.train.images[i], dataset.train.labels[i]) for i in (kept, held))
        self.chosen_engine = self._choose_engine()

    def _choose_engine(self) -> str:
        if self.engine != "auto":
            log.info("Batches: engine %s, as asked for", self.engine)
            return self.engine
        if not self.augment.batched:
            log.info("Batches: albumentations in workers, since %s has no batched form", self.augment.unbatched)
            return "workers"
        if self.place.device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(self.place.device)
            if self.train.images.nbytes > _RESIDENT_SHARE * free:
                log.info("Batches: albumentations in workers, since the images do not fit on the device")
                return "workers"
        log.info("Batches: augmented on the device, %s", self.place.device)
        return "device"

    @property
    def normalize(self) -> Normalize:
        assert self.dataset is not None
        return Normalize(self.dataset.mean, self.dataset.std, self.place.device)

    def train_dataloader(self) -> TrainingLoader:
        order = {
            "batch_size": self.batch_size,
            "seed": self.seed,
            "place": self.place,
            "drop_last": self.drop_last,
        }
        if self.chosen_engine == "device":
            return DeviceLoader(self.train, self.augment, self.normalize, **order)
        self.teardown()
        workers = cores() if self.workers is None else self.workers
        self.worker_loader = WorkerLoader(self.train, self.augment, self.normalize, workers, **order)
        return self.worker_loader

    def teardown(self, stage: str | None = None) -> None:
        if self.worker_loader is not None:
            self.worker_loader.close()
            self.worker_loader = None

    def val_dataloader(self) -> PlainLoader:
        return self._plain(self.validate)

    def test_dataloader(self) -> PlainLoader:
        assert self.dataset is not None
        return self._plain(self.dataset.test)

    def _plain(self, split: Split) -> PlainLoader:
        return PlainLoader(split, self.normalize, self.eval_batch_size, place=self.place, resident=self.chosen_engine == "device")


@dataclass(kw_only=True, eq=False)
class CIFAR100(ImageData):
    """CIFAR-100 (Krizhevsky 2009). root: holds it in any known layout, or will, once downloaded.

    fallback: `synthetic` trains on drawn images where CIFAR-100 can be neither found nor downloaded; null refuses.
    """

    root: str
    download: bool
    fallback: str | None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.fallback not in (None, "synthetic"):
            raise ValueError(f"data.fallback={self.fallback}: allowed is synthetic or null")

    def sizes(self) -> tuple[int, int]:
        if cifar100.find(Path(self.root)) is None and not self.download and self.fallback is None:
            raise DataError(
                f"no CIFAR-100 under data.root={self.root}, and data.download=false: put it there, or use data=synthetic"
            )
        return cifar100.SIZES

    def read(self) -> Dataset:
        try:
            return cifar100.load(Path(self.root), download=self.download)
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

    def sizes(self) -> tuple[int, int]:
        return folder.count(Path(self.root))

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

    def sizes(self) -> tuple[int, int]:
        return 100 * self.train_per_class, 100 * self.test_per_class

    def read(self) -> Dataset:
        return synthetic.load(self.train_per_class, self.test_per_class, self.image_size)
