"""W&B dashboards: their JSON, and the names in them against what a run really writes."""

import json
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from running import TINY

from cifar_lit import runs
from cifar_lit.dashboard import panels, views
from cifar_lit.dashboard.__main__ import main
from cifar_lit.logger import TABLES, Wandb, end, findings_tables, recipe
from cifar_lit.runs.records import CALIBRATION


def specs(**chosen: Any) -> list[dict[str, Any]]:
    found = views.plain("five", "me", views.Chosen(**chosen))
    return [*found["workspaces"], found["report"]]


def dicts(value: Any) -> Iterator[dict[str, Any]]:
    """Every dictionary in a JSON value."""
    if isinstance(value, dict):
        yield value
    for child in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from dicts(child)


def drawn(spec: Any) -> list[dict[str, Any]]:
    return [found for found in dicts(spec) if "viewType" in found]


def addressed(spec: Any) -> set[tuple[str, str]]:
    """Every name that a view asks W&B for, with where it is looked up: history, summary, config or run."""
    names: set[tuple[str, str]] = set()
    for panel in drawn(spec):
        config, kind = panel["config"], panel["viewType"]
        if kind == "Run History Line Plot":
            names |= {("history", name) for name in [config["xAxis"], *config["metrics"]]}
        elif kind == "Bar Chart":
            names |= {("summary", name) for name in config["metrics"]}
        elif kind == "Scatter Plot":
            names |= {tuple(config[axis].split(":", 1)) for axis in ("xAxis", "yAxis")}
        elif kind == "Parallel Coordinates Plot":
            names |= {tuple(column["accessor"].split(":", 1)) for column in config["columns"]}
        elif kind == "Weave":  # a table, of which W&B keeps the last of the history as the summary
            names.add(("history", config["panel2Config"]["exp"]["fromOp"]["inputs"]["key"]["val"]))
        else:
            assert kind == "Parameter Importance", f"a new kind of panel: {kind}"
            names.add(("summary", config["targetKey"]))
        names |= {("config", config["groupBy"])} if "groupBy" in config else set()
    for found in dicts(spec):
        names |= {tuple(column.split(":", 1)) for column in found.get("columnOrder", [])}
        keys = [found["key"]] if "op" in found and "key" in found else []
        keys += found.get("grouping", []) + [item["key"] for item in found.get("sort", {}).get("keys", [])]
        names |= {(key["section"], key["name"]) for key in keys}
    return names


def has(config: dict[str, Any], name: str) -> bool:
    """Whether a run's configuration has a name; W&B puts `value` after its first part, but for filters."""
    first, *rest = name.split(".")
    node: Any = config.get(first)
    for part in rest[1:] if rest[:1] == ["value"] else rest:
        if not isinstance(node, dict) or part not in node:
            return False
        node = node[part]
    return first in config


