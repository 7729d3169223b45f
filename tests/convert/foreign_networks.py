"""Networks as other people write and name them, with weights that matter."""

import torch
import torchvision
from torch import nn
from torch.nn import functional as F

WIDTHS = (8, 16, 24, 32)


def conv3(channels, width, stride=1):
    return nn.Conv2d(channels, width, 3, stride, 1, bias=False)


def conv1(channels, width, stride=1):
    return nn.Conv2d(channels, width, 1, stride, bias=False)


class HandWrittenBlock(nn.Module):
    """kuangliu/pytorch-cifar's names: conv1, bn1, conv2, bn2, shortcut.0, shortcut.1."""

    def __init__(self, channels, width, stride):
        super().__init__()
        self.conv1, self.bn1 = conv3(channels, width, stride), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = conv3(width, width), nn.BatchNorm2d(width)
        self.shortcut = nn.Sequential()
        if stride != 1 or channels != width:
            self.shortcut = nn.Sequential(conv1(channels, width, stride), nn.BatchNorm2d(width))

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + self.shortcut(x))


class ResidualFunctionBlock(nn.Module):
    """weiaicunzai/pytorch-cifar100's names: residual_function.0, .1, .3, .4, shortcut.0, .1."""

    def __init__(self, channels, width, stride):
        super().__init__()
        self.residual_function = nn.Sequential(
            conv3(channels, width, stride), nn.BatchNorm2d(width), nn.ReLU(), conv3(width, width), nn.BatchNorm2d(width)
        )
        self.shortcut = nn.Sequential()
        if stride != 1 or channels != width:
            self.shortcut = nn.Sequential(conv1(channels, width, stride), nn.BatchNorm2d(width))

    def forward(self, x):
        return F.relu(self.residual_function(x) + self.shortcut(x))


class PreActBlock(nn.Module):
    """He et al. 2016b: the shortcut is a bare convolution, named as the caller wants."""

    shortcut_name = "shortcut"

    def __init__(self, channels, width, stride):
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(channels), conv3(channels, width, stride)
        self.bn2, self.conv2 = nn.BatchNorm2d(width), conv3(width, width)
        if stride != 1 or channels != width:
            self.add_module(self.shortcut_name, self.make_shortcut(conv1(channels, width, stride)))

    def make_shortcut(self, conv):
        return nn.Sequential(conv)

    def forward(self, x):
        activated = F.relu(self.bn1(x))
        shortcut = getattr(self, self.shortcut_name)(activated) if hasattr(self, self.shortcut_name) else x
        return self.conv2(F.relu(self.bn2(self.conv1(activated)))) + shortcut


class BareShortcutBlock(PreActBlock):
    shortcut_name = "convShortcut"

    def make_shortcut(self, conv):
        return conv


class Numbered(nn.Module):
    """A network whose parts are given, in the order in which they are called; `path` of each stage names it."""

    def __init__(self, parts, head):
        super().__init__()
        self.order = list(parts)
        for name, part in parts.items():
            *above, last = name.split(".")
            owner = self
            for step in above:
                if not hasattr(owner, step):
                    owner.add_module(step, nn.Module())
                owner = getattr(owner, step)
            owner.add_module(last, part)
        self.add_module(head[0], head[1])
        self.last = head[0]

    def forward(self, x):
        for name in self.order:
            x = self.get_submodule(name)(x)
        return getattr(self, self.last)(x.mean((2, 3)))


def stages(block, depths, widths, form, first=1, channels=None):
    channels = channels or widths[0]
    made = {}
    for index, (depth, width) in enumerate(zip(depths, widths, strict=True)):
        made[form.format(first + index)] = nn.Sequential(
            *(block(channels if n == 0 else width, width, 2 if n == 0 and index else 1) for n in range(depth))
        )
        channels = width
    return made


def hand_written(depths=(1, 2, 1, 1), head=("linear", None), stem="conv1", norm="bn1", form="layer{}", classes=7, first=1):
    parts = {stem: conv3(3, WIDTHS[0]), norm: nn.BatchNorm2d(WIDTHS[0]), "relu": nn.ReLU()}
    parts |= stages(HandWrittenBlock, depths, WIDTHS, form, first)
    return Numbered(parts, (head[0], head[1] or nn.Linear(WIDTHS[-1], classes)))


