"""Studies made of files alone: run directories with accuracies that are known beforehand."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from study.study_jobs import job


@pytest.fixture
def study_of(tmp_path: Path) -> Callable[..., Path]:
    """A study's folder: each level a mean, each seed a little off, the same for every machine. facts: by level."""

    def made(study: str, means: dict[Any, float], *, seeds: int = 3, noise: float = 0.003, **facts: Any) -> Path:
        rng = np.random.default_rng(0)
        for number, (values, mean) in enumerate(means.items()):
            for seed in range(seeds):
                own = facts.get("of", {}).get(values, {})
                cell = values if isinstance(values, tuple) else (values,)
                job(
                    tmp_path / "sweep" / f"{number}-{seed}", study, cell, seed, mean + noise * float(rng.standard_normal()), **own
                )
        return tmp_path / "sweep"

    return made
