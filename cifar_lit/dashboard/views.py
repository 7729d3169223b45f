"""What is pushed: a workspace for each kind of runs, and a report of both."""

import json
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import wandb_workspaces.reports.v2 as wr
import wandb_workspaces.workspaces as ws

from cifar_lit.dashboard import panels
from cifar_lit.dashboard.panels import KINDS, Kind

TITLE = "cifar_lit: recipes compared"
DATA = "cifar100"
TESTED = 10_000  # test images of DATA


@dataclass(frozen=True)
class Chosen:
    """Which runs of a project. group: one sweep only. data: the images, by the name that runs give to what they loaded.

    fingerprint: of the images, as runs record it, since all folders of images have one name; None for any.
    """

    group: str | None = None
    data: str = DATA
    fingerprint: str | None = None


ALL = Chosen()


def workspaces(project: str, entity: str = "", chosen: Chosen = ALL) -> list[ws.Workspace]:
    """A saved view of the project for each kind of runs, which must not be ranked together."""
    return [_workspace(kind, project, entity, chosen) for kind in KINDS]


def _workspace(kind: Kind, project: str, entity: str, chosen: Chosen) -> ws.Workspace:
    return ws.Workspace(
        entity=entity,
        project=project,
        name=_named(f"cifar_lit: {kind.title[0].lower()}{kind.title[1:]}", chosen),
        sections=[
            ws.Section(
                name=part.title, panels=part.panels, is_open=True, layout_settings=ws.SectionLayoutSettings(columns=2, rows=2)
            )
            for part in panels.parts(kind)
        ],
        settings=ws.WorkspaceSettings(x_axis="epoch", max_runs=100),
        runset_settings=ws.RunsetSettings(
            filters=ws.And(*_filters(kind, chosen)),
            order=[ws.Ordering(ws.Summary(kind.score), ascending=False)],
            pinned_columns=panels.columns(),
        ),
    )


def report(project: str, entity: str = "", chosen: Chosen = ALL) -> wr.Report:
    """The same panels with words. Looks up the project at W&B where an entity is given."""
    whole = ", all of them" if chosen.data == DATA else ""
    ranked = (
        f"Here are finished runs on {chosen.data} images, tested{whole} without averaging over mirror images. The HTML page ranks"
        " runs apart that held out or tested other images; here the columns val/images, test/images and data_fingerprint say it."
    )
    blocks: list[Any] = [wr.TableOfContents()]
    for kind in KINDS:
        blocks += [wr.H1(text=kind.title), wr.P(text=f"{kind.about} {ranked}")]
        for part in panels.parts(kind):
            runset = _runset(kind, project, entity, chosen, part.grouped)
            grid = wr.PanelGrid(runsets=[runset], panels=panels.laid_out(part.panels))
            blocks += [wr.H2(text=part.title), wr.P(text=part.words), grid]
    return wr.Report(
        project=project,
        entity=entity,
        title=_named(TITLE, chosen),
        description="Made by python -m cifar_lit.dashboard; pushed again, it is written over.",
        blocks=blocks,
        width="fluid",
    )


def _runset(kind: Kind, project: str, entity: str, chosen: Chosen, grouped: bool) -> wr.Runset:
    return wr.Runset(
        entity=entity,
        project=project,
        name=kind.title,
        filters=ws.And(*_filters(kind, chosen)),
        groupby=[f"config.{panels.RECIPE}"] if grouped else [],
        order=[wr.OrderBy(wr.SummaryMetric(kind.score), ascending=False)],
        pinned_columns=panels.columns()[:1],
        visible_columns=panels.columns()[1:],
    )


def _filters(kind: Kind, chosen: Chosen) -> list[Any]:
    # Of the summary: what a run fell back to, or was resumed with, its configuration does not say.
    alike: dict[str, Any] = {"status": "finished", "data": chosen.data, "test_time_flip": False}
    if chosen.fingerprint is not None:
        alike["data_fingerprint"] = chosen.fingerprint
    if chosen.data == DATA:  # a run on part of them is not to be ranked with the others
        alike["test/images"] = TESTED
    if kind.evaluated:
        alike["evaluated"] = kind.evaluated
    filters = [ws.Config("data.validation") == kind.validation, *(ws.Summary(name) == value for name, value in alike.items())]
    return filters if chosen.group is None else [*filters, ws.Metric("Group") == chosen.group]


def _named(name: str, chosen: Chosen) -> str:
    images = "" if chosen.data == DATA else chosen.data
    return ", ".join(part for part in (name, images, chosen.fingerprint, chosen.group) if part)[:128]


def slug(workspace: ws.Workspace) -> str:
    """The name of a saved view in its address: the same each time, so that a second push writes over the first."""
    return blake2b(workspace.name.encode()).hexdigest()[:11]  # as long as W&B's own


def plain(project: str, entity: str = "", chosen: Chosen = ALL) -> dict[str, Any]:
    """Everything that a push sends, as plain values. Asks nobody."""
    written = report(project, "", chosen)._to_model()  # with an entity, its project would be looked up
    return {
        "workspaces": [
            {"name": workspace.name, "entity": entity, "project": project, "spec": _spec(workspace._to_model())}
            for workspace in workspaces(project, entity, chosen)
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
