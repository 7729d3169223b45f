"""Other people's names of the weights of residual networks, and ours.

Names go through an ordered table of regular expressions; after it they are torchvision's, which are ours, or those of the
elements of a Sequential, which are numbered by kind: its first convolution is conv1, its second conv2, its first norm bn1.
What no rule knows keeps its name, and is refused where the network has no such weight.
"""

import re
from collections.abc import Iterable

from cifar_lit.pickles.limits import ConvertError

# Wrappers: DataParallel, torch.compile, and attributes that hold the network.
_ANYWHERE = re.compile(r"(^|\.)(module|_orig_mod)\.")
_IN_FRONT = re.compile(r"^(model|net|network|backbone|encoder|resnet|base_model|feature_extractor|features)\.(?=.)")
# Left behind by profilers, averaging and loss modules; no part of the network.
_HARMLESS = re.compile(r"(^|\.)(total_ops|total_params|n_averaged)$|^(criterion|loss|loss_fn)\.")

_STAGE = r"(?:layers?|stages?|blocks?|groups?)"
_SHORTCUT = (
    r"(?:downsample|downsampling|shortcut|short_cut|skip|skip_connection|identity|identity_conv|proj|projection"
    r"|conv_?[sS]hortcut)"
)
_RESIDUAL = r"(?:residual_function|residual|residual_branch|main|main_path|branch|body|block|conv_block|convs|left|layers|conv)"
_HEAD = r"(?:fc|linear|classifier|head|output|output_layer|out|last_linear|fully_connected|fc_out|logits|final)"
_STEM = r"(?:stem|prep|conv1|conv0|conv_1|layer0|input_layer|init_block|initial|initial_conv|pre|entry|first)"
RULES: tuple[tuple[str, str], ...] = (
    # The parts of the network: head, stem, stages.
    (rf"^{_HEAD}(?:\.\d+)?(?:\.(?:fc|linear))?$", "fc"),
    (rf"^{_STEM}\.(\d+|conv\d?|bn\d?|norm\d?)$", r"stem.\1"),
    (r"^(?:stem|stem_conv|conv|conv0|conv_1|conv_in|first_conv|init_conv|initial_conv|prep)$", "conv1"),
    (r"^conv(\d+)_x\.(\d+)\.", r"layer\1.\2."),  # weiaicunzai/pytorch-cifar100: conv2_x to conv5_x
    (rf"^{_STAGE}_?(\d+)\.(?:layers?|blocks?)\.(\d+)\.", r"layer\1.\2."),  # xternalz/WideResNet-pytorch: block1.layer.0
    (rf"^{_STAGE}\.(?:layers?|stages?)?_?(\d+)\.(?:blocks?\.|layers?\.)?(\d+)\.", r"layer\1.\2."),
    (rf"^{_STAGE}_?(\d+)\.(\d+)\.", r"layer\1.\2."),
    # The parts of a block.
    (rf"^(layer\d+\.\d+)\.{_SHORTCUT}$", r"\1.downsample"),
    (rf"^(layer\d+\.\d+)\.{_SHORTCUT}\.(\d+|conv\d?|bn\d?|norm\d?)$", r"\1.downsample.\2"),
    (rf"^(layer\d+\.\d+)\.{_RESIDUAL}\.(\d+|conv_?\d|bn_?\d|norm_?\d)$", r"\1.\2"),
    (r"^(layer\d+\.\d+)\.(?:bn|norm|batch_?norm)_?(\d)$", r"\1.bn\2"),
    (r"^(layer\d+\.\d+)\.conv_?(\d)$", r"\1.conv\2"),
)
_RULES = tuple((re.compile(pattern), replacement) for pattern, replacement in RULES)
_ELEMENT = re.compile(r"^(layer\d+\.\d+|stem)\.\d{1,6}$")

Names = dict[str, str]  # of modules: ours by theirs
Sizes = dict[str, tuple[int, ...]]  # shapes of the tensors called weight, by module


def rename(shapes: dict[str, tuple[int, ...]]) -> tuple[dict[str, str], list[str]]:
    """Names of a file -> ours, and the names that are harmless and left out.

    shapes: of every tensor, by the file's names. Raises ConvertError where two names become one.
    """
    left_out = [name for name in shapes if _HARMLESS.search(_unwrapped(name))]
    named = {name: _unwrapped(name).rpartition(".") for name in shapes if name not in left_out}
    sizes = {named[name][0]: shapes[name] for name in named if named[name][2] == "weight"}
    modules = {module: _by_rules(module) for module, _, _ in named.values()}
    for step in (_number, _shortcuts, _top_norm):
        modules = step(modules, sizes)
    modules = _numbered_stages(modules)
    ours = {name: f"{modules[module]}{dot}{leaf}" for name, (module, dot, leaf) in named.items()}
    twice = {name: theirs for theirs, name in ours.items()}
    for theirs, name in ours.items():
        if twice[name] != theirs:
            raise ConvertError(f"{theirs} and {twice[name]} would both be {name}: no layout of a residual network that is known")
    return ours, left_out


