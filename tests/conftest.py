"""What the tests share: one cache, one thread, and the command line run inside the test's own process."""

import logging
import os
import runpy
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import quicker  # noqa: F401  before anything composes
from running import LEFT_OUT, REPOSITORY, Ran

from cifar_lit import cli  # noqa: F401  registers the resolvers that conf/train.yaml uses


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


@pytest.fixture(autouse=True, scope="session")
def _one_thread_one_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    import torch  # here, since the process that only hands tests out imports this file too

    torch.set_num_threads(1)  # the tests use the cores themselves
    shared = tmp_path_factory.getbasetemp()
    shared = shared.parent if os.environ.get("PYTEST_XDIST_WORKER") else shared
    patch = pytest.MonkeyPatch()
    patch.setenv("XDG_CACHE_HOME", str(shared / "cache"))
    patch.setenv("OMP_NUM_THREADS", "1")
    patch.setenv("WANDB_MODE", "offline")
    yield
    patch.undo()


@pytest.fixture
def compiling_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """trainer.compile=true without what takes long: everything is done as with compiled code, by code that is not."""
    import torch  # as above

    from cifar_lit.data import fixed_shape
    from cifar_lit.optim import muon

    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    monkeypatch.setattr(muon, "compiled_advance", lambda: muon.advance)
    monkeypatch.setattr(fixed_shape, "_compiled", lambda: fixed_shape.FixedShapeLoader.make)


@pytest.fixture
def train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """`python train.py <arguments>` in this process, in a folder of its own, but for LEFT_OUT; runs go to `folder`."""
    for where, what in LEFT_OUT.items():
        monkeypatch.setattr(where, what)

    def run(*arguments: str, folder: str = "run") -> Ran:
        from hydra.core.global_hydra import GlobalHydra
        from hydra.core.hydra_config import HydraConfig

        monkeypatch.chdir(tmp_path)
        sweep = {"-m", "--multirun"} & set(arguments) or any(item.startswith("repeat=") for item in arguments)
        where = [f"hydra.{'sweep' if sweep else 'run'}.dir={folder}"] if folder else []
        monkeypatch.setattr(sys, "argv", [str(REPOSITORY / "train.py"), *arguments, *where])
        monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
        monkeypatch.delenv("CIFAR_LIT_TRACEBACK", raising=False)
        root = logging.getLogger()
        handlers, level = root.handlers[:], root.level
        interrupt = signal.getsignal(signal.SIGINT)
        code = 0
        try:
            runpy.run_path(str(REPOSITORY / "train.py"), run_name="__main__")
        except SystemExit as stop:
            code = int(stop.code or 0)
        finally:
            GlobalHydra.instance().clear()
            HydraConfig.instance().cfg = None
            for handler in root.handlers:
                if handler not in handlers:
                    handler.close()
            root.handlers[:], root.level = handlers, level
            signal.signal(signal.SIGINT, interrupt)
        out, err = capfd.readouterr()
        return Ran(code, out, err, tmp_path / folder)

    return run
