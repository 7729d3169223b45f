"""What the server of tests/running.py has imported before it forks: all that a run and the commands import, and no more.

Nothing here may start a thread, read a test's settings, compute with torch or put itself into the outputs, as W&B does:
a child would inherit the result.
"""

import gc
import os
import sys
from importlib import import_module
from importlib.util import find_spec

import quicker  # noqa: F401

_before = dict(os.environ)
MODULES = (
    "train", "cifar_lit.experiment", "cifar_lit.augment.per_image", "cifar_lit.callbacks.prune", "cifar_lit.cli.sweepers",
    "hydra._internal.core_plugins.basic_launcher", "hydra._internal.core_plugins.basic_sweeper",
    "hydra_plugins.hydra_joblib_launcher._core", "joblib.externals.loky", "matplotlib.backends.backend_agg", "rich.table",
    "rich.progress", "optuna", "sqlalchemy.dialects.sqlite", "alembic.command", "cifar_lit.app.serve", "cifar_lit.export",
    "cifar_lit.explain.__main__", "cifar_lit.robustness.__main__", "cifar_lit.convert.__main__",
)  # fmt: skip
for _name in MODULES:
    if find_spec(_name.partition(".")[0]):
        import_module(_name)
# Settings that the imports themselves make, as in any process that imports them.
SETTINGS = {name: value for name, value in os.environ.items() if _before.get(name) != value}
# Read at their import what a process may set otherwise, such as the address of the Hub: imported anew by each that wants them.
for _name in [name for name in sys.modules if name.partition(".")[0] == "huggingface_hub"]:
    del sys.modules[_name]
gc.collect()
gc.freeze()  # a child that looked for garbage here would look through all this, and have a copy of its own of every page
