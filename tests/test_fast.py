"""trainer=fast learns what trainer=auto learns: bit by bit, on a CPU in 32-bit."""

import inspect
import json
import logging
import math
import os
import warnings

import pytest
import torch
from running import ANY_MODEL, TINY
from torch._inductor.exc import InductorError

from cifar_lit import checkpoint
from cifar_lit.data import fixed_shape
from cifar_lit.fast import FastTask
from cifar_lit.graph import UNTIL_RECORDED
from cifar_lit.loss import CrossEntropy
from cifar_lit.optim.muon import MuonSGD
from cifar_lit.trainer import Trainer, computes_bfloat16, resolve_precision

EXACT = ["trainer.precision=32-true"]  # of trainer=fast, which takes bf16-mixed where the processor has it
LINEAR = "scheduler.cycle_momentum=false"  # what a graph can hold
SPEEDNET = ["model=speednet_small", "+model.widths=[8,16,24]"]


def ends(folder):
    """All that a run leaves: weights, optimizer, metrics."""
    saved = checkpoint.read(folder / "checkpoints" / "last.ckpt")
    rows = [line.split(",") for line in (folder / "metrics.csv").read_text().splitlines()]
    timing = {rows[0].index("seconds"), rows[0].index("images_per_second")}
    rows = [[cell for place, cell in enumerate(row) if place not in timing] for row in rows]
    return saved["state_dict"], saved["optimizer_states"][0]["state"], rows


def assert_alike(one, other):
    (weights, state, rows), (weights2, state2, rows2) = ends(one), ends(other)
    assert rows == rows2
    assert weights.keys() == weights2.keys() and all(torch.equal(weights[name], weights2[name]) for name in weights)
    assert state.keys() == state2.keys()
    for key, values in state.items():
        for name, value in values.items():
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(state2[key][name])), name


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        [],
        [LINEAR, "trainer.gradient_clip_val=0"],  # the graph's own loader and tensors, without a graph; clipped not at all
        [LINEAR, "data.sizes={0.0:16,0.5:24}", "data.batch_sizes={0.0:25,0.5:50}", "augment=crop_flip_alternating"],
        ["augment=enhanced", "mix=cutmix", "loss=label_smoothing", "model.dropout=0.2"],
        ["trainer.accumulate_grad_batches=3", "trainer.gradient_clip_val=0.5", "optim=adamw_cosine"],
        ["trainer.gradient_clip_val=0.01", "trainer.gradient_clip_algorithm=value", "callbacks=[ema,lookahead]"],
        ["optim=muon_sgd_onecycle_linear", *SPEEDNET, "trainer.max_epochs=1"],
        ["data.engine=workers", "data.workers=0", "trainer.max_steps=13"],
    ],
    ids=lambda options: " ".join(options) or "plain",
)
def test_the_same_weights_as_the_plain_task(options, train):
    tiny = ANY_MODEL if "model=speednet_small" in options else TINY
    plain, fast = train(*tiny, *options, folder="plain"), train(*tiny, *options, "trainer=fast", *EXACT, *options, folder="fast")
    assert plain.code == fast.code == 0, plain.err + fast.err
    assert_alike(plain.folder, fast.folder)


@pytest.mark.slow
@pytest.mark.parametrize("ahead", [False, True], ids=["recorded on the way", "recorded before training"])
def test_killed_and_resumed(train, monkeypatch, compiling_nothing, ahead):
    options = [*TINY, "trainer=fast", LINEAR, "callbacks=ema", f"trainer.compile={str(ahead).lower()}"]
    if ahead:
        monkeypatch.setattr(FastTask, "holds_graphs", property(lambda self: self.graph))
    whole = train(*options, folder="whole")
    original = FastTask.on_train_epoch_start

    tasks = []

    def stopped(self):
        if self.current_epoch == 1:
            tasks.append(self)
            assert self.graphed.inputs
            raise RuntimeError("the power went out")
        original(self)

    with monkeypatch.context() as patched:
        patched.setattr(FastTask, "on_train_epoch_start", stopped)
        assert train(*options, folder="cut").code == 1
    assert not tasks[0].graphed.inputs, "graphs and their memory are let go of, however training ends"
    assert train(*options, "resume=cut", folder="cut").code == 0
    assert_alike(whole.folder, whole.folder.parent / "cut")


