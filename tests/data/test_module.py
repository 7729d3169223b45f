import logging
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from cifar_lit.augment.geometry import Flip
from cifar_lit.augment.op import Op
from cifar_lit.augment.policy import Policy
from cifar_lit.data import cifar100, module, synthetic
from cifar_lit.data.dataset import DataError, DataMissing, Dataset, Split
from cifar_lit.data.loaders import DeviceLoader, Place, WorkerLoader
from cifar_lit.data.module import ImageData
from cifar_lit.data.sources import CIFAR100, Synthetic

OPTIONS = {
    "augment": Policy(),
    "seed": 0,
    "batch_size": 8,
    "eval_batch_size": 16,
    "validation": "holdout",
    "val_size": 12,
    "engine": "auto",
    "workers": 0,
    "drop_last": False,
    "batch_sizes": None,
    "sizes": None,
}


@dataclass(kw_only=True, frozen=True)
class OnlyPerImage(Op):
    """An augmentation without a batched form."""

    @property
    def batched(self):
        return False

    def draw(self, n, size, generator):
        raise NotImplementedError

    def apply(self, images, params, generator):
        raise NotImplementedError


def split(n, seed):
    images = np.random.default_rng(seed).integers(0, 256, (n, 8, 8, 3), dtype=np.uint8)
    return Split(images, np.arange(n) % 4)


@dataclass(kw_only=True, eq=False)
class InMemory(ImageData):
    """60 training and 20 test images of 4 classes; counts how often they are read."""

    def __post_init__(self):
        super().__post_init__()
        self.reads = 0

    def counts(self):
        return 60, 20

    @property
    def side(self):
        return 8

    def read(self):
        self.reads += 1
        return Dataset("numbers", split(60, 0), split(20, 1), tuple("abcd"), (), (), (0.5, 0.4, 0.3), (0.2, 0.2, 0.2))


def data(**options):
    return InMemory(**(OPTIONS | options))


def ready(**options):
    images = data(**options)
    images.check()
    images.setup()
    return images


def test_what_is_held_out_is_not_copied():
    images = ready(val_size=12)
    train, whole = images.train.images, images.dataset.train.images
    assert train.shape == (48, 8, 8, 3) and train.nbytes == 48 * 192 and np.shares_memory(train[0], whole)
    kept = np.flatnonzero((whole[:, None] == train[np.arange(48)]).all((2, 3, 4)).any(1))
    assert np.array_equal(train[10:20], whole[kept[10:20]]) and np.array_equal(images.train.labels, kept % 4)
    held = np.array(images.validate.images[:])
    assert np.shares_memory(images.validate.images[2:5][0], whole)
    assert len(held) == 12 and not (whole[kept][:, None] == held).all((2, 3, 4)).any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "data.batch_size=0: allowed is 1 or more"),
        ({"batch_size": -3}, "data.batch_size=-3"),
        ({"eval_batch_size": 0}, "data.eval_batch_size=0: allowed is 1 or more"),
        ({"engine": "gpu"}, "data.engine=gpu: allowed is auto, device, workers"),
        ({"validation": "train"}, "data.validation=train: allowed is holdout, test"),
        ({"workers": -1}, "data.workers=-1: allowed is 0 or more"),
        ({"engine": "device", "augment": Policy(flip=Flip(), odd=OnlyPerImage())}, "data.engine=device: odd has no batched form"),
        ({"val_size": 0}, "data.val_size=0 of 60 training images: allowed is 1 to 59"),
        ({"val_size": -1}, "data.val_size=-1"),
        ({"val_size": 60}, "data.val_size=60 of 60 training images: allowed is 1 to 59"),
        ({"batch_size": 49}, "data.batch_size=49 is more than the 48 images to train on"),
        ({"batch_size": 61, "validation": "test"}, "data.batch_size=61 is more than the 60 images"),
    ],
)
def test_bad_values_are_refused_before_anything_is_read(options, message, monkeypatch):
    monkeypatch.setattr(InMemory, "read", None)
    with pytest.raises(ValueError, match=message):
        data(**options).check()


@pytest.mark.parametrize(
    "options", [{"batch_size": 48}, {"batch_size": 60, "validation": "test"}, {"val_size": 52}, {"workers": None}]
)
def test_values_at_the_border_are_taken(options):
    images = ready(**options)
    assert sum(len(labels) for _, labels in images.train_dataloader()) == images.training_images()


def test_holdout_keeps_validation_images_from_training_and_the_test_images_for_the_end():
    images = ready()
    assert len(images.train.labels) == images.training_images() == 48
    assert np.bincount(images.validate.labels).tolist() == [3, 3, 3, 3]
    rows = {image.tobytes() for image in images.train.images} | {image.tobytes() for image in images.validate.images}
    assert rows == {image.tobytes() for image in images.dataset.train.images} and len(rows) == 60
    assert not rows & {image.tobytes() for image in images.dataset.test.images}
    for labels, images_of in ((images.validate.labels, images.validate.images), (images.train.labels, images.train.images)):
        whole = {image.tobytes(): label for image, label in zip(split(60, 0).images, split(60, 0).labels, strict=True)}
        assert [whole[image.tobytes()] for image in images_of] == labels.tolist()
    assert [len(labels) for _, labels in images.val_dataloader()] == [12]
    assert [len(labels) for _, labels in images.test_dataloader()] == [16, 4]


def test_validation_on_the_test_images_trains_on_all_others():
    images = ready(validation="test", val_size=-1)
    assert images.train is images.dataset.train and images.validate is images.dataset.test
    for one, other in zip(images.val_dataloader(), images.test_dataloader(), strict=True):
        assert torch.equal(one[0], other[0])


