"""The parts of the benchmarks that decide what a number means; what they measure is measured by hand."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from benchmarks import against, growth, keep, lightning_tax, one_run, throughput, time_to_accuracy
from benchmarks.arithmetic import matmul_rate, step_flops

HEADER = "epoch,step,train/loss,train/acc,val/loss,val/acc,val/acc5,lr,seconds,images_per_second\n"


def written(folder: Path, scores: list[float], overrides: list[str], seconds: float | None = 2.0, **summary) -> Path:
    """A run directory with a row an epoch."""
    folder.mkdir(parents=True)
    taken = "" if seconds is None else seconds
    rows = [f"{epoch},{epoch},1,0.1,1,{score},0.9,0.1,{taken},100\n" for epoch, score in enumerate(scores)]
    (folder / "metrics.csv").write_text(HEADER + "".join(rows))
    about = {"schema": 1, "status": "finished", "overrides": overrides, "device": "cpu", "git": "1"} | summary
    (folder / "summary.json").write_text(json.dumps(about))
    return folder


def asked(monkeypatch: pytest.MonkeyPatch, module, *arguments: object) -> int:
    """main() of a benchmark; its exit status, after printing what an exit would say."""
    monkeypatch.setattr(sys, "argv", [module.__name__, *map(str, arguments)])
    try:
        module.main()
    except SystemExit as stop:
        if isinstance(stop.code, str):
            print(stop.code, file=sys.stderr)
            return 1
        return stop.code or 0
    return 0


def test_first_epoch_and_seconds_at_the_target(tmp_path):
    run = written(tmp_path / "run", [0.1, 0.7, 0.6, 0.8], ["seed=0"], seed=0, validation="holdout")
    row = time_to_accuracy.describe(run, 0.7)
    assert (row["epochs_to_target"], row["seconds_to_target"]) == (2, 4.0)
    assert (row["best"], row["last"], row["validation"]) == (0.8, 0.8, "holdout")
    row = time_to_accuracy.describe(run, 0.9)
    assert (row["epochs_to_target"], row["seconds_to_target"]) == (None, None)


def test_seconds_are_unknown_where_an_epoch_lacks_them(tmp_path):
    row = time_to_accuracy.describe(written(tmp_path / "run", [0.1, 0.7], [], seconds=None), 0.7)
    assert (row["epochs_to_target"], row["seconds_to_target"]) == (2, None)


def test_a_run_without_results_is_a_row(tmp_path):
    (tmp_path / ".hydra").mkdir()
    (tmp_path / ".hydra" / "overrides.yaml").write_text("- seed=1\n")
    row = time_to_accuracy.describe(tmp_path, 0.7)
    assert (row["status"], row["validation"], row["best"]) == ("unfinished", "unknown", None)


def test_only_seeds_are_summed_up(tmp_path):
    for seed, scores in enumerate(([0.1, 0.7], [0.7, 0.75], [0.1, 0.2])):
        written(tmp_path / str(seed), scores, ["model=resnet8", f"seed={seed}"], seed=seed, validation="test")
    written(tmp_path / "3", [0.7, 0.7], ["model=resnet8", "seed=3"], seed=3, validation="holdout")
    written(tmp_path / "4", [0.7, 0.7], ["model=resnet18", "seed=4"], seed=4, validation="test")
    written(tmp_path / "5", [0.7, 0.7], ["model=resnet8", "seed=5"], seed=5, validation="test", git="2")
    written(tmp_path / "6", [0.1], ["model=resnet8", "seed=6"], seed=6, validation="test", status="interrupted")
    rows = [time_to_accuracy.describe(path, 0.7) for path in sorted(tmp_path.iterdir())]
    (group,) = time_to_accuracy.over_seeds(rows)
    assert (group["seeds"], group["runs"], group["reached"]) == ([0, 1, 2], 3, 2)
    assert group["seconds_to_target"] == {"mean": 3.0, "std": pytest.approx(2**0.5)}
    assert group["last"]["mean"] == pytest.approx((0.7 + 0.75 + 0.2) / 3)


def test_time_to_accuracy_says_that_the_test_was_watched(tmp_path, monkeypatch, capsys):
    for seed in (0, 1):
        written(tmp_path / "runs" / str(seed), [0.1, 0.7], [f"seed={seed}"], seed=seed, validation="test")
    file = tmp_path / "result.json"
    assert asked(monkeypatch, time_to_accuracy, "--target", 0.7, tmp_path / "runs", "--json", file) == 0
    said = capsys.readouterr().out
    assert "the test images were watched" in said
    assert "2 of 2 runs reached 70.00%: epoch 2.0 ± 0.0, 4.0 ± 0.0 s; best 70.00 ± 0.00, last 70.00 ± 0.00" in said
    assert len(json.loads(file.read_text())["runs"]) == 2


@pytest.mark.parametrize("arguments", [["--target", "70", "x"], ["--target", "0.7", "nothing_there"]])
def test_time_to_accuracy_refuses(arguments, monkeypatch, capsys):
    assert asked(monkeypatch, time_to_accuracy, *arguments) == 2
    assert "allowed is above 0" in (said := capsys.readouterr().err) or "no run directory" in said


def python(code: str) -> str:
    return shlex.join([sys.executable, "-S", "-c", code])


def test_against_measures_pairs_in_turn(tmp_path, monkeypatch, capsys):
    for name in ("theirs", "ours"):
        (tmp_path / name).mkdir()
    noted = "open('../order', 'a').write('{0}'); print('acc 1, acc {1}')"
    file = tmp_path / "result.json"
    arguments = ["--theirs", python(noted.format("t", 5)), "--theirs-dir", tmp_path / "theirs", "--pattern", r"acc (\d)"]
    arguments += ["--ours", python(noted.format("o", "x7")), "--ours-dir", tmp_path / "ours", "--ours-pattern", r"acc x(\d)"]
    assert asked(monkeypatch, against, *arguments, "--pairs", 2, "--json", file) == 0
    assert (tmp_path / "order").read_text() == "toot"
    found = json.loads(file.read_text())
    assert (found["theirs"]["numbers"], found["ours"]["numbers"]) == ([5, 5], [7, 7])
    ratios = [their / our for their, our in zip(found["theirs"]["seconds"], found["ours"]["seconds"], strict=True)]
    assert found["ratios"] == ratios
    assert found["theirs"]["git"] is None
    said = capsys.readouterr().out
    assert said.count("pair ") == 2
    assert f"median ratio, theirs to ours: {sum(ratios) / 2:.3f}" in said


@pytest.mark.parametrize(
    ("code", "pattern", "message"),
    [
        ("import sys; sys.exit('first\\nlast words')", r"(.)", "exit status 1: last words"),
        ("raise SystemExit(3)", r"(.)", "exit status 3: (nothing on standard error)"),
        ("print('text')", r"(\d)", "pattern '(\\\\d)' found nothing"),
        ("print('text')", r"(t.)", "pattern '(t.)' found 'te', no number"),
    ],
)
def test_against_ends_with_one_line(code, pattern, message, tmp_path, monkeypatch, capsys):
    command = python(code)
    arguments = ["--theirs", command, "--theirs-dir", tmp_path, "--ours", python("print(1)"), "--pattern", pattern]
    assert asked(monkeypatch, against, *arguments) == 1
    assert capsys.readouterr().err == f"theirs: {command}: {message}\n"


@pytest.mark.parametrize("wrong", [["--pattern", "no group"], ["--pattern", "("], ["--pairs", "0"], ["--theirs-dir", "gone"]])
def test_against_refuses(wrong, tmp_path, monkeypatch, capsys):
    arguments = ["--theirs", "true", "--ours", "true", "--theirs-dir", tmp_path]
    assert asked(monkeypatch, against, *arguments, *wrong) == 2
    assert "error: " in capsys.readouterr().err


def test_against_knows_the_commit_of_a_checkout(tmp_path):
    assert against.commit(tmp_path) is None
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    (tmp_path / "file").write_text("1")
    for command in (["init", "-q"], ["add", "file"], [*who, "commit", "-qm", "first"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    clean = against.commit(tmp_path)
    assert clean is not None
    assert len(clean) == 40
    (tmp_path / "file").write_text("2")
    assert against.commit(tmp_path) == f"{clean}+"


def test_operations_are_those_counted_by_hand():
    with torch.device("meta"):
        net = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
            nn.Conv2d(8, 16, 3, stride=2, padding=1, bias=False), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10),
        )  # fmt: skip
    first, second, last = 32 * 32 * 8 * 3 * 9, 16 * 16 * 16 * 8 * 9, 16 * 10
    # Forward, the gradient of the weights and that of the input, which the first layer does without.
    assert step_flops(net) == 2 * (2 * first + 3 * second + 3 * last)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_matrix_products_have_a_rate(precision):
    assert matmul_rate(torch.device("cpu"), precision, repetitions=1) > 1e8


def test_the_clock_reads_after_the_warm_up_and_at_the_end():
    clock, task = one_run.Clock(warmup=2, steps=3), nn.Module()
    task.device = torch.device("cpu")
    taken = []
    for step in range(7):
        clock.on_train_batch_end(None, task, None, None, step)
        taken.append(len(clock.read))
    assert taken == [0, 1, 1, 1, 2, 2, 2]


def test_a_failing_combination_is_a_row(monkeypatch, capsys, tmp_path):
    def measure(*overrides: str, batch: int, warmup: int, steps: int) -> dict:
        if "data.engine=workers" in overrides:
            raise RuntimeError("no room")
        known = {"images": steps * batch, "seconds": 2.0, "step_flops": 10.0, "matmul_rate": 1000.0, "precision": "32-true"}
        return known | {"device_bytes": None, "host_bytes": 3_000_000, "workers_bytes": 2_000_000}

    monkeypatch.setattr(throughput, "measure", measure)
    file = tmp_path / "result.json"
    arguments = ["--models", "resnet8", "--trainers", "auto", "--batch", 5, "--steps", 4, "--json", file]
    assert asked(monkeypatch, throughput, *arguments) == 0
    _, good, bad = capsys.readouterr().out.splitlines()
    assert good.split() == ["resnet8", "device", "auto", "32-true", "10", "500.0", "5", "10.0%"]
    assert bad.split() == ["resnet8", "workers", "auto", "no", "room"]
    assert [row.get("error") for row in json.loads(file.read_text())["rows"]] == [None, "no room"]


def test_growth_is_per_unit():
    rows = [
        {"value": 1, "seconds": 2.0, "units": 10, "peak_bytes": 5, "set_bytes": 1},
        {"value": 10, "seconds": 30.0, "units": 100, "peak_bytes": 16, "set_bytes": 10},
    ]
    assert growth.grown("images", rows) == {"unit_cost_ratio": 1.5, "set_growth_bytes": 9, "peak_growth_bytes": 11}
    rows = [{"value": 2, "seconds": 6.0, "units": 2}, {"value": 6, "seconds": 8.0, "units": 6}]
    assert growth.grown("sweep", rows)["seconds_per_job"] == 0.5


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        (growth, ["--repetitions", "0"]),
        (growth, ["--factors", "depth"]),
        (throughput, ["--models", "resnet9"]),
        (throughput, ["--engines", "auto"]),
        (throughput, ["--warmup", "0"]),
    ],
)
def test_arguments_are_checked(module, arguments, monkeypatch, capsys):
    assert asked(monkeypatch, module, *arguments) == 2
    assert "error: " in capsys.readouterr().err


def without_updates(step):
    """A bare loop's step, its weights left as they were."""

    def stepped(self, *arguments, **batch):
        for group in self.optimizer.param_groups:
            group["lr"] = 0.0
        return step(self, *arguments, **batch)

    return stepped


