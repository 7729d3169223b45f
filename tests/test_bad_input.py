"""Bad input is refused where it enters: one line, exit status 1 or 2, nothing read or built, nothing written but the log."""

import os
import shutil
from pathlib import Path

import pytest
from PIL import Image
from running import ANY_MODEL, TINY, Ran

from cifar_lit.data.sources import CIFAR100, Folder, Synthetic
from cifar_lit.experiment import Experiment


@pytest.fixture
def untouched(monkeypatch):
    """Fail the test where data are read or a network is built."""

    def never(*_args, **_kwargs):
        raise AssertionError("slow work before the refusal")

    for module in (CIFAR100, Folder, Synthetic):
        monkeypatch.setattr(module, "read", never)
    monkeypatch.setattr(Experiment, "run", never)


def assert_refused(ran: Ran, *words: str) -> None:
    assert ran.code in (1, 2), ran
    lines = ran.err.strip().splitlines()
    assert len(lines) == 1, ran.err
    assert lines[0].startswith("train.py: ")
    for word in words:
        assert word in lines[0], lines[0]
    written = {path.name for path in ran.folder.rglob("*")}
    assert written <= {"train.log", ".lock"}, written


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("optimizer.lrr=0.1", ["optimizer.lrr", "optimizer.lr"]),
        ("trainer.max_epoch=3", ["trainer.max_epoch", "trainer.max_epochs"]),
        ("optimzer=adam", ["optimzer", "optimizer"]),
        ("model=resnet35", ["resnet35", "resnet34"]),
        ("augment=enhance", ["enhance", "enhanced"]),
        ("experiment=ft4", ["ft4", "ft3"]),
        ("+surprise=1", ["surprise"]),
        ("optimizer.lr=[", ["read"]),
        ("optimizer.lr=fast", ["optimizer.lr", "fast"]),
        ("optimizer.lr=-0.1", ["optimizer.lr=-0.1", "above 0"]),
        ("optimizer.lr=0", ["optimizer.lr=0", "above 0"]),
        ("optimizer.momentum=-1", ["momentum"]),
        ("trainer.max_epochs=0", ["trainer.max_epochs=0"]),
        ("trainer.max_epochs=-3", ["trainer.max_epochs=-3"]),
        ("trainer.max_epochs=many", ["trainer.max_epochs", "many"]),
        ("trainer.max_steps=0", ["trainer.max_steps=0"]),
        ("trainer.precision=16-mixed", ["16-mixed", "GPU"]),
        ("trainer.precision=17", ["17"]),
        ("trainer.max_time=soon", ["soon"]),
        ("trainer.gradient_clip_val=-1", ["gradient_clip_val"]),
        ("trainer=gpu", ["gpu"]),
        ("data.batch_size=0", ["data.batch_size=0"]),
        ("data.batch_size=-5", ["data.batch_size=-5"]),
        ("data.batch_size=big", ["data.batch_size", "big"]),
        ("data.batch_size=501", ["data.batch_size=501", "500"]),
        ("data.sizes={0.5:20}", ["data.sizes", "from 0.0"]),
        ("data.sizes={0.0:4}", ["data.sizes", "from 8"]),
        ("data.sizes=24", ["data.sizes=24"]),
        ("data.batch_sizes={0.0:10,0.5:501}", ["data.batch_sizes=501", "500"]),
        ("data.batch_sizes={0.0:0}", ["data.batch_sizes", "from 1"]),
        ("repeat=0", ["repeat=0", "from 1"]),
        ("trainer.graph=true", ["trainer=fast"]),
        ("trainer.compile=perhaps", ["compile=perhaps"]),
        ("data.val_size=600", ["data.val_size=600"]),
        ("data.val_size=0", ["data.val_size=0"]),
        ("data.validation=train", ["train", "holdout"]),
        ("data.engine=gpu", ["gpu", "workers"]),
        ("data.workers=-1", ["data.workers=-1"]),
        ("model.dropout=1.5", ["dropout=1.5"]),
        ("model.stem=big", ["stem", "cifar"]),
        ("loss.smoothing=1.2", ["loss.smoothing=1.2"]),
        ("scheduler.warmup_epochs=9", ["warm-up"]),
        ("scheduler.pct_start=2", ["pct_start"]),
        ("callbacks.target.value=75", ["callbacks.target.value=75"]),
        ("trainer.gradient_clip_val=abc", ["trainer.gradient_clip_val", "abc"]),
        ("trainer.accumulate_grad_batches=two", ["accumulate_grad_batches", "two"]),
        ("scheduler.warmup_steps=some", ["scheduler.warmup_steps", "some"]),
        ("trainer.benchmark=true", ["deterministic"]),
        ("trainer.check_val_every_n_epoch=3", ["check_val_every_n_epoch=3", "1 to 2"]),
        ("trainer.check_val_every_n_epoch=0", ["trainer.check_val_every_n_epoch=0: allowed is 1 or more"]),
        ("trainer.limit_val_batches=1.5", ["trainer.limit_val_batches=1.5: allowed is a share, 0.0 to 1.0, or a whole number"]),
        ("trainer.limit_train_batches=-1", ["trainer.limit_train_batches=-1: allowed is a share, 0.0 to 1.0, or a whole number"]),
        ("trainer.limit_test_batches=0.1", ["trainer.limit_test_batches=0.1", "one of its 1 batches"]),
        ("trainer.limit_test_batches=0", ["trainer.limit_test_batches=0", "ends with its test"]),
        ("trainer.limit_val_batches=0.4", ["trainer.limit_val_batches=0.4", "one of its 1 batches"]),
        ("trainer.limit_train_batches=0.01", ["trainer.limit_train_batches=0.01", "no batch"]),
        ("objective=test/acc", ["objective=test/acc", "val/acc, val/acc_best, train/acc"]),
        ("objective=val/loss", ["objective=val/loss", "val/acc, val/acc_best, train/acc"]),
        ("evaluate=final", ["evaluate=final", "best"]),
        ("seed=one", ["seed"]),
        ("resume=nowhere", ["nowhere"]),
    ],
)
@pytest.mark.slow
def test_values(train, untouched, argument, words):
    if argument.startswith("trainer="):
        tiny = [item for item in TINY if not item.startswith("trainer.accelerator")]
    else:
        tiny = TINY
    also = ["trainer.deterministic=true"] if "benchmark" in argument else []
    assert_refused(train(*tiny, argument, *also), *words)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["scheduler=cosine", "scheduler.final_fraction=5"], ["final_fraction=5"]),
        (["mix=cutmix", "mix.p=1.5"], ["mix.p=1.5", "0 to 1"]),
        (["mix=cutmix", "mix.alpha=0"], ["mix.alpha=0"]),
        (["mix=mixup", "mix.p=-0.1"], ["mix.p=-0.1"]),
        (["optimizer=sam", "trainer.accumulate_grad_batches=2"], ["sam", "accumulate"]),
        (["optimizer=sam", "trainer.by_hand=true"], ["sam", "trainer=fast"]),
        (["model=speednet", "data.sizes={0.0:8}"], ["data.sizes", "8x8 pixels"]),
        (["model=speednet", "data.image_size=8"], ["data: ", "8x8 pixels"]),
        (["augment=cutout", "data.image_size=8"], ["Erase", "8x8 images"]),
        (["data.batch_size=499", "data.sizes={0.0:8,0.5:32}"], ["1 image, of 8x8 pixels"]),
        (["data.image_size=8", "data.batch_size=499"], ["a batch would hold 1 image, of 8x8 pixels", "drop_last"]),
        (["scheduler=step", "data.batch_sizes={0.0:25,0.5:50}"], ["scheduler.every_epochs", "data.batch_sizes"]),
        (["-m", "resume=runs/a/last.ckpt", "seed=1,2"], ["resume=<path>", "hydra.sweep.dir"]),
        (
            ["model=speednet", "experiment=speedrun", "data.sizes={0.0:20,0.5:32}"],
            ["data.sizes: the recipe", "'~data.sizes' '+data.sizes={...}'"],
        ),
        (["callbacks=ema", "callbacks.ema.decay=1"], ["decay=1"]),
        (
            ["callbacks=early_stopping", "callbacks.early_stopping.monitor=val_acc"],
            ["callbacks.early_stopping.monitor=val_acc: no such column of metrics.csv; nearest: val/acc"],
        ),
        (
            ["callbacks=prune", "callbacks.prune.monitor=val/loss"],
            ["callbacks.prune.monitor=val/loss: allowed is val/acc, val/acc_best, train/acc"],
        ),
        (
            ["callbacks=early_stopping", "callbacks.early_stopping.patience=-1"],
            ["callbacks.early_stopping.patience=-1: allowed is 0 or more"],
        ),
        (["optimizer=rmsprop", "optimizer.alpha=2.0"], ["optimizer.alpha=2.0: allowed is 0 up to, not with, 1"]),
        (["optimizer=adamw", "optimizer.betas=[0.9,1.5]"], ["optimizer.betas=[0.9, 1.5]: allowed is 0 up to, not with, 1"]),
        (["optimizer=muon", "optimizer.fallback_lr_scale=-1"], ["optimizer.fallback_lr_scale=-1: allowed is above 0"]),
        (["seed=1,2"], ["seed=1,2: several values are a sweep, which wants -m; one list is typed seed=[1,2]"]),
        (["-m", "optimizer.lr=interval(1e-4,1e-1)"], ["ranges, as interval(...)", "hydra/sweeper=optuna"]),
        (["resume="], ["resume=: of which run?"]),
        (["model="], ["model=: no such option; all: "]),
        (["callbacks=[ema,early_stoping]"], ["callbacks=early_stoping: no such option; nearest: early_stopping; all: "]),
        (["callbacks=lookahead", "callbacks.lookahead.alpha=2"], ["alpha=2"]),
        (["augment=trivial", "data.engine=device"], ["device", "batched"]),
        (["augment.crop.padding=-1"], ["padding"]),
        (["trainer.max_epochs=null", "trainer.max_steps=-1"], ["end"]),
        (["trainer.limit_train_batches=0"], ["no batch to train on"]),
        (["data=folder"], ["data.root"]),
        (["data=folder", "data.root=absent"], ["absent"]),
        (["data=cifar100", "data.root=absent", "data.download=false"], ["absent", "synthetic"]),
    ],
)
def test_combinations(train, untouched, arguments, words):
    base = ANY_MODEL if "model=speednet" in arguments else TINY
    tiny = [item for item in base if not item.startswith("data") or arguments[0].split("=")[0] != "data"]
    assert_refused(train(*tiny, *arguments), *words)


