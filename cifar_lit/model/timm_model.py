"""Any network of the timm library, by name."""

import difflib
from collections.abc import Mapping
from typing import Any

from torch import nn

from cifar_lit.model.parts import check_flag, check_share, check_size

# timm options that an argument of `create` already sets: a fact has one owner.
OWNED = {
    "num_classes": "num_classes",
    "img_size": "image_size",
    "drop_rate": "dropout",
    "drop_path_rate": "drop_path",
    "pretrained": "pretrained",
}
# timm options that read files or addresses. A checkpoint's description reaches `create`, so it must not be able to name them.
SOURCES = ("pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir")


def create(
    *,
    name: str,
    num_classes: int,
    image_size: int | None = None,
    dropout: float | None = None,
    drop_path: float | None = None,
    pretrained: bool = False,
    options: Mapping[str, Any] | None = None,
) -> nn.Module:
    """A timm network: images (N, 3, H, W) -> logits (N, num_classes).

    name: as timm lists it, with or without a weights tag ("resnet18", "resnet18.a1_in1k"). image_size: side of the images,
    for networks whose weights depend on it (transformers). dropout (before the classifier), drop_path: null keeps timm's default.
    pretrained: downloads timm's weights. options: anything else the network takes.

    Raises ValueError for what timm does not know or take, ModuleNotFoundError without timm.
    """
    check_size("num_classes", num_classes)
    if image_size is not None:
        check_size("image_size", image_size)
    if dropout is not None:
        check_share("dropout", dropout)
    if drop_path is not None:
        check_share("drop_path", drop_path)
    check_flag("pretrained", pretrained)
    if options is not None and not isinstance(options, Mapping):
        raise ValueError(f"model.options={options!r} must be a mapping of timm's argument names to values")
    options = dict(options or {})
    for option in options:
        if option in OWNED:
            raise ValueError(f"model.options.{option} is set by model.{OWNED[option]}: use that")
        if option in SOURCES:
            raise ValueError(f"model.options.{option} is not allowed: weights come from model.pretrained or from a checkpoint")

    try:
        import timm  # slow to import, and only this network needs it
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("model=timm needs the timm library: pip install timm") from error

    # Not left to timm, which downloads names such as "hf-hub:..." and reads "local-dir:...".
    names = [*timm.list_models(), *timm.list_pretrained()]
    if name not in names:
        nearest = difflib.get_close_matches(str(name), names, n=4, cutoff=0.5)
        hint = f"the nearest are {', '.join(nearest)}" if nearest else "timm.list_models() lists all"
        raise ValueError(f"model.name={name!r} is no timm model: {hint}")
    try:
        # timm drops what is None.
        net: nn.Module = timm.create_model(
            name,
            pretrained=pretrained,
            num_classes=num_classes,
            img_size=image_size,
            drop_rate=dropout,
            drop_path_rate=drop_path,
            **options,
        )
    except OSError as error:
        raise ValueError(
            f"model.pretrained=true: weights of {name} cannot be had from the Hub ({' '.join(str(error).split())[:200]})"
        ) from error
    except (TypeError, ValueError, KeyError, AssertionError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"timm's {name} does not take these arguments: {reason or type(error).__name__}") from error
    return net
