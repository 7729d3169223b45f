"""W&B dashboards as code: the comparisons of the HTML page for the runs of a W&B project."""

import warnings

with warnings.catch_warnings():  # they declare their fields in the way of pydantic 1, and pydantic 2 says so at import
    warnings.simplefilter("ignore", DeprecationWarning)
    import wandb_workspaces.reports.v2
    import wandb_workspaces.workspaces  # noqa: F401
