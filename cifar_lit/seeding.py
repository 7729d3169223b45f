"""Every random number is a pure function of a seed and a place: (seed, "order", epoch), (seed, "mix", epoch, step), ...

Nothing depends on how many numbers were drawn before, so a resumed run repeats an uninterrupted one exactly,
whatever the number of workers.
"""

from hashlib import blake2b

import numpy as np
import torch

# Streams of a 63-bit seed: torch generators take an int64, and numpy any non-negative integer.
_BYTES = 8


def derive(seed: int, *place: int | str) -> int:
    """A 63-bit seed for one place of the run; places that differ in any part get unrelated seeds."""
    name = repr((seed, *place)).encode()
    return int.from_bytes(blake2b(name, digest_size=_BYTES).digest(), "little") >> 1


def torch_generator(seed: int, *place: int | str, device: torch.device | str = "cpu") -> torch.Generator:
    """A fresh torch generator for one place of the run."""
    return torch.Generator(device).manual_seed(derive(seed, *place))


def numpy_generator(seed: int, *place: int | str) -> np.random.Generator:
    """A fresh numpy generator for one place of the run."""
    return np.random.Generator(np.random.PCG64(derive(seed, *place)))


def reseed(device: torch.device, seed: int, *place: int | str) -> None:
    """Put torch's own generators, which dropout draws from, in one place of the run.

    Not `torch.manual_seed`: where a kind of device is there but not in use, that queues each call, with a traceback.
    """
    number = derive(seed, *place)
    torch.default_generator.manual_seed(number)
    if device.type == "cuda":
        torch.cuda.manual_seed(number)
    elif device.type == "mps":
        torch.mps.manual_seed(number)
