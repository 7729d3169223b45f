"""Grad-CAM (Selvaraju et al. 2017, arXiv:1610.02391): where in a picture a network sees what speaks for a class."""

import difflib
import threading
from weakref import WeakKeyDictionary

import numpy as np
import torch
from captum.attr import LayerAttribution, LayerGradCam
from matplotlib import colormaps
from PIL import Image
from torch import Tensor, nn

from cifar_lit.explain.layers import last_spatial, twin
from cifar_lit.pictures import Picture
from cifar_lit.predict import Predictor

# Rows and columns of the map at least: the 8x8 layer of networks for 32x32 images, which is 7x7 behind a whitening stem,
# and the last 7x7 one of networks for 224x224. Later layers say hardly anything about places. A quarter for small images.
LEAST_SIDE = 7
VIEW = 288  # pixels of the shorter side of an overlay, at least
STRENGTH = 0.55  # of the colours over the picture
COLOURS = "inferno"  # perceptually uniform, and told apart by the colour-blind

_lock = threading.Lock()
_layers: WeakKeyDictionary[nn.Module, str] = WeakKeyDictionary()


def heat_map(predictor: Predictor, picture: Picture, label: str | int | None = None) -> np.ndarray:
    """How much each place of a picture speaks for a class: (H, W) float32 in 0..1, for `predictor.prepare(picture)`.

    label: a class's name or index; the most probable class by default. Scaled so that the highest is 1; all zero where
    nothing speaks for the class. The predictor's network is left as it is, and may be in use by other threads.
    Raises PictureError, and ValueError for unknown classes and for networks without maps.
    """
    index = None if label is None else class_index(predictor, label)
    return heat_of_pixels(predictor, predictor.prepare(picture), index)


def heat_of_pixels(predictor: Predictor, pixels: np.ndarray, index: int | None = None) -> np.ndarray:
    """The same for a prepared picture (H, W, 3) uint8 and a class's index."""
    name = layer_name(predictor)
    with torch.inference_mode(False):  # a caller's inference mode would leave nothing to differentiate
        net = twin(predictor.net)
        images = _images(predictor, pixels)
        if index is None:
            with torch.no_grad():
                index = int(net(images).argmax(1))
        explained = LayerGradCam(net, net.get_submodule(name)).attribute(images, target=index, relu_attributions=True)
        heat = LayerAttribution.interpolate(explained, pixels.shape[:2], "bilinear")[0, 0].detach()
    heat /= torch.where(heat.max() > 0, heat.max(), 1.0)
    if not torch.isfinite(heat).all():
        raise ValueError("Grad-CAM: the network's outputs for this picture are not finite")
    return heat.float().cpu().numpy()


def overlay(image: np.ndarray | Image.Image, heat: np.ndarray) -> Image.Image:
    """A heat map (H, W) in 0..1 over its picture, as `predictor.prepare` gives it: enlarged to a size to look at.

    The picture, an (H, W, 3) uint8 array or a PIL image, is in grey, so that every colour is the map's.
    """
    shown = enlarge(image)
    wide = Image.fromarray(heat.astype(np.float32)).resize(shown.size, Image.Resampling.BICUBIC)
    colours = colormaps[COLOURS](np.clip(np.asarray(wide), 0, 1))[..., :3] * 255
    grey = np.asarray(shown.convert("L"), np.float64)[..., None]
    return Image.fromarray(np.rint(grey + STRENGTH * (colours - grey)).astype(np.uint8))


def enlarge(image: np.ndarray | Image.Image, least: int = VIEW) -> Image.Image:
    """A picture at a whole multiple of its size, so that small ones can be looked at."""
    shown = image if isinstance(image, Image.Image) else Image.fromarray(image)
    times = -(-least // min(shown.size))
    return shown.convert("RGB").resize((shown.width * times, shown.height * times), Image.Resampling.BICUBIC)


def class_index(predictor: Predictor, label: str | int) -> int:
    """The index of a class that is named or numbered. Raises ValueError, with the nearest names."""
    classes = predictor.facts.classes
    if label in classes:
        return classes.index(str(label))
    if isinstance(label, int) and 0 <= label < len(classes):
        return label
    near = difflib.get_close_matches(str(label), classes, n=3, cutoff=0.4) or classes[:3]
    raise ValueError(f"label {label}: no class of this network, which knows {len(classes)}; the nearest are {', '.join(near)}")


def layer_name(predictor: Predictor) -> str:
    """The layer that is looked at: the last with maps of a useful size. Raises ValueError where there is none."""
    net = predictor.net
    if net is None:
        raise ValueError("Grad-CAM needs the network itself, which ONNX does not give: use runtime=torch")
    with _lock:
        if net not in _layers:
            height, width = predictor.facts.image_size
            with torch.inference_mode(False):
                images = _images(predictor, np.zeros((height, width, 3), np.uint8))
                layer = last_spatial(twin(net), images, (min(LEAST_SIDE, height / 4), min(LEAST_SIDE, width / 4)))
            if layer is None:
                raise ValueError(
                    f"Grad-CAM: {predictor.facts.title} has no layer of maps behind its first, as convolutional networks have; "
                    "there is nothing to draw"
                )
            _layers[net] = layer.name
        return _layers[net]


def _images(predictor: Predictor, pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(predictor.normalise(pixels[None])).to(predictor.device)
