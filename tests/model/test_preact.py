import pytest
import torch
from torch import nn
from torch.nn import functional as F

from cifar_lit.model.parts import DropPath
from cifar_lit.model.preact import PreActBlock, PreActResNet, resnet44v2, resnet50v2_narrow, wrn28_10

TINY = {"layers": [2, 1], "widths": [4, 8], "num_classes": 5}


@pytest.mark.parametrize(
    ("network", "parameters", "depth"),
    [(resnet44v2, 2_647_684, 44), (resnet50v2_narrow, 5_940_356, 50), (wrn28_10, 36_536_884, 28)],
)
def test_parameters_and_depth_with_100_classes(network, parameters, depth):
    with torch.device("meta"):
        net = network(num_classes=100)
    assert sum(parameter.numel() for parameter in net.parameters()) == parameters
    layers = [
        module for name, module in net.named_modules() if isinstance(module, (nn.Conv2d, nn.Linear)) and "downsample" not in name
    ]
    # Wide ResNet's name counts its three shortcuts and not the classifier: 1 + 24 + 3; the others count as He et al. do.
    assert len(layers) == (26 if network is wrn28_10 else depth)


def reference(state, images):
    """The network of TINY in eval mode, written out with functions."""

    def activate(features, name):
        mean, var, weight, bias = (state[f"{name}.{key}"] for key in ("running_mean", "running_var", "weight", "bias"))
        return F.relu(F.batch_norm(features, mean, var, weight, bias))

    features = F.conv2d(images, state["conv1.weight"], padding=1)
    for name, stride in (("layer1.0", 1), ("layer1.1", 1), ("layer2.0", 2)):
        activated = activate(features, f"{name}.bn1")
        if f"{name}.downsample.weight" in state:
            features = F.conv2d(activated, state[f"{name}.downsample.weight"], stride=stride)
        branch = F.conv2d(activated, state[f"{name}.conv1.weight"], stride=stride, padding=1)
        features = features + F.conv2d(activate(branch, f"{name}.bn2"), state[f"{name}.conv2.weight"], padding=1)
    return F.linear(activate(features, "bn").mean((2, 3)), state["fc.weight"], state["fc.bias"])


@pytest.mark.parametrize("stem_width", [None, 6])
def test_equals_the_written_out_network(stem_width):
    net = PreActResNet(**TINY, stem_width=stem_width)
    images = torch.randn(4, 3, 16, 16)
    net(images)  # moves the running statistics away from 0 and 1
    with torch.no_grad():
        expected = reference(net.state_dict(), images)
        torch.testing.assert_close(net.eval()(images), expected)


@pytest.mark.parametrize(("stem", "size", "side"), [("cifar", 32, 16), ("cifar", 64, 32), ("imagenet", 64, 8)])
def test_shapes(stem, size, side):
    net = PreActResNet(**TINY, stem=stem).eval()
    sides = []
    net.layer2.register_forward_hook(lambda module, inputs, output: sides.append(tuple(output.shape)))
    assert net(torch.randn(2, 3, size, size)).shape == (2, 5)
    assert sides == [(2, 8, side, side)]


def test_pool_max():
    net = PreActResNet(**TINY, pool="max").eval()
    outputs = []
    net.relu.register_forward_hook(lambda module, inputs, output: outputs.append(output))
    features = net.features(torch.randn(2, 3, 16, 16))
    torch.testing.assert_close(features, F.adaptive_max_pool2d(outputs[0], 1).flatten(1))


def test_block_dropout_sits_before_the_second_convolution():
    block = PreActBlock(8, 8, 1, block_dropout=0.5, drop_path=0.0).eval()
    nn.init.constant_(block.bn2.bias, 0.2)  # dropout in front of bn2 would not scale this part
    features, seen = torch.randn(4, 8, 8, 8), []
    block.conv2.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].clone()))
    block(features)
    block.dropout.train()
    block(features)
    plain, dropped = seen
    assert (plain >= 0).all()
    assert ((dropped == 0) | (dropped == 2 * plain)).all()
    assert 0.4 < (dropped[plain > 0] == 0).float().mean() < 0.6


def test_options_reach_their_layers_and_are_absent_at_zero():
    net = PreActResNet(**TINY)
    assert not [module for module in net.modules() if isinstance(module, (nn.Dropout, DropPath))]
    net = PreActResNet(**TINY, dropout=0.1, block_dropout=0.3, drop_path=0.6)
    assert net.dropout.p == 0.1
    blocks = [module for module in net.modules() if isinstance(module, PreActBlock)]
    assert [block.dropout.p for block in blocks] == [0.3] * 3
    assert [block.drop_path.rate for block in blocks] == pytest.approx([0.2, 0.4, 0.6])


def shortcut(block, features):
    return features if block.downsample is None else block.downsample(F.relu(block.bn1(features)))


@pytest.mark.parametrize("stride", [1, 2])
def test_a_dropped_block_is_its_shortcut(stride):
    block = PreActBlock(4, 4, stride, block_dropout=0.0, drop_path=1 - 1e-7)
    features = torch.randn(2, 4, 6, 6)
    assert torch.equal(block(features), shortcut(block, features))


@pytest.mark.parametrize("training", [False, True])
def test_zero_init_residual(training):
    net = PreActResNet(**TINY, zero_init_residual=True).train(training)
    blocks = [module for module in net.modules() if isinstance(module, PreActBlock)]
    assert len(blocks) == 3
    for block in blocks:
        features = torch.randn(2, block.conv1.in_channels, 6, 6)
        assert torch.equal(block(features), shortcut(block, features))
    # Only the last convolution: zeros in front of a ReLU would never get a gradient.
    zeros = {name for name, parameter in net.named_parameters() if name.endswith("weight") and not parameter.any()}
    assert zeros == {"layer1.0.conv2.weight", "layer1.1.conv2.weight", "layer2.0.conv2.weight"}
    block = PreActResNet(**TINY).layer1[0]
    features = torch.randn(2, 4, 6, 6)
    assert not torch.allclose(block(features), features)


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("dropout", 1.0),
        ("block_dropout", -0.1),
        ("drop_path", 2),
        ("stem", "tiny"),
        ("stem_width", 0),
        ("pool", "avgmax"),
        ("layers", []),
        ("widths", [4]),
        ("num_classes", -1),
        ("zero_init_residual", 1),
    ],
)
def test_bad_values_are_refused_before_weights_exist(argument, value):
    before = torch.get_rng_state()
    with pytest.raises(ValueError, match=f"model.{argument}") as refused:
        PreActResNet(**{**TINY, argument: value})
    assert "\n" not in str(refused.value)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.slow
def test_compiles_without_graph_breaks():
    net = PreActResNet(**TINY, dropout=0.2, block_dropout=0.2, drop_path=0.2)
    torch.compile(net, backend="aot_eager", fullgraph=True)(torch.randn(2, 3, 16, 16)).sum().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())
