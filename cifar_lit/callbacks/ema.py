"""Exponential moving average of the weights."""

from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class EMA(L.Callback):
    """Averages the network's weights over optimizer steps, and validates with the average (Tarvainen & Valpola 2017).

    decay: the share of the average that a step keeps. Over the first steps it is less, (1 + step) / (10 + step), so
    that the initial weights are soon forgotten. Batch-norm statistics are copied, not averaged. The trained weights stay
    in the checkpoint's `state_dict`, the average in the callback's state, where `checkpoint.network_weights` finds it for
    the test and the bundle.
    """

    def __init__(self, decay: float = 0.999) -> None:
        if not 0.0 < decay < 1.0:
            raise ValueError(f"callbacks.ema.decay={decay}: allowed is between 0 and 1")
        self.decay = decay
        self.average: dict[str, Tensor] = {}
        self.steps = 0
        self.trained: dict[str, Tensor] = {}

    @property
    def state_key(self) -> str:
        return "EMA"

    def on_train_start(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        weights = self._net(task).state_dict()
        source = self.average or weights
        self.average = {name: source[name].detach().to(tensor.device, copy=True) for name, tensor in weights.items()}
        self.steps = self.steps or trainer.global_step

    @torch.no_grad()
    def on_train_batch_end(self, trainer: L.Trainer, task: L.LightningModule, outputs: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == self.steps:  # gradients are still being accumulated
            return
        self.steps = trainer.global_step
        net = self._net(task)
        names, parameters = zip(*net.named_parameters(), strict=True)
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        averages = [self.average[name] for name in names]
        get_ema_multi_avg_fn(decay)(averages, [parameter.detach() for parameter in parameters], self.steps)
        buffers = [(self.average[name], buffer) for name, buffer in net.named_buffers() if name in self.average]
        for kind in {buffer.dtype for _, buffer in buffers}:  # a kernel for all of a type, instead of one for each
            own, theirs = zip(*(pair for pair in buffers if pair[1].dtype == kind), strict=True)
            torch._foreach_copy_(own, theirs)

    def on_validation_start(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        if trainer.state.fn == "fit" and self.average:
            net = self._net(task)
            self.trained = {name: tensor.clone() for name, tensor in net.state_dict().items()}
            net.load_state_dict(self.average)

    def on_validation_end(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        self._restore(task)

    def on_exception(self, trainer: L.Trainer, task: L.LightningModule, exception: BaseException) -> None:
        self._restore(task)

    def _restore(self, task: L.LightningModule) -> None:
        if self.trained:
            self._net(task).load_state_dict(self.trained)
            self.trained = {}

    @staticmethod
    def _net(task: L.LightningModule) -> nn.Module:
        net = task.net
        assert isinstance(net, nn.Module)
        return net

    def state_dict(self) -> dict[str, Any]:
        return {"net": self.average, "steps": self.steps}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.average, self.steps = state_dict["net"], state_dict["steps"]
