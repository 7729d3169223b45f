"""Whole runs on drawn images: what a run leaves behind, and what each option does to it."""

import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from running import ANY_MODEL, TINY, TRAIN, completed

from cifar_lit import bundle, checkpoint, runs
from cifar_lit.callbacks.metrics_file import COLUMNS
from cifar_lit.task import Task

pytestmark = pytest.mark.slow  # trains

SUMMARY_KEYS = {
    "schema", "status", "experiment", "overrides", "seed", "params", "epochs", "steps", "train_seconds",
    "images_per_second", "device", "precision", "validation", "train/acc", "val/acc", "test/acc", "test/acc5", "test/f1",
    "test/acc_superclass", "test/ece", "test/recall", "test/images", "val/images", "gap", "git", "versions", "data_fingerprint",
    *runs.OBJECTIVES,
}  # fmt: skip

CLOSING = {
    "train": "train/acc", "val": "val/acc", "test": "test/acc", "test top-5": "test/acc5", "superclass": "test/acc_superclass",
}  # fmt: skip


def weights(folder: Path, name: str = "last") -> dict[str, torch.Tensor]:
    return checkpoint.read(folder / "checkpoints" / f"{name}.ckpt")["state_dict"]


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def test_what_a_run_leaves_behind(train):
    ran = train(*TINY, "callbacks.checkpoints.every_epochs=1")
    assert ran.code == 0, ran.err
    assert not ran.err
    files = {str(path.relative_to(ran.folder)) for path in ran.folder.rglob("*") if path.is_file()}
    assert files == {
        ".lock", ".begun", ".hydra/config.yaml", ".hydra/hydra.yaml", ".hydra/overrides.yaml", "train.log", "metrics.csv",
        "summary.json", "curves.png", "calibration.csv", "confusion.csv", "mistakes.npz", "per_class.csv",
        "model/model.safetensors", "model/config.json",
        "model/README.md", "checkpoints/best.ckpt", "checkpoints/last.ckpt", "checkpoints/previous.ckpt",
        "checkpoints/epoch=000.ckpt", "checkpoints/epoch=001.ckpt",
    }  # fmt: skip
    summary = json.loads((ran.folder / "summary.json").read_text())
    assert summary.keys() >= SUMMARY_KEYS
    assert (summary["status"], summary["epochs"], summary["steps"], summary["validation"]) == ("finished", 2, 20, "holdout")
    assert (summary["val/images"], summary["test/images"]) == (100, 200)
    assert summary["gap"] == pytest.approx(summary["train/acc"] - summary["test/acc"])
    rows = runs.read_metrics(ran.folder)
    assert [tuple(row) for row in rows] == [COLUMNS, COLUMNS]
    assert [row["step"] for row in rows] == [10, 20]
    assert "Device: cpu" in ran.out
    assert "32-true" in ran.out
    assert "Batches: augmented on the device, cpu" in ran.out
    heading, values = (
        [cell.strip() for cell in re.split("[│┃]", line)[1:-1]] for line in ran.out.splitlines() if line[:1] in "│┃"
    )
    shown = {name: f"{100 * summary[key]:.2f}%" for name, key in CLOSING.items()}
    shown |= {"gap": f"{100 * summary['gap']:+.2f}", "train time": f"{summary['train_seconds']:.1f} s"}
    assert dict(zip(heading, values, strict=True)) == shown | {"images/s": f"{summary['images_per_second']:,.0f}"}
    [named] = re.findall(rf"^Files in {re.escape(str(ran.folder))}: (.*)$", ran.out, re.MULTILINE)
    assert set(named.split(", ")) == {name for name in files if not name.startswith(".")}
    history = checkpoint.read(ran.folder / "checkpoints" / "last.ckpt")["callbacks"]["MetricsFile"]["rows"]
    assert [row["val/acc"] for row in history] == pytest.approx([row["val/acc"] for row in rows])
    for path in (ran.folder / "checkpoints").iterdir():
        assert torch.load(path, weights_only=True)["epoch"] in (0, 1)
    confusion = (ran.folder / "confusion.csv").read_text().splitlines()
    assert len(confusion) == 101
    assert sum(int(cell) for line in confusion[1:] for cell in line.split(",")[1:]) == 200


@pytest.mark.parametrize(("typed", "folder"), [((), "run"), (("-m",), "run/0")], ids=["run", "sweep"])
def test_what_fails_after_the_result_leaves_the_result(train, monkeypatch, typed, folder):
    monkeypatch.setattr("cifar_lit.outcome.say", lambda *_: (_ for _ in ()).throw(RuntimeError("no words")))
    ran = train(*typed, *TINY, "trainer.max_epochs=1")
    summary = runs.read_summary(ran.folder.parent / folder)
    assert summary["status"] == "finished" and summary["test/acc"] >= 0 and "error" not in summary
    assert "no words" in ran.err and ran.code == (0 if typed else 1)


