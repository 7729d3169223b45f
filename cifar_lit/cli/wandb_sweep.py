"""`make sweep-wandb`: the search space of a sweep, as typed for train.py, written as a W&B sweep configuration.

W&B's agents then choose the values, on as many machines as run one: `wandb sweep wandb_sweep.yaml`, and what it says.
"""

import argparse
import os
import shlex
import sys
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser

from cifar_lit import cli
from cifar_lit.atomic import writing
from cifar_lit.cli import budget, errors, search
from cifar_lit.cli.search import Choice, Dimension, Steps

CONF = Path(cli.__file__).parents[2] / "conf"
USAGE = "python -m cifar_lit.cli.wandb_sweep model=resnet8,resnet20 'optimizer.lr=tag(log,interval(1e-4,1e-1))'"


def config(typed: list[str]) -> dict[str, Any]:
    """The sweep configuration, of W&B's schema, for what is typed. Raises UsageError, or Hydra's errors."""
    _, *typed = budget.expanded(["-m", *typed], CONF)
    with initialize_config_dir(str(CONF), version_base="1.3"):  # refuses what is misspelt
        fixed, free = _space(typed)
        if not any(item.startswith("logger=") for item in fixed):
            fixed.append("logger=wandb")
        jobs = [compose("train", job) for job in search.probes(fixed, free)]
    for job in jobs:
        search.check(job)
        if "wandb" not in job.logger:
            raise errors.UsageError("a W&B sweep reads its results from W&B: use logger=wandb")
        if "prune" in job.callbacks:
            raise errors.UsageError(
                "callbacks=prune is for hydra/sweeper=optuna, and W&B's agents would be refused: leave it out"
            )
    composed = jobs[0]
    continuous = any(isinstance(what, search.Interval) for what in free.values())
    if continuous:  # else every seed is run with every value
        search.refuse_seeds(free)
    return {
        "program": "train.py",
        "project": composed.logger.wandb.project,
        "method": "bayes" if continuous else "grid",
        "metric": {"name": composed.objective, "goal": "maximize"},
        "parameters": {key: _parameter(what) for key, what in free.items()},
        "command": ["${env}", "${interpreter}", "${program}", *fixed, "${args_no_hyphens}"],
    }


def _space(typed: list[str]) -> tuple[list[str], dict[str, Dimension]]:
    """What is fixed, and what is searched: what is typed, and what a study would try of what is not typed."""
    parse = OverridesParser.create().parse_overrides
    fixed, free = search.space(parse(typed))
    params = compose("train", fixed, return_hydra_config=True).hydra.sweeper.get("params") or {}
    known = {item.partition("=")[0].lstrip("+~") for item in typed}
    fixed, free = search.space(parse([*(f"{name}={value}" for name, value in params.items() if name not in known), *typed]))
    if not free:
        raise errors.UsageError(f"nothing to search: {USAGE}")
    if params:  # a study is one job here, and not a sweep of its own
        fixed.append("hydra.mode=RUN")
    return fixed, free


def _parameter(dimension: Dimension) -> dict[str, Any]:
    if isinstance(dimension, Choice):
        return {"values": [_number(value) for value in dimension.values]}
    if isinstance(dimension, Steps):
        count = round((dimension.high - dimension.low) / dimension.step)
        return {"values": [dimension.low + n * dimension.step for n in range(count + 1)]}
    bounds = {"min": dimension.low, "max": dimension.high}
    if isinstance(dimension.low, int):
        return (
            {"distribution": "q_log_uniform_values", "q": 1, **bounds}
            if dimension.log
            else {"distribution": "int_uniform", **bounds}
        )
    return {"distribution": "log_uniform_values" if dimension.log else "uniform", **bounds}


def _number(value: str) -> Any:
    """A number as one, for W&B's charts; all else as it is typed, since W&B would write null as None."""
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return value


def main() -> None:
    """Write the configuration; exits with 2 where what was typed is wrong."""
    parser = argparse.ArgumentParser(prog="wandb_sweep", description=__doc__, epilog=f"example: {USAGE}")
    parser.add_argument("--out", type=Path, default=Path("wandb_sweep.yaml"), help="the file to write (%(default)s)")
    parser.add_argument("typed", nargs="*", help="as after `train.py -m`; where nothing is given, the environment variable ARGS")
    given = parser.parse_args()
    typed = given.typed or shlex.split(os.environ.get("ARGS", ""))
    try:
        found = config(typed)
        with writing(given.out) as part:
            part.write_text(yaml.safe_dump(found, sort_keys=False))
    except Exception as error:  # Hydra's have no base class in common with ours
        print(f"wandb_sweep: {errors.one_line(error, CONF, typed)}", file=sys.stderr)
        sys.exit(2)
    print(f"Wrote {given.out}: {found['method']} over {', '.join(found['parameters'])}. Next: wandb sweep {given.out}")


if __name__ == "__main__":
    main()
