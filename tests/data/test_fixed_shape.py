"""Batches that are made where they are used, which may be in a CUDA graph, and by compiled code."""

import pytest
import torch
from data.test_loaders import loader_of, numbered

from cifar_lit.augment.erase import Erase
from cifar_lit.augment.geometry import Crop, Flip
from cifar_lit.augment.policy import Policy

FIXED = Policy(crop=Crop(padding=2, mode="reflect"), flip=Flip(p=0.5), hole=Erase(size=[2, 4], inside=False, p=0.7))


def test_batches_of_fixed_shape_are_those_of_the_device_engine():
    usual, fixed = (loader_of(engine, policy=FIXED, sizes={0.0: 8, 0.5: 12}) for engine in ("device", "fixed shape"))
    for epoch in range(3):
        usual.set_epoch(epoch)
        fixed.set_epoch(epoch)
        for (images, labels), rows in zip(usual, fixed, strict=True):
            made, theirs = rows.make(rows.rows, rows.pixels)
            assert torch.equal(made, images) and torch.equal(theirs, labels)


def test_the_draws_of_fixed_shape_stay_where_they_are():
    """A CUDA graph reads the addresses that it was recorded with."""
    loader = loader_of("fixed shape", policy=FIXED)
    places, values = [], []
    for epoch in range(3):
        loader.set_epoch(epoch)
        list(loader)
        tensors = [tensor for params in loader.draws.values() for tensor in params.values()]
        places.append([tensor.data_ptr() for tensor in tensors])
        values.append([tensor.clone() for tensor in tensors])
    assert places[0] == places[1] == places[2]
    assert not all(torch.equal(a, b) for a, b in zip(values[0], values[1], strict=True))


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # torch's compiler warns of what it does itself
@pytest.mark.parametrize("sizes", [None, {0.0: 10, 0.5: 16}], ids=str)
def test_compiled_batches_are_the_batches_and_nothing_is_compiled_later(sizes):
    for seed in (0, 1):
        options = {"policy": FIXED, "batch_size": 10, "sizes": sizes, "epochs": 2}
        loaders = [loader_of("fixed shape", numbered(50, 16), seed=seed, **options) for _ in range(2)]
        loaders[1].compiled = True
        for rows, pixels, make in loaders[1].examples([(10, 10), (10, 16)] if sizes else [(10, 16)]):
            make(rows, pixels)
        graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
        assert graphs > 0
        for epoch in range(2):
            batches = []
            for loader in loaders:
                loader.sampler.set_epoch(epoch)
                batches.append([make(rows, pixels) for rows, pixels, make in loader])
            assert len(batches[0]) == len(loaders[0]) > 1
            for (images, labels), (compiled, same) in zip(*batches, strict=True):
                torch.testing.assert_close(images, compiled, rtol=1e-5, atol=1e-5)
                assert torch.equal(labels, same)
        assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == graphs
