import gc
import weakref
from itertools import islice

import numpy as np
import pytest
import torch

from cifar_lit.augment.geometry import Crop, Flip
from cifar_lit.augment.policy import Policy
from cifar_lit.data.course import Course
from cifar_lit.data.dataset import Split
from cifar_lit.data.fixed_shape import FixedShapeLoader
from cifar_lit.data.loaders import DeviceLoader, Normalize, Place, PlainLoader, WorkerLoader, to_tensor

CPU = torch.device("cpu")
MEAN, STD = (0.5, 0.4, 0.3), (0.25, 0.2, 0.1)
ENGINES = ("device", "workers")
both_engines = pytest.mark.parametrize("engine", ENGINES)


def numbered(n=50, size=8):
    """The label of image i is i: labels say which images a batch holds."""
    images = np.random.default_rng(0).integers(0, 256, (n, size, size, 3), dtype=np.uint8)
    return Split(images, np.arange(n))


def normalize():
    return Normalize(MEAN, STD, CPU)


def loader_of(
    engine, split=None, policy=None, *, batch_size=8, seed=0, rank=0, processes=1, drop_last=False, workers=0, **changes
):
    split, policy = split or numbered(), policy or Policy()
    course = Course(batch_size=batch_size, drop_last=drop_last, **changes)
    run = {"course": course, "seed": seed, "place": Place(CPU, rank, processes)}
    if engine == "device":
        return DeviceLoader(split, policy, normalize(), **run)
    if engine == "fixed shape":
        return FixedShapeLoader(split, policy, normalize(), **run)
    return WorkerLoader(split, policy, normalize(), workers, **run)


def labels_of(loader):
    return [labels.tolist() for _, labels in loader]


def seen_by(loader):
    return [label for batch in labels_of(loader) for label in batch]


def augmented():
    return Policy(crop=Crop(padding=2), flip=Flip(p=0.5))