@pytest.mark.parametrize(
    ("arguments", "given"),
    [
        (["trainer=ddp"], "trainer.strategy=ddp"),
        (["trainer.strategy=auto,ddp_spawn", "seed=1,2"], "trainer.strategy=ddp_spawn"),
        (["trainer.devices=1,2", "seed=1,2"], "trainer.devices=2"),
        (["repeat=2", "trainer.devices=2"], "trainer.devices=2"),
        (["hydra/sweeper=optuna", "trainer.strategy=auto,ddp"], "trainer.strategy=ddp"),
        (["hydra/sweeper=optuna", "trainer.devices=range(1,3)"], "trainer.devices=2"),
    ],
)
def test_ddp_in_a_sweep_is_refused_before_anything_is_written(train, untouched, arguments, given):
    ran = train("-m", *TINY, *arguments)
    assert (ran.code, ran.err.count("\n")) == (2, 1), ran
    assert f"{given}: DDP cannot run inside a sweep" in ran.err
    assert not ran.folder.exists()


def class_folders(root: Path, train_classes=("cat", "dog"), test_classes=("cat", "dog"), images=3) -> Path:
    for split, classes in (("train", train_classes), ("test", test_classes)):
        for index, name in enumerate(classes):
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(images):
                Image.new("RGB", (8, 8), (40 * index, 10 * number, 90)).save(folder / f"{number}.png")
    return root


