"""What the tests of CIFAR-100's files share."""

import errno
import urllib.request

import pytest
from data.cifar100_files import PER_CLASS

from cifar_lit.data import cifar100


@pytest.fixture
def few_images(tmp_path, monkeypatch):
    """Two training images and one test image a class; the user's cache in a temporary folder; no network."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setattr(cifar100.facts, "PER_CLASS", PER_CLASS)

    def no_network(*arguments, **options):
        raise OSError(errno.ENETUNREACH, "Network is unreachable")

    monkeypatch.setattr(urllib.request, "urlopen", no_network)


@pytest.fixture
def root(tmp_path):
    (tmp_path / "data").mkdir()
    return tmp_path / "data"
