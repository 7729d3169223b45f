"""Whether a result was measured with a recipe as it is now."""

from functools import cache
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from cifar_lit import cli  # noqa: F401  registers the resolvers that conf/train.yaml uses
from cifar_lit.runs.binding import binding

CONF = Path(__file__).resolve().parent.parent / "conf"
# What a run knows of itself only while Hydra runs it.
_OUTSIDE_HYDRA = ("name=none", "run_dir=.", "overrides=[]", "logger=none")


@cache
def settings(*overrides: str) -> dict[str, Any]:
    """All that decides what `python train.py <overrides>` learns, as it is composed today, by name. Deletions come first."""
    ordered = sorted(overrides, key=lambda item: not item.startswith("~"))
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        composed = OmegaConf.to_container(compose("train", overrides=[*ordered, *_OUTSIDE_HYDRA]), resolve=True)
    GlobalHydra.instance().clear()
    assert isinstance(composed, dict)
    found = binding({str(key): value for key, value in composed.items()})
    return {name: value for name, value in found.items() if name != "seed"}


def differences(measured: dict[str, Any], *overrides: str) -> dict[str, Any]:
    """The settings that were `measured`, by name, where `overrides` would give others today."""
    # A group of which nothing was chosen is null when composed, and `none` in a summary.
    now = {
        name: "none" if value is None and measured.get(name) == "none" else value for name, value in settings(*overrides).items()
    }
    return {name: measured[name] for name in sorted(now.keys() & measured.keys()) if now[name] != measured[name]}
