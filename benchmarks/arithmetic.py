"""How much a training step computes, and how fast a device multiplies matrices."""

import statistics
import time

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def step_flops(net: nn.Module, pixels: int = 32) -> float:
    """Floating-point operations of one image's training step, a multiply-add being two.

    Those of matrix products and convolutions, forward and backward; normalisation, activations, loss and optimizer are not
    counted. On the network's own device: on `meta`, nothing is computed.
    """
    images = torch.empty(2, 3, pixels, pixels, device=next(net.parameters()).device)  # batch norm refuses one alone
    with FlopCounterMode(display=False) as counter:
        net.train()(images).sum().backward()
    return counter.get_total_flops() / 2


def matmul_rate(device: torch.device, precision: str, repetitions: int = 7) -> float:
    """Floating-point operations a second of square matrix products: the median of several, of the side that is fastest.

    No ceiling, but what the library reaches: where its convolutions do better, training may.
    """
    dtype = torch.bfloat16 if precision.startswith("bf16") else torch.float16 if precision.startswith("16") else torch.float32
    cuda = device.type == "cuda"
    if cuda and dtype == torch.float32:
        torch.set_float32_matmul_precision("high")  # TF32, which cuDNN's convolutions use unless told otherwise
    rates = []
    for side in (4096, 8192) if cuda else (512, 1024, 2048):
        factor = torch.randn(side, side, device=device).to(dtype)
        seconds = []
        for _ in range(repetitions + 2):  # the first two warm up
            start = time.perf_counter()
            factor @ factor
            if cuda:
                torch.cuda.synchronize(device)
            seconds.append(time.perf_counter() - start)
        rates.append(2 * side**3 / statistics.median(seconds[2:]))
    return max(rates)
