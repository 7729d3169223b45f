"""What is pushed: a workspace for each kind of runs, and a report of both."""

import json
from hashlib import blake2b
from typing import Any

import wandb_workspaces.reports.v2 as wr
import wandb_workspaces.workspaces as ws

from cifar_lit.dashboard import panels
from cifar_lit.dashboard.panels import KINDS, Kind

TITLE = "cifar_lit: recipes compared"


def workspaces(project: str, entity: str = "", group: str | None = None) -> list[ws.Workspace]:
    """A saved view of the project for each kind of runs, which must not be ranked together. group: one sweep only."""
    return [_workspace(kind, project, entity, group) for kind in KINDS]


def _workspace(kind: Kind, project: str, entity: str, group: str | None) -> ws.Workspace:
    return ws.Workspace(
        entity=entity,
        project=project,
        name=_named(f"cifar_lit: {kind.title[0].lower()}{kind.title[1:]}", group),
        sections=[
            ws.Section(
                name=part.title, panels=part.panels, is_open=True, layout_settings=ws.SectionLayoutSettings(columns=2, rows=2)
            )
            for part in panels.parts(kind)
        ],
        settings=ws.WorkspaceSettings(x_axis="epoch", max_runs=100),
        runset_settings=ws.RunsetSettings(
            filters=ws.And(*_filters(kind, group)),
            order=[ws.Ordering(ws.Summary(kind.score), ascending=False)],
            pinned_columns=panels.columns(),
        ),
    )


def report(project: str, entity: str = "", group: str | None = None) -> wr.Report:
    """The same panels with words, for finished runs. Looks up the project at W&B where an entity is given."""
    blocks: list[Any] = [wr.TableOfContents()]
    for kind in KINDS:
        blocks += [wr.H1(text=kind.title), wr.P(text=kind.about)]
        for part in panels.parts(kind):
            grid = wr.PanelGrid(
                runsets=[_runset(kind, project, entity, group, part.grouped)], panels=panels.laid_out(part.panels)
            )
            blocks += [wr.H2(text=part.title), wr.P(text=part.words), grid]
    return wr.Report(
        project=project,
        entity=entity,
        title=_named(TITLE, group),
        description="Made by python -m cifar_lit.dashboard; pushed again, it is written over.",
        blocks=blocks,
        width="fluid",
    )


def _runset(kind: Kind, project: str, entity: str, group: str | None, grouped: bool) -> wr.Runset:
    return wr.Runset(
        entity=entity,
        project=project,
        name=kind.title,
        filters=ws.And(*_filters(kind, group), ws.Summary("status") == "finished"),
        groupby=[f"config.{panels.RECIPE}"] if grouped else [],
        order=[wr.OrderBy(wr.SummaryMetric(kind.score), ascending=False)],
        pinned_columns=panels.columns()[:1],
        visible_columns=panels.columns()[1:],
    )


def _filters(kind: Kind, group: str | None) -> list[Any]:
    filters = [ws.Config("data.validation") == kind.validation]
    return filters if group is None else [*filters, ws.Metric("Group") == group]


def _named(name: str, group: str | None) -> str:
    return name if group is None else f"{name}, {group}"[:128]


def slug(workspace: ws.Workspace) -> str:
    """The name of a saved view in its address: the same each time, so that a second push writes over the first."""
    return blake2b(workspace.name.encode()).hexdigest()[:11]  # as long as W&B's own


def plain(project: str, entity: str = "", group: str | None = None) -> dict[str, Any]:
    """Everything that a push sends, as plain values. Asks nobody."""
    written = report(project, "", group)._to_model()  # with an entity, its project would be looked up
    return {
        "workspaces": [
            {"name": workspace.name, "entity": entity, "project": project, "spec": _spec(workspace._to_model())}
            for workspace in workspaces(project, entity, group)
        ],
        "report": {
            "name": written.display_name,
            "description": written.description,
            "entity": entity,
            "project": project,
            "spec": _spec(written),
        },
    }


def _spec(model: Any) -> Any:
    """As wandb_workspaces sends it."""
    return json.loads(model.spec.model_dump_json(by_alias=True, exclude_none=True))