def folder_run(train, root: Path, *more: str) -> Ran:
    sizes = ["data.val_size=2", "data.batch_size=2", "trainer.max_epochs=1", "trainer.accelerator=cpu", "model=resnet8"]
    return train("data=folder", f"data.root={root}", *sizes, *more)


def test_class_folders_that_differ(train, untouched, tmp_path):
    ran = folder_run(train, class_folders(tmp_path / "images", test_classes=("cat", "cow")))
    assert_refused(ran, "dog", "same classes")


def test_empty_folders(train, untouched, tmp_path):
    assert_refused(folder_run(train, class_folders(tmp_path / "images", images=0)), "images")


@pytest.mark.parametrize("contents", [b"", b"not an image", b"\x89PNG\r\n\x1a\n and then nothing"])
def test_files_that_are_no_images(train, tmp_path, contents):
    root = class_folders(tmp_path / "images")
    (root / "train" / "cat" / "1.png").write_bytes(contents)
    assert_refused(folder_run(train, root), "1.png")
    Image.new("RGB", (8, 8)).save(root / "train" / "cat" / "1.png")
    assert folder_run(train, root, "trainer.max_steps=1").code == 0


def test_no_cifar_and_no_network(train, tmp_path, monkeypatch):
    monkeypatch.setattr("cifar_lit.data.cifar100._fetch", lambda root: (_ for _ in ()).throw(OSError("no route to host")))
    tiny = [item for item in TINY if not item.startswith("data")]
    assert_refused(train(*tiny, f"data.root={tmp_path / 'empty'}"), "empty", "synthetic")


