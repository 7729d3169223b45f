"""Lookahead: k steps forward, one back."""

from typing import Any

import lightning as L
import torch
from torch import Tensor

from cifar_lit.task import Task


class Lookahead(L.Callback):
    """Slow weights that follow the trained ones every few steps, and which training then goes on from (Zhang et al. 2019).

    every_steps: optimizer steps between two. alpha: how far the slow weights go towards the trained ones, 0 to 1.
    Batch-norm statistics go along. Any optimizer can be under it; its momentum is kept.
    """

    def __init__(self, every_steps: int = 5, alpha: float = 0.5) -> None:
        if every_steps < 1:
            raise ValueError(f"callbacks.lookahead.every_steps={every_steps}: allowed is 1 or more")
        if not 0.0 < alpha <= 1.0:
            raise ValueError(f"callbacks.lookahead.alpha={alpha}: allowed is above 0, up to 1")
        self.every_steps, self.alpha = every_steps, alpha
        self.slow: dict[str, Tensor] = {}
        self.step = 0

    @property
    def state_key(self) -> str:
        return "Lookahead"

    @staticmethod
    def _trained(task: L.LightningModule) -> dict[str, Tensor]:
        assert isinstance(task, Task)
        return {name: tensor for name, tensor in task.net.state_dict().items() if tensor.is_floating_point()}

    def on_train_start(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        trained = self._trained(task)
        source = self.slow or trained
        self.slow = {name: source[name].detach().to(tensor.device, copy=True) for name, tensor in trained.items()}
        self.step = self.step or trainer.global_step

    @torch.no_grad()
    def on_train_batch_end(self, trainer: L.Trainer, task: L.LightningModule, outputs: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == self.step or trainer.global_step % self.every_steps:
            return  # gradients are still being accumulated, or it is not time yet
        self.step = trainer.global_step
        trained = self._trained(task)
        slow = [self.slow[name] for name in trained]
        torch._foreach_lerp_(slow, list(trained.values()), self.alpha)
        torch._foreach_copy_(list(trained.values()), slow)

    def state_dict(self) -> dict[str, Any]:
        return {"slow": self.slow, "step": self.step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.slow, self.step = state_dict["slow"], state_dict["step"]