@pytest.mark.slow
@pytest.mark.parametrize("trainer", ["auto", "fast"])
def test_the_bare_loop_does_the_work_of_ours(trainer, monkeypatch, tmp_path):
    path = tmp_path / "tax.json"
    words = ["lightning_tax", "--pairs", "2", "--steps", "2", "--batch", "20", "--trainer"]
    monkeypatch.setattr(sys, "argv", [*words, trainer, "--json", str(path)])
    lightning_tax.main()
    assert len(json.loads(path.read_text())["pairs"]) == 2
    monkeypatch.setattr(lightning_tax.BareLoop, "step", without_updates(lightning_tax.BareLoop.step))
    with pytest.raises(SystemExit, match="not the same work"):
        lightning_tax.main()


def test_a_kept_study_has_its_verdict_its_seconds_and_no_number_of_the_test(tmp_path):
    for job, schedule in enumerate(("onecycle", "cosine")):
        folder = written(tmp_path / str(job), [0.1, 0.2], [f"scheduler={schedule}"], **{"val/acc": 0.2, "test/acc": 0.3})
        (folder / ".hydra").mkdir()
        (folder / ".hydra" / "config.yaml").touch()
        os.utime(folder / ".hydra" / "config.yaml", (1000 + job, 1000 + job))
        os.utime(folder / "summary.json", (1010 + 30 * job, 1010 + 30 * job))
    assert keep._sweep(tmp_path).keys() == {"jobs"}
    (tmp_path / "verdict.md").write_text("# schedule\nNobody knows.\n")
    found = keep._sweep(tmp_path)
    assert (found["verdict"], found["seconds"]) == (["# schedule", "Nobody knows."], 40)
    assert [(job["overrides"], job["val/acc"]) for job in found["jobs"]] == [
        (["scheduler=onecycle"], 0.2),
        (["scheduler=cosine"], 0.2),
    ]
    assert not [key for job in found["jobs"] for key in job if key.startswith("test/")]