def records(path: Path) -> Iterator[Any]:
    """The records of a .wandb file, which is in the format of LevelDB's log, after seven bytes of its own."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, part = path.read_bytes(), 7, b""
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:  # what is left of a block holds no record
            at += 32768 - at % 32768
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        part += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield Record.FromString(part)
            part = b""


def written(path: Path) -> dict[str, Any]:
    """What a run told W&B: the names of its history, its summary and its configuration, and its group."""
    told: dict[str, Any] = {"history": set(), "summary": {}, "config": {}, "group": ""}
    for record in records(path):
        kind = record.WhichOneof("record_type")
        if kind == "history":
            told["history"] |= {item.nested_key[0] if item.nested_key else item.key for item in record.history.item}
        elif kind == "summary":
            told["summary"] |= {".".join(item.nested_key) or item.key: item.value_json for item in record.summary.update}
        elif kind == "run":
            told["group"] = record.run.run_group
        updates = record.config.update if kind == "config" else record.run.config.update if kind == "run" else ()
        told["config"] |= {item.key: json.loads(item.value_json) for item in updates}
    return told


@pytest.mark.slow  # trains
def test_every_name_is_one_that_runs_write(train):
    ran = train("-m", *TINY, "trainer.max_epochs=1", "logger=wandb", "optimizer.lr=0.1,0.01", "seed=1,2")
    assert ran.code == 0, ran.err
    told = [written(path) for path in sorted(ran.folder.rglob("*.wandb"))]
    assert len(told) == 4
    run = told[0]
    assert {run["group"]} == {each["group"] for each in told} == {"run"}
    for view in specs(group=run["group"]):
        names = addressed(view["spec"])
        assert {section for section, _ in names} == {"history", "summary", "config", "run"}
        for section, name in sorted(names):
            if section == "run":
                assert name in {"displayName", "state", "group", "createdAt"}
            elif section == "config":
                assert has(run["config"], name), f"{view['name']} asks for the configuration's {name}, which no run has"
            else:
                assert name in run[section], f"{view['name']} asks for {name}, which is not in any run's {section}"
    assert {f"{TABLES}/{name}" for name in panels.TABLES} <= run["history"]
    recipes = {each["config"]["recipe"] for each in told}
    assert len(recipes) == 2, "one for each learning rate, whatever the seed"
    assert all(re.fullmatch(r"resnet8-sgd_onecycle [0-9a-f]{6}", name) for name in recipes)
    ended = [runs.read_summary(path) for path in runs.find(ran.folder)]
    assert recipes == {recipe(summary["config"], summary) for summary in ended if summary is not None}
    found, broken = runs.collect([ran.folder])
    assert len(runs.recipes(found)) == 2
    assert not broken


def test_names_are_looked_for():
    config = {"data": {"validation": "holdout"}, "seed": 0}
    assert has(config, "data.value.validation")
    assert has(config, "data.validation")
    assert has(config, "seed.value")
    assert not has(config, "data.value.lr")
    assert not has(config, "recipe.value")


def test_what_the_library_writes_it_can_read():
    """The JSON is whole: read back by the library, it has no unknown parts, and is written again as it was."""
    import wandb_workspaces.reports.v2 as wr
    import wandb_workspaces.workspaces as ws
    from wandb_workspaces.reports.v2 import internal as reports
    from wandb_workspaces.workspaces import internal

    for view in views.plain("five", "me", views.Chosen("sweep/now"))["workspaces"]:
        model = internal.View(
            entity="me", project="five", display_name=view["name"], name="", id="",
            spec=internal.WorkspaceViewspec.model_validate_json(json.dumps(view["spec"])),
        )  # fmt: skip
        workspace = ws.Workspace._from_model(model)
        assert not [panel for section in workspace.sections for panel in section.panels if "Unknown" in type(panel).__name__]
        assert views._spec(workspace._to_model()) == view["spec"]
    written = views.plain("five")["report"]
    read = reports.ReportViewspec.model_validate(
        {"id": "", "displayName": written["name"], "description": "", "project": {"name": "five", "entityName": ""},
         "spec": json.dumps(written["spec"])}
    )  # fmt: skip
    report = wr.Report._from_model(read)
    assert not [block for block in report.blocks if "Unknown" in type(block).__name__]
    grids = [block for block in report.blocks if isinstance(block, wr.PanelGrid)]
    assert len(grids) == 2 * len(panels.parts(panels.HELD_OUT))
    assert not [panel for grid in grids for panel in grid.panels if "Unknown" in type(panel).__name__]
    assert len(drawn(written["spec"])) == sum(len(part.panels) for kind in panels.KINDS for part in panels.parts(kind))


def filters(spec: Any) -> list[dict[str, Any]]:
    return [
        {found["key"]["name"]: found["value"] for found in dicts(held) if "op" in found}
        for held in dicts(spec)
        if "filterFormat" in held
    ]


def test_kinds_are_never_ranked_together():
    held_out, watched, report = specs()
    alike = {"status": "finished", "data": "cifar100", "test_time_flip": False, "test/images": 10_000}
    kinds = [{"data.validation": "holdout"} | alike, {"data.validation": "test"} | alike | {"evaluated": "last"}]
    assert [filters(held_out), filters(watched)] == [[kind] for kind in kinds]
    found = filters(report)
    assert all(only in kinds for only in found) and all(kind in found for kind in kinds)
    for view, score in ((held_out, "val/acc"), (watched, "test/acc")):
        [runset] = view["spec"]["section"]["runSets"]
        assert runset["sort"]["keys"] == [{"key": {"section": "summary", "name": score}, "ascending": False}]
        importance = [panel["config"]["targetKey"] for panel in drawn(view) if panel["viewType"] == "Parameter Importance"]
        assert importance == [score]


def test_what_people_compare():
    for view in specs()[:2]:
        [runset] = view["spec"]["section"]["runSets"]
        shown = set(runset["runFeed"]["columnOrder"])
        assert shown >= {
            "config:choices.value.model", "config:choices.value.optimizer", "config:optimizer.value.lr", "config:seed.value",
            "summary:val/acc", "summary:test/acc", "summary:gap", "summary:train_seconds",
            "summary:val/images", "summary:test/images", "summary:data_fingerprint",
        }  # fmt: skip
        lines = {panel["config"]["metrics"][0]: panel["config"] for panel in drawn(view) if "Line" in panel["viewType"]}
        assert set(lines) >= {"val/acc", "val/loss", "train/acc", "lr"}
        for config in lines.values():
            assert (config["xAxis"], config["groupBy"], config["groupArea"]) == ("epoch", "recipe.value", "minmax")
        assert {panel["viewType"] for panel in drawn(view)} == {
            "Run History Line Plot", "Bar Chart", "Scatter Plot", "Parallel Coordinates Plot", "Parameter Importance", "Weave",
        }  # fmt: skip


def test_a_recipe_is_what_was_loaded_and_how_it_was_tested():
    settings = {"model": "resnet8", "data": "cifar100_or_synthetic", "test_time_flip": False, "evaluate": "auto"}
    ended = {"data": "cifar100", "data_fingerprint": "a", "test_time_flip": False, "evaluated": "best", "seed": 0}
    same = [recipe(settings, ended | other) for other in ({}, {"seed": 1, "test/acc": 0.5, "status": "pruned"})]
    assert len(set(same)) == 1
    apart = ({"data": "synthetic"}, {"data_fingerprint": "b"}, {"test_time_flip": True}, {"evaluated": "last"})
    assert len({same[0], *(recipe(settings, ended | other) for other in apart)}) == 5
    pruned = [{"callbacks": {"prune": {"run_dir": where}}} for where in ("a", "b")]
    assert len({recipe(runs.settings(config)) for config in pruned}) == 1


def test_a_run_that_ended_tells_its_recipe_again():
    """Begun, it knows its settings only, and a resumed one those that it was begun with."""
    import wandb

    tracker, summary = Wandb.__new__(Wandb), {"status": "interrupted", "config": {"model": "resnet8"}, "data": "synthetic"}
    config, told = wandb.Config(), {}
    config.update({"recipe": recipe(summary["config"])})
    tracker._experiment = SimpleNamespace(config=config, summary=told, finish=lambda exit_code: None)
    end(tracker, summary)
    assert config["recipe"] == recipe(summary["config"], summary) != recipe(summary["config"])
    assert told == {"status": "interrupted", "data": "synthetic"}


def test_one_sweep_only():
    for view in specs(group="sweep/2026-11-20"):
        assert view["name"].endswith(", sweep/2026-11-20")
        assert all(only["group"] == "sweep/2026-11-20" for only in filters(view))
    assert not [only for view in specs() for only in filters(view) if "group" in only]


def test_other_images_have_views_of_their_own():
    named = [view["name"] for view in specs()]
    for view, name in zip(specs(data="synthetic"), named, strict=True):
        assert view["name"] == f"{name}, synthetic", "a push does not write over the views of CIFAR-100"
        assert {only["data"] for only in filters(view)} == {"synthetic"}
        assert all("test/images" not in only for only in filters(view)), "which may be any number"


def test_of_folders_with_one_name_only_one():
    for view in specs(data="folder", fingerprint="97f0236a672dd8d7"):
        assert view["name"].endswith(", folder, 97f0236a672dd8d7")
        assert {(only["data"], only["data_fingerprint"]) for only in filters(view)} == {("folder", "97f0236a672dd8d7")}


def test_panels_of_a_report_do_not_lie_on_each_other():
    for grid in (found for found in dicts(specs()[2]) if found.get("type") == "panel-grid"):
        places = [panel["layout"] for panel in drawn(grid)]
        assert all(place["x"] + place["w"] <= 24 for place in places)
        assert len({(place["x"], place["y"]) for place in places}) == len(places)


@pytest.mark.parametrize(
    "arguments",
    [["--project", ""], ["--project", "me/five"], ["--entity", " "], ["--group", ""], ["--data", ""], ["--fingerprint", "97f0"]],
)
def test_names_that_cannot_be_are_usage_errors(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert arguments[0] in capsys.readouterr().err


def test_tables_are_the_files_of_the_run(tmp_path):
    (tmp_path / "per_class.csv").write_text("class,superclass,images,acc\napple,fruit,100,0.9100\nbee,,100,0.4000\n")
    (tmp_path / "confusion.csv").write_text("true / predicted,apple,bee\napple,91,9\nbee,60,40\n")
    bins = ("0,0.5,0,,,50,0.45,0.4", "0.5,1,200,0.8,0.7,150,0.75,0.8")
    (tmp_path / "calibration.csv").write_text("\n".join([",".join(CALIBRATION), *bins, ""]))
    assert {name: (tuple(columns), rows) for name, columns, rows in findings_tables(tmp_path)} == {
        "per_class": (("class", "superclass", "images", "acc"), [["apple", "fruit", 100, 0.91], ["bee", None, 100, 0.4]]),
        "confused_pairs": (("true", "predicted", "images"), [["bee", "apple", 60], ["apple", "bee", 9]]),
        "calibration": (CALIBRATION, [[0, 0.5, 0, None, None, 50, 0.45, 0.4], [0.5, 1, 200, 0.8, 0.7, 150, 0.75, 0.8]]),
    }
    uncalibrated = [row.rsplit(",", 3)[0] + ",0,," for row in bins]
    (tmp_path / "calibration.csv").write_text("\n".join([",".join(CALIBRATION), *uncalibrated, ""]))
    found = {name: rows for name, _, rows in findings_tables(tmp_path)}
    assert found["calibration"] == [[0, 0.5, 0, None, None, None, None, None], [0.5, 1, 200, 0.8, 0.7, None, None, None]]
    (tmp_path / "per_class.csv").write_text("class,superclass,im")
    assert "per_class" not in [name for name, _, _ in findings_tables(tmp_path)], "torn: no table, and the run goes on"
    assert not list(findings_tables(tmp_path / "nowhere"))
