"""Who is ranked with whom, in what order, and what is said of it."""

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
from report.fake_runs import make_run, sweep
from scipy import stats

from cifar_lit import runs
from cifar_lit.report import verdict
from cifar_lit.report.draw import Drawn
from cifar_lit.report.figures import importance
from cifar_lit.report.history import METRICS, curves, read
from cifar_lit.report.overfitting import fit
from cifar_lit.report.ranking import TEST, by_seed, differing, rank
from cifar_lit.report.subject import Subject
from cifar_lit.report.words import apart, brief
from cifar_lit.runs import GAP


def boards(root: Path, top: int = 8):
    return rank(runs.collect([root])[0], top)


def summaries(root: Path) -> list[dict]:
    return [json.loads(path.read_text()) for path in sorted(root.rglob("summary.json"))]


def score_run(folder: Path, seed: int, optimizer: str, val: float, test: float, **more) -> None:
    make_run(folder, seed=seed, settings={"optimizer": optimizer}, extras=False, **{"val/acc": val, "test/acc": test} | more)


def test_watched_runs_are_never_in_a_ranking_with_held_out_ones(tmp_path):
    sweep(tmp_path / "held", seeds=2)
    make_run(tmp_path / "w1", seed=1, watched=True, accuracy=0.9)
    found, left = boards(tmp_path)
    assert [(board.slug, board.kind.watched, len(board.runs)) for board in found] == [
        ("held-out", False, 36),
        ("watched", True, 1),
    ]
    assert left == []
    assert all(run.watched == board.kind.watched for board in found for run in board.runs)


@pytest.mark.parametrize(
    "other",
    [
        {"data": "synthetic"},
        {"test/images": 500},
        {"config": {"test_time_flip": True}},
        {"val/images": 40_000},
        {"settings": {"data.val_size": 4_000, "trainer.limit_val_batches": 1.0}},
    ],
    ids=["data", "images", "flip", "held out", "held out, of an earlier version"],
)
def test_what_is_tested_differently_is_ranked_apart(tmp_path, other):
    make_run(tmp_path / "a", seed=1, **{"val/images": 5_000})
    make_run(tmp_path / "b", seed=2, **other)
    found = boards(tmp_path)[0]
    assert sorted(len(board.runs) for board in found) == [1, 1]
    assert len({board.kind.where for board in found}) == 2


def test_runs_that_do_not_say_what_they_held_out_are_with_those_that_do(tmp_path):
    make_run(tmp_path / "new", seed=1, **{"val/images": 5_000})
    make_run(tmp_path / "old", seed=2)
    make_run(tmp_path / "words", seed=3, settings={"data.val_size": "5000"})
    make_run(tmp_path / "limited", seed=4, settings={"data.val_size": 4_000, "trainer.limit_val_batches": 2})
    assert [(board.kind.held_out, len(board.runs)) for board in boards(tmp_path)[0]] == [(5_000, 4)]
    make_run(tmp_path / "other", seed=1, **{"val/images": 2_000})
    found = boards(tmp_path)[0]
    assert sorted((board.kind.held_out, len(board.runs)) for board in found) == [(0, 2), (2_000, 1), (5_000, 2)]


def test_a_run_is_what_its_summary_says_of_the_test_not_what_it_was_begun_as(tmp_path):
    plain = {"model": "resnet8", "test_time_flip": False, "evaluate": "auto"}
    make_run(tmp_path / "plain", seed=1, settings=plain, test_time_flip=False)
    make_run(tmp_path / "resumed", seed=2, settings=plain, test_time_flip=True)
    make_run(tmp_path / "typed", seed=3, settings=plain | {"test_time_flip": True}, test_time_flip=True)
    make_run(tmp_path / "last", seed=4, settings=plain, test_time_flip=False, evaluated="last")
    make_run(tmp_path / "before", seed=5, settings=plain | {"evaluate": "best"})  # older summaries say nothing of flips
    found, _ = boards(tmp_path)
    seeds = {board.kind.flip: sorted(sorted(run.seed for run in entry.recipe.runs) for entry in board.entries) for board in found}
    assert seeds == {True: [[2, 3]], False: [[1, 5], [4]]}
    [unflipped] = [board for board in found if not board.kind.flip]
    assert {entry.label for entry in unflipped.entries} == {"evaluate=best", "evaluate=last"}


def test_watched_best_epochs_are_apart_from_last_ones(tmp_path):
    make_run(tmp_path / "a", watched=True)
    make_run(tmp_path / "b", watched=True, evaluated="best")
    found, _ = boards(tmp_path)
    assert [board.kind.evaluated for board in found] == ["best", "last"]
    assert [board.slug for board in found] == ["watched", "watched-2"]


