"""What is learned: a network, a loss, a mix of labels, and how the weights are updated."""

import logging
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities.exceptions import SIGTERMException
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from cifar_lit.metrics import Evaluation, Tally, counted, fit_temperature
from cifar_lit.mix import Mix, dominant
from cifar_lit.optim import fit_for_graphs
from cifar_lit.seeding import numpy_generator, reseed

log = logging.getLogger(__name__)

_MOST_COMPILED = 4096  # pieces of code of one function: torch keeps 8, and a job of a sweep may need several of its own
Shape = tuple[bool, int, int]  # of a batch: in training or not, images, pixels a side
Batch = tuple[Tensor, Tensor]  # images (N, 3, H, W) float32, normalised; labels (N,) int64


class Task(L.LightningModule):
    """Image classification.

    Logs once an epoch, never a step: nothing here waits for the device between two epochs. Lightning does at every step of
    16-mixed, in its gradient scaler, and of several processes, which ask each other whether one was told to stop. Training
    accuracy is the running one, in training mode on augmented images, and scored against the dominant label where labels
    are mixed.
    """

    def __init__(
        self,
        *,
        net: nn.Module,
        loss: nn.Module,
        optimizer: Callable[..., Optimizer],
        scheduler: Callable[..., LRScheduler],
        mix: Mix | None,
        num_classes: int,
        total_steps: int,
        steps_per_epoch: int,
        superclass_of: tuple[int, ...] = (),
        facts: dict[str, Any] | None = None,
        shared: dict[str, Any] | None = None,
        seed: int = 0,
        test_time_flip: bool = False,
        channels_last: bool = False,
        compiled_shapes: Sequence[Shape] = (),
    ) -> None:
        """optimizer(net) and scheduler(optimizer, total_steps=..., steps_per_epoch=...) are called when training starts;
        steps are the optimizer's, of the run and of its first epoch.

        facts: what a bundle says of the network and its images, plain values, kept in every checkpoint. shared: what a run
        that goes on from a checkpoint has to share with it, kept there too. test_time_flip: test on the mean of the logits
        of an image and its mirror image. channels_last: memory layout of weights and images. compiled_shapes: of the batches
        of the run; where there are any, network and loss go through torch.compile, and are compiled for each before the
        clock of training starts.
        """
        super().__init__()
        self.net = net.to(memory_format=torch.channels_last) if channels_last else net
        self.loss = loss
        self.optimizer, self.scheduler = optimizer, scheduler
        self.mix = mix
        self.num_classes = num_classes
        self.facts, self.shared = facts or {}, shared or {}
        self.stopped = False
        self.diverged = False
        self.seed = seed
        self.test_time_flip = test_time_flip
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.training_tally, self.validation_tally = Tally(), Tally()
        self.held_out, self.evaluation = Evaluation(), Evaluation(superclass_of)
        self.temperature: float | None = None
        self.images_held_out: int | None = None
        self.total_steps, self.steps_per_epoch = total_steps, steps_per_epoch
        self.confusion: Tensor | None = None
        self.compiled_shapes = tuple(compiled_shapes)
        self.compile_seconds = 0.0
        self.trained_at: float | None = None  # when the last step of the latest epoch was done
        self.training_began = 0.0
        if compiled_shapes:
            for module in (self.net, self.loss):  # in place: torch.compile(net) would put `_orig_mod.` into every key
                module.compile(dynamic=False)

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, 3, H, W) -> logits (N, C)."""
        return self.net(images.contiguous(memory_format=self.memory_format))

    def on_train_epoch_start(self) -> None:
        self.training_tally.reset()
        self.tallied = -1
        self.epoch_started = time.perf_counter()
        self.epoch_images = 0

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        images, labels = batch
        # Dropout and stochastic depth draw from torch's own generator: put it in this step's place.
        reseed(self.device, self.seed, "net", self.current_epoch, batch_idx, self.global_rank)
        targets = labels
        if self.mix is not None:
            rng = numpy_generator(self.seed, "mix", self.current_epoch, batch_idx, self.global_rank)
            images, targets = self.mix(images, labels, self.num_classes, rng)
        logits = self(images)
        loss = self.loss(logits, targets)
        if batch_idx != self.tallied:  # SAM computes each step twice
            self.tallied = batch_idx
            self.epoch_images += len(labels)
            self.training_tally.update(counted(loss, logits.detach(), dominant(targets), top5=False))
        return loss

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        if self.trainer.max_steps == self.global_step:
            self.trainer.should_stop = True  # else Lightning leaves a last, partial epoch without validation
        if not (self.trainer.is_last_batch or self.trainer.should_stop):
            return
        means = self.training_tally.compute()  # waits for the device: the clock is read after it
        self.trained_at = time.perf_counter()
        seconds = self.trained_at - self.epoch_started
        if not math.isfinite(means["loss"]) and not self.diverged:
            self.diverged = True
            log.warning(
                "Diverged: the training loss is no number since epoch %d, and this run will come to nothing. Try a lower"
                " optimizer.lr, trainer.gradient_clip_val=1 or a longer warm-up.",
                self.current_epoch + 1,
            )
        images = self.epoch_images * self.trainer.world_size
        self.record(
            {
                "train/loss": means["loss"],
                "train/acc": means["acc"],
                "lr": max(float(group["lr"]) for group in self.optimizers(use_pl_optimizer=False).param_groups),  # type: ignore[union-attr]
                "seconds": seconds,
                "images_per_second": images / seconds,
            }
        )

    def on_validation_epoch_start(self) -> None:
        self.validation_tally.reset()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        images, labels = batch
        logits = self(images)
        self.validation_tally.update(counted(F.cross_entropy(logits.float(), labels), logits, labels))

    def on_validation_epoch_end(self) -> None:
        self.record({f"val/{name}": mean for name, mean in self.validation_tally.compute().items()})

    def on_predict_epoch_start(self) -> None:
        self.held_out.reset()

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:
        images, labels = batch
        logits = self(images)
        self.held_out.update(logits, labels)
        return logits

    def on_predict_batch_end(self, *_: Any) -> None:
        self._leave_if_told()

    def on_predict_epoch_end(self) -> None:
        logits, labels = self.held_out.compute()
        self.images_held_out = len(labels)
        self.temperature = fit_temperature(logits, labels) if logits.isfinite().all() else None

    def on_test_epoch_start(self) -> None:
        self.evaluation.reset()

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        images, labels = batch
        logits = self(images)
        if self.test_time_flip:
            logits = (logits + self(images.flip(3))) / 2
        self.evaluation.update(logits, labels)

    def on_test_batch_end(self, *_: Any) -> None:
        self._leave_if_told()

    def _leave_if_told(self) -> None:
        """Lightning itself does not look for a SIGTERM in predictions, nor at a test's last batch, and then forgets it."""
        if self.trainer.received_sigterm:
            raise SIGTERMException

    def on_test_epoch_end(self) -> None:
        # Of one view: that is what the temperature is fitted for, and what is served.
        scores, self.confusion = self.evaluation.scores(None if self.test_time_flip else self.temperature)
        self.record({f"test/{name}": score for name, score in scores.items()})

    def record(self, values: dict[str, float]) -> None:
        """Hand values, one an epoch and alike in every process, to the callbacks and loggers."""
        several = self.trainer.world_size > 1
        place = self.device if several else None  # NCCL sums up what is on the device; one process need not wait for it
        scalars = {name: torch.tensor(value, dtype=torch.float32, device=place) for name, value in values.items()}
        self.log_dict(scalars, on_step=False, on_epoch=True, batch_size=1, sync_dist=True)

    def lr_scheduler_step(self, scheduler: Any, metric: Any | None) -> None:
        if self.global_step < self.total_steps:  # a cycle stepped past its end would rise again
            scheduler.step()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["facts"], checkpoint["shared"] = self.facts, self.shared
        checkpoint["total_steps"] = self.total_steps
        checkpoint["stopped"] = self.trainer.should_stop

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.stopped = checkpoint.get("stopped", False)

    def release(self) -> None:
        """Let go of what only training needs. Called once, however it ends."""

    @property
    def holds_graphs(self) -> bool:
        """Whether steps are CUDA graphs. FastTask's may be."""
        return False

    def on_train_start(self) -> None:
        fit_for_graphs(self.optimizers(use_pl_optimizer=False), self.holds_graphs)  # type: ignore[arg-type]
        if self.stopped:  # by a target or early stopping: a resumed run does not go on past that
            self.trainer.should_stop = True
        elif self.compiled_shapes:
            began = time.perf_counter()
            try:
                self._compile()
            except torch._dynamo.exc.TorchDynamoException as error:
                self._run_uncompiled(error)
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)
            self.compile_seconds = time.perf_counter() - began
        self.training_began = time.perf_counter()

    def _compile(self) -> None:
        """Compile for every shape, by a batch of zeros; nothing of it is left in the weights."""
        # Both count over all jobs of a sweep in one process; beyond them torch would go on without compiling.
        for limit in ("recompile_limit", "accumulated_recompile_limit"):
            setattr(torch._dynamo.config, limit, max(_MOST_COMPILED, getattr(torch._dynamo.config, limit)))
        kept = {name: tensor.clone() for name, tensor in self.net.state_dict().items()}
        try:
            for training, images, pixels in self.compiled_shapes:
                self.net.train(training)
                batch = torch.zeros(images, 3, pixels, pixels, device=self.device)
                labels = torch.zeros(images, dtype=torch.long, device=self.device)
                mixed = [] if self.mix is None else [F.one_hot(labels, self.num_classes).float()]
                with self.trainer.precision_plugin.forward_context(), torch.set_grad_enabled(training):
                    logits = self(batch)
                    if training:
                        torch.stack([self.loss(logits, targets) for targets in (labels, *mixed)]).sum().backward()
        finally:
            self.net.train().zero_grad(set_to_none=True)
            self.net.load_state_dict(kept)

    def _run_uncompiled(self, error: Exception) -> None:
        """Go on without compiled code, where torch's compiler fails: it needs a C compiler, and has its own gaps."""
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        log.warning("Nothing is compiled, which is slower: torch's compiler fails (%s)", reason[:200])
        for module in (self.net, self.loss):
            module._compiled_call_impl = None

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        optimizer = self.optimizer(self.net)
        scheduler = self.scheduler(optimizer, total_steps=self.total_steps, steps_per_epoch=self.steps_per_epoch)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
