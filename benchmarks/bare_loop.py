"""The steps of a run in a plain PyTorch loop: what our loop is measured against."""

from typing import Any

import torch
from torch import Tensor

from cifar_lit.data.fixed_shape import Rows
from cifar_lit.experiment import Experiment
from cifar_lit.graph import Graphed
from cifar_lit.metrics import counted
from cifar_lit.optim import fit_for_graphs
from cifar_lit.optim.cycled import Cycled, cycles


class BareLoop:
    """One epoch of an experiment without Lightning, callbacks or logs: batch, network, loss, gradients, optimizer, schedule.

    It adds up loss and hits as our loop does. trainer=fast gives it the same fused optimizer, compiled network, loss and
    batches, and on CUDA the same graph. Mixing, clipping and accumulation are not known here.
    """

    def __init__(self, run: Experiment) -> None:
        trainer = run.lightning
        self.device, self.precision = trainer.strategy.root_device, trainer.precision
        task = run.prepare()
        self.net, self.criterion = task.net.to(self.device).train(), task.loss
        cuda = self.device.type == "cuda"
        options: dict[str, Any] = {"fused": True} if cuda and trainer.by_hand else {}
        self.optimizer = run.optimizer(self.net, **options)
        self.schedule = run.scheduler(self.optimizer, total_steps=task.total_steps, steps_per_epoch=task.steps_per_epoch)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == "16-mixed")
        self.sums: Tensor | None = None
        self.graphed, self.cycled = None, None
        if cuda and trainer.graph:
            self.graphed = Graphed(self.step)
            fit_for_graphs(self.optimizer, graphs=True)
            self.cycled = Cycled(self.optimizer) if cycles(self.optimizer) else None
        self._compile([shape for shape in task.compiled_shapes if shape[0]])
        self.batches = iter(run.images.train_dataloader())

    def take(self, steps: int) -> None:
        """The next steps."""
        for _ in range(steps):
            batch: Any = next(self.batches)
            if self.cycled:
                self.cycled.follow()
            rows = isinstance(batch, Rows)
            inputs = {"rows": batch.rows} if rows else {"images": batch[0], "labels": batch[1]}
            options = {"make": batch.make, "pixels": batch.pixels} if rows else {}
            key = batch.pixels if rows else None
            (counts,) = self.graphed(key, inputs, **options) if self.graphed else self.step(**inputs, **options)
            self.schedule.step()
            self.sums = counts.clone() if self.sums is None else self.sums.add_(counts)

    def loss(self) -> float:
        """The mean of all steps so far."""
        assert self.sums is not None
        total, *_, count = self.sums.tolist()
        return total / count

    def step(self, make: Any = None, pixels: int | None = None, **batch: Tensor) -> tuple[Tensor]:
        """One step on images and labels, or on the rows that `make` makes them of: what it adds to the sums."""
        images, labels = make(batch["rows"], pixels) if make else (batch["images"], batch["labels"])
        loss, logits = self._backward(images, labels)
        if self.scaler.is_enabled():
            self.scaler.step(self.optimizer)
            self.scaler.update()
        else:
            (self.cycled or self.optimizer).step()
        self.optimizer.zero_grad()
        return (counted(loss, logits, labels, top5=False),)

    def _backward(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        half = torch.float16 if self.scaler.is_enabled() else torch.bfloat16
        with torch.autocast(self.device.type, half, enabled=self.precision != "32-true"):
            logits = self.net(images.contiguous(memory_format=torch.channels_last))
            loss = self.criterion(logits, labels)
        self.scaler.scale(loss).backward()
        return loss.detach(), logits.detach()

    def _compile(self, shapes: list[tuple[bool, int, int]]) -> None:
        """Compile before the clock starts, as our loop does; nothing of it is left in the weights."""
        kept = {name: tensor.clone() for name, tensor in self.net.state_dict().items()}
        for _, count, pixels in shapes:
            labels = torch.zeros(count, dtype=torch.long, device=self.device)
            self._backward(torch.zeros(count, 3, pixels, pixels, device=self.device), labels)
        self.net.load_state_dict(kept)
        self.optimizer.zero_grad()