def _unwrapped(name: str) -> str:
    before = ""
    while before != name:
        before, name = name, _IN_FRONT.sub("", _ANYWHERE.sub(r"\1", name))
    return name


def _by_rules(module: str) -> str:
    for pattern, replacement in _RULES:
        module = pattern.sub(replacement, module)
    return module


def _number(modules: Names, sizes: Sizes) -> Names:
    """Elements of a Sequential by their kind: layer1.0.3 -> layer1.0.conv2, stem.1 -> bn1."""
    counts: dict[tuple[str, str], int] = {}
    found = dict(modules)
    # By number: files in alphabetical order have 10 before 2.
    elements = [(int(ours.rpartition(".")[2]), theirs) for theirs, ours in modules.items() if _ELEMENT.match(ours)]
    for _, theirs in sorted(elements):
        place, kind = modules[theirs].rpartition(".")[0], "conv" if len(sizes.get(theirs, ())) == 4 else "bn"
        counts[place, kind] = counts.get((place, kind), 0) + 1
        found[theirs] = f"{place}.{kind}{counts[place, kind]}"
    stem = re.compile(r"^stem\.(?:(conv)|bn|norm)1?$")
    return {theirs: stem.sub(lambda match: "conv1" if match[1] else "bn1", ours) for theirs, ours in found.items()}


def _numbered_stages(modules: Names) -> Names:
    """Stages numbered from 1, wherever the file begins."""
    first = min((int(match[1]) for ours in modules.values() if (match := re.match(r"layer(\d+)\.\d+\.", ours))), default=1)
    return {
        theirs: re.sub(r"^layer(\d+)\.", lambda match: f"layer{int(match[1]) - first + 1}.", ours)
        for theirs, ours in modules.items()
    }


def _shortcuts(modules: Names, sizes: Sizes) -> Names:
    """Shortcuts with a norm are downsample.0 and .1; bare convolutions, those of pre-activation blocks, are downsample."""
    parts: dict[str, list[str]] = {}
    for theirs, ours in modules.items():
        if match := re.match(r"^(layer\d+\.\d+\.downsample)(?:\.|$)", ours):
            parts.setdefault(match[1], []).append(theirs)
    found = dict(modules)
    for place, members in parts.items():
        # The convolution first, in whatever order the file has them.
        members.sort(key=lambda theirs: -len(sizes.get(theirs, ())))
        for index, theirs in enumerate(members):
            found[theirs] = place if len(members) == 1 else f"{place}.{index}"
    return found


def _top_norm(modules: Names, sizes: Sizes) -> Names:
    """The one norm outside of the blocks: bn1 where it follows the stem, bn where it ends a pre-activation network."""
    tops = [theirs for theirs, ours in modules.items() if len(sizes.get(theirs, ())) == 1 and not ours.startswith("layer")]
    if len(tops) != 1:
        return modules
    widths = {ours: sizes[theirs] for theirs, ours in modules.items() if theirs in sizes}
    return {**modules, tops[0]: "bn" if is_preact(widths) else "bn1"}


def is_preact(sizes: Sizes) -> bool:
    """Whether blocks begin with their norm: it is as wide as what the first convolution takes, not as what it gives.

    sizes: shapes of weights by our names of modules. Where no block changes the width, the shortcut says it.
    """
    for name, shape in sizes.items():
        norm = sizes.get(name.removesuffix("conv1") + "bn1")
        if re.fullmatch(r"layer\d+\.\d+\.conv1", name) and len(shape) == 4 and shape[0] != shape[1] and norm:
            return norm[0] == shape[1]
    return any(re.fullmatch(r"layer\d+\.\d+\.downsample", name) for name in sizes)


def stages(names: Iterable[str]) -> list[int]:
    """Blocks of each stage, from our names. Raises ConvertError where a number is left out."""
    blocks: dict[int, set[int]] = {}
    for name in names:
        match = re.match(r"layer(\d{1,3})\.(\d{1,4})\.", name)
        if match:
            blocks.setdefault(int(match[1]), set()).add(int(match[2]))
    found = [len(blocks[stage]) for stage in sorted(blocks)]
    if sorted(blocks) != list(range(1, len(blocks) + 1)) or any(max(blocks[stage]) != len(blocks[stage]) - 1 for stage in blocks):
        raise ConvertError(
            "its stages or blocks are not numbered one after another: no layout of a residual network that is known"
        )
    return found
