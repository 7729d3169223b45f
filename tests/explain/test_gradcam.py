"""Grad-CAM: equal to a dozen lines of hooks, at the right layer, and without a trace left behind."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

from cifar_lit.explain import gradcam, layers
from cifar_lit.model.preact import PreActResNet, resnet44v2
from cifar_lit.model.registry import create
from cifar_lit.model.resnet import ResNet, resnet8, resnet18
from cifar_lit.model.speednet import SpeedNet, speednet_small
from cifar_lit.predict import Predictor

SMALL = {"num_classes": 100}
bottleneck = partial(ResNet, block="bottleneck", layers=[1, 1, 1, 1], widths=[4, 8, 8, 8])
preact_four_stages = partial(PreActResNet, layers=[1, 1, 1, 1], widths=[8, 8, 8, 8])
whitened = partial(ResNet, block="basic", layers=[1, 1, 1], widths=[8, 8, 8], stem="whitening")


def picture(seed: int = 0, size: int = 32) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)


def by_hooks(predictor, pixels: np.ndarray, layer: nn.Module, label: int) -> torch.Tensor:
    """Grad-CAM as its paper has it, of one layer's output."""
    kept = {}

    def keep(_module, _inputs, output):
        kept["features"] = output
        return output.clone()  # what follows may work in place

    handle = layer.register_forward_hook(keep)
    images = torch.from_numpy(predictor.normalise(pixels[None])).requires_grad_()
    logits = predictor.net(images)
    handle.remove()
    (gradient,) = torch.autograd.grad(logits[0, label], kept["features"])
    weights = gradient.mean((2, 3), keepdim=True)
    heat = F.relu((weights * kept["features"]).sum(1, keepdim=True))
    heat = F.interpolate(heat, pixels.shape[:2], mode="bilinear")[0, 0].detach()
    return heat / heat.max()


@pytest.mark.parametrize(
    ("network", "name"),
    [
        (resnet8, "layer3"),
        (resnet18, "layer3"),  # of four stages
        (bottleneck, "layer3"),  # not the 8x8 convolution in the branch of layer4
        (whitened, "layer3"),
        (resnet44v2, "relu"),  # what the head sees
        (preact_four_stages, "layer4.0.bn1"),  # before the branch and its shortcut part
        (speednet_small, "groups.4.conv"),  # 7x7, before the pooling to 2x2
    ],
)
def test_equals_hooks(predictor_of, network, name):
    predictor = predictor_of(network)
    assert gradcam.layer_name(predictor) == name
    for seed, label in ((0, 3), (1, 71)):
        expected = by_hooks(predictor, picture(seed), predictor.net.get_submodule(name), label)
        heat = gradcam.heat_map(predictor, picture(seed), label)
        torch.testing.assert_close(torch.from_numpy(heat), expected, rtol=0, atol=1e-6)


def test_explains_the_predicted_class_or_the_one_that_is_named(predictor_of):
    predictor = predictor_of(resnet8)
    heat = gradcam.heat_map(predictor, picture())
    best = predictor(picture(), top=1)[0]
    assert heat.shape == (32, 32) and heat.dtype == np.float32
    assert heat.min() >= 0 and heat.max() == 1
    assert np.array_equal(heat, gradcam.heat_map(predictor, picture(), best.label))
    assert np.array_equal(heat, gradcam.heat_map(predictor, picture(), best.index))
    assert not np.array_equal(heat, gradcam.heat_map(predictor, picture(), (best.index + 1) % 100))


def test_finds_the_place_that_speaks_for_the_class(predictor_of):
    """A network that answers with the mean of one colour looks where that colour is."""
    predictor = predictor_of(resnet8)
    with torch.no_grad():
        for module in predictor.net.modules():
            if isinstance(module, nn.Conv2d):
                module.weight.zero_()
                middle = module.kernel_size[0] // 2
                module.weight[0, 0, middle, middle] = 1.0
        predictor.net.fc.weight.zero_()
        predictor.net.fc.weight[7, 0] = 1.0
    pixels = np.zeros((32, 32, 3), np.uint8)
    pixels[20:28, 4:12, 0] = 255
    heat = gradcam.heat_map(predictor, pixels, 7)
    row, column = np.unravel_index(heat.argmax(), heat.shape)
    assert 20 <= row < 28 and 4 <= column < 12
    assert heat[:16].max() < 0.05 and heat[:, 16:].max() < 0.05
    assert not gradcam.heat_map(predictor, pixels, 8).any()  # nothing speaks for it: zero, not NaN


