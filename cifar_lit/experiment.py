"""One training run, from composed objects to a run directory that says what it did."""

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.loggers import Logger
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from cifar_lit import checkpoint, outcome, refusals, runs, steps
from cifar_lit import logger as trackers
from cifar_lit.augment.policy import Policy
from cifar_lit.bundle import Facts
from cifar_lit.callbacks.checkpoints import Checkpoints
from cifar_lit.callbacks.metrics_file import MEASURED
from cifar_lit.data.loaders import Place
from cifar_lit.data.module import ImageData
from cifar_lit.fast import FastTask
from cifar_lit.mix import Mix
from cifar_lit.model.registry import describe
from cifar_lit.model.whitening import whitening_stems
from cifar_lit.optim.cycled import cycles
from cifar_lit.runs.binding import binding
from cifar_lit.saved import Saved
from cifar_lit.seeding import derive
from cifar_lit.task import Task
from cifar_lit.trainer import Trainer

log = logging.getLogger(__name__)

EVALUATIONS = ("auto", "best", "last")
_STEM_IMAGES = 5000  # that a whitening stem is computed from


class Interrupted(Exception):
    """The run was told to stop (Ctrl-C, SIGTERM). What it had finished is on the disk, and it can be resumed."""


@dataclass(kw_only=True)
class Experiment:
    """Everything a run is made of. The fields are the top-level keys of conf/train.yaml.

    Objects that need values known only when running (parameters, steps, classes) come as partials. evaluate: which
    weights are tested and shipped: those of the `best` validation epoch, of the `last`, or `auto`: `best` where
    validation images were held out, `last` where the test images were watched, since choosing among epochs by them
    would flatter the result. test_time_flip: see Task. objective: the key of the summary that a sweep is after.
    """

    data: Callable[..., ImageData]
    augment: Policy
    mix: Mix | None
    model: Callable[..., nn.Module]
    loss: nn.Module
    optimizer: Callable[[nn.Module], Optimizer]
    scheduler: Callable[..., LRScheduler]
    trainer: Callable[..., Trainer]
    callbacks: dict[str, L.Callback | None]
    logger: dict[str, Logger | None]
    name: str
    seed: int
    evaluate: str
    test_time_flip: bool
    objective: str
    resume: str | None
    run_dir: str
    overrides: list[str]

    def __post_init__(self) -> None:
        """Check every value; nothing is read and no network is built. Raises ValueError, TypeError or DataError."""
        if self.evaluate not in EVALUATIONS:
            raise ValueError(f"evaluate={self.evaluate}: allowed is {', '.join(EVALUATIONS)}")
        if self.objective not in runs.OBJECTIVES:
            raise ValueError(f"objective={self.objective}: allowed is {', '.join(runs.OBJECTIVES)}; a sweep maximises it")
        self.folder = Path(self.run_dir)
        self.images = self.data(augment=self.augment, seed=self.seed)
        self.images.check()
        refusals.unknown_monitors(self.callbacks, MEASURED)
        refusals.negative_patience(self.callbacks)
        self.loggers = [logger for logger in self.logger.values() if logger is not None]
        self.lightning = self.trainer(
            callbacks=[callback for callback in self.callbacks.values() if callback is not None],
            logger=self.loggers,
            default_root_dir=str(self.folder),
            reload_dataloaders_every_n_epochs=0 if self.images.batch_sizes is None else 1,
        )
        untrained = {"pretrained": False} if "pretrained" in getattr(self.model, "keywords", {}) else {}
        with torch.device("meta"):  # options are checked; no weight is allocated, or downloaded
            self.shape = self.model(num_classes=2, **untrained)
        refusals.images_that_do_not_fit(self.shape, "data.sizes", [(side, side) for side in (self.images.sizes or {}).values()])
        refusals.epochs_of_unlike_length(self.scheduler, self.images.batch_sizes)
        probe = self.optimizer(nn.Linear(2, 2))
        refusals.sam_with(probe, self.lightning)
        steps_per_epoch, total_steps = steps.plan(self.lightning, self.images)
        kept = sum(own.kept(self.images.epochs) for own in self.callbacks.values() if isinstance(own, Checkpoints))
        refusals.too_little_room(self.folder, sum(parameter.numel() for parameter in self.shape.parameters()), kept)
        self.scheduler(probe, total_steps=total_steps, steps_per_epoch=steps_per_epoch)
        self.momentum_cycles = cycles(probe)
        steps.check_evaluations(self.lightning, self.images)
        if self.images.side is not None:
            self._check_size((self.images.side, self.images.side))

    def _check_size(self, size: tuple[int, int]) -> None:
        """Refuse images of a height and width that the network or the augmentation cannot take."""
        refusals.images_that_do_not_fit(self.shape, "data", [size])
        sides = steps.alone(self.lightning, self.images)
        refusals.batches_of_one(self.shape, [size if side is None else (side, side) for side in sides])
        self.augment.check(size)

    def run(self) -> float | None:
        """Train, test, and write the run directory. Returns the objective; None where it was not measured."""
        done = runs.read_summary(self.folder)
        if self.resume is not None and done is not None and done["status"] == "finished":
            log.info("Finished already: %s", self.folder)
            outcome.say(done, self.folder)
            return done.get(self.objective)
        trainer = self.lightning
        device = trainer.strategy.root_device
        started = time.perf_counter()
        saved = self._saved()
        log.info("Run %s in %s", self.name, self.folder)
        log.info("Device: %s; precision %s", outcome.device_name(device), trainer.precision)
        for typed in self._ignored():
            log.warning("%s is not used: the schedule moves the momentum (scheduler.cycle_momentum=false does not)", typed)
        config = runs.read_config(self.folder)
        task = self.prepare(saved, config)
        facts = outcome.facts(self.images, task, trainer) | {
            "experiment": self.name,
            "overrides": self.overrides,
            "seed": self.seed,
        }
        config |= {"params": facts["params"], "git": facts["git"]}
        facts["config"] = runs.settings(config)
        summary = facts | {"status": "failed"}
        runs.begin(self.folder)
        try:
            for logger in self.loggers:
                trackers.begin(logger, config)
            with interruptible(self.folder):
                trainer.fit(task, datamodule=self.images, ckpt_path=None if saved is None else saved.path)
                facts |= outcome.seconds(task, started, resumed=saved is not None)
                summary = outcome.measure(facts, self.images, task, trainer, self.folder, self.evaluate)
            summary["status"] = "finished"
        except Interrupted:
            summary["status"] = "interrupted"
            raise
        except runs.Pruned:
            summary["status"] = "pruned"
            raise
        finally:
            task.release()
            if trainer.is_global_zero:
                if summary["status"] not in ("failed", "pruned"):  # who catches these writes why
                    runs.write_summary(self.folder, summary)
                for logger in self.loggers:  # after the result is on the disk: a tracker may hang, or fail
                    trackers.end(logger, summary)
        if trainer.is_global_zero:
            outcome.say(summary, self.folder)
        return summary[self.objective]

    def _ignored(self) -> list[str]:
        """What was typed and a cycle of the momentum replaces; one process says it."""
        if not self.momentum_cycles or not self.lightning.is_global_zero:
            return []
        return [typed for typed in self.overrides if typed.lstrip("+").startswith(("optimizer.momentum", "optimizer.betas"))]

    def _saved(self) -> Saved | None:
        """The checkpoint to go on from. Raises CheckpointError where one was asked for and is not whole."""
        if self.resume is None:
            if (self.folder / "checkpoints").is_dir() and self.lightning.is_global_zero:
                raise ValueError(f"{self.folder} holds a run already: go on with it by resume=<that path>, or write elsewhere")
            return None
        if not self.resume.endswith(".ckpt") and self.resume != "auto" and Path(self.resume).resolve() != self.folder.resolve():
            raise ValueError(f"resume={self.resume} goes on in that directory, and not in {self.folder}: leave out hydra.run.dir")
        found = Path(self.resume) if self.resume.endswith(".ckpt") else checkpoint.latest(self.folder / "checkpoints")
        if found is None:
            if (self.folder / runs.METRICS).exists():
                log.info("Nothing was saved before the run stopped: starting at the beginning")
            return None
        saved = Saved.at(found)
        saved.check_run(self.model, runs.read_config(self.folder))
        log.info("Resuming from %s", found)
        return saved

    def prepare(self, saved: Saved | None = None, config: dict[str, Any] | None = None) -> Task:
        """Load the images for the trainer's device, and make the network. config: the settings, which checkpoints keep.

        Raises CheckpointError where the images are not those of `saved`.
        """
        trainer = self.lightning
        self.images.place = Place(trainer.strategy.root_device, trainer.global_rank, trainer.world_size)
        self.images.setup()
        dataset = self.images.dataset
        assert dataset is not None
        size = dataset.test.images.shape[1:3]
        if set(size) != {self.images.side}:  # which was checked before
            self._check_size(size)
        description = describe(self.model, num_classes=len(dataset.classes))
        steps_per_epoch, total_steps = steps.plan(self.lightning, self.images)
        if saved is not None:
            saved.check_images(dataset, description, total_steps)
        facts = Facts(
            title=self.name,
            data=dataset.name,
            network=description,
            classes=dataset.classes,
            superclasses=dataset.superclasses,
            superclass_of=dataset.superclass_of,
            mean=dataset.mean,
            std=dataset.std,
            image_size=size,
        )
        torch.manual_seed(derive(self.seed, "weights"))
        net = self.model(num_classes=len(dataset.classes))
        for stem in whitening_stems(net):
            stem.fit(self.images.sample(_STEM_IMAGES))
        self.images.in_graph, self.images.compiled = trainer.graph and self.mix is None, trainer.compile
        options: dict[str, Any] = {
            "net": net,
            "loss": self.loss,
            "optimizer": self.optimizer,
            "scheduler": self.scheduler,
            "mix": self.mix,
            "num_classes": len(dataset.classes),
            "total_steps": total_steps,
            "steps_per_epoch": steps_per_epoch,
            "superclass_of": dataset.superclass_of,
            "facts": facts.plain(),
            "shared": {"settings": binding(config or {}), "data_fingerprint": dataset.fingerprint or None},
            "seed": self.seed,
            "test_time_flip": self.test_time_flip,
            "channels_last": trainer.channels_last,
            "compiled_shapes": steps.shapes(trainer, self.images) if trainer.compile else (),
        }
        if not trainer.by_hand:
            return Task(**options)
        return FastTask(
            graph=trainer.graph,
            accumulate=trainer.accumulated,
            clip=trainer.clip,
            clip_algorithm=trainer.clip_algorithm,
            **options,
        )


@contextmanager
def interruptible(folder: Path) -> Iterator[None]:
    """Ctrl-C and SIGTERM, however Lightning passes them on, become Interrupted; the handler of Ctrl-C is put back."""
    main = threading.current_thread() is threading.main_thread()
    previous = signal.getsignal(signal.SIGINT) if main else None
    try:
        yield
    except (KeyboardInterrupt, SystemExit):  # Lightning leaves by SystemExit, and ignores further Ctrl-C
        raise Interrupted(folder) from None
    finally:
        if previous is not None:
            signal.signal(signal.SIGINT, previous)
