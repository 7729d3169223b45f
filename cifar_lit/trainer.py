"""Lightning's Trainer, with the precision chosen by the device, and refusing early what would go wrong late."""

import logging
import warnings
from typing import Any

import lightning as L
from lightning.pytorch.accelerators import CUDAAccelerator, MPSAccelerator

from cifar_lit.checkpoint import AtomicCheckpointIO

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


def resolve_precision(precision: str | int, accelerator: str) -> str:
    """`auto` -> 16-mixed on CUDA and 32-true elsewhere. Raises ValueError for what is known to go wrong."""
    if precision == "auto":
        return "16-mixed" if accelerator == "cuda" else "32-true"
    if str(precision) in ("16-mixed", "16") and accelerator == "cpu":
        raise ValueError(f"trainer.precision={precision} needs a GPU; on the CPU use 32-true, or bf16-mixed")
    if str(precision) == "16-true":
        raise ValueError("trainer.precision=16-true gives NaN for these networks; use 16-mixed or bf16-mixed")
    return str(precision)


class Trainer(L.Trainer):
    """`lightning.Trainer`, to which every other option goes.

    precision: one of Lightning's, or `auto`. channels_last, compile: how the network is run, read by Experiment.
    Checkpoints are written atomically, and loaders shard themselves over processes.
    """

    def __init__(
        self,
        *,
        accelerator: str = "auto",
        precision: str | int = "auto",
        max_epochs: int | None = None,
        max_steps: int = -1,
        channels_last: bool = False,
        compile: bool = False,
        deterministic: bool = False,
        benchmark: bool | None = None,
        gradient_clip_val: float | None = None,
        accumulate_grad_batches: int = 1,
        check_val_every_n_epoch: int | None = 1,
        devices: int | str = 1,
        max_time: str | None = None,
        **options: Any,
    ) -> None:
        if max_epochs is not None and max_epochs < 1:
            raise ValueError(f"trainer.max_epochs={max_epochs}: allowed is 1 or more")
        if max_steps < 1 and max_steps != -1:
            raise ValueError(f"trainer.max_steps={max_steps}: allowed is 1 or more, or -1 for no limit")
        if accumulate_grad_batches < 1:
            raise ValueError(f"trainer.accumulate_grad_batches={accumulate_grad_batches}: allowed is 1 or more")
        if (gradient_clip_val or 0.0) < 0.0:
            raise ValueError(f"trainer.gradient_clip_val={gradient_clip_val}: allowed is 0 or more, or null")
        if deterministic and benchmark:
            raise ValueError("trainer.deterministic and trainer.benchmark: the fastest algorithm is not always the same one")
        accelerator = resolve_accelerator(accelerator)
        self.channels_last, self.compile = channels_last, compile
        super().__init__(
            accelerator=accelerator,
            precision=resolve_precision(precision, accelerator),  # type: ignore[arg-type]
            max_epochs=max_epochs,
            max_steps=max_steps,
            max_time=max_time,
            devices=devices,
            gradient_clip_val=gradient_clip_val,
            accumulate_grad_batches=accumulate_grad_batches,
            check_val_every_n_epoch=check_val_every_n_epoch,
            deterministic=deterministic,
            benchmark=not deterministic if benchmark is None else benchmark,
            num_sanity_val_steps=0,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            log_every_n_steps=0,  # nothing is logged a step; any other number costs time on every step
            plugins=[AtomicCheckpointIO()],
            **options,
        )
