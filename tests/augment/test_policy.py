"""The policy: determinism, one row a sample, what is refused, and every file of conf/augment."""

import itertools
import pickle
from pathlib import Path

import hydra
import numpy as np
import pytest
import torch

from cifar_lit.augment import per_image as per_image_module
from cifar_lit.augment.choice import OneOf
from cifar_lit.augment.colour import Jitter, Noise
from cifar_lit.augment.erase import Erase
from cifar_lit.augment.geometry import Affine, Crop, Flip
from cifar_lit.augment.op import Op
from cifar_lit.augment.policy import Policy
from cifar_lit.augment.trivial import Trivial

CONF = Path(__file__).resolve().parents[2] / "conf"
NAMES = sorted(path.stem for path in (CONF / "augment").glob("*.yaml"))
SIZE = (32, 32)
STORED = np.random.default_rng(0).integers(0, 256, (96, *SIZE, 3), dtype=np.uint8)
IMAGES = torch.from_numpy(STORED).permute(0, 3, 1, 2).contiguous()


def compose(name, *overrides):
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = hydra.compose(overrides=[f"+augment={name}", *overrides])
    return hydra.utils.instantiate(cfg.augment, _convert_="all")


def generator(seed):
    return torch.Generator().manual_seed(seed)


def every_op(p=None):
    share = {} if p is None else {"p": p}
    hole = Erase(size=[8, 16], inside=True)
    return {
        "crop": Crop(padding=4, mode="reflect", **share),
        "flip": Flip(**share),
        "affine": Affine(translate=0.1, scale=[0.8, 1.2], degrees=15, **(share or {"p": 0.5})),
        "jitter": Jitter(brightness=0.3, contrast=0.3, saturation=0.3, hue=0.1, **(share or {"p": 0.5})),
        "corrupt": OneOf(ops={"erase": hole, "flip": Flip(p=1.0)}, **(share or {"p": 0.5})),
    }


