"""Batches made by compiled code: tests of cifar_lit/data/fixed_shape.py; test_loaders.py has those made as they are."""

import pytest
import torch
from data.test_loaders import augmented, loader_of, numbered


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # torch's compiler warns of what it does itself
@pytest.mark.parametrize("sizes", [None, {0.0: 10, 0.5: 16}], ids=str)
def test_compiled_batches_are_the_batches_and_nothing_is_compiled_later(sizes):
    for seed in (0, 1):
        options = {"policy": augmented(), "batch_size": 10, "sizes": sizes, "epochs": 2}
        loaders = [loader_of("fixed shape", numbered(50, 16), seed=seed, **options) for _ in range(2)]
        loaders[1].compile([(10, 10), (10, 16)] if sizes else [(10, 16)])
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
