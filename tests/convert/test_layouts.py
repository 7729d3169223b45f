"""Other people's names: the network that is converted gives the very logits of the one that was saved."""

from collections import OrderedDict

import pytest
import torch
import torchvision
from convert.foreign_networks import (
    BASIC,
    BOTTLENECK,
    NETWORKS,
    PreActBlock,
    cifar_stem,
    hand_written,
    known_weights,
    narrow,
    preact,
)
from safetensors.torch import save_file

from cifar_lit import checkpoint, convert

pytestmark = pytest.mark.slow

PLACES = {
    "plain": lambda weights: weights,
    "model_state_dict": lambda weights: {"model_state_dict": weights, "epoch": 3, "optimizer_state_dict": {"state": {}}},
    "state_dict": lambda weights: {"epoch": 3, "state_dict": weights, "best_acc": torch.tensor(0.5)},
    "net": lambda weights: {"net": weights, "acc": 73.5, "epoch": 3},
    "nested": lambda weights: {"checkpoint": {"model": weights}},
    "DataParallel": lambda weights: prefixed("module.", weights),
    "compiled": lambda weights: prefixed("_orig_mod.", weights),
    "both": lambda weights: {"model": prefixed("module._orig_mod.", weights)},
    "both_otherwise": lambda weights: {"model": prefixed("_orig_mod.module.", weights)},
    "Lightning": lambda weights: {"state_dict": prefixed("model.net.", weights), "hyper_parameters": {}},
    "backbone": lambda weights: prefixed("encoder.backbone.", weights),
}


def prefixed(prefix, weights):
    return OrderedDict((prefix + name, tensor) for name, tensor in weights.items())


