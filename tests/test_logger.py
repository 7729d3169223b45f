"""What W&B is asked for where there is a key: one run, and the same one when it is resumed."""

from types import SimpleNamespace

import pytest

from cifar_lit.logger import Wandb


@pytest.fixture
def asked(monkeypatch):
    """What `wandb.init` is given, which is not called: there is a key, and no server."""
    import wandb

    calls = []
    wandb.teardown()  # what it read of the environment before
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_X_DISABLE_VIEWER", "true")  # else it is asked whose key that is, for five seconds
    monkeypatch.setattr(wandb, "init", lambda **given: calls.append(given) or SimpleNamespace(**given))
    yield calls
    wandb.teardown()


def test_a_resumed_run_goes_on_in_the_same_wandb_run(asked, tmp_path):
    for folder in ("one", "one", "other"):
        logger = Wandb(run_dir=str(tmp_path / folder), project="cifar_lit", timeout_seconds=7.0, group="g", tags=["t"])
        assert logger.experiment is logger.experiment
    first, resumed, other = asked
    assert first["id"] and first["id"] == resumed["id"] != other["id"]
    assert (tmp_path / "one" / "wandb" / "id.txt").read_text() == first["id"]
    for given in asked:
        assert given["resume"] == "allow", "goes on where that run exists, begins where it does not"
        assert given.get("mode") in (None, "online")
        assert (given["project"], given["group"], given["tags"]) == ("cifar_lit", "g", ["t"])
        assert given["settings"].init_timeout == 7.0 and given["settings"].finish_timeout == 70.0
    assert first["dir"] == resumed["dir"] == str(tmp_path / "one")


@pytest.mark.parametrize("mode", ["offline", "disabled"])
def test_what_is_to_stay_here_asks_no_server(asked, tmp_path, monkeypatch, mode):
    import wandb

    monkeypatch.setenv("WANDB_MODE", mode)
    wandb.teardown()
    assert Wandb(run_dir=str(tmp_path), project="cifar_lit").experiment
    [given] = asked
    assert given["resume"] is None and given.get("mode") == (None if mode == "disabled" else "offline")


def test_a_server_that_fails_makes_the_run_an_offline_one(asked, tmp_path, monkeypatch, caplog):
    import wandb

    kept = wandb.init

    def failing(**given):
        if given.get("mode") != "offline":
            asked.append(given)
            raise wandb.errors.CommError("no answer\nat all")
        return kept(**given)

    monkeypatch.setattr(wandb, "init", failing)
    assert Wandb(run_dir=str(tmp_path), project="cifar_lit").experiment
    first, second = asked
    assert (first["resume"], second["resume"], second["mode"], second["id"]) == ("allow", None, "offline", first["id"])
    assert "no answer; the run is kept offline" in caplog.text