def test_the_same_seed_gives_the_same_weights(train):
    first, again, other = (
        train(*TINY, "mix=cutmix", f"seed={seed}", folder=name) for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert same(weights(first.folder), weights(again.folder))
    assert not same(weights(first.folder), weights(other.folder))


def test_the_bundle_answers_as_the_run_tested(train):
    ran = train(*TINY, "callbacks=ema", "callbacks.ema.decay=0.8")
    net, facts = checkpoint.load(ran.folder / "model")
    best = checkpoint.read(ran.folder / "checkpoints" / "best.ckpt")
    # Regression: fit, then test, on one Trainer, once tested the raw weights in spite of EMA.
    assert same(net.state_dict(), best["callbacks"]["EMA"]["net"])
    assert not same(net.state_dict(), {key.removeprefix("net."): value for key, value in best["state_dict"].items()})
    from cifar_lit.data import synthetic
    from cifar_lit.data.loaders import Normalize, Place, PlainLoader

    test = synthetic.load(6, 2, 32).test
    cpu = torch.device("cpu")
    normalize = Normalize(facts.mean, facts.std, cpu)
    [(images, labels)] = PlainLoader(test, normalize, 500, place=Place(cpu), resident=True)
    with torch.no_grad():
        hits = (net(images).argmax(1) == labels).float().mean().item()
    assert hits == pytest.approx(runs.read_summary(ran.folder)["test/acc"])


def test_evaluated_weights(train):
    watched = train(*TINY, "data.validation=test", folder="watched")
    summary = runs.read_summary(watched.folder)
    assert (summary["evaluated"], summary["evaluated_epoch"], summary["validation"]) == ("last", 1, "test")
    assert summary["val/acc"] == pytest.approx(summary["test/acc"])
    assert "watched the synthetic test images" in watched.out
    held = runs.read_summary(train(*TINY, folder="held").folder)
    assert held["evaluated"] == "best"
    assert held["val/acc"] == held["val/acc_best"]


def test_a_run_that_diverges_is_told_once_and_ends(train):
    ran = train(*TINY, "optim=sgd_constant", "optimizer.lr=1e30", "trainer.max_epochs=3")
    assert ran.code == 0, ran.err
    assert (ran.out + ran.err).count("Diverged: the training loss is no number since epoch 1") == 1
    assert runs.read_summary(ran.folder)["status"] == "finished"


def test_a_limit_of_validation_holds_for_the_temperature_too(train, monkeypatch):
    from cifar_lit.task import Task

    seen, original = [], Task.predict_step
    monkeypatch.setattr(
        Task, "predict_step", lambda task, batch, index: seen.append(len(batch[0])) or original(task, batch, index)
    )
    ran = train(*TINY, "trainer.max_epochs=1", "data.eval_batch_size=20", "trainer.limit_val_batches=2")
    assert ran.code == 0, ran.err
    assert seen == [20, 20] and runs.read_summary(ran.folder)["temperature"] > 0


@pytest.mark.parametrize(
    "options",
    [
        ["optimizer=sam"],
        ["optim=muon_cosine"],
        ["optim=lion_constant", "optimizer.decay_norms_and_biases=false"],
        ["trainer.accumulate_grad_batches=3", "callbacks=ema"],
        ["trainer.gradient_clip_val=0.1", "trainer.gradient_clip_algorithm=value", "trainer.deterministic=true"],
        ["mix=cutmix_or_mixup", "mix.per_sample=true", "loss=label_smoothing"],
        ["data.engine=workers", "data.workers=0", "augment=enhanced"],
        ["augment=trivial", "data.workers=0"],
        ["trainer.precision=bf16-mixed", "model.drop_path=0.1"],
        ["model=timm", "model.name=resnet10t", "trainer.max_steps=2"],
        ["scheduler.warmup_steps=3", "data.drop_last=true", "data.batch_size=64"],
        ["callbacks=[ema,early_stopping]", "callbacks.early_stopping.patience=1"],
    ],
    ids=lambda options: options[0],
)
def test_options_train(train, options):
    ran = train(*(ANY_MODEL if "model=timm" in options else TINY), *options)
    assert ran.code == 0, ran.err
    assert runs.read_summary(ran.folder)["status"] == "finished"


def test_sam_counts_each_image_once(train):
    ran = train(*TINY, "optimizer=sam", "trainer.max_epochs=1")
    row = runs.read_metrics(ran.folder)[0]
    assert row["seconds"] * row["images_per_second"] == pytest.approx(500, rel=1e-3)


def test_target_stops_and_says_so(train):
    ran = train(*TINY, "callbacks.target.value=0.001", "trainer.max_epochs=30")
    assert ran.code == 0
    assert len(runs.read_metrics(ran.folder)) < 30
    assert "Target reached" in ran.out


@pytest.mark.parametrize("limit", ["trainer.max_time=00:00:00:01", "trainer.max_steps=13"])
def test_a_last_epoch_cut_short_is_measured(train, limit):
    ran = train(*TINY, "trainer.max_epochs=100" if "time" in limit else "trainer.max_epochs=2", limit)
    assert ran.code == 0, ran.err
    rows = runs.read_metrics(ran.folder)
    assert {"train/acc", "val/acc"} <= rows[-1].keys()
    assert "steps" in limit or len(rows) < 100, "it stopped before its epochs"
    if "steps" in limit:
        assert [row["step"] for row in rows] == [10, 13]
        # A resume goes on from a whole epoch.
        assert checkpoint.read(ran.folder / "checkpoints" / "last.ckpt")["global_step"] == 10


def test_epochs_without_validation_have_no_validation_metrics(train):
    ran = train(*TINY, "trainer.check_val_every_n_epoch=2", "trainer.max_epochs=4")
    assert ["val/acc" in row for row in runs.read_metrics(ran.folder)] == [False, True, False, True]


def test_quickstart_falls_back_aloud_and_nothing_else_does(train, tmp_path, monkeypatch):
    def no_network(_root):
        raise OSError("no network")

    monkeypatch.setattr("cifar_lit.data.cifar100._fetch", no_network)
    small = ["trainer=debug", "data.batch_size=20", "data.eval_batch_size=20", "callbacks.progress_bar=null"]
    small += [f"data.root={tmp_path / 'none'}"]
    ran = train("experiment=quickstart", *small)
    assert ran.code == 0, ran.err
    (ran.folder / "summary.json").unlink()  # killed, say
    again = train(f"resume={ran.folder}", folder="")
    assert (again.code, again.err) == (0, "") and "Resuming from" in again.out
    origin = bundle.read(ran.folder / "model").origin
    assert origin["run"] == f"{tmp_path.name}/run" and not [typed for typed in origin["overrides"] if str(tmp_path) in typed]
    assert "TRAINING ON SYNTHETIC IMAGES INSTEAD" in ran.out
    assert runs.read_summary(ran.folder)["data"] == "synthetic"
    assert train("experiment=ft3", *small, folder="other").code == 1


def test_tensorboard(train):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    ran = train(*TINY, "logger=tensorboard", "optimizer.momentum=0.8")
    assert ran.code == 0, ran.err
    assert "optimizer.momentum=0.8 is not used: the schedule moves the momentum" in ran.out
    events = EventAccumulator(str(ran.folder / "tensorboard"))
    events.Reload()
    assert {"train/acc", "val/acc", "lr", "images_per_second"} <= set(events.Tags()["scalars"])
    assert [event.step for event in events.Scalars("val/acc")] == [9, 19]


def test_mlflow(train, monkeypatch, tmp_path):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file:{tmp_path / 'mlflow'}")
    monkeypatch.delenv("MLFLOW_ALLOW_FILE_STORE", raising=False)
    ran = train(*TINY, "logger=mlflow", "trainer.check_val_every_n_epoch=${trainer.max_epochs}")
    assert ran.code == 0, ran.err
    assert runs.read_summary(ran.folder)["validations"] == 1, "what is typed may point at other settings"
    assert list((tmp_path / "mlflow").rglob("metrics/val/acc"))
    assert "not found" not in ran.out + ran.err


@pytest.mark.parametrize(("processes", "place"), [(1, "cpu"), (2, "meta")])
def test_what_processes_sum_up_is_on_their_device(processes, place):
    """NCCL, which GPUs exchange by, takes nothing else; gloo, below, takes anything."""
    told = []
    task = SimpleNamespace(
        device=torch.device("meta"),
        trainer=SimpleNamespace(world_size=processes),
        log_dict=lambda values, **how: told.append(({value.device.type for value in values.values()}, how["sync_dist"])),
    )
    Task.record(task, {"val/acc": 0.5, "val/loss": 1.0})
    assert told == [({place}, True)]


def test_ddp_on_two_processes(tmp_path):
    """Two processes train on halves of the images, validate on all, and leave one run directory."""
    # 101 validation images in batches of 50: one process would have a batch more than the other, and wait for ever.
    uneven = ["data.val_size=101", "data.eval_batch_size=50", "data.batch_size=25", "mix=cutmix", "callbacks=ema"]
    done = completed([TRAIN, *TINY, *uneven, "trainer=ddp", "trainer.devices=2", "hydra.run.dir=run"], cwd=tmp_path, timeout=240)
    assert done.returncode == 0, done.stderr
    assert "Warn" not in done.stdout + done.stderr
    summary = runs.read_summary(tmp_path / "run")
    assert (summary["status"], summary["steps"]) == ("finished", 20)
    confusion = (tmp_path / "run" / "confusion.csv").read_text().splitlines()[1:]
    assert sum(int(cell) for line in confusion for cell in line.split(",")[1:]) == 200


def test_a_whitening_stem_is_fitted_before_training_and_kept(train):
    from safetensors.torch import load_file

    ran = train(*TINY, "trainer.max_epochs=1", "model=resnet8", "model.stem=whitening")
    assert ran.code == 0, ran.err
    norms = load_file(ran.folder / "model" / "model.safetensors")["conv1.0.weight"].flatten(1).norm(dim=1)
    assert norms.max() > 2 * norms.min()  # not fitted, all are 1