def check_equal(net, path, folder, side=32):
    """Convert, write, load, and compare logits."""
    converted = convert.read(path)
    convert.write(converted, folder)
    loaded, facts = checkpoint.load(folder)
    images = torch.randn(3, 3, side, side, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        wanted = net(images)
        assert torch.equal(loaded(images), wanted)
    assert wanted.std() > 0 and not torch.equal(wanted[0], wanted[1])
    assert facts.metrics == {} and facts.temperature is None and facts.notes == converted.facts.notes
    return converted


@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("name", NETWORKS)
def test_logits_are_equal_for_each_layout(name, new, tmp_path):
    make, family, layers = NETWORKS[name]
    net = known_weights(make())
    torch.save(net.state_dict(), tmp_path / "a.pth", _use_new_zipfile_serialization=new)
    converted = check_equal(net, tmp_path / "a.pth", tmp_path / "bundle", 64 if name == "imagenet_stem" else 32)
    assert converted.facts.network["network"] == family and converted.facts.network["layers"] == layers
    assert converted.parameters == sum(weights.numel() for weights in net.parameters())


@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", ["r1_hand_written", "r3_preact", "r5_stem_and_sequential_head", "weiaicunzai"])
def test_logits_are_equal_wherever_the_weights_are(name, place, new, tmp_path):
    net = known_weights(NETWORKS[name][0]())
    torch.save(PLACES[place](net.state_dict()), tmp_path / "a.pth", _use_new_zipfile_serialization=new)
    check_equal(net, tmp_path / "a.pth", tmp_path / "bundle")


@pytest.mark.slow
@pytest.mark.parametrize(("depth", "parameters"), [(18, 11_220_132), (34, 21_328_292), (50, 23_705_252)])
def test_torchvisions_own_networks(depth, parameters, tmp_path):
    net = known_weights(cifar_stem(getattr(torchvision.models, f"resnet{depth}")(num_classes=100)))
    torch.save(net.state_dict(), tmp_path / "a.pth")
    converted = check_equal(net, tmp_path / "a.pth", tmp_path / "bundle")
    assert converted.parameters == parameters
    assert converted.facts.classes[0] == "apple" and converted.facts.superclasses


@pytest.mark.parametrize("name", ["r5_stem_and_sequential_head", "r3_preact", "weiaicunzai", "twelve_blocks"])
def test_safetensors_whose_names_are_in_alphabetical_order(name, tmp_path):
    net = known_weights(NETWORKS[name][0]())
    save_file({key: tensor.clone() for key, tensor in net.state_dict().items()}, tmp_path / "a.safetensors")
    assert check_equal(net, tmp_path / "a.safetensors", tmp_path / "bundle").format == "safetensors"


@pytest.mark.parametrize("name", ["r5_stem_and_sequential_head", "r3_wide_resnet_names", "weiaicunzai", "bottleneck"])
def test_the_order_of_names_does_not_matter(name, tmp_path):
    net = known_weights(NETWORKS[name][0]())
    torch.save(dict(sorted(net.state_dict().items())), tmp_path / "sorted.pth")
    check_equal(net, tmp_path / "sorted.pth", tmp_path / "sorted")
    torch.save(dict(reversed(net.state_dict().items())), tmp_path / "reversed.pth")
    check_equal(net, tmp_path / "reversed.pth", tmp_path / "reversed")


def test_without_counters_as_before_torch_0_4_1(tmp_path):
    net = known_weights(hand_written())
    weights = {name: tensor for name, tensor in net.state_dict().items() if not name.endswith("num_batches_tracked")}
    torch.save(weights, tmp_path / "a.pth")
    converted = check_equal(net, tmp_path / "a.pth", tmp_path / "bundle")
    assert any("how many batches" in note for note in converted.facts.notes)


def test_half_precision_becomes_float32(tmp_path):
    net = known_weights(hand_written()).half().float()
    torch.save({name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in net.state_dict().items()},
               tmp_path / "a.pth")  # fmt: skip
    converted = check_equal(net, tmp_path / "a.pth", tmp_path / "bundle")
    assert converted.weights["conv1.weight"].dtype == torch.float32
    assert [note for note in converted.facts.notes if "float16" in note] == [
        "weights were stored as float16, and are float32 now"
    ]


def test_a_whole_module_that_was_pickled(tmp_path):
    net = known_weights(narrow(BASIC, [1, 1, 1, 1]))
    torch.save(net, tmp_path / "a.pth")
    converted = check_equal(net, tmp_path / "a.pth", tmp_path / "bundle")
    assert converted.place == "the pickled module"


def test_views_of_one_storage_are_told_apart(tmp_path):
    """Flattened parameters, channels-last memory: strides and offsets are followed."""
    net = known_weights(hand_written())
    weights = net.state_dict()
    flat = torch.cat([tensor.flatten() for tensor in weights.values() if tensor.is_floating_point()])
    views, start = {}, 0
    for name, tensor in weights.items():
        if tensor.is_floating_point():
            views[name] = flat[start : start + tensor.numel()].view(tensor.shape)
            start += tensor.numel()
    torch.save(views, tmp_path / "a.pth")
    check_equal(net, tmp_path / "a.pth", tmp_path / "views")
    last = {
        name: tensor.to(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor for name, tensor in weights.items()
    }
    torch.save(last, tmp_path / "b.pth")
    check_equal(net, tmp_path / "b.pth", tmp_path / "last")


def weights_of(net):
    return dict(net.state_dict())


def without(weights, part):
    return {name: tensor for name, tensor in weights.items() if part not in name}


def refused(weights, path):
    torch.save(weights, path)
    with pytest.raises(convert.ConvertError) as error:
        convert.read(path)
    assert "\n" not in str(error.value) and str(error.value).startswith(str(path))
    return str(error.value)


def test_what_is_more_or_less_than_a_network_is_named(tmp_path):
    path, weights = tmp_path / "a.pth", weights_of(hand_written())
    assert "attention.weight" in refused({**weights, "attention.weight": torch.ones(2, 2)}, path)
    assert "layer1.0.se.fc1.weight" in refused({**weights, "layer1.0.se.fc1.weight": torch.ones(2, 2)}, path)
    assert "conv1.bias" in refused({**weights, "conv1.bias": torch.ones(8)}, path)
    assert "it lacks: layer2.1.bn1.running_var" in refused(
        {k: v for k, v in weights.items() if k != "layer2.1.bn1.running_var"}, path
    )
    assert "linear2.weight" in refused(
        {k: v for k, v in weights.items() if not k.startswith("linear")} | {"linear2.weight": torch.ones(7, 32)}, path
    )
    assert "numbered" in refused({k.replace("layer2.1", "layer2.3"): v for k, v in weights.items()}, path)
    assert "would both be" in refused({**weights, "module.conv1.weight": torch.ones(8, 3, 3, 3)}, path)
    assert "would both be fc" in refused({**weights, "fc.3.weight": torch.ones(7, 7)}, path)
    assert "the first convolution" in refused({**weights, "conv1.weight": torch.ones(8, 3, 5, 5)}, path)
    assert "layer2.1.conv2.weight is [3, 3]" in refused({**weights, "layer2.1.conv2.weight": torch.ones(3, 3)}, path)
    assert "infinity" in refused({**weights, "layer2.1.conv2.weight": weights["layer2.1.conv2.weight"] / 0}, path)
    assert "floating" in refused({**weights, "linear.bias": torch.ones(7, dtype=torch.int64)}, path)


def test_networks_that_look_alike_are_refused(tmp_path):
    path = tmp_path / "a.pth"
    grouped = torchvision.models.ResNet(BOTTLENECK, [1, 1, 1, 1], groups=32, width_per_group=4, num_classes=7)
    assert "fits the other shapes" in refused(grouped.state_dict(), path)
    wide = torchvision.models.ResNet(BOTTLENECK, [1, 1, 1, 1], width_per_group=128, num_classes=7)
    assert "fits the other shapes" in refused(wide.state_dict(), path)
    assert "no known ResNet" in refused(torchvision.models.squeezenet1_1(num_classes=7).state_dict(), path)
    without_final_norm = without(preact(PreActBlock, norm="last_bn").state_dict(), "last_bn")
    assert "it lacks: bn.weight" in refused(without_final_norm, path)
    identity_shortcuts = without(hand_written().state_dict(), "shortcut")
    assert "it lacks: layer2.0.downsample.0.weight" in refused(identity_shortcuts, path)


def test_what_profilers_and_losses_leave_is_left_out_aloud(tmp_path):
    net = known_weights(hand_written())
    more = {"total_ops": torch.zeros(1), "layer1.0.total_params": torch.zeros(1), "criterion.weight": torch.ones(7),
            "n_averaged": torch.tensor(3)}  # fmt: skip
    torch.save({**net.state_dict(), **more}, tmp_path / "a.pth")
    converted = check_equal(net, tmp_path / "a.pth", tmp_path / "bundle")
    (note,) = [note for note in converted.facts.notes if "left out" in note]
    assert all(name in note for name in more)
