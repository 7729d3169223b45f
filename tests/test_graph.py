"""The handling of a graph's tensors, which the CPU can show; recording and replaying is in test_gpu.py."""

import torch

from cifar_lit.graph import Graphed


def test_inputs_are_copied_into_tensors_that_stay():
    seen = []

    def function(x, y, times):
        seen.append((x.data_ptr(), y.data_ptr()))
        return (x * times + y,)

    graphed = Graphed(function)
    for value in range(4):
        x, y = torch.full((3,), float(value)), torch.ones(3)
        (result,) = graphed(2, {"x": x, "y": y}, times=2)
        assert torch.equal(result, 2 * x + y)
        assert seen[-1] == seen[0] and x.data_ptr() != seen[0][0]


def test_every_shape_and_key_has_tensors_of_its_own():
    seen = set()
    graphed = Graphed(lambda x: (seen.add(x.data_ptr()), x)[1:])
    for key, length in ((0, 3), (0, 2), (1, 3), (0, 3)):
        graphed(key, {"x": torch.zeros(length)})
    assert len(graphed.inputs) == len(seen) == 3


def test_what_is_forgotten_is_free():
    graphed = Graphed(lambda x: (x,))
    graphed(0, {"x": torch.zeros(3)})
    graphed.forget()
    assert not (graphed.inputs or graphed.outputs or graphed.graphs or graphed.calls)


def test_the_memory_format_is_kept():
    graphed = Graphed(lambda x: (x.is_contiguous(memory_format=torch.channels_last),))
    for _ in range(2):
        assert graphed(0, {"x": torch.zeros(2, 3, 4, 4).contiguous(memory_format=torch.channels_last)}) == (True,)