def test_leaves_nothing_behind(predictor_of):
    predictor = predictor_of(resnet44v2)
    net = predictor.net.train()  # however the caller left it
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    gradcam.heat_map(predictor, picture())
    assert all(module.training for module in net.modules())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in net.parameters())
    assert not any(module._forward_hooks or module._backward_hooks or module._forward_pre_hooks for module in net.modules())
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())  # batch norm's statistics too


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad])
def test_works_inside_modes_without_gradients_and_with_frozen_weights(predictor_of, mode):
    predictor = predictor_of(speednet_small)
    expected = gradcam.heat_map(predictor, picture())
    predictor.net.requires_grad_(False)
    gradcam._layers.clear()
    with mode():
        heat = gradcam.heat_map(predictor, picture())
    assert np.array_equal(heat, expected)
    assert not any(parameter.requires_grad for parameter in predictor.net.parameters())


def test_the_modules_are_copied_and_the_weights_are_not(predictor_of):
    net = predictor_of(whitened).net
    twin = layers.twin(net)
    ours = {tensor.data_ptr() for tensor in (*net.parameters(), *net.buffers())}
    assert {tensor.data_ptr() for tensor in (*twin.parameters(), *twin.buffers())} == ours
    assert not {id(module) for module in net.modules()} & {id(module) for module in twin.modules()}


def test_threads_do_not_disturb_each_other_nor_predictions(predictor_of):
    predictor = predictor_of(resnet8)
    expected = [gradcam.heat_map(predictor, picture(seed), seed) for seed in range(4)]
    logits = predictor.logits([picture(9)])
    with ThreadPoolExecutor(4) as pool:
        maps = [pool.submit(gradcam.heat_map, predictor, picture(seed % 4), seed % 4) for seed in range(24)]
        guesses = [pool.submit(predictor.logits, [picture(9)]) for _ in range(24)]
    assert all(np.array_equal(job.result(), expected[number % 4]) for number, job in enumerate(maps))
    assert all(np.array_equal(job.result(), logits) for job in guesses)


@pytest.mark.parametrize(("name", "size"), [("resnet18", 64), ("mobilenetv3_small_050", 64)])
def test_timm(predictor_of, name, size):
    predictor = predictor_of(partial(create, name=name), image_size=size)
    heat = gradcam.heat_map(predictor, picture(size=size))
    layer = predictor.net.get_submodule(gradcam.layer_name(predictor))
    expected = by_hooks(predictor, picture(size=size), layer, predictor(picture(size=size), top=1)[0].index)
    torch.testing.assert_close(torch.from_numpy(heat), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "swin_tiny_patch4_window7_224"])
def test_transformers_are_refused(predictor_of, name):
    predictor = predictor_of(partial(create, name=name, image_size=64), image_size=64)
    with pytest.raises(ValueError, match=r"^Grad-CAM: a network has no layer of maps behind its first, .*$"):
        gradcam.heat_map(predictor, picture(size=64))


def test_bad_input(predictor_of):
    predictor = predictor_of(resnet8)
    with pytest.raises(ValueError, match=r"^label plain_dsic: no class of this network, .* nearest are plain_disc"):
        gradcam.heat_map(predictor, picture(), "plain_dsic")
    with pytest.raises(ValueError, match="label 100: no class"):
        gradcam.heat_map(predictor, picture(), 100)
    with torch.no_grad():
        predictor.net.fc.weight.fill_(float("nan"))
    with pytest.raises(ValueError, match="not finite"):
        gradcam.heat_map(predictor, picture(), 1)
    predictor.net = None
    with pytest.raises(ValueError, match="runtime=torch"):
        gradcam.heat_map(predictor, picture())


def test_overlay():
    heat = np.zeros((32, 32), np.float32)
    heat[24:, 24:] = 1
    for image in (picture(), Image.fromarray(picture())):
        shown = gradcam.overlay(image, heat)
        assert shown.size == (288, 288) and shown.mode == "RGB"
        pixels = np.asarray(shown).astype(int)
        cold, hot = pixels[20:150, 20:150], pixels[240:270, 240:270]
        assert np.ptp(cold, axis=2).max() <= 2  # grey, darkened
        assert (hot[..., 0] > hot[..., 2] + 20).all()  # inferno ends in pale yellow
    assert gradcam.overlay(picture(size=500)[:400], np.zeros((400, 500), np.float32)).size == (500, 400)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cuda_gives_the_same_map(bundle_of):
    folder = bundle_of(partial(SpeedNet, widths=[8, 8, 8], layers=[1, 1, 1]))
    there, here = (gradcam.heat_map(Predictor(folder, device=device), picture(), 5) for device in ("cuda", "cpu"))
    np.testing.assert_allclose(there, here, atol=1e-3)
