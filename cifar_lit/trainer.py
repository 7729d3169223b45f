"""Lightning's Trainer, with the precision chosen by the device, and refusing early what would go wrong late."""

import logging
import os
import warnings
from math import inf
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins.io import TorchCheckpointIO
from lightning.pytorch.accelerators import CUDAAccelerator, MPSAccelerator

from cifar_lit.checkpoint import read, save
from cifar_lit.memory import keep_freed_memory

log = logging.getLogger(__name__)

# Lightning's own remarks about the hardware: said in one line by Experiment instead.
logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
# Lightning 2.6 makes a LeafSpec for every loader, which torch 2.12 and later call deprecated.
warnings.filterwarnings("ignore", message=".*LeafSpec.*", category=FutureWarning)


def resolve_accelerator(accelerator: str) -> str:
    """`auto` -> cuda, mps or cpu, the first that is there; `gpu` -> cuda or mps."""
    if accelerator in ("auto", "gpu"):
        if CUDAAccelerator.is_available():
            return "cuda"
        if MPSAccelerator.is_available():
            return "mps"
        if accelerator == "gpu":
            raise ValueError("trainer.accelerator=gpu: no CUDA or MPS device is to be seen here; use trainer=auto or trainer=cpu")
        return "cpu"
    return accelerator


