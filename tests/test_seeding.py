import numpy as np
import pytest
import torch

from cifar_lit.seeding import derive, numpy_generator, reseed, torch_generator


def test_a_place_always_gets_the_same_seed():
    # Written down: resuming a run of an earlier version needs the same numbers.
    assert derive(0, "order", 0) == 2094333682667709378
    assert derive(7, "mix", 3, 12) == derive(7, "mix", 3, 12)


def test_places_that_differ_in_any_part_get_different_seeds():
    places = [
        (seed, name, epoch, step) for seed in range(5) for name in ("mix", "order") for epoch in range(12) for step in range(12)
    ]
    places += [(seed, name, epoch) for seed in range(5) for name in ("mix", "order") for epoch in range(12)]
    assert len({derive(*place) for place in places}) == len(places)
    assert derive(1, "order", 11) != derive(11, "order", 1) and derive(1, 1, 11) != derive(1, 11, 1)


def test_seeds_fill_63_bits_evenly():
    seeds = np.array([derive(0, "order", epoch) for epoch in range(2000)], dtype=np.uint64)
    ones = np.array([(seeds >> np.uint64(bit) & np.uint64(1)).mean() for bit in range(64)])
    assert ones[63] == 0.0
    assert (np.abs(ones[:63] - 0.5) < 5 * 0.5 / np.sqrt(2000)).all()


@pytest.mark.parametrize("seed", [0, -1, 2**63])
def test_generators_take_any_seed(seed):
    assert torch.rand(3, generator=torch_generator(seed, "a")).shape == (3,)
    assert numpy_generator(seed, "a").random(3).shape == (3,)


def test_generators_repeat_and_do_not_touch_the_global_ones():
    torch.manual_seed(5)
    untouched = torch.rand(4)
    torch.manual_seed(5)
    first = torch.rand(8, generator=torch_generator(0, "a", 1)), numpy_generator(0, "a", 1).random(8)
    again = torch.rand(8, generator=torch_generator(0, "a", 1)), numpy_generator(0, "a", 1).random(8)
    assert torch.equal(torch.rand(4), untouched)
    assert torch.equal(first[0], again[0]) and (first[1] == again[1]).all()
    assert not torch.equal(torch.rand(8, generator=torch_generator(0, "a", 2)), first[0])
    assert (numpy_generator(0, "a", 2).random(8) != first[1]).all()


def test_neighbouring_epochs_are_unrelated():
    rows = np.stack([numpy_generator(0, "mix", epoch).random(1000) for epoch in range(20)])
    correlation = np.corrcoef(rows)[~np.eye(20, dtype=bool)]
    assert np.abs(correlation).max() < 5 / np.sqrt(1000)


def test_reseed_puts_dropout_in_its_place():
    draws = []
    for place in ((0, 1), (0, 2), (0, 1)):
        reseed(torch.device("cpu"), 5, "net", *place)
        draws.append(torch.rand(4))
    assert torch.equal(draws[0], draws[2])
    assert not torch.equal(draws[0], draws[1])
    queued = len(torch.cuda._queued_calls)
    reseed(torch.device("cpu"), 5, "net", 0, 3)
    assert len(torch.cuda._queued_calls) == queued, "nothing piles up for a device that is not in use"


def test_places_of_different_types_differ():
    assert derive(0, "a/b") != derive(0, "a", "b")
    assert derive(0, 2) != derive(0, "2")