def test_all_runs_hold_out_the_same_images():
    assert np.array_equal(ready(seed=1).validate.images, ready(seed=2).validate.images)


def test_images_are_read_once():
    images = data()
    for stage in ("fit", "validate", "test"):
        images.setup(stage)
    assert images.reads == 1


@pytest.mark.parametrize(
    ("engine", "augment", "kind", "said"),
    [
        ("auto", Policy(), DeviceLoader, "augmented on the device, cpu"),
        ("auto", Policy(flip=Flip()), DeviceLoader, "augmented on the device, cpu"),
        ("auto", Policy(odd=OnlyPerImage()), WorkerLoader, "albumentations in workers, since odd has no batched form"),
        ("device", Policy(), DeviceLoader, "engine device, as asked for"),
        ("workers", Policy(), WorkerLoader, "engine workers, as asked for"),
    ],
)
def test_the_engine_that_is_taken_and_said(engine, augment, kind, said, caplog, monkeypatch):
    monkeypatch.setattr(Policy, "per_image", lambda *_: None)  # albumentations knows no OnlyPerImage
    with caplog.at_level(logging.INFO, "cifar_lit"):
        images = ready(engine=engine, augment=augment)
    assert isinstance(images.train_dataloader(), kind)
    assert (images.val_dataloader().tensors is not None) == (kind is DeviceLoader)
    assert images.chosen_engine == ("device" if kind is DeviceLoader else "workers")
    assert caplog.messages == [f"Batches: {said}"]


@pytest.mark.parametrize(
    ("share", "said"),
    [(0.39, "augmented on the device, cuda"), (0.41, "albumentations in workers, since the images do not fit on the device")],
)
def test_images_that_take_too_much_of_a_gpu_stay_on_the_host(share, said, monkeypatch, caplog):
    free = int(48 * 8 * 8 * 3 / share)  # bytes, beside those of the 48 training images
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 10**9))
    images = data()
    images.place = Place(torch.device("cuda"))
    with caplog.at_level(logging.INFO, "cifar_lit"):
        images.setup()
    assert caplog.messages == [f"Batches: {said}"]


@pytest.mark.filterwarnings("ignore:This DataLoader will create 2 worker processes")  # on one core
@pytest.mark.parametrize(("device", "pinned"), [("cuda", True), ("cpu", False)])
@pytest.mark.parametrize("workers", [0, 2])
def test_workers_are_persistent_and_pin_what_goes_to_a_gpu(device, pinned, workers, monkeypatch):
    monkeypatch.setattr(InMemory, "normalize", None)  # which would be on that device
    images = ready(engine="workers", workers=workers)
    images.place = Place(torch.device(device))
    loader = images.train_dataloader().loader
    assert (loader.num_workers, loader.persistent_workers, loader.pin_memory) == (workers, workers > 0, pinned)


def test_workers_null_is_one_a_core(monkeypatch):
    monkeypatch.setattr(module, "cores", lambda: 1)
    assert ready(engine="workers", workers=None).train_dataloader().loader.num_workers == 1
    assert ready(engine="workers", workers=0).train_dataloader().loader.num_workers == 0


def test_order_and_drop_last_reach_the_loader():
    images = ready(seed=7, drop_last=True, batch_size=10)
    loader = images.train_dataloader()
    assert (loader.seed, loader.course.batch_size, loader.course.drop_last, len(loader)) == (7, 10, True, 4)


def test_training_images_are_normalised_by_the_sources_statistics():
    images = ready()
    batch, _ = next(iter(images.test_dataloader()))
    expected = (split(20, 1).images[:16] / 255 - (0.5, 0.4, 0.3)) / 0.2
    assert np.allclose(batch.permute(0, 2, 3, 1).numpy(), expected, atol=1e-5)


def test_synthetic_sizes_are_those_it_draws(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    drawn = Synthetic(**(OPTIONS | {"val_size": 100}), train_per_class=2, test_per_class=1, image_size=8)
    drawn.check()
    drawn.setup()
    assert drawn.counts() == (len(drawn.dataset.train.labels), len(drawn.dataset.test.labels)) == (200, 100)


@pytest.mark.parametrize("name", ["train_per_class", "test_per_class", "image_size"])
def test_synthetic_sizes_below_one_are_refused(name):
    sizes = {"train_per_class": 2, "test_per_class": 1, "image_size": 8}
    with pytest.raises(ValueError, match=f"data.{name}=0"):
        Synthetic(**OPTIONS, **(sizes | {name: 0}))


def cifar(tmp_path, **options):
    return CIFAR100(**(OPTIONS | {"root": str(tmp_path), "download": False, "fallback": None} | options))


def test_missing_cifar100_is_refused_before_anything_is_read(tmp_path):
    with pytest.raises(DataError, match="data.download=false: put it there, or use data=synthetic"):
        cifar(tmp_path).check()
    with pytest.raises(ValueError, match="data.fallback=drawn: allowed is synthetic or null"):
        cifar(tmp_path, fallback="drawn")
    cifar(tmp_path, fallback="synthetic").check()
    assert cifar(tmp_path, download=True).counts() == (50_000, 10_000)


def test_fallback_is_only_taken_where_asked_for_and_said_aloud(tmp_path, monkeypatch, caplog):
    def missing(root, **_):
        raise DataMissing("nothing there")

    monkeypatch.setattr(cifar100, "load", missing)
    monkeypatch.setattr(synthetic, "load", lambda: "drawn")
    with pytest.raises(DataMissing, match="nothing there"):
        cifar(tmp_path, download=True).read()
    assert cifar(tmp_path, fallback="synthetic").read() == "drawn"
    assert "TRAINING ON SYNTHETIC IMAGES" in caplog.text and "nothing there" in caplog.text
