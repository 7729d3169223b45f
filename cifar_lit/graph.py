"""A function recorded once as a CUDA graph, then replayed: one launch instead of hundreds."""

from collections.abc import Callable, Hashable

import torch
from torch import Tensor

Inputs = dict[str, Tensor]
Outputs = tuple[Tensor, ...]

# Calls that run as they are before the recording: libraries allocate and choose their kernels. An optimizer's first step differs
# from all others, so the first key takes one more.
_WARM_UP = 1
UNTIL_RECORDED = _WARM_UP + 2  # calls


class Graphed:
    """Calls `function(**inputs)`, whose every effect is on tensors that stay where they are, through a CUDA graph.

    One graph for each `key` and set of input shapes. The first calls of each run as they are, then one is recorded;
    from then on inputs are copied into the recording's own tensors, and its outputs are overwritten by the next call.
    Off CUDA every call runs as it is, on such tensors too, so that their handling can be tested.
    Source: PyTorch's notes on CUDA graphs.
    """

    def __init__(self, function: Callable[..., Outputs]) -> None:
        self.function = function
        self.calls: dict[Hashable, int] = {}
        self.inputs: dict[Hashable, Inputs] = {}
        self.outputs: dict[Hashable, Outputs] = {}
        self.graphs: dict[Hashable, torch.cuda.CUDAGraph] = {}

    def __call__(self, key: Hashable, inputs: Inputs, **constants: object) -> Outputs:
        """constants: passed on as they are; what they are must be said by `key`."""
        place = (key, *((name, tensor.shape, tensor.dtype) for name, tensor in sorted(inputs.items())))
        self.calls[place] = self.calls.get(place, 0) + 1
        if place not in self.inputs:
            self.inputs[place] = {name: tensor.clone() for name, tensor in inputs.items()}  # keeps the memory format
        else:
            for name, tensor in inputs.items():
                self.inputs[place][name].copy_(tensor, non_blocking=True)
        fixed = self.inputs[place]
        if next(iter(inputs.values())).device.type != "cuda":
            return self.function(**fixed, **constants)
        if place in self.graphs:
            self.graphs[place].replay()
        elif self.calls[place] <= _WARM_UP + (not self.graphs):
            return self._aside(lambda: self.function(**fixed, **constants))
        else:
            graph = torch.cuda.CUDAGraph()
            # Of this thread alone: one that pins the next batches in memory meanwhile does not spoil the recording.
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                self.outputs[place] = self.function(**fixed, **constants)
            self.graphs[place] = graph
            graph.replay()  # recording does not run it
        return self.outputs[place]

    def forget(self) -> None:
        """Let go of all graphs and their memory. A collector that found them during another recording would spoil it."""
        for kept in (self.calls, self.inputs, self.outputs, self.graphs):
            kept.clear()

    @staticmethod
    def _aside(call: Callable[[], Outputs]) -> Outputs:
        """Run on a stream of its own, as recording will."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            outputs = call()
        torch.cuda.current_stream().wait_stream(stream)
        return outputs