def test_conf_has_the_promised_policies():
    assert {"none", "crop_flip", "cutout", "jitter", "enhanced", "trivial"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_conf_runs_on_both_engines(name):
    lines = (CONF / "augment" / f"{name}.yaml").read_text().splitlines()
    assert lines[0].startswith("# ") and not any("@package" in line for line in lines)
    policy = compose(name)
    augment = policy.per_image(SIZE)
    for image in STORED[:8]:
        done = augment(image, 3)
        assert done.dtype == np.uint8 and done.shape == (*SIZE, 3) and done.flags.c_contiguous
    assert policy.batched == (name != "trivial")
    if not policy.batched:
        with pytest.raises(ValueError, match="trivial has no batched form"):
            policy.draw(4, SIZE, generator(0))
        return
    before = IMAGES.clone()
    done = policy.apply(
        IMAGES, policy.draw(len(IMAGES), SIZE, generator(0), mirrored=torch.arange(len(IMAGES)) % 2 == 0), generator(1)
    )
    assert done.shape == IMAGES.shape and done.min() >= 0 and done.max() <= 255
    assert done.dtype == (
        torch.uint8
        if name in ("none", "crop_flip", "crop_flip_mild", "crop_flip_alternating", "crop_flip_alternating_wide", "cutout")
        else torch.float32
    )
    assert torch.equal(IMAGES, before)


def test_an_op_is_removed_by_null_or_by_deletion():
    assert list(compose("crop_flip").ops) == ["crop", "flip"]
    assert list(compose("crop_flip", "augment.flip=null").ops) == ["crop"]
    assert list(compose("crop_flip", "~augment.flip").ops) == ["crop"]
    assert list(compose("enhanced", "augment.corrupt.ops.noise=null").ops["corrupt"].members) == ["erase"]


def test_repr_names_every_op():
    assert repr(compose("none")) == "none"
    assert repr(compose("crop_flip")) == "crop: Crop(p=1.0, padding=4, mode='constant'), flip: Flip(p=0.5, alternating=False)"


def test_a_batch_equals_its_rows_one_by_one():
    policy = Policy(**every_op())
    draws = policy.draw(1000, SIZE, generator(0))
    indices = torch.randperm(1000, generator=generator(1))[: len(IMAGES)]
    rows = policy.rows(draws, indices)
    whole = policy.apply(IMAGES, rows, generator(2))
    for i in range(len(IMAGES)):
        one = policy.apply(IMAGES[i : i + 1], policy.rows(draws, indices[i : i + 1]), generator(3))
        assert one.dtype == whole.dtype
        torch.testing.assert_close(one[0], whole[i], atol=1e-3, rtol=0)
    backwards = policy.apply(IMAGES.flip(0), policy.rows(draws, indices.flip(0)), generator(2)).flip(0)
    torch.testing.assert_close(backwards, whole, atol=1e-3, rtol=0)


def test_batches_may_be_float():
    policy = Policy(**every_op())
    draws = policy.draw(len(IMAGES), SIZE, generator(0))
    given = IMAGES.float()
    torch.testing.assert_close(policy.apply(given, draws, generator(0)), policy.apply(IMAGES, draws, generator(0)))
    assert torch.equal(given, IMAGES.float())


def test_the_same_seed_repeats_and_another_differs():
    policy = Policy(**every_op(), noise=Noise(std=[0.01, 0.03]))

    def batch(seed, noise_seed=0):
        return policy.apply(IMAGES, policy.draw(len(IMAGES), SIZE, generator(seed)), generator(noise_seed))

    assert torch.equal(batch(1), batch(1))
    assert not torch.equal(batch(1), batch(2))
    assert not torch.equal(batch(1), batch(1, noise_seed=1))


@pytest.mark.parametrize("name", NAMES)
def test_per_image_depends_on_image_and_seed_alone(name):
    augment = compose(name).per_image(SIZE)
    first = [augment(STORED[i], i).tobytes() for i in range(40)]
    elsewhere = pickle.loads(pickle.dumps(augment))  # as a spawned worker gets it, and in another order
    again = [elsewhere(STORED[i], i).tobytes() for i in reversed(range(40))][::-1]
    assert first == again
    others = [augment(STORED[i], i + 1000).tobytes() for i in range(40)]
    assert (first == others) == (name == "none")


def test_neighbouring_seeds_are_unrelated():
    augment = Policy(crop=Crop(padding=4), flip=Flip(p=0.5)).per_image(SIZE)
    image = np.zeros((*SIZE, 3), np.uint8)
    image[:, 16:] = 255
    flipped = np.array([augment(image, seed)[16, 4, 0] == 255 for seed in range(3000)], float)
    for lag in (1, 2, 256):
        assert abs(np.corrcoef(flipped[:-lag], flipped[lag:])[0, 1]) < 5 / np.sqrt(3000 - lag)


@pytest.mark.parametrize("name", list(every_op()))
def test_batches_given_stay_as_they_are(name):
    policy = Policy(first=every_op(p=0.5)[name], flip=Flip())
    for images in (IMAGES, IMAGES.float()):
        before = images.clone()
        policy.apply(images, policy.draw(len(images), SIZE, generator(0)), generator(0))
        assert torch.equal(images, before)


def test_images_given_stay_as_they_are():
    augment = Policy(**every_op(), noise=Noise(std=[0.01, 0.03]), cutout=Erase(size=[4, 4], inside=False)).per_image(SIZE)
    image = STORED[0].copy()
    for seed in range(50):
        augment(image, seed)
    assert np.array_equal(image, STORED[0])


def test_p_of_0_changes_nothing():
    policy = Policy(**every_op(p=0.0))
    done = policy.apply(IMAGES, policy.draw(len(IMAGES), SIZE, generator(0)), generator(0))
    assert torch.equal(done, IMAGES.float())
    augment = policy.per_image(SIZE)
    assert all(np.array_equal(augment(image, seed), image) for seed, image in enumerate(STORED))


def test_the_engines_agree_on_one_affine():
    op = Affine(translate=0.1, scale=[1.1, 1.1], degrees=12)
    smooth = torch.nn.functional.avg_pool2d(IMAGES[:1].float(), 5, 1, 2, count_include_pad=False).round()
    transform = per_image_module.A.Affine(
        translate_px={"x": (2, 2), "y": (-3, -3)}, scale=(1.1, 1.1), keep_ratio=True, rotate=(12.0, 12.0), p=1.0
    )
    expected = transform(image=smooth[0].permute(1, 2, 0).to(torch.uint8).numpy())["image"]
    params = {name: torch.tensor([value]) for name, value in (("across", 2), ("down", -3), ("scale", 1.1), ("degrees", 12.0))}
    done = op.apply(smooth, params, generator(0))[0].permute(1, 2, 0).numpy()
    assert abs(done - expected).max() < 1.0


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation", "hue"])
def test_jitter_is_torchvisions(name):
    from torchvision.transforms.v2 import functional as TF

    factor = 0.1 if name == "hue" else 1.3
    op = Jitter(**{name: 0.5})
    params = {key: torch.tensor([factor]) for key in op.ranges()} | {"order": torch.tensor([[2, 0, 3, 1]])}
    done = op.apply(IMAGES[:1], params, generator(0))
    expected = getattr(TF, f"adjust_{name}")(IMAGES[:1].float() / 255, factor) * 255
    torch.testing.assert_close(done, expected, atol=0.02, rtol=0)


def test_jitter_keeps_to_the_order_of_each_sample():
    from torchvision.transforms.v2 import functional as TF

    op = Jitter(brightness=0.5, contrast=0.5, saturation=0.5, hue=0.4)
    names = list(op.ranges())
    images = torch.randint(0, 256, (24, 3, *SIZE), generator=generator(3), dtype=torch.uint8)
    params = op.draw(24, SIZE, generator(4)) | {"order": torch.tensor(list(itertools.permutations(range(4))))}
    done = op.apply(images, params, generator(0))
    for index, order in enumerate(params["order"].tolist()):
        expected = images[index].float() / 255
        for which in order:
            expected = getattr(TF, f"adjust_{names[which]}")(expected, float(params[names[which]][index]))
        torch.testing.assert_close(done[index], expected * 255, atol=0.05, rtol=0)


def test_trivial_leaves_torchs_global_generator_alone():
    augment = Policy(trivial=Trivial()).per_image(SIZE)
    before = torch.get_rng_state()
    done = {augment(STORED[0], seed).tobytes() for seed in range(200)}
    assert torch.equal(torch.get_rng_state(), before)
    assert len(done) > 100


BAD = [
    (lambda: Crop(padding=-1), r"Crop\(padding=-1\): allowed is whole numbers, 0 or more"),
    (lambda: Crop(padding=1.5), "whole numbers"),
    (lambda: Crop(padding="4"), "Crop"),
    (lambda: Crop(padding=4, mode="wrap"), "constant, reflect"),
    (lambda: Flip(p=1.5), r"Flip\(p=1.5\): allowed is 0 to 1"),
    (lambda: Flip(p=float("nan")), "0 to 1"),
    (lambda: Flip(p=None), "0 to 1"),
    (lambda: Affine(translate=0.1, scale=[1.1, 0.9], degrees=0), "lo <= hi"),
    (lambda: Affine(translate=0.1, scale=[0, 1], degrees=0), "Affine"),
    (lambda: Affine(translate=0.1, scale=1.0, degrees=0), "lo, hi"),
    (lambda: Affine(translate=-0.1, scale=[1, 1], degrees=0), "0 to 1"),
    (lambda: Affine(translate=0.1, scale=[1, 1], degrees=200), "0 to 180"),
    (lambda: Erase(size=[0, 4], inside=True), "1 or more"),
    (lambda: Erase(size=[8.0, 16.0], inside=True), "whole numbers"),
    (lambda: Noise(std=[0.1, 1.1]), "0 to 1"),
    (lambda: Noise(std=[0.1, 0.2, 0.3]), "lo, hi"),
    (lambda: Jitter(hue=0.6), "0 to 0.5"),
    (lambda: Jitter(contrast=-0.1), "0 or more"),
    (lambda: OneOf(ops={}), "one op or more"),
    (lambda: OneOf(ops={"flip": Flip(p=0.0)}), "not all of p=0"),
    (lambda: OneOf(ops={"flip": Flip(alternating=True)}), "an alternating flip cannot be"),
    (lambda: Policy(flip=Flip(alternating=True)).draw(4, SIZE, generator(0)), "whose turn"),
    (lambda: Policy(flip=0.5), "flip is 0.5"),
    (
        lambda: Policy(erase=Erase(size=[8, 33], inside=True)).draw(1, SIZE, generator(0)),
        r"of 32x32 images: allowed is 1 to 32",
    ),
    (lambda: Policy(erase=Erase(size=[8, 33], inside=True)).per_image(SIZE), r"of 32x32 images: allowed is 1 to 32"),
    (lambda: Policy(crop=Crop(padding=32, mode="reflect")).per_image(SIZE), "allowed is 0 to 31"),
]


@pytest.mark.parametrize(("make", "message"), BAD)
def test_bad_values_are_refused_in_one_line(make, message):
    with pytest.raises(ValueError, match=message) as refusal:
        make()
    assert "\n" not in str(refusal.value)


def test_arguments_that_albumentations_would_only_warn_of_are_errors():
    class Misspelt(Op):
        draw = apply = None

    @per_image_module.transform.register
    def _(op: Misspelt, size):
        return per_image_module.A.CoarseDropout(max_holes=3)

    augment = Policy(op=Misspelt()).per_image(SIZE)
    with pytest.raises(ValueError, match="max_holes"):
        augment(STORED[0], 0)