def test_normalize_by_hand():
    images = torch.randint(0, 256, (2, 3, 4, 4), dtype=torch.uint8)
    expected = (images.double() / 255 - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    for given in (images, images.float()):
        before = given.clone()
        found = normalize()(given)
        assert found.dtype == torch.float32 and torch.allclose(found.double(), expected, atol=1e-5)
        assert torch.equal(given, before)


def test_to_tensor_copies_read_only_maps(tmp_path):
    np.save(tmp_path / "images.npy", numbered().images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    images, labels = to_tensor(Split(mapped, np.arange(50)))
    assert images.shape == (50, 3, 8, 8) and images.dtype == torch.uint8 and images.is_contiguous()
    assert labels.dtype == torch.int64
    images.zero_()
    assert mapped.any()


@both_engines
def test_every_image_once_an_epoch_in_another_order(engine):
    loader = loader_of(engine)
    epochs = []
    for epoch in range(3):
        loader.set_epoch(epoch)
        batches = labels_of(loader)
        assert [len(batch) for batch in batches] == [8] * 6 + [2] and len(loader) == 7
        epochs.append([label for batch in batches for label in batch])
        assert sorted(epochs[-1]) == list(range(50))
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]
    assert seen_by(loader_of(engine, seed=1)) != epochs[0]


@pytest.mark.parametrize("drop_last", [False, True])
def test_both_engines_give_the_same_batches_where_nothing_is_augmented(drop_last):
    split = numbered()
    device, workers = (loader_of(engine, split, drop_last=drop_last) for engine in ENGINES)
    for epoch in (0, 5):
        device.set_epoch(epoch)
        workers.set_epoch(epoch)
        for one, other in zip(device, workers, strict=True):
            assert torch.equal(one[1], other[1])
            assert torch.equal(one[0], other[0])
            assert one[0].dtype == torch.float32 and one[1].dtype == torch.int64
            pixels = torch.from_numpy(split.images[one[1].numpy()]).permute(0, 3, 1, 2)
            assert torch.equal(one[0], normalize()(pixels))


@both_engines
def test_a_fresh_loader_gives_the_batches_of_an_epoch_again(engine):
    used = loader_of(engine, policy=augmented())
    for epoch in range(3):
        used.set_epoch(epoch)
        list(used)
    used.set_epoch(2)
    fresh = loader_of(engine, policy=augmented())
    fresh.set_epoch(2)
    torch.manual_seed(3)
    for one, other in zip(used, fresh, strict=True):
        assert torch.equal(one[0], other[0]) and torch.equal(one[1], other[1])


@pytest.mark.filterwarnings("ignore:This DataLoader will create 2 worker processes")  # on one core
def test_the_number_of_workers_does_not_matter():
    alone, two = (loader_of("workers", policy=augmented(), workers=workers) for workers in (0, 2))
    for epoch in (0, 3):
        for loader in (alone, two):
            loader.set_epoch(epoch)
        for one, other in zip(alone, two, strict=True):
            assert torch.equal(one[0], other[0]) and torch.equal(one[1], other[1])


@both_engines
def test_a_dropped_loader_is_gone_at_once(engine):
    """In a cycle it would wait for the garbage collector, and torch for its workers: 5 seconds each."""
    loader = loader_of(engine)
    list(loader)
    gone = weakref.ref(loader)
    gc.disable()
    try:
        del loader
        assert gone() is None
    finally:
        gc.enable()


@both_engines
def test_images_are_augmented_anew_each_epoch(engine):
    loader = loader_of(engine, policy=augmented(), batch_size=50)
    seen = []
    for epoch in range(2):
        loader.set_epoch(epoch)
        images, labels = next(iter(loader))
        seen.append(images[labels.argsort()])
    plain = normalize()(to_tensor(numbered())[0])
    assert (seen[0] != seen[1]).any((1, 2, 3)).sum() > 30
    assert (seen[0] != plain).any((1, 2, 3)).sum() > 30


@both_engines
def test_the_epoch_may_be_told_after_the_iterator_was_made(engine):
    expected = loader_of(engine, policy=augmented())
    expected.set_epoch(4)
    late = loader_of(engine, policy=augmented())
    iterator = iter(late)
    late.sampler.set_epoch(4)
    for one, other in zip(expected, iterator, strict=True):
        assert torch.equal(one[0], other[0]) and torch.equal(one[1], other[1])


@both_engines
def test_an_epoch_that_was_left_early_does_not_leak_into_the_next(engine):
    loader = loader_of(engine, policy=augmented())
    list(islice(loader, 2))
    loader.set_epoch(1)
    fresh = loader_of(engine, policy=augmented())
    fresh.set_epoch(1)
    assert labels_of(loader) == labels_of(fresh)


@both_engines
@pytest.mark.parametrize("n", [50, 51])
@pytest.mark.parametrize("drop_last", [False, True])
def test_shards_of_two_processes_are_disjoint_and_of_equal_length(engine, n, drop_last):
    shards = []
    for rank in range(2):
        loader = loader_of(engine, numbered(n), rank=rank, processes=2, drop_last=drop_last)
        batches = labels_of(loader)
        assert len(batches) == len(loader) == (3 if drop_last else 4)
        shards.append(batches)
    assert [len(batch) for batch in shards[0]] == [len(batch) for batch in shards[1]]
    first, second = ({label for batch in shard for label in batch} for shard in shards)
    assert not first & second
    assert len(first | second) == (48 if drop_last else 50)


def test_shards_together_are_what_one_process_sees():
    policy = augmented()
    whole = {}
    for images, labels in loader_of("device", policy=policy):
        whole |= dict(zip(labels.tolist(), images, strict=True))
    for rank in range(2):
        for images, labels in loader_of("device", policy=policy, rank=rank, processes=2):
            assert all(torch.equal(whole[label], image) for label, image in zip(labels.tolist(), images, strict=True))


@both_engines
@pytest.mark.parametrize(("n", "batches"), [(48, 6), (50, 6), (8, 1)])
def test_drop_last_gives_whole_batches_only(engine, n, batches):
    loader = loader_of(engine, numbered(n), drop_last=True)
    found = labels_of(loader)
    assert len(found) == len(loader) == batches and all(len(batch) == 8 for batch in found)


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_plain_batches_are_equal_resident_or_not(processes):
    split = numbered(53)
    seen = []
    for rank in range(processes):
        resident, streamed = (
            PlainLoader(split, normalize(), 8, place=Place(CPU, rank, processes), resident=resident) for resident in (True, False)
        )
        assert len(resident) == len(streamed) == len(list(resident))
        for one, other in zip(resident, streamed, strict=True):
            assert torch.equal(one[0], other[0]) and torch.equal(one[1], other[1])
        seen += seen_by(resident)
        assert labels_of(resident) == labels_of(resident)
    assert sorted(seen) == list(range(53))
    if processes == 1:
        assert seen == list(range(53))


def test_plain_images_are_the_splits():
    split = numbered()
    images, labels = next(iter(PlainLoader(split, normalize(), 50, place=Place(CPU), resident=False)))
    assert torch.equal(images, normalize()(to_tensor(split)[0])) and torch.equal(labels, torch.arange(50))


@both_engines
def test_the_size_of_training_images_follows_the_course(engine):
    loader = loader_of(engine, epochs=2, sizes={0.0: 8, 0.5: 10, 0.75: 16})
    sides = []
    for epoch in range(2):
        loader.set_epoch(epoch)
        sides.append([images.shape[2] for images, _ in loader])
    assert sides == [[8] * 7, [10] * 4 + [16] * 3]  # of 50 images, batches 4 to 6 begin at 32 and more: past a half


@both_engines
def test_the_batch_size_follows_the_course(engine):
    loader = loader_of(engine, epochs=2, batch_sizes={0.0: 10, 0.5: 20})
    for epoch, lengths in enumerate(([10] * 5, [20, 20, 10])):
        loader.set_epoch(epoch)
        batches = labels_of(loader)
        assert [len(batch) for batch in batches] == lengths and len(loader) == len(lengths)
        assert sorted(label for batch in batches for label in batch) == list(range(50))


def test_resizing_is_an_antialiased_mean_of_the_pixels():
    images = to_tensor(numbered(size=16))[0]
    halved = Normalize((0.0,) * 3, (1 / 255,) * 3, CPU)(images, 8)
    inner = torch.nn.functional.avg_pool2d(images.float(), 2)
    assert halved.shape == (50, 3, 8, 8)
    assert torch.corrcoef(torch.stack([halved.flatten(), inner.flatten()]))[0, 1] > 0.9
    assert torch.equal(normalize()(images, 16), normalize()(images))


@both_engines
def test_an_alternating_flip_shows_every_image_both_ways_in_two_epochs(engine):
    split = numbered()
    plain = normalize()(to_tensor(split)[0])
    loader = loader_of(engine, split, Policy(flip=Flip(alternating=True)))
    mirrored = []
    for epoch in range(4):
        loader.set_epoch(epoch)
        turned = {}
        for images, labels in loader:
            for image, label in zip(images, labels.tolist(), strict=True):
                turned[label] = torch.equal(image, plain[label].flip(2))
                assert turned[label] or torch.equal(image, plain[label])
        mirrored.append([turned[label] for label in range(50)])
    assert mirrored[0] == mirrored[2] and mirrored[1] == mirrored[3]
    assert all(a != b for a, b in zip(mirrored[0], mirrored[1], strict=True))
    assert 10 < sum(mirrored[0]) < 40
    assert mirrored[0] == [label in where for where in [set(np.flatnonzero(mirrored[0]))] for label in range(50)]


def test_both_engines_turn_the_same_images():
    device, workers = (loader_of(engine, policy=Policy(flip=Flip(alternating=True))) for engine in ENGINES)
    for one, other in zip(device, workers, strict=True):
        assert torch.equal(one[0], other[0])
