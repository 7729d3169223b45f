import pytest
import torch
import torchvision
from torch import nn

from cifar_lit.model.parts import DropPath, drop_path_layer, drop_path_rates
from cifar_lit.model.resnet import BasicBlock, Bottleneck, ResNet, resnet8, resnet18, resnet20, resnet34, resnet34_deep, resnet50

TINY = {"block": "basic", "layers": [2, 1], "widths": [4, 8], "num_classes": 5}


def images(count=2, size=32, seed=0):
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


def count(net):
    return sum(parameter.numel() for parameter in net.parameters())


@pytest.mark.parametrize(
    ("network", "parameters"),
    [
        (resnet8, 83_892),
        (resnet20, 278_324),
        (resnet18, 11_220_132),
        (resnet34, 21_328_292),
        (resnet34_deep, 30_032_292),
        (resnet50, 23_705_252),
    ],
)
def test_parameters_with_100_classes(network, parameters):
    with torch.device("meta"):
        assert count(network(num_classes=100)) == parameters


def assert_equals(net, reference, batch):
    """Same keys, same logits in eval mode, same logits, gradients and running statistics in train mode."""
    net.load_state_dict(reference.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(net.eval()(batch), reference.eval()(batch), rtol=0, atol=1e-6)
    net.train(), reference.train()
    logits, expected = net(batch), reference(batch)
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-6)
    logits.square().mean().backward()
    expected.square().mean().backward()
    gradients = {name: parameter.grad for name, parameter in reference.named_parameters()}
    for name, parameter in net.named_parameters():
        torch.testing.assert_close(parameter.grad, gradients[name], rtol=1e-5, atol=1e-6, msg=name)
    torch.testing.assert_close(net.state_dict(), reference.state_dict(), rtol=0, atol=1e-6)


def test_resnet34_equals_torchvision_with_its_stem_replaced():
    reference = torchvision.models.resnet34(num_classes=100)
    reference.conv1 = nn.Conv2d(3, 64, kernel_size=3, stride=1, padding=1, bias=False)
    reference.maxpool = nn.Identity()
    assert_equals(resnet34(num_classes=100), reference, images())


def test_bottlenecks_and_the_imagenet_stem_equal_torchvision():
    reference = torchvision.models.ResNet(torchvision.models.resnet.Bottleneck, [2, 1, 1, 1], num_classes=7)
    net = ResNet(block="bottleneck", layers=[2, 1, 1, 1], widths=[64, 128, 256, 512], num_classes=7, stem="imagenet")
    assert_equals(net, reference, images(size=64))


@pytest.mark.parametrize(("stem", "size", "side"), [("cifar", 32, 8), ("cifar", 64, 16), ("imagenet", 64, 4)])
def test_shapes(stem, size, side):
    net = resnet8(num_classes=7, stem=stem).eval()
    sides = []
    net.layer3.register_forward_hook(lambda module, inputs, output: sides.append(tuple(output.shape)))
    with torch.no_grad():
        assert net(images(size=size)).shape == (2, 7)
        assert net.features(images(size=size)).shape == (2, 64)
    assert sides == [(2, 64, side, side)] * 2


@pytest.mark.parametrize(("pool", "reference"), [("avg", nn.AdaptiveAvgPool2d(1)), ("max", nn.AdaptiveMaxPool2d(1))])
def test_pool(pool, reference):
    net = resnet8(num_classes=7, pool=pool).eval()
    outputs = []
    net.layer3.register_forward_hook(lambda module, inputs, output: outputs.append(output))
    with torch.no_grad():
        features = net.features(images())
    torch.testing.assert_close(features, reference(outputs[0]).flatten(1))


def test_layers_that_do_nothing_are_absent():
    net = resnet8(num_classes=7)
    assert not [module for module in net.modules() if isinstance(module, (nn.Dropout, DropPath, nn.MaxPool2d))]
    net = resnet8(num_classes=7, dropout=0.3, drop_path=0.2)
    assert [module.p for module in net.modules() if isinstance(module, nn.Dropout)] == [0.3]


def test_dropout_sits_before_the_classifier():
    net = resnet8(num_classes=7, dropout=0.5).eval()
    seen = []
    net.fc.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        features = net.features(images())
        net(images())
        net.dropout.train()
        net(images())
    assert torch.equal(seen[0], features)
    assert ((seen[1] == 0) | (seen[1] == 2 * features)).all()
    dropped = seen[1][features > 0] == 0
    assert 0.25 < dropped.float().mean() < 0.75


def test_drop_path_equals_torchvision_and_keeps_the_expectation():
    branch = torch.randn(4000, 2, 3, 3) + 1
    ours, reference = DropPath(0.3), torchvision.ops.StochasticDepth(0.3, "row")
    torch.manual_seed(1)
    dropped = ours(branch)
    torch.manual_seed(1)
    assert torch.equal(dropped, reference(branch))
    scale = (dropped / branch).flatten(1)
    assert torch.allclose(scale, scale[:, :1])  # per sample, not per value
    assert 0.27 < (scale[:, 0] == 0).float().mean() < 0.33
    assert abs(scale.mean() - 1) < 0.05
    assert ours.eval()(branch) is branch


