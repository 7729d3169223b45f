"""Result files: what was measured, on what, with what, and when."""

import datetime
import json
import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

PACKAGES = ("torch", "torchvision", "lightning", "albumentations", "opencv-python-headless", "numpy")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def save(path: Path, measured: dict[str, Any]) -> None:
    """Write a result file: the measurements, with hardware, versions and date."""
    about = {
        "date": datetime.date.today().isoformat(),
        "hardware": {
            "processor": _processor(),
            "cores": os.cpu_count(),
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        },
        "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**measured, **about}, indent=2) + "\n")