@pytest.mark.slow
@pytest.mark.parametrize("ahead", [False, True], ids=["recorded on the way", "recorded before training"])
def test_nothing_that_a_graph_holds_moves(train, monkeypatch, compiling_nothing, ahead):
    """Weights, momentum, learning rates and draws keep their places from the recording on: a graph goes by addresses."""
    places = []
    original = FastTask.one_step

    def watched(self, step=True, **batch):
        assert set(batch) == {"rows", "pixels", "make"}
        outputs = original(self, step=step, **batch)
        state = [value for values in self.raw.state.values() for value in values.values() if torch.is_tensor(value)]
        rates = [group["lr"] for group in self.raw.param_groups if torch.is_tensor(group["lr"])]
        assert len(rates) == (len(self.raw.param_groups) if ahead else 0)
        loader = self.trainer.train_dataloader
        draws = [tensor for params in loader.draws.values() for tensor in params.values()]
        held = [*self.net.state_dict().values(), *state, *rates, *draws, loader.images, loader.labels]
        places.append((len(batch["rows"]), [tensor.data_ptr() for tensor in held], batch["rows"].data_ptr()))
        return outputs

    monkeypatch.setattr(FastTask, "one_step", watched)
    if ahead:
        monkeypatch.setattr(FastTask, "holds_graphs", property(lambda self: self.graph))
    ran = train(*TINY, "trainer=fast", LINEAR, "callbacks=[ema,lookahead]", f"trainer.compile={str(ahead).lower()}")
    assert ran.code == 0, ran.err
    assert len(places) == (20 + UNTIL_RECORDED if ahead else 20)
    assert all(place == places[0] for place in places)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        [LINEAR, "data.sizes={0.0:16,0.5:24}"],
        [LINEAR, "callbacks=ema"],
        ["optim=muon_sgd_onecycle_linear", *SPEEDNET, "trainer.max_epochs=1"],
        [LINEAR, "+optimizer.dampening=0.1", "optimizer.nesterov=false"],
    ],
    ids=" ".join,
)
def test_what_is_recorded_before_training_leaves_nothing_behind(options, train, monkeypatch, compiling_nothing):
    """As on CUDA, but without graphs: steps are taken for each shape, then everything is put back."""
    tiny = ANY_MODEL if "model=speednet_small" in options else TINY
    plain = train(*tiny, *options, "trainer=fast", *EXACT, folder="plain")
    monkeypatch.setattr(FastTask, "holds_graphs", property(lambda self: self.graph))
    ahead, tasks = [], []
    record = FastTask._record

    def watched(self, batches):
        step = self.graphed.function
        self.graphed.function = lambda **batch: ahead.append(batch["pixels"]) or step(**batch)
        record(self, batches)
        self.graphed.function = step
        tasks.append(self)

    monkeypatch.setattr(FastTask, "_record", watched)
    recorded = train(*tiny, *options, "trainer=fast", *EXACT, "trainer.compile=true", folder="recorded")
    assert plain.code == recorded.code == 0, plain.err + recorded.err
    assert_alike(plain.folder, recorded.folder)
    assert all(not task.graphed.inputs for task in tasks), "graphs and their memory are let go of"
    assert set(ahead) == (set() if "+optimizer.dampening=0.1" in options else {16, 24} if "data.sizes" in options[-1] else {None})


@pytest.mark.slow
def test_muons_steps_are_compiled_as_they_are_taken(train, monkeypatch, compiling_nothing):
    """In the same state of autocast, its cache included: in another torch would compile them again, in the first step."""
    monkeypatch.setattr(FastTask, "holds_graphs", property(lambda self: self.graph))
    states, take = [], MuonSGD._advance

    def watched(self, *arguments):
        states.append((torch.is_autocast_enabled("cpu"), torch.is_autocast_cache_enabled(), torch.is_grad_enabled()))
        return take(self, *arguments)

    monkeypatch.setattr(MuonSGD, "_advance", watched)
    options = ["optim=muon_sgd_onecycle_linear", *SPEEDNET, "trainer.max_epochs=1", "trainer.limit_train_batches=2"]
    ran = train(*ANY_MODEL, *options, "trainer=fast", "trainer.precision=bf16-mixed", "trainer.compile=true")
    assert ran.code == 0, ran.err
    assert len(states) > 3 and len(set(states)) == 1