def test_drop_path_grows_linearly_over_depth():
    net = ResNet(block="basic", layers=[2, 3], widths=[4, 8], num_classes=5, drop_path=0.5)
    rates = [module.rate for module in net.modules() if isinstance(module, DropPath)]
    assert rates == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    assert drop_path_rates(0.2, 4) == pytest.approx([0.05, 0.1, 0.15, 0.2])
    assert isinstance(drop_path_layer(0.0), nn.Identity)


@pytest.mark.parametrize("block", [BasicBlock, Bottleneck])
@pytest.mark.parametrize("stride", [1, 2])
def test_a_dropped_block_is_its_shortcut(block, stride):
    made = block(8, 8 // block.expansion, stride, 1 - 1e-7)
    features = torch.rand(2, 8, 6, 6)
    made.downsample.eval()
    with torch.no_grad():
        assert torch.equal(made(features), made.downsample(features).relu())


@pytest.mark.parametrize("block", ["basic", "bottleneck"])
@pytest.mark.parametrize("training", [False, True])
def test_zero_init_residual(block, training):
    net = ResNet(block=block, layers=[2, 2], widths=[4, 8], num_classes=5, zero_init_residual=True).train(training)
    blocks = [module for module in net.modules() if isinstance(module, (BasicBlock, Bottleneck))]
    assert len(blocks) == 4
    with torch.no_grad():
        for module in blocks:
            features = torch.rand(2, module.conv1.in_channels, 6, 6)
            assert torch.equal(module(features), module.downsample(features).relu())
    # Only the last normalisation: in front of a ReLU, zeros would never get a gradient.
    zeros = {name for name, parameter in net.named_parameters() if name.endswith("weight") and not parameter.any()}
    assert zeros == {f"layer{stage}.{index}.bn{2 if block == 'basic' else 3}.weight" for stage in (1, 2) for index in (0, 1)}


def test_without_zero_init_branches_count():
    net = ResNet(**TINY)
    features = torch.rand(2, 4, 6, 6)
    assert not torch.allclose(net.layer1[0](features), features)


def test_initialisation_is_kaiming_fan_out():
    # Stage 2's first convolution: fan out 512 channels * 9, fan in 64 * 9.
    net = ResNet(block="basic", layers=[1, 1], widths=[64, 512], num_classes=5)
    assert net.layer2[0].conv1.weight.std().item() == pytest.approx((2 / (512 * 9)) ** 0.5, rel=0.02)
    assert torch.equal(net.bn1.weight, torch.ones(64))


@pytest.mark.parametrize(
    ("argument", "value", "said"),
    [
        ("dropout", -0.1, "0 up to, not with, 1"),
        ("dropout", 1, "0 up to, not with, 1"),
        ("dropout", float("nan"), "0 up to, not with, 1"),
        ("dropout", "0.1", "0 up to, not with, 1"),
        ("drop_path", 1.5, "0 up to, not with, 1"),
        ("drop_path", True, "0 up to, not with, 1"),
        ("stem", "Cifar", "cifar, imagenet"),
        ("pool", None, "avg, max"),
        ("block", "preact", "basic, bottleneck"),
        ("layers", [], "list of whole numbers from 1"),
        ("layers", 3, "list of whole numbers from 1"),
        ("layers", [2, 0], "list of whole numbers from 1"),
        ("layers", [2, 2, 2], "equally long"),
        ("widths", [], "list of whole numbers from 1"),
        ("widths", [16, -3], "list of whole numbers from 1"),
        ("widths", [16, 32.0], "list of whole numbers from 1"),
        ("num_classes", 0, "whole number from 1"),
        ("num_classes", True, "whole number from 1"),
        ("zero_init_residual", "no", "true, false"),
    ],
)
def test_bad_values_are_refused_before_weights_exist(argument, value, said):
    before = torch.get_rng_state()
    with pytest.raises(ValueError, match=said) as refused:
        ResNet(**{**TINY, argument: value})
    assert f"model.{argument}" in str(refused.value) and str(value) in str(refused.value)
    assert "\n" not in str(refused.value)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.slow
def test_compiles_without_graph_breaks(training):
    net = resnet8(num_classes=7, dropout=0.2, drop_path=0.2, pool="max").train(training)
    compiled = torch.compile(net, backend="aot_eager", fullgraph=True)
    torch.manual_seed(3)
    expected = net(images())
    torch.manual_seed(3)
    logits = compiled(images())
    torch.testing.assert_close(logits, expected)
    logits.sum().backward()


def test_channels_last_is_kept_to_the_end():
    net = resnet8(num_classes=7).eval()
    batch = images()
    expected = net(batch)
    net.to(memory_format=torch.channels_last)
    kept = []
    net.layer3.register_forward_hook(lambda module, inputs, output: kept.append(output))
    torch.testing.assert_close(net(batch.to(memory_format=torch.channels_last)), expected)
    assert kept[0].is_contiguous(memory_format=torch.channels_last)
