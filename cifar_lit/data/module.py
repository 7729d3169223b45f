"""The LightningDataModule: which images are trained on, validated on and tested on, and which engine makes the batches."""

import logging
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from math import ceil

import lightning as L
import numpy as np
import torch

from cifar_lit.augment.policy import Policy
from cifar_lit.cores import cores
from cifar_lit.data.course import Course
from cifar_lit.data.dataset import Dataset, Split
from cifar_lit.data.fixed_shape import FixedShapeLoader
from cifar_lit.data.loaders import DeviceLoader, Normalize, Place, PlainLoader, TrainingLoader, WorkerLoader, to_tensor
from cifar_lit.data.order import holdout

log = logging.getLogger(__name__)

ENGINES = ("auto", "device", "workers")
VALIDATIONS = ("holdout", "test")
# A split larger than this share of the device's free memory is streamed rather than kept there.
_RESIDENT_SHARE = 0.4
_EVAL_BATCH_SIZE = {False: 500, True: 2500}  # on CUDA or not


@dataclass(kw_only=True, eq=False)
class ImageData(L.LightningDataModule, ABC):
    """Images of one source.

    validation: `holdout` keeps `val_size` stratified training images for choosing, and the test images are seen once, at
    the end; `test` validates on the test images, as many papers do. eval_batch_size: null is 500, on CUDA 2,500. engine:
    `device` augments whole batches on the training device, `workers` image by image in `workers` processes, `auto` takes
    `device` where the policy allows. batch_sizes, sizes: what holds from which share of the run on, see Course; null is
    the same throughout.
    """

    augment: Policy
    seed: int
    batch_size: int
    eval_batch_size: int | None
    validation: str
    val_size: int
    engine: str
    workers: int | None
    drop_last: bool
    batch_sizes: dict[float, int] | None
    sizes: dict[float, int] | None
    epochs: float = field(default=1.0, init=False)
    epoch_fraction: float = field(default=1.0, init=False)
    in_graph: bool = field(default=False, init=False)  # batches are made inside the steps
    compiled: bool = field(default=False, init=False)  # by compiled code, there
    dataset: Dataset | None = field(default=None, init=False)
    promised: tuple[int, int] | None = field(default=None, init=False)
    loader: TrainingLoader | None = field(default=None, init=False)
    place: Place = field(default=Place(torch.device("cpu")), init=False)

    def __post_init__(self) -> None:
        super().__init__()
        for name in ("batch_size", "eval_batch_size"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"data.{name}={getattr(self, name)}: allowed is 1 or more")
        for name, allowed in (("engine", ENGINES), ("validation", VALIDATIONS)):
            if getattr(self, name) not in allowed:
                raise ValueError(f"data.{name}={getattr(self, name)}: allowed is {', '.join(allowed)}")
        _ = self.course  # checks its stages
        if self.engine == "device" and not self.augment.batched:
            raise ValueError(f"data.engine=device: {self.augment.unbatched} has no batched form; use data.engine=workers")
        if self.workers is not None and self.workers < 0:
            raise ValueError(f"data.workers={self.workers}: allowed is 0 or more, or null for one a core")

    @property
    def course(self) -> Course:
        """The batches of the run, `epochs` long, of `epoch_fraction` of each: a caller that knows better than 1 sets them."""
        return Course(
            batch_size=self.batch_size,
            epochs=self.epochs,
            epoch_fraction=self.epoch_fraction,
            drop_last=self.drop_last,
            batch_sizes=self.batch_sizes,
            sizes=self.sizes,
        )

    @abstractmethod
    def counts(self) -> tuple[int, int]:
        """How many training and test images there will be, found out without reading any. Raises DataError."""

    @property
    @abstractmethod
    def side(self) -> int | None:
        """Pixels a side of the images, where that is known before any is read."""

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
        largest = max(self.batch_sizes.values()) if self.batch_sizes else self.batch_size
        if largest > self.training_images():
            name = "batch_sizes" if self.batch_sizes else "batch_size"
            raise ValueError(f"data.{name}={largest} is more than the {self.training_images()} images to train on")

    def training_images(self) -> int:
        """How many images an epoch has: by what `counts` promises until they are read."""
        images, _ = self._sizes()
        return images - self.val_size if self.validation == "holdout" else images

    def evaluation_batches(self, device: torch.device, processes: int) -> dict[str, int]:
        """How many batches each process will have of a validation and of a test, likewise."""
        _, test = self._sizes()
        images = {"val": self.val_size if self.validation == "holdout" else test, "test": test}
        return {name: ceil(ceil(count / processes) / self._evaluated_at_once(device)) for name, count in images.items()}

    def _sizes(self) -> tuple[int, int]:
        """Training and test images."""
        if self.dataset is not None:
            return len(self.dataset.train.labels), len(self.dataset.test.labels)
        self.promised = self.promised or self.counts()
        return self.promised

    def _evaluated_at_once(self, device: torch.device) -> int:
        return self.eval_batch_size or _EVAL_BATCH_SIZE[device.type == "cuda"]

    def setup(self, stage: str | None = None) -> None:
        if self.dataset is not None:
            return
        self.dataset = dataset = self.read()
        self.check()  # a fallback has other sizes than were promised
        self.train, self.validate = dataset.train, dataset.test
        if self.validation == "holdout":
            kept, held = holdout(dataset.train.labels, self.val_size)
            self.train, self.validate = (dataset.train.part(places) for places in (kept, held))
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

    def sample(self, count: int) -> torch.Tensor:
        """`count` training images (n, 3, H, W), or all, evenly spaced, normalised and not augmented, on the device."""
        spaced = np.linspace(0, len(self.train.labels), min(count, len(self.train.labels)), endpoint=False, dtype=int)
        images, _ = to_tensor(Split(self.train.images[spaced], self.train.labels[spaced]), self.place.device)
        return self.normalize(images)

    def train_dataloader(self) -> TrainingLoader:
        if self.loader is None:
            self.loader = self._training_loader()
        if self.trainer is not None:  # asks again before every epoch where the batch size changes: the length does too
            self.loader.set_epoch(self.trainer.current_epoch)
        return self.loader

    def _training_loader(self) -> TrainingLoader:
        run = {"course": self.course, "seed": self.seed, "place": self.place}
        if self.chosen_engine == "device" and self.in_graph and self.augment.fixed_shape:
            compiled = self.compiled and self.place.device.type == "cuda"  # which gains nothing on a CPU
            return FixedShapeLoader(self.train, self.augment, self.normalize, compiled=compiled, **run)
        if self.chosen_engine == "device":
            return DeviceLoader(self.train, self.augment, self.normalize, **run)
        workers = cores() if self.workers is None else self.workers
        return WorkerLoader(self.train, self.augment, self.normalize, workers, **run)

    def teardown(self, stage: str | None = None) -> None:
        if isinstance(self.loader, WorkerLoader):
            self.loader.close()
        self.loader = None

    def val_dataloader(self) -> PlainLoader:
        return self._plain(self.validate)

    def test_dataloader(self) -> PlainLoader:
        assert self.dataset is not None
        return self._plain(self.dataset.test)

    def _plain(self, split: Split) -> PlainLoader:
        batch_size = self._evaluated_at_once(self.place.device)
        return PlainLoader(split, self.normalize, batch_size, place=self.place, resident=self.chosen_engine == "device")