def test_unwritable_run_directory(train, untouched, tmp_path):
    (tmp_path / "file").write_text("in the way")
    ran = train(*TINY, folder="file/run")
    assert ran.code in (1, 2)
    assert len(ran.err.strip().splitlines()) == 1
    assert "file" in ran.err


def test_a_disk_without_room_is_refused_at_once(train, untouched, monkeypatch):
    monkeypatch.setattr("cifar_lit.refusals.shutil.disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 400_000))
    assert_refused(train(*TINY), "No space left", "400,000 bytes free")


def test_the_checkpoints_that_are_kept_need_room_too(train, untouched, monkeypatch):
    monkeypatch.setattr("cifar_lit.refusals.shutil.disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 0))

    def needed(*arguments):
        ran = train(*TINY, "trainer.max_epochs=7", *arguments)
        return int(ran.err.rpartition("writes about ")[2].split(":")[0].replace(",", ""))

    least = needed()
    assert needed("callbacks.checkpoints.every_epochs=3") == least + 2 * least * 8 // 36, "of epochs 3 and 6"
    kept = Path("run", "checkpoints")
    kept.mkdir()
    (kept / "epoch=002.ckpt").touch()
    (kept / "last.ckpt").touch()
    assert needed("callbacks.checkpoints.every_epochs=3", "resume=auto") == least + least * 8 // 36, "one is there"


def test_a_disk_that_fills_up(train, monkeypatch):
    """torch tells of a short write by a RuntimeError without a word about the disk."""

    def short(*_args, **_kwargs):
        raise RuntimeError("unexpected pos 381056 vs 380944")

    monkeypatch.setattr("cifar_lit.checkpoint.torch.save", short)
    monkeypatch.setattr("cifar_lit.checkpoint.shutil.disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 0))
    monkeypatch.setattr("cifar_lit.refusals.too_little_room", lambda *_: None)
    ran = train(*TINY)
    assert ran.code == 1
    assert "No space left" in ran.err
    assert len(ran.err.strip().splitlines()) == 1


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_full_disk(train, tmp_path, monkeypatch):
    """Every checkpoint write fails as on a full disk: the run says so, and leaves no torn file behind."""

    def full(*_args, **_kwargs):
        with open("/dev/full", "wb", buffering=0) as file:
            file.write(b"x")

    monkeypatch.setattr("cifar_lit.checkpoint.torch.save", full)
    ran = train(*TINY)
    assert ran.code == 1
    assert "No space left" in ran.err
    assert len(ran.err.strip().splitlines()) == 1
    assert not list(ran.folder.rglob("*.ckpt")) + list(ran.folder.rglob("*.part"))