def computes_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 numbers by instructions of its own: elsewhere they are slower than float32."""
    try:
        words = set(Path("/proc/cpuinfo").read_text().split())
    except OSError:  # not Linux
        return False
    return bool(words & {"avx512_bf16", "amx_bf16", "bf16"})


# Lightning's short names.
_PRECISIONS = {"16": "16-mixed", "bf16": "bf16-mixed", "32": "32-true", "64": "64-true"}
_BY_HAND = ("bf16-mixed", "32-true")  # of the others some scale gradients, and some want weights or images of their own kind


def resolve_precision(precision: str | int, accelerator: str) -> str:
    """`auto` -> 16-mixed on CUDA and 32-true elsewhere; `fastest` -> bf16-mixed where the device computes in it, else 32-true.

    Raises ValueError for what is known to go wrong.
    """
    if precision == "auto":
        return "16-mixed" if accelerator == "cuda" else "32-true"
    if precision == "fastest":
        if accelerator == "cuda":
            fast = torch.cuda.is_bf16_supported(including_emulation=False)  # cards before Ampere only emulate it
            if not fast:
                log.info("This card does not compute in bfloat16: trainer=auto, which is 16-mixed on it, may be faster")
        else:
            fast = accelerator == "cpu" and computes_bfloat16()
        return "bf16-mixed" if fast else "32-true"
    name = _PRECISIONS.get(str(precision), str(precision))
    if name == "16-mixed" and accelerator == "cpu":
        raise ValueError(f"trainer.precision={precision} needs a GPU; on the CPU use 32-true, or bf16-mixed")
    if name == "16-true":
        raise ValueError("trainer.precision=16-true gives NaN for these networks; use 16-mixed or bf16-mixed")
    return name


def _check_counts(**given: int | None) -> None:
    for name, value in given.items():
        if value is not None and value < 1:
            raise ValueError(f"trainer.{name}={value}: allowed is 1 or more")


def _check_limits(given: dict[str, float | None]) -> None:
    for name, limit in given.items():
        if limit is not None and not 0 <= limit <= (inf if isinstance(limit, int) else 1):
            raise ValueError(f"trainer.{name}={limit}: allowed is a share, 0.0 to 1.0, or a whole number of batches")


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's way to the disk, through `checkpoint`."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        save(checkpoint, Path(path))

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        return read(Path(path))


class Trainer(L.Trainer):
    """`lightning.Trainer`, to which every other option goes.

    precision: one of Lightning's, `auto` or `fastest`. channels_last, compile, by_hand, graph: how the network is run, read
    by Experiment; compile=auto is true on CUDA, and what cannot be compiled is run as it is; by_hand: the task itself takes
    the steps, clips and accumulates. Checkpoints are written atomically, and loaders shard themselves
    over processes.
    """

    def __init__(
        self,
        *,
        accelerator: str = "auto",
        precision: str | int = "auto",
        max_epochs: int | None = None,
        max_steps: int = -1,
        channels_last: bool = False,
        compile: bool | str = False,
        by_hand: bool = False,
        graph: bool = False,
        deterministic: bool = False,
        benchmark: bool | None = None,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str = "norm",
        accumulate_grad_batches: int = 1,
        check_val_every_n_epoch: int | None = 1,
        devices: int | str = 1,
        max_time: str | None = None,
        **options: Any,
    ) -> None:
        _check_counts(
            max_epochs=max_epochs,
            accumulate_grad_batches=accumulate_grad_batches,
            check_val_every_n_epoch=check_val_every_n_epoch,
        )
        _check_limits({name: limit for name, limit in options.items() if name.startswith("limit_")})
        if max_steps < 1 and max_steps != -1:
            raise ValueError(f"trainer.max_steps={max_steps}: allowed is 1 or more, or -1 for no limit")
        if gradient_clip_val is not None and not gradient_clip_val >= 0.0:  # NaN neither
            raise ValueError(f"trainer.gradient_clip_val={gradient_clip_val}: allowed is 0 or more, or null")
        if gradient_clip_algorithm not in ("norm", "value"):
            raise ValueError(f"trainer.gradient_clip_algorithm={gradient_clip_algorithm}: allowed is norm, value")
        if compile not in (True, False, "auto"):
            raise ValueError(f"trainer.compile={compile}: allowed is true, false, auto")
        if graph and not by_hand:
            raise ValueError("trainer.graph=true is a way of taking steps by hand: use trainer=fast")
        if deterministic and benchmark:
            raise ValueError("trainer.deterministic and trainer.benchmark: the fastest algorithm is not always the same one")
        accelerator = resolve_accelerator(accelerator)
        precision = resolve_precision(precision, accelerator)
        if by_hand and precision not in _BY_HAND:
            raise ValueError(
                f"trainer.precision={precision}: steps by hand, as trainer=fast takes them, are {' or '.join(_BY_HAND)}"
            )
        if max_epochs is not None and (check_val_every_n_epoch or 1) > max_epochs:
            raise ValueError(
                f"trainer.check_val_every_n_epoch={check_val_every_n_epoch} of trainer.max_epochs={max_epochs}: no epoch would be"
                f" validated; allowed is 1 to {max_epochs}"
            )
        if accelerator == "cpu":
            keep_freed_memory()
        # Lightning says so wherever Slurm is installed; one process needs no srun, nor does anybody outside of a Slurm job.
        if devices in (1, "1") or not any(name.startswith("SLURM_") for name in os.environ):
            warnings.filterwarnings("ignore", message="The `srun` command is available")
        self.channels_last, self.by_hand, self.graph = channels_last, by_hand, graph
        self.compile = accelerator == "cuda" if compile == "auto" else bool(compile)
        self.accumulated, self.clip, self.clip_algorithm = accumulate_grad_batches, gradient_clip_val, gradient_clip_algorithm
        # The temperature is fitted on the validation images: on as many of them as were asked for.
        options.setdefault("limit_predict_batches", options.get("limit_val_batches") or 1.0)
        super().__init__(
            accelerator=accelerator,
            precision=precision,  # type: ignore[arg-type]
            max_epochs=max_epochs,
            max_steps=max_steps,
            max_time=max_time,
            devices=devices,
            gradient_clip_val=None if by_hand else gradient_clip_val,
            gradient_clip_algorithm=None if by_hand else gradient_clip_algorithm,
            accumulate_grad_batches=1 if by_hand else accumulate_grad_batches,
            check_val_every_n_epoch=check_val_every_n_epoch,
            deterministic=deterministic,
            benchmark=not deterministic if benchmark is None else benchmark,
            num_sanity_val_steps=0,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            inference_mode=not self.compile,  # a network compiled for no_grad would be compiled anew for inference mode
            log_every_n_steps=0,  # nothing is logged a step; any other number costs time on every step
            plugins=[AtomicCheckpointIO()],
            **options,
        )
