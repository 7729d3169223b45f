"""The task of `trainer=fast`: the same steps, taken by hand."""

import logging
from functools import partial
from typing import Any

import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.optim import SGD, Adam, Optimizer, RMSprop

from cifar_lit.data.fixed_shape import FixedShapeLoader, Rows
from cifar_lit.graph import UNTIL_RECORDED, Graphed, Outputs
from cifar_lit.metrics import counted
from cifar_lit.mix import dominant
from cifar_lit.optim.cycled import Cycled, cycles, refusal
from cifar_lit.optim.muon import MuonSGD, advance
from cifar_lit.seeding import numpy_generator, reseed
from cifar_lit.task import Batch, Task

# Their steps are made of operations on tensors alone, once the learning rate is one. AdamW is an Adam.
_GRAPHABLE = (SGD, Adam, RMSprop, MuonSGD)

log = logging.getLogger(__name__)


class FastTask(Task):
    """Lightning's manual optimization, so that a step can be one function, and that function a CUDA graph.

    Learns what Task learns: bit by bit without a graph, and with one but for rounding (tests/test_gpu.py).
    graph: make each step (batch, network, loss, gradients, clipping, optimizer) one CUDA graph, where there is CUDA and
    the recipe allows it; the log says where it does not. The learning rate is then a tensor, which the schedule fills, and
    where the network is compiled, so are the making of batches and Muon's steps. Graphs are then recorded before training,
    if batches are made inside them (device engine, no mixing, an augmentation of fixed shape); the log says where not.
    """

    def __init__(
        self, *, graph: bool = False, accumulate: int = 1, clip: float | None = None, clip_algorithm: str = "norm", **options: Any
    ) -> None:
        """accumulate: batches a step. clip: highest norm, or value, of the gradient; see torch.nn.utils."""
        super().__init__(**options)
        self.automatic_optimization = False
        self.graph, self.accumulate = graph, accumulate
        self.clip, self.clip_algorithm = clip, clip_algorithm
        self.graphed = Graphed(self.one_step)
        self.cycled: Cycled | None = None  # takes the steps where a graph must follow a changing momentum

    @property
    def holds_graphs(self) -> bool:
        """As said of `graph`."""
        return self.graph and self.device.type == "cuda"

    def on_train_start(self) -> None:
        optimizer = self.optimizers(use_pl_optimizer=False)
        assert isinstance(optimizer, Optimizer)
        self.raw = optimizer
        if self.holds_graphs and cycles(self.raw):
            self.cycled = Cycled(self.raw)
        super().on_train_start()

    def release(self) -> None:
        self.graphed.forget()

    def _compile(self) -> None:
        super()._compile()
        if not self.holds_graphs:
            return
        if isinstance(self.raw, MuonSGD):
            # As in a step: torch compiles anew where autocast is another, its cache of weights included.
            with self.trainer.precision_plugin.train_step_context(), torch.autocast(self.device.type, enabled=False):
                self.raw.compile()
        loader = self.trainer.train_dataloader
        # Damped momentum begins undamped: momenta that were put back to zero would not begin so again.
        damped = any(group.get("dampening") for group in self.raw.param_groups)
        if isinstance(loader, FixedShapeLoader) and not damped:
            self._record(loader.examples([(images, pixels) for training, images, pixels in self.compiled_shapes if training]))
        else:
            why = "momentum is damped" if damped else "their batches are made outside of them"
            log.info("CUDA graphs are recorded within the first steps, whose time counts: %s", why)

    def _run_uncompiled(self, error: Exception) -> None:
        super()._run_uncompiled(error)
        if isinstance(self.raw, MuonSGD):
            self.raw.advance = advance
        loader = self.trainer.train_dataloader
        if isinstance(loader, FixedShapeLoader):
            loader.compiled = False

    def _record(self, batches: list[Rows]) -> None:
        """Record the graphs of batches before training. That takes steps, of which nothing is left behind."""
        weights = {name: tensor.clone() for name, tensor in self.net.state_dict().items()}
        kept = {key: tensor.clone() for key, tensor in self._optimizer_state().items()}
        try:
            for rows, pixels, make in batches:
                for _ in range(UNTIL_RECORDED):
                    # Entered for each, as in training: until it is left, autocast keeps its copies of the weights.
                    with self.trainer.precision_plugin.train_step_context():
                        self.graphed(pixels, {"rows": rows}, pixels=pixels, make=make)
        finally:
            self.net.load_state_dict(weights)
            for key, tensor in self._optimizer_state().items():
                if key in kept:  # a resumed run's
                    tensor.copy_(kept[key])
                else:
                    tensor.zero_()

    def _optimizer_state(self) -> dict[tuple[Tensor, str], Tensor]:
        state = self.raw.state.items()
        return {(p, name): value for p, named in state for name, value in named.items() if isinstance(value, Tensor)}

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        if self.device.type == "cuda":
            self.optimizer = partial(self.optimizer, fused=True)
        configured = super().configure_optimizers()
        if self.graph and (reason := self._ungraphable(configured["optimizer"])):
            if self.holds_graphs:
                log.info("No CUDA graph: %s", reason)
            self.graph = False
        return configured

    def _ungraphable(self, optimizer: Optimizer) -> str | None:
        """Why the steps cannot be a graph; None where they can. A graph keeps every number that is not on the device."""
        if self.trainer.world_size > 1:
            return "several processes exchange gradients"
        if self.accumulate > 1:
            return "gradients are accumulated over batches"
        if self.trainer._detect_anomaly:
            return "trainer.detect_anomaly looks at every gradient"
        if not isinstance(optimizer, _GRAPHABLE):
            return f"{type(optimizer).__name__} keeps numbers of its own"
        return refusal(optimizer) if cycles(optimizer) else None

    def training_step(self, batch: Batch | Rows, batch_idx: int) -> None:  # type: ignore[override]
        reseed(self.device, self.seed, "net", self.current_epoch, batch_idx, self.global_rank)
        if isinstance(batch, Rows):
            inputs, options = {"rows": batch.rows}, {"pixels": batch.pixels, "make": batch.make}
            key: Any = batch.pixels
        else:
            images, labels = batch
            targets = labels
            if self.mix is not None:
                rng = numpy_generator(self.seed, "mix", self.current_epoch, batch_idx, self.global_rank)
                images, targets = self.mix(images, labels, self.num_classes, rng)
            inputs, options, key = {"images": images, "targets": targets}, {}, None
        last = (batch_idx + 1) % self.accumulate == 0 or self.trainer.is_last_batch
        if self.cycled is not None:
            self.cycled.follow()
        (counts,) = self.graphed(key, inputs, **options) if self.graph else self.one_step(**inputs, **options, step=last)
        if last:
            self._count()
        self.epoch_images += len(next(iter(inputs.values())))
        self.training_tally.update(counts)

    def one_step(self, step: bool = True, **batch: Any) -> Outputs:
        """Gradients of a batch and, where it is the last of its step, the step. Returns what the batch adds to the tally."""
        images, targets = (
            batch["make"](batch["rows"], batch["pixels"]) if "make" in batch else (batch["images"], batch["targets"])
        )
        logits = self(images)
        loss = self.loss(logits, targets)
        self.manual_backward(loss / self.accumulate if self.accumulate > 1 else loss)
        if step:
            with torch.autocast(self.device.type, enabled=False):  # training_step runs inside autocast
                self._clip()
                (self.cycled or self.raw).step()
            self.raw.zero_grad(set_to_none=True)
        return (counted(loss.detach(), logits.detach(), dominant(targets), top5=False),)

    def _clip(self) -> None:
        if not self.clip:  # 0 is none, as it is to Lightning
            return
        if self.clip_algorithm == "norm":
            nn.utils.clip_grad_norm_(self.net.parameters(), self.clip)
        else:
            nn.utils.clip_grad_value_(self.net.parameters(), self.clip)

    def _count(self) -> None:
        """Tell Lightning of a step, and the schedule."""
        progress = self.trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress
        progress.increment_ready()
        progress.increment_completed()
        scheduler = self.lr_schedulers()
        self.lr_scheduler_step(scheduler, None)