def test_held_out_is_ranked_by_validation_and_watched_by_test(tmp_path):
    score_run(tmp_path / "a", 1, "sgd", 0.70, 0.60)
    score_run(tmp_path / "b", 1, "adam", 0.60, 0.70)
    score_run(tmp_path / "c", 1, "sgd", 0.70, 0.60, watched=True)
    score_run(tmp_path / "d", 1, "adam", 0.60, 0.70, watched=True)
    held, watched = boards(tmp_path)[0]
    assert [entry.label for entry in held.entries] == ["optimizer=sgd", "optimizer=adam"]
    assert [entry.label for entry in watched.entries] == ["optimizer=adam", "optimizer=sgd"]
    assert "validation accuracy" in verdict.sentences(held)[0]
    assert "last epoch" in verdict.sentences(watched)[0] and "flattering" in verdict.sentences(watched)[0]


def test_only_finished_runs_with_a_score_are_ranked_and_others_have_a_reason(tmp_path):
    make_run(tmp_path / "good", seed=1)
    make_run(tmp_path / "failed", status="failed", error="ValueError: no")
    make_run(tmp_path / "interrupted", status="interrupted")
    make_run(tmp_path / "diverged", **{"val/acc": math.nan})
    make_run(tmp_path / "none", **{"test/acc": None})
    make_run(tmp_path / "percent", **{"test/acc": 59.4})
    make_run(tmp_path / "unsaid", validation=None)
    (tmp_path / "killed" / ".hydra").mkdir(parents=True)
    (tmp_path / "killed" / ".hydra" / "overrides.yaml").write_text("[]\n")
    found, left = boards(tmp_path)
    assert [len(board.runs) for board in found] == [1]
    said = {run.path.name: reason for run, reason in left}
    assert said["failed"] == "ValueError: no"
    assert "without val/acc" in said["diverged"] and "without test/acc" in said["none"] and "no fraction" in said["percent"]
    assert said["interrupted"] and said["killed"]
    assert "whether it held images out" in said["unsaid"]


def test_numbers_are_those_of_scipy(tmp_path):
    sweep(tmp_path)
    board = boards(tmp_path)[0][0]
    told: dict[str, dict[int, dict]] = {}
    for summary in summaries(tmp_path):
        config = summary["config"]
        label = " ".join(f"{name}={config[name]}" for name in ("optimizer", "optimizer.lr", "augment"))
        told.setdefault(label, {})[summary["seed"]] = summary
    assert {entry.label for entry in board.entries} == told.keys()
    means = [np.mean([one["val/acc"] for one in told[entry.label].values()]) for entry in board.entries]
    assert means == sorted(means, reverse=True)
    best = told[board.entries[0].label]
    raw = []
    for entry in board.entries[1:]:
        own = told[entry.label]
        test = stats.ttest_rel([own[seed]["test/acc"] for seed in (1, 2, 3)], [best[seed]["test/acc"] for seed in (1, 2, 3)])
        assert entry.test.paired and entry.test.n == 3
        assert entry.test.p == pytest.approx(test.pvalue)
        assert (entry.test.low, entry.test.high) == pytest.approx(tuple(test.confidence_interval(0.95)))
        raw.append(test.pvalue)
    order = np.argsort(raw)
    holm = np.minimum(1, np.maximum.accumulate(np.array(raw)[order] * np.arange(len(raw), 0, -1)))
    assert [board.entries[1:][i].p_test for i in order] == pytest.approx(holm.tolist())


def test_runs_of_one_seed_are_averaged_and_those_without_stand_alone(tmp_path):
    for name, seed, value in (("a", 1, 0.5), ("b", 1, 0.7), ("c", None, 0.4), ("d", None, 0.3)):
        make_run(tmp_path / name, seed=seed, **{"test/acc": value})
    values = by_seed(runs.collect([tmp_path])[0], TEST)
    assert values == {1: pytest.approx(0.6), tmp_path / "c": 0.4, tmp_path / "d": 0.3}


def test_runs_on_other_images_are_ranked_apart_and_named(tmp_path):
    for name, images in (("a", "0123456789abcdef"), ("b", "fedcba9876543210"), ("c", None)):
        for seed in range(2):
            make_run(tmp_path / f"{name}{seed}", seed=seed, data="folder", data_fingerprint=images)
    found, left = boards(tmp_path)
    assert left == [] and [len(board.runs) for board in found] == [2, 2, 2]
    assert {board.kind.where.partition(",")[0] for board in found} == {
        "folder", "folder (images 01234567)", "folder (images fedcba98)",
    }  # fmt: skip
    make_run(tmp_path / "alone" / "0", data_fingerprint="0123456789abcdef")
    assert boards(tmp_path / "alone")[0][0].kind.where.startswith("cifar100, ")


def test_settings_that_only_follow_from_others_are_left_out():
    configs = [
        {"model": model, "optimizer": optimizer, "optim": f"{optimizer}_onecycle", "optimizer.lr": lr, "optimizer.beta": beta,
         "data.seed": lr, "same": 1}
        for model, (optimizer, beta), lr in itertools.product("ab", [("sgd", None), ("adam", 0.9)], [0.1, 0.01])
    ]  # fmt: skip
    assert differing(configs) == ["model", "optimizer", "optimizer.lr"]
    random = [{"model": "ab"[i % 2], "optimizer.lr": i / 7} for i in range(6)]
    assert differing(random) == ["model", "optimizer.lr"]  # a learning rate of its own for each run does not hide the model
    assert differing([{"a": 1}, {"a": 1}]) == []


