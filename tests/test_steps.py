"""The length of a run in steps, and what its stages go by, where not all of each epoch is trained on."""

from types import SimpleNamespace

import pytest
import torch
from data.test_module import data

from cifar_lit import steps
from cifar_lit.data.loaders import Place

IMAGES = 48  # of data(), to train on


def trainer(**options):
    plain = {"world_size": 1, "accumulated": 1, "limit_train_batches": 1.0, "max_epochs": 4, "max_steps": -1}
    return SimpleNamespace(**(plain | options))


def run(images, **options):
    """What `plan` says, and the batches that are then trained on: (images, pixels) of each, by epoch."""
    lightning = trainer(**options)
    said = steps.plan(lightning, images)
    trained, left = [], lightning.max_steps if lightning.max_steps >= 0 else 10**9
    for epoch in range(lightning.max_epochs or 100):
        lengths = images.course.lengths(IMAGES, epoch)
        limit = lightning.limit_train_batches
        lengths = lengths[: min(limit if isinstance(limit, int) else int(len(lengths) * limit), left)]
        left -= len(lengths)
        seen = [sum(lengths[:batch]) for batch in range(len(lengths))]
        trained.append([(size, images.course.pixels(IMAGES, epoch, before)) for size, before in zip(lengths, seen, strict=True)])
    return said, [epoch for epoch in trained if epoch]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, (6, 24)),
        ({"max_steps": 9}, (6, 9)),
        ({"max_epochs": None, "max_steps": 100}, (6, 100)),
        ({"accumulated": 4}, (2, 8)),
        ({"limit_train_batches": 0.5}, (3, 12)),
        ({"limit_train_batches": 2}, (2, 8)),
        ({"limit_train_batches": 99}, (6, 24)),
        ({"world_size": 2}, (3, 12)),
    ],
)
def test_steps_of_an_epoch_and_of_the_run(options, said):
    assert steps.plan(trainer(**options), data(batch_size=8)) == said


@pytest.mark.parametrize(
    "options",
    [{}, {"max_epochs": 1}, {"limit_train_batches": 0.5}, {"limit_train_batches": 2}, {"max_steps": 12}],
    ids=str,
)
def test_half_of_the_run_is_half_of_what_is_trained_on(options):
    said, trained = run(data(batch_size=8, sizes={0.0: 16, 0.5: 24}), **options)
    pixels = [size for epoch in trained for _, size in epoch]
    assert len(pixels) == said[1]
    assert pixels == [16] * (len(pixels) // 2) + [24] * (len(pixels) // 2)


@pytest.mark.parametrize(
    "options",
    [{}, {"limit_train_batches": 0.5}, {"max_steps": 16}, {"max_epochs": 1, "limit_train_batches": 0.67}, {"max_steps": 7}],
    ids=str,
)
def test_batch_sizes_change_at_half_of_the_images_that_are_trained_on(options):
    said, trained = run(data(batch_size=1, batch_sizes={0.0: 4, 0.5: 8}), **options)
    sizes = [size for epoch in trained for size, _ in epoch]
    assert len(sizes) == said[1]
    assert sizes == sorted(sizes) and set(sizes) == {4, 8}
    assert sizes.count(4) * 4 == pytest.approx(sum(sizes) / 2, abs=8)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_epochs": None}, "a schedule needs an end"),
        ({"limit_train_batches": 0}, "trainer.limit_train_batches=0 leaves no batch"),
        ({"limit_train_batches": 0.1}, "trainer.limit_train_batches=0.1 leaves no batch"),
        ({"world_size": 12}, "data.drop_last leaves no batch of the 4 images of each process"),
    ],
)
def test_what_has_no_length(options, message):
    with pytest.raises(ValueError, match=message):
        steps.plan(trainer(**options), data(batch_size=8, drop_last=True))


def test_batch_sizes_need_epochs():
    with pytest.raises(ValueError, match=r"data.batch_sizes .*give trainer.max_epochs"):
        steps.plan(trainer(max_epochs=None, max_steps=9), data(batch_sizes={0.0: 4}))


@pytest.mark.parametrize(
    ("given", "options", "sides"),
    [
        ({"batch_size": 8}, {}, set()),
        ({"batch_size": 47}, {}, {None}),
        ({"batch_size": 47, "drop_last": True}, {}, set()),
        ({"batch_size": 47}, {"limit_train_batches": 1}, set()),
        ({"batch_size": 47, "sizes": {0.0: 16, 0.5: 24}}, {}, {16, 24}),
        ({"batch_size": 8, "batch_sizes": {0.0: 8, 0.5: 47}, "sizes": {0.0: 16, 0.5: 24}}, {}, {24}),
    ],
)
def test_batches_of_one_image_are_found(given, options, sides):
    lightning, images = trainer(**options), data(**given)
    steps.plan(lightning, images)
    assert steps.alone(lightning, images) == sides


@pytest.mark.parametrize(
    ("given", "options", "training", "evaluated"),
    [
        ({"batch_size": 8}, {}, {(8, 8)}, {10, 2}),
        ({"batch_size": 10}, {}, {(10, 8), (8, 8)}, {10, 2}),
        ({"batch_size": 10}, {"limit_train_batches": 2}, {(10, 8)}, {10, 2}),
        ({"batch_size": 10}, {"max_steps": 4}, {(10, 8)}, {10, 2}),
        ({"batch_size": 10}, {"max_steps": 5}, {(10, 8), (8, 8)}, {10, 2}),
        ({"batch_size": 10}, {"max_steps": 2, "accumulated": 2}, {(10, 8)}, {10, 2}),
        ({"batch_size": 10}, {"max_steps": 3, "accumulated": 2}, {(10, 8), (8, 8)}, {10, 2}),
        ({"batch_size": 8, "sizes": {0.0: 16, 0.5: 24}}, {}, {(8, 16), (8, 24)}, {10, 2}),
        ({"batch_size": 8, "sizes": {0.0: 16, 0.5: 24}}, {"max_steps": 7}, {(8, 16), (8, 24)}, {10, 2}),
        ({"batch_size": 8}, {"limit_predict_batches": 1, "limit_test_batches": 0.5}, {(8, 8)}, {10}),
        ({"batch_size": 8}, {"limit_val_batches": 0, "limit_test_batches": 0.5}, {(8, 8)}, {10, 2}),
        ({"batch_size": 8, "validation": "test"}, {"limit_val_batches": 1, "limit_test_batches": 0.5}, {(8, 8), (4, 8)}, {10}),
        ({"batch_size": 8}, {"world_size": 2}, {(8, 8)}, {6, 10}),
    ],
)
def test_shapes_are_those_that_come(given, options, training, evaluated):
    limits = dict.fromkeys(("limit_val_batches", "limit_test_batches", "limit_predict_batches"), 1.0)
    lightning = trainer(**(limits | options))
    images = data(eval_batch_size=10, **given)
    images.check()
    images.place = Place(torch.device("cpu"), 0, lightning.world_size)
    images.setup()
    steps.plan(lightning, images)
    found = steps.shapes(lightning, images)
    assert {shape[1:] for shape in found if shape[0]} == training
    assert {shape[1:] for shape in found if not shape[0]} == {(count, 8) for count in evaluated}
    assert len(found) == len(set(found))