def preact(block, form="layer{}", first=1, norm="bn", head="fc"):
    parts = {"conv1": conv3(3, WIDTHS[0])} | stages(block, (2, 2, 1), WIDTHS[:3], form, first)
    parts |= {norm: nn.BatchNorm2d(WIDTHS[2]), "relu": nn.ReLU()}
    return Numbered(parts, (head, nn.Linear(WIDTHS[2], 7)))


def cifar_stem(net):
    net.conv1, net.maxpool = nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.Identity()
    return net


def narrow(block, depths, classes=7):
    net = torchvision.models.ResNet(block, depths, num_classes=classes)
    return cifar_stem(net)


def r5():
    sequential = nn.Sequential(nn.Dropout(0.3), nn.Linear(WIDTHS[-1], 7))
    return hand_written((5, 5, 5, 5), head=("fc", sequential), stem="stem.0", norm="stem.1")


def weiaicunzai():
    parts = {"conv1": nn.Sequential(conv3(3, 8), nn.BatchNorm2d(8), nn.ReLU())}
    parts |= stages(ResidualFunctionBlock, (1, 2, 1, 1), WIDTHS, "conv{}_x", first=2)
    return Numbered(parts, ("fc", nn.Linear(WIDTHS[-1], 7)))


def prep_block():
    parts = {"prep": nn.Sequential(conv3(3, 8), nn.BatchNorm2d(8), nn.ReLU())}
    parts |= stages(HandWrittenBlock, (2, 1, 1), WIDTHS[:3], "layers.{}", first=0)
    return Numbered(parts, ("classifier", nn.Sequential(nn.Flatten(), nn.Dropout(0.1), nn.Linear(WIDTHS[2], 7))))


def twelve_blocks():
    """More than ten elements: 10 comes before 2 in alphabetical order."""
    return hand_written((12, 1, 1, 1), head=("head", None))


BASIC, BOTTLENECK = torchvision.models.resnet.BasicBlock, torchvision.models.resnet.Bottleneck
NETWORKS = {
    "r1_hand_written": (lambda: hand_written((3, 4, 6, 3)), "ResNet", [3, 4, 6, 3]),
    "r2_hand_written_resnet18": (lambda: hand_written((2, 2, 2, 2), head=("fc", None)), "ResNet", [2, 2, 2, 2]),
    "r3_preact": (lambda: preact(PreActBlock, head="linear"), "PreActResNet", [2, 2, 1]),
    "r3_wide_resnet_names": (lambda: preact(BareShortcutBlock, "block{}.layer", norm="bn1"), "PreActResNet", [2, 2, 1]),
    "r3_final_norm": (lambda: preact(PreActBlock, "stages.{}", first=0, norm="final_bn"), "PreActResNet", [2, 2, 1]),
    "r4_torchvision": (lambda: narrow(BASIC, [1, 1, 1, 1]), "ResNet", [1, 1, 1, 1]),
    "r5_stem_and_sequential_head": (r5, "ResNet", [5, 5, 5, 5]),
    "weiaicunzai": (weiaicunzai, "ResNet", [1, 2, 1, 1]),
    "prep_layers_classifier": (prep_block, "ResNet", [2, 1, 1]),
    "conv_bn_stage0": (lambda: hand_written(stem="conv", norm="bn", form="stage{}", first=0), "ResNet", [1, 2, 1, 1]),
    "twelve_blocks": (twelve_blocks, "ResNet", [12, 1, 1, 1]),
    "bottleneck": (lambda: narrow(BOTTLENECK, [1, 1, 1, 1]), "ResNet", [1, 1, 1, 1]),
    "imagenet_stem": (lambda: torchvision.models.ResNet(BASIC, [1, 1, 1, 1], num_classes=7), "ResNet", [1, 1, 1, 1]),
}


def known_weights(net, seed=0):
    """The network with weights and statistics that matter: none is 0, 1 or equal to another."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in net.state_dict().items():
        if name.endswith("num_batches_tracked"):
            tensor.fill_(5)
        elif name.endswith("running_var"):
            tensor.uniform_(0.5, 2.0, generator=generator)
        elif tensor.dim() > 1:
            tensor.normal_(std=(2.0 / tensor[0].numel()) ** 0.5, generator=generator)
        else:
            tensor.uniform_(-0.5, 1.0, generator=generator)
    return net.eval()
