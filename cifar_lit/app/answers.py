"""What the page says, as HTML: guesses, refusals, heat maps, facts. Every text that comes from elsewhere is escaped."""

import base64
import io
from html import escape
from itertools import groupby

import numpy as np
from PIL import Image

from cifar_lit.app.shelf import accuracy
from cifar_lit.bundle import Facts
from cifar_lit.predict import Guess

WAITING = '<p class="quiet">Choose a picture, and the five most probable classes are shown here.</p>'
UNEXPLAINED = ""
GUESSES = '<div role="status">'  # how an answer begins that is one
_UNSURE = 0.5  # a best guess below that is called unsure


def guesses(facts: Facts, pixels: np.ndarray, best: list[Guess]) -> str:
    """The most probable classes as bars, and what the network saw."""
    rows = "".join(
        f'<li><span class="class"><b>{_words(guess.label)}</b>{_superclass(guess)}</span>'
        f'<span class="percent">{_percent(guess.probability)}</span>'
        f'<span class="bar" aria-hidden="true"><i style="width:{100 * guess.probability:.2f}%"></i></span></li>'
        for guess in best
    )
    height, width = facts.image_size
    unsure = "<b>The network is unsure.</b> " if best[0].probability < _UNSURE else ""
    return (
        f'{GUESSES}<ol class="guesses">{rows}</ol>'
        f'<div class="seen">{_image(Image.fromarray(pixels), "The picture as the network sees it", "pixels")}'
        f"<p>{unsure}This is all that the network sees: {width} by {height} pixels from the middle."
        f" It knows these {len(facts.classes)} classes and no others: a picture of anything else gets one of them all the same."
        f" {_calibration(facts)}</p></div></div>"
    )


def refusal(sentence: str, heading: str = "This picture was not used.") -> str:
    """Why there is no answer."""
    return f'<div class="refusal" role="alert"><b>{escape(heading)}</b><p>{escape(sentence)}</p></div>'


def refused_unsent(most_bytes: int, formats: str) -> str:
    """Where the page's script says which file was not even sent."""
    limits = f'data-most-bytes="{most_bytes}" data-formats="{escape(formats)}"'
    return f'<div class="refusal" role="alert" hidden {limits}><b></b><p></p></div>'


def heat(image: Image.Image, guess: Guess) -> str:
    """A heat map over its picture."""
    label = _words(guess.label)
    return (
        f'<figure class="heat">{_image(image, f"Grad-CAM for {label} over the picture")}'
        f"<figcaption>What speaks for <b>{label}</b>: bright yellow most, dark nothing. The map is coarse,"
        " and shows where the network looks rather than why.</figcaption></figure>"
    )


def about(facts: Facts) -> str:
    """What was measured of a network, and its classes."""
    shown = [
        ("right at the first guess", "test/acc"),
        ("right among the first five", "test/acc5"),
        ("right superclass", "test/acc_superclass"),
    ]
    values = "".join(
        f"<div><dd>{100 * facts.metrics[name]:.1f}%</dd><dt>{words}</dt></div>" for words, name in shown if name in facts.metrics
    )
    measured = f'<dl class="measured">{values}</dl><p class="quiet">{_how_measured(facts)}</p>'
    if not values:
        measured = f"<p>{accuracy(facts).capitalize()}: nobody knows how good it is.</p>"
    classes = f"<details><summary>The {len(facts.classes)} classes</summary>{_classes(facts)}</details>"
    return f'<div class="about">{measured}<p>{_calibration(facts)}</p>{classes}</div>'


def _classes(facts: Facts) -> str:
    named = [(facts.superclass(index) or "", label) for index, label in enumerate(facts.classes)]
    groups = groupby(sorted(named), key=lambda pair: pair[0])
    lines = [(name, ", ".join(_words(label) for _, label in pairs)) for name, pairs in groups]
    return "".join(f"<p>{f'<b>{_words(name)}</b>: ' if name else ''}{labels}</p>" for name, labels in lines)


def _how_measured(facts: Facts) -> str:
    """On what images, and what about it flatters: as the bundle says, which need not say anything."""
    said = "On test images that it was not trained on."
    if facts.origin.get("validation") == "test":
        best = facts.origin.get("evaluated") == "best"
        said += " They were looked at while it was trained"
        said += ", and the best of its epochs was chosen by them: that flatters it." if best else "; its last epoch was taken."
    if facts.origin.get("test_time_flip") is True:
        said += " Averaged over each image and its mirror image; this page shows it one view."
    return said


def _calibration(facts: Facts) -> str:
    if facts.temperature is None:
        return "Its probabilities are not calibrated: they order the classes, but may be far too high or too low."
    return "Its probabilities are calibrated on held-out images like those it was trained on."


def _superclass(guess: Guess) -> str:
    return "" if guess.superclass is None else f" <small>{_words(guess.superclass)}</small>"


def _percent(probability: float) -> str:
    return f"{100 * probability:.1f}%" if probability >= 0.001 else "&lt; 0.1%"


def _words(name: str) -> str:
    return escape(name.replace("_", " "))


def _image(image: Image.Image, alt: str, style: str = "") -> str:
    data = io.BytesIO()
    image.save(data, "PNG")
    return f'<img class="{style}" alt="{alt}" src="data:image/png;base64,{base64.b64encode(data.getvalue()).decode()}">'