def test_no_graph_where_anomalies_are_looked_for(train, monkeypatch, compiling_nothing):
    monkeypatch.setattr(FastTask, "holds_graphs", property(lambda self: self.graph))
    ran = train(*TINY, "trainer=fast", *EXACT, LINEAR, "+trainer.detect_anomaly=true", "trainer.max_epochs=1")
    assert ran.code == 0, ran.err
    assert "No CUDA graph: trainer.detect_anomaly looks at every gradient" in ran.out


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # torch's compiler warns of what it does itself
def test_network_and_loss_compiled_give_the_weights_of_the_plain_task_to_rounding(train, monkeypatch):
    """And the second run of one process compiles nothing again. Compiled batches are tested in tests/data/test_fixed_shape.py."""
    monkeypatch.setattr(fixed_shape, "_compiled", lambda: fixed_shape.FixedShapeLoader.make)
    # A block is enough; batches of one length: another would be compiled anew.
    one_block = ["+model.layers=[1]", "+model.widths=[16]"]
    options = [*TINY, *one_block, "trainer.max_epochs=1", "trainer.max_steps=3", "data.eval_batch_size=50"]
    plain = train(*options, folder="plain")
    graphs = []
    for folder in ("first", "second"):
        ran = train(*options, "trainer=fast", *EXACT, "trainer.compile=true", "trainer.max_steps=3", folder=folder)
        assert ran.code == 0, ran.err
        graphs.append(torch._dynamo.utils.counters["stats"]["unique_graphs"])
    assert graphs[0] > 0 and graphs[1] == graphs[0]
    assert (
        torch._dynamo.config.recompile_limit >= 4096 <= torch._dynamo.config.accumulated_recompile_limit
    )  # of all jobs of a sweep
    first, second = (checkpoint.read(plain.folder.parent / name / "checkpoints" / "best.ckpt") for name in ("first", "second"))
    expected = checkpoint.read(plain.folder / "checkpoints" / "best.ckpt")["state_dict"]
    assert first["state_dict"].keys() == expected.keys(), "no `_orig_mod.` in them"
    for name, weights in first["state_dict"].items():
        assert torch.equal(weights, second["state_dict"][name])
        torch.testing.assert_close(weights, expected[name], rtol=1e-3, atol=1e-3, msg=name)
    summary = json.loads((plain.folder.parent / "first" / "summary.json").read_text())
    assert summary["compile_seconds"] > 0.0 and summary["prepare_seconds"] >= 0.0  # apart
    assert (
        summary["fit_seconds"] > summary["trained_seconds"] >= summary["train_seconds"] > 0.0
    )  # with validation and checkpoints


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # torch's compiler warns of what it does itself
def test_a_machine_without_a_compiler_trains_uncompiled(train, monkeypatch):
    """And learns the same: nothing is left of the zeros that were tried."""
    options = [*TINY, "trainer=fast", *EXACT]
    plain = train(*options, folder="plain")
    torch._dynamo.reset()
    monkeypatch.setattr(torch._inductor.config.cpp, "cxx", (None, "no-such-compiler"))
    monkeypatch.setattr(torch._inductor.config, "force_disable_caches", True)
    ran = train(*options, "trainer.compile=true", folder="without")
    assert plain.code == ran.code == 0, plain.err + ran.err
    said = [line for line in ran.out.splitlines() if "Nothing is compiled" in line]
    assert len(said) == 1 and "ompiler" in said[0].split("fails")[1]
    assert_alike(plain.folder, ran.folder)


def test_what_compiled_before_the_compiler_failed_leaves_nothing(train, monkeypatch, compiling_nothing):
    def fails(*arguments):
        raise InductorError(AssertionError("no such kernel"), inspect.currentframe())

    plain = train(*TINY, "trainer=fast", *EXACT, folder="plain")
    monkeypatch.setattr(CrossEntropy, "compile", lambda self, **options: setattr(self, "_compiled_call_impl", fails))
    ran = train(*TINY, "trainer=fast", *EXACT, "trainer.compile=true", folder="without")
    assert plain.code == ran.code == 0, plain.err + ran.err
    assert "no such kernel" in ran.out
    assert_alike(plain.folder, ran.folder)


def test_precision(monkeypatch, caplog):
    for computes, name in ((True, "bf16-mixed"), (False, "32-true")):  # the latter before Ampere, which emulates it
        monkeypatch.setattr(
            torch.cuda, "is_bf16_supported", lambda including_emulation=True, own=computes: including_emulation or own
        )
        with caplog.at_level(logging.INFO):
            assert resolve_precision("fastest", "cuda") == name
        assert ("trainer=auto" in caplog.text) != computes
    assert resolve_precision("fastest", "mps") == "32-true"
    assert resolve_precision("fastest", "cpu") == ("bf16-mixed" if computes_bfloat16() else "32-true")
    assert [resolve_precision(name, "cuda") for name in (16, "bf16", 32)] == ["16-mixed", "bf16-mixed", "32-true"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"graph": True}, "use trainer=fast"),
        ({"compile": "maybe"}, "trainer.compile=maybe"),
        ({"gradient_clip_algorithm": "sum"}, "allowed is norm, value"),
        ({"gradient_clip_val": math.nan}, "trainer.gradient_clip_val=nan: allowed is 0 or more"),
        ({"by_hand": True, "precision": "bf16-true"}, "trainer.precision=bf16-true: .* bf16-mixed or 32-true"),
        ({"max_epochs": 2, "check_val_every_n_epoch": 3}, "no epoch would be validated; allowed is 1 to 2"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        Trainer(accelerator="cpu", **options)


def test_one_process_is_told_nothing_of_slurm(tmp_path, monkeypatch):
    """Lightning warns wherever srun is installed; in a job of Slurm's, of several devices, it may be right."""
    (tmp_path / "srun").touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    for devices, job, told in ((1, "7", False), (2, "7", True), (2, None, False)):
        for name in [name for name in os.environ if name.startswith("SLURM_")]:
            monkeypatch.delenv(name)
        if job is not None:
            monkeypatch.setenv("SLURM_JOB_ID", job)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            Trainer(accelerator="cpu", devices=devices, logger=False, enable_checkpointing=False)
        assert bool([warning for warning in said if "srun" in str(warning.message)]) == told