def ranked(scores: list[float], **levels: list[object]) -> Subject:
    """Finished runs, one a recipe, by nothing but their settings and scores."""
    rows = []
    for seed, score in enumerate(scores):
        own = {name: column[seed] for name, column in levels.items()}
        values, facts = {"val/acc": score, TEST: score}, {"validation": "holdout"}
        rows.append(runs.Run(path=Path(str(seed)), status="finished", seed=seed, settings=own, values=values, facts=facts))
    return Subject.of(rank(rows)[0][0])


def test_importance_is_not_drawn_of_what_chance_alone_would_give():
    scores = np.random.default_rng(0).uniform(0.4, 0.6, 17).tolist()
    settings = {"model": [*"abcdefg" * 3], "optimizer.lr": [0.1, 0.2] * 9}
    [note] = importance.draw_all(ranked(scores[:8], **settings))
    assert isinstance(note, str) and "8 runs of 2 settings leave 0 degrees of freedom, and 9 are needed." in note
    assert isinstance(importance.draw_all(ranked(scores[:16], **settings))[0], str)
    assert isinstance(importance.draw_all(ranked(scores, **settings))[0], Drawn)


def test_labels_without_their_groups_where_names_stay_apart():
    assert brief("optimizer=sgd optimizer.lr=0.1 data.crop.padding=4") == "optimizer=sgd lr=0.1 padding=4"
    assert brief("a.lr=1 b.lr=2") == "a.lr=1 b.lr=2"
    assert brief("the runs") == "the runs"


def test_side_by_side_labels_say_what_sets_them_apart():
    shared = "augment=crop_flip trainer.gradient_clip_val=none"
    assert apart([f"{shared} optimizer.lr={lr}" for lr in (0.1, 0.2)]) == ["lr=0.1", "lr=0.2"]
    assert apart(["the runs"]) == ["the runs"] and apart(["a=1", "a=1"]) == ["a=1", "a=1"]
    recipes = [
        f"augment=a optimizer.weight_decay={decay} trainer.gradient_clip_val=0.1 data.batch_size={n}"
        for decay, n in ((0.01, 5), (0.02, 6))
    ]
    assert apart(recipes, 28) == ["weight_de…=0.01 batch_siz…=5", "weight_de…=0.02 batch_siz…=6"]
    assert len(apart(["a=" + "x" * 90, "b=1"], 20)[0]) == 20


@pytest.mark.parametrize(
    "text", ["", "epoch,step\n", "step,val/acc\n1,0.5\n", "epoch,val/acc\n0,0.5\n1,0.6\n2,0.", "epoch,val/acc\n0,\n1,x\n2,0.7\n",
             "epoch,val/loss\n0,nan\n1,inf\n2,1.5\n", "epoch,val/acc\n99999999999,0.5\n", "\0\0"], ids=range(8),
)  # fmt: skip
def test_curves_are_read_as_runs_reads_them(tmp_path, text):
    (tmp_path / "metrics.csv").write_text(text)
    table = read(tmp_path)
    rows = [row for row in runs.read_metrics(tmp_path) if row.get("epoch", 1e9) < 1e5]
    assert len(table) == (max(int(row["epoch"]) for row in rows) + 1 if rows else 0)
    for row in rows:
        for place, name in enumerate(METRICS):
            value = row.get(name, math.nan)
            assert table[int(row["epoch"]), place] == pytest.approx(value if math.isfinite(value) else math.nan, nan_ok=True)


def test_overfitting_by_the_gap_of_r1_and_by_a_rising_loss(tmp_path):
    make_run(tmp_path / "r1", seed=1, watched=True, **{"gap": 0.1078, "train/acc": 0.8435, "test/acc": 0.7357})
    make_run(tmp_path / "calm", seed=1, settings={"model": "calm"}, **{"gap": 0.05})
    held, watched = boards(tmp_path)[0]
    r1 = fit(watched.entries[0], curves(watched.entries[0].recipe.runs))
    assert r1.gap == 0.1078 > GAP and r1.over and r1.verdict == "over-fits" and "10.8 points above" in r1.advice
    calm = fit(held.entries[0], curves(held.entries[0].recipe.runs))
    assert not calm.over and calm.verdict == "no sign"
    (tmp_path / "calm" / "metrics.csv").write_text(
        "epoch,train/acc,val/acc,val/loss\n" + "".join(f"{e},{e / 10},{a},{b}\n" for e, (a, b) in enumerate(
            [(0.3, 2.0), (0.5, 1.5), (0.6, 1.0), (0.58, 1.1), (0.57, 1.2), (0.56, 1.3)])))  # fmt: skip
    rising = fit(held.entries[0], curves(held.entries[0].recipe.runs))
    assert (rising.best_epoch, rising.epochs, rising.loss_rise, rising.lost) == (3, 6, pytest.approx(0.3), pytest.approx(0.04))
    assert rising.over and "Best in epoch 3 of 6" in rising.advice and "30% above its lowest" in rising.advice
