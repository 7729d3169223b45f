"""The page: a picture, the five most probable classes, and on demand where the network looks."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from cifar_lit import bundle, pictures
from cifar_lit.app import answers
from cifar_lit.app.shelf import Shelf
from cifar_lit.app.uploads import UploadError, Uploads
from cifar_lit.bundle import CheckpointError
from cifar_lit.cores import cores
from cifar_lit.explain.gradcam import heat_of_pixels, overlay
from cifar_lit.pictures import PictureError
from cifar_lit.terminal import complaint

TITLE = "What is in this picture?"
_SYSTEM = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]  # Gradio's own would be fetched, or missing
LOOKS: dict[str, Any] = {
    "theme": gr.themes.Default(primary_hue="teal", font=_SYSTEM, font_mono=["ui-monospace", "monospace"]),
    "css_paths": Path(__file__).with_name("style.css"),
    "head": f"<script>{Path(__file__).with_name('script.js').read_text()}</script>",
}
WAITING = 64  # questions that may wait: two or three seconds' work on two cores
TOP = 5

_FORMATS = (", ".join(pictures.FORMATS[:-1]) + f" or {pictures.FORMATS[-1]}").replace("WEBP", "WebP")


class Answerer:
    """What the page's events call, with the values that a page has sent: nothing about them can be relied on."""

    def __init__(self, shelf: Shelf, uploads: Uploads, examples: list[Path]) -> None:
        self.shelf, self.uploads, self.examples = shelf, uploads, examples

    def guess(self, picture: Any, choice: Any) -> tuple[str, Any, str]:
        """The five most probable classes of a picture; whether they can be explained; no explanation yet."""
        said = self._answer(picture, choice, answers.WAITING, answers.guesses)
        return said, gr.update(visible=said.startswith(answers.GUESSES)), answers.UNEXPLAINED

    def explain(self, picture: Any, choice: Any) -> str:
        """Where in the picture the network sees its best guess."""

        def drawn(facts: Any, pixels: Any, best: Any) -> str:
            predictor = self.shelf.predictor(_number(choice))
            return answers.heat(overlay(Image.fromarray(pixels), heat_of_pixels(predictor, pixels, best[0].index)), best[0])

        return self._answer(picture, choice, answers.refusal("Choose one first.", "There is no picture yet."), drawn)

    def describe(self, choice: Any) -> tuple[str, str]:
        """What was measured of a network, and its card."""
        try:
            chosen = self.shelf.bundles[_number(choice)]
        except (ValueError, IndexError):
            return answers.refusal("Choose one of the list.", "There is no such network."), ""
        return answers.about(chosen.facts), card(chosen.folder)

    def example(self, number: Any) -> str | None:
        """The file of an example."""
        known = type(number) is int and 0 <= number < len(self.examples)
        return str(self.examples[number]) if known else None

    def _answer(self, picture: Any, choice: Any, nothing: str, said: Callable[..., str]) -> str:
        if picture is None:
            return nothing
        try:
            predictor = self.shelf.predictor(_number(choice))
            path, name = self.uploads.named(picture)
            pixels = predictor.prepare(path, name)
            return said(predictor.facts, pixels, predictor.of_pixels(pixels[None], TOP)[0])
        except (UploadError, PictureError) as error:
            return answers.refusal(str(error))
        except (CheckpointError, IndexError) as error:
            print(f"error: {complaint(error)}", file=sys.stderr)  # with paths, which are nobody's business
            return answers.refusal("Choose another one; the terminal of the server says why.", "This network cannot be used.")
        except ValueError as error:  # of a network without maps
            return answers.refusal(str(error), "There is no such picture of this network.")


def _number(choice: Any) -> int:
    """The number of the bundle that was chosen."""
    if type(choice) is not int or choice < 0:
        raise IndexError(f"network {str(choice)[:50]!r}: not in the list")
    return choice


def card(folder: Path) -> str:
    """A bundle's model card without the table for machines at its beginning."""
    try:
        text = bundle.regular(folder / bundle.CARD).read_text(errors="replace")[: 1 << 16]
    except (CheckpointError, OSError):
        return "It has no model card."
    _, mark, rest = text.removeprefix("---\n").partition("\n---\n")
    return (rest if mark and text.startswith("---\n") else text).strip()


def build(shelf: Shelf, uploads: Uploads, examples: list[Path]) -> gr.Blocks:
    """The page. Gradio's upload folder must be that of `uploads` already."""
    does = Answerer(shelf, uploads, examples)
    about, text = does.describe(0)
    with gr.Blocks(title=TITLE, analytics_enabled=False) as page:
        gr.HTML(
            f"<h1>{TITLE}</h1><p>{_FORMATS}, up to {pictures.MAX_BYTES >> 20} MB. Nothing leaves this server.</p>",
            elem_id="intro",
        )
        with gr.Row(equal_height=False, elem_id="main"):
            with gr.Column(min_width=300):
                # preprocess=False below: Gradio would open any format, at any size, wherever it lies.
                picture = gr.Image(
                    type="filepath",
                    sources=["upload", "clipboard", "webcam"],
                    label="Picture",
                    height=340,
                    buttons=[],
                    elem_id="picture",
                )
                if examples:
                    thumbs = gr.Dataset(
                        components=[gr.Image(type="filepath", render=False)],
                        samples=[[str(path)] for path in examples],
                        type="index",
                        label="Or one of these",
                        elem_id="examples",
                    )
                choice = gr.Dropdown(
                    [(each.name, number) for number, each in enumerate(shelf.bundles)],
                    value=0,
                    label="Network",
                    filterable=False,
                    elem_id="network",
                )
            with gr.Column(min_width=300):
                gr.HTML(answers.refused_unsent(pictures.MAX_BYTES, _FORMATS), elem_id="refused")
                answer = gr.HTML(answers.WAITING, elem_id="answer")
                why = gr.Button("Why? (Grad-CAM)", visible=False, elem_id="why")
                heat = gr.HTML(answers.UNEXPLAINED, elem_id="heat")
        with gr.Accordion("About this network", open=False, elem_id="about"):
            measured = gr.HTML(about)
            told = gr.Markdown(text, latex_delimiters=[], elem_id="card")
        plain: dict[str, Any] = {"preprocess": False, "api_visibility": "private", "show_progress": "minimal"}
        network: dict[str, Any] = {"concurrency_id": "network", "concurrency_limit": cores()}
        asked = [picture.change, choice.change]
        gr.on(asked, does.guess, [picture, choice], [answer, why, heat], **plain, **network)
        why.click(does.explain, [picture, choice], heat, **plain, **network)
        choice.change(does.describe, choice, [measured, told], **plain)
        if examples:
            thumbs.click(does.example, thumbs, picture, **plain)
    # Places in the queue are told once a second: at every answer, to all who wait, it is what the server is busy with.
    page.queue(status_update_rate=1.0, max_size=WAITING, api_open=False)
    return page
