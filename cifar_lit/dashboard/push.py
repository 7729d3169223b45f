"""Sending the views to W&B, within a time limit, with one line for what goes wrong."""

import contextlib
import os
import threading
from collections.abc import Callable

import wandb
import wandb_workspaces.reports.v2 as wr
import wandb_workspaces.workspaces as ws
from wandb_workspaces.workspaces import internal

from cifar_lit.dashboard import views

TIMEOUT_SECONDS = 60.0  # for everything together
_REQUEST_SECONDS = 15


class PushError(Exception):
    """W&B could not be reached, or did not take what was sent."""


def push(
    project: str,
    entity: str | None = None,
    chosen: views.Chosen = views.ALL,
    seconds: float = TIMEOUT_SECONDS,
) -> list[str]:
    """Save the workspaces and the report, over those of an earlier push. Returns their addresses. Raises PushError.

    entity: a user or a team; the key's own by default. chosen: which runs. seconds: how long to wait for W&B.
    """
    if os.environ.get("WANDB_MODE", "online") in ("offline", "dryrun", "disabled"):
        raise PushError(f"WANDB_MODE={os.environ['WANDB_MODE']}: pushing needs a network; unset it, or use --print")
    return _within(seconds, lambda: _push(project, entity, chosen))


def _push(project: str, entity: str | None, chosen: views.Chosen) -> list[str]:
    wandb.setup(wandb.Settings(silent=True))
    if not wandb.login(prompt=False, verify=False):
        raise PushError("no W&B API key: run `wandb login` or set WANDB_API_KEY; --print writes the JSON without one")
    api = wandb.Api(timeout=_REQUEST_SECONDS)
    entity = entity or api.default_entity
    if not entity:
        raise PushError("this W&B key has no default entity: give --entity")
    report = views.report(project, entity, chosen)
    try:
        report._to_model()  # looks up the project, before anything is written
    except ValueError:
        train = f"train with logger=wandb logger.wandb.project={project}"
        raise PushError(f"{entity}/{project}: W&B has no such project, or not for this key; {train}") from None
    addresses = [_save_workspace(workspace) for workspace in views.workspaces(project, entity, chosen)]
    return [*addresses, _save_report(api, report)]


def _save_workspace(workspace: ws.Workspace) -> str:
    name = views.slug(workspace)
    workspace._internal_name = f"nw-{name}-v"
    with contextlib.suppress(ValueError):  # not there yet
        workspace._internal_id = internal.get_view_dict(workspace.entity, workspace.project, name)["id"]
    return str(workspace.save().url)


def _save_report(api: wandb.Api, report: wr.Report) -> str:
    found = (known.id for known in api.reports(f"{report.entity}/{report.project}") if known.display_name == report.title)
    report.id = next(found, "")
    return str(report.save().url)


def _within(seconds: float, work: Callable[[], list[str]]) -> list[str]:
    """The result of some work, or PushError: W&B's client tries again for long where a server does not answer."""
    done: list[list[str]] = []
    failed: list[Exception] = []

    def run() -> None:
        try:
            done.append(work())
        except Exception as error:  # of whatever kind the client's transport, or the answer's parser, raises
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if done:
        return done[0]
    if not failed:
        raise PushError(f"W&B did not answer within {seconds:g} seconds; --print writes the JSON without it")
    if isinstance(failed[0], PushError):
        raise failed[0]
    raise PushError(f"W&B: {' '.join(str(failed[0]).split())[:300]}") from failed[0]
