import time

import numpy as np
import pytest

from cifar_lit.data import synthetic
from cifar_lit.data.dataset import DataError


@pytest.fixture(autouse=True)
def user_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "cifar_lit"


def test_sizes_names_and_statistics():
    dataset = synthetic.load(3, 2)
    assert dataset.name == "synthetic"
    assert dataset.train.images.shape == (300, 32, 32, 3) and dataset.test.images.shape == (200, 32, 32, 3)
    assert dataset.train.images.dtype == np.uint8 and dataset.train.labels.dtype == np.int64
    assert (np.bincount(dataset.train.labels) == 3).all() and (np.bincount(dataset.test.labels) == 2).all()
    assert len(set(dataset.classes)) == 100 and len(set(dataset.superclasses)) == 20
    assert "striped_ring" in dataset.classes
    assert dataset.classes == tuple(sorted(dataset.classes))
    assert np.bincount(dataset.superclass_of).tolist() == [5] * 20
    for name, superclass in zip(dataset.classes, dataset.superclass_of, strict=True):
        assert name.endswith("_" + dataset.superclasses[superclass])
    assert np.allclose(dataset.mean, (dataset.train.images / 255).mean((0, 1, 2)), atol=1e-4)
    assert np.allclose(dataset.std, (dataset.train.images / 255).std((0, 1, 2)), atol=1e-4)


def test_same_arguments_draw_the_same_images_and_others_do_not(monkeypatch):
    first = synthetic._draw_split(2, 32, np.random.default_rng(0))
    assert (synthetic._draw_split(2, 32, np.random.default_rng(0)).images == first.images).all()
    zero, one = synthetic.load(2, 2, seed=0), synthetic.load(2, 2, seed=1)
    assert (zero.train.images != one.train.images).any()
    assert (zero.train.images != zero.test.images).any()


def test_no_image_is_drawn_twice():
    dataset = synthetic.load(10, 10)
    images = np.concatenate([dataset.train.images, dataset.test.images])
    assert len(np.unique(images.reshape(len(images), -1), axis=0)) == 2000


def test_drawn_once(user_cache, monkeypatch):
    synthetic.load(1, 1)
    assert any(user_cache.glob("synthetic-*/meta.json"))
    monkeypatch.setattr(synthetic, "_draw_split", None)
    synthetic.load(1, 1)


@pytest.mark.parametrize("size", [8, 16, 64])
def test_image_size(size):
    assert synthetic.load(1, 1, image_size=size).train.images.shape == (100, size, size, 3)


@pytest.mark.parametrize("wrong", [{"train_per_class": 0}, {"test_per_class": 0}, {"image_size": 4}, {"seed": -1}])
def test_impossible_sizes(wrong):
    with pytest.raises(DataError, match=f"data.{next(iter(wrong))}="):
        synthetic.load(**wrong)


def test_twelve_thousand_images_in_three_seconds():
    start = time.process_time()
    dataset = synthetic.load()
    assert time.process_time() - start < 3
    assert (len(dataset.train.images), len(dataset.test.images)) == (10000, 2000)


@pytest.mark.parametrize("shape", synthetic.SHAPES)
def test_shapes_fill_their_square_and_stay_themselves_when_flipped(shape):
    grid = np.linspace(-1.4, 1.4, 57)
    x, y = grid[None, None, :], grid[None, :, None]
    inside = synthetic.SHAPES[shape](x, y)[0] < 0
    assert (inside == inside[:, ::-1]).mean() > 0.99
    assert 0.06 < inside.mean() < 0.5
    assert not inside[[0, -1]].any() and not inside[:, [0, -1]].any()


@pytest.fixture
def one_thread():
    """Two busy cores make torch's thread pool ten times slower than one thread."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.slow
def test_a_small_network_learns_them_and_raw_pixels_do_not_suffice(one_thread):
    import torch
    from torch import nn

    dataset = synthetic.load(50, 10)

    def tensors(split):
        return torch.tensor(split.images).permute(0, 3, 1, 2) / 255 - 0.5, torch.tensor(split.labels)

    (images, labels), (test_images, test_labels) = tensors(dataset.train), tensors(dataset.test)
    centroids = torch.stack([images[labels == label].mean(0) for label in range(100)])
    nearest = torch.cdist(test_images.flatten(1), centroids.flatten(1)).argmin(1)
    assert (nearest == test_labels).float().mean() < 0.1

    torch.manual_seed(0)
    convolutions = (nn.Conv2d(3, 32, 4, 2, 1), nn.Conv2d(32, 64, 4, 2, 1), nn.Conv2d(64, 64, 4, 2, 1))
    blocks = [layer for conv in convolutions for layer in (conv, nn.BatchNorm2d(conv.out_channels), nn.ReLU())]
    net = nn.Sequential(*blocks, nn.Flatten(), nn.Linear(1024, 100))
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    for _ in range(3):
        for batch in torch.randperm(len(images)).split(50):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(images[batch]), labels[batch]).backward()
            optimizer.step()
    net.eval()
    with torch.no_grad():
        accuracy = (net(test_images).argmax(1) == test_labels).float().mean()
    assert accuracy > 0.3
