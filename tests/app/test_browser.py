"""The page in a real Chromium, as a person meets it."""

import base64
import os
import re
import shutil
from pathlib import Path

import pytest
from app.serving import make_bundle, picture, serving

from cifar_lit.predict import Predictor

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium")]
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync",
         "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]  # fmt: skip
SCRIPTED = (
    "# Card of the second\n\n![](http://example.invalid/x.png)<script>window.ran = 1</script>"
    "<img src='data:,' onerror='window.ran = 1'><svg onload='window.ran = 1'></svg><a href='javascript:window.ran = 1'>here</a>"
)
LOOKS = {"light": ((1280, 900), "light"), "dark": ((1280, 900), "dark"), "phone": ((390, 844), "light")}


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as playing:
        opened = playing.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser")
    make_bundle(folder / "bundles" / "first", "first", card="# Card of the first\n\n    code " + "x" * 200)
    make_bundle(folder / "bundles" / "second", "second", card=SCRIPTED, metrics={})
    os.utime(folder / "bundles" / "second" / "config.json", (1, 1))
    (folder / "shown").mkdir()
    (folder / "shown" / "a.png").write_bytes(picture(5))
    (folder / "notes.png").write_text("this is text\n" * 20)
    (folder / "notes.txt").write_text("this is text\n" * 20)
    (folder / "large.png").write_bytes(picture() + bytes(21 << 20))
    with serving(str(folder / "bundles"), "--examples", str(folder / "shown")) as server:
        server.folder = folder
        yield server
    assert server.errors == []


@pytest.fixture(params=list(LOOKS))
def page(request, browser, served, tmp_path):
    """The page, loaded. Afterwards: no error in the console, nothing asked of another host."""
    (width, height), scheme = LOOKS[request.param]
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
    made = context.new_page()
    wrong: list[str] = []
    made.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    made.on("pageerror", lambda error: wrong.append(str(error)))
    here = f"http://127.0.0.1:{served.port}/"
    made.on("request", lambda asked: None if asked.url.startswith((here, "data:", "blob:")) else wrong.append(asked.url))
    made.goto(here)
    made.get_by_text("the five most probable classes are shown here").wait_for()
    made.look, made.wrong = request.param, wrong
    yield made
    made.screenshot(path=tmp_path / f"{request.param}.png", full_page=True)
    context.close()
    assert wrong == []


# What does not depend on the look is tried in one.
on_a_desk = pytest.mark.parametrize("page", ["light"], indirect=True)
on_a_phone = pytest.mark.parametrize("page", ["phone"], indirect=True)


def real_image(folder: Path) -> Path:
    """A photograph where there are some, else a drawn one."""
    root = os.environ.get("CIFAR100_ROOT")
    found = sorted(Path(root, "test").glob("*/*"))[:1] if root else []
    if not found:
        (folder / "drawn.png").write_bytes(picture(3))
    return found[0] if found else folder / "drawn.png"


def choose(page, path: Path) -> None:
    page.set_input_files("#picture input[type=file]", path)


def labels(page) -> list[str]:
    page.wait_for_selector(".guesses li")
    return page.locator(".guesses .class b").all_inner_texts()


def fits(page) -> bool:
    return page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_a_picture_its_labels_and_the_heat_map(page, served):
    image = real_image(served.folder)
    assert not page.locator("#why").is_visible()
    choose(page, image)
    expected = Predictor(served.folder / "bundles" / "first")(image)
    assert labels(page) == [guess.label.replace("_", " ") for guess in expected]
    percents = [f"{100 * guess.probability:.1f}%" for guess in expected]
    assert page.locator(".guesses .percent").all_inner_texts() == percents
    assert [text.strip() for text in page.locator(".guesses small").all_inner_texts()] == [guess.superclass for guess in expected]
    page.click("#why")
    heat = page.wait_for_selector(".heat img")
    assert heat.evaluate("image => image.complete && image.naturalWidth") >= 200
    page.click("#about button >> nth=0")
    page.get_by_text("Card of the first").wait_for()
    page.click("#about summary")
    assert fits(page) and "10.0%" in page.inner_text("#about")


# Luminances as WCAG 2 has them, of an element's text and of the first ground behind it that hides what is below.
LUMINANCES = """element => {
    const channels = colours => {
        const canvas = document.createElement("canvas"); canvas.width = canvas.height = 1;
        const context = canvas.getContext("2d");
        colours.forEach(colour => { context.fillStyle = colour; context.fillRect(0, 0, 1, 1); });
        return [...context.getImageData(0, 0, 1, 1).data].map(value => value / 255);
    };
    const luminance = colours => channels(colours).slice(0, 3)
        .map(value => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4)
        .reduce((sum, value, index) => sum + value * [0.2126, 0.7152, 0.0722][index], 0);
    let ground = element;
    while (ground.parentElement && channels([getComputedStyle(ground).backgroundColor])[3] < 1) ground = ground.parentElement;
    const behind = getComputedStyle(ground).backgroundColor;
    return [luminance([behind, getComputedStyle(element).color]), luminance([behind])];
}"""


@pytest.mark.parametrize("page", ["light", "dark"], indirect=True)  # a phone has the colours of a desk
def test_text_stands_out_from_its_ground(page, served):
    choose(page, served.folder / "notes.png")
    page.wait_for_selector("#answer .refusal")
    places = ["#intro h1", "#intro p", "#answer .refusal p"]
    found = {place: page.locator(place).first.evaluate(LUMINANCES) for place in places}
    choose(page, real_image(served.folder))
    labels(page)
    page.click("#about button >> nth=0")
    places = [".guesses .class b", ".guesses .class small", ".guesses .percent", ".seen p", ".measured dt", "#why"]
    found |= {place: page.locator(place).first.evaluate(LUMINANCES) for place in places}
    for place, (text, ground) in found.items():
        assert (max(text, ground) + 0.05) / (min(text, ground) + 0.05) >= 4.5, place
    assert (found["#intro h1"][1] < 0.1) == (page.look == "dark")


@on_a_phone
def test_a_text_file_named_png_is_refused_in_a_sentence(page, served):
    choose(page, served.folder / "notes.png")
    refusal = page.wait_for_selector("#answer .refusal")
    assert re.match(r"This picture was not used\.\s+notes\.png: .*JPEG, PNG", refusal.inner_text(), re.DOTALL)
    assert not page.locator("#why").is_visible() and page.locator(".toast-wrap .error").count() == 0
    choose(page, real_image(served.folder))
    assert len(labels(page)) == 5 and fits(page)


@on_a_phone
def test_files_that_are_not_even_sent(page, served):
    for name, said in (("large.png", "more than 20 MB; make it smaller"), ("notes.txt", "not an image; give JPEG, PNG")):
        choose(page, served.folder / name)
        page.wait_for_selector("#refused .refusal")
        assert f"{name}: {said}" in page.inner_text("#refused") and fits(page)
    assert page.locator(".toast-body").count() == 0
    choose(page, real_image(served.folder))
    assert len(labels(page)) == 5 and not page.locator("#refused").is_visible()


DROP = """pictures => {
    const data = new DataTransfer();
    for (const [name, bytes] of pictures)
        data.items.add(new File([Uint8Array.from(atob(bytes), letter => letter.charCodeAt(0))], name, { type: "image/png" }));
    const place = document.querySelector("#picture button");
    for (const kind of ["dragenter", "dragover", "drop"])
        place.dispatchEvent(new DragEvent(kind, { dataTransfer: data, bubbles: true, cancelable: true }));
}"""


@on_a_desk
def test_pictures_are_dropped_one_at_a_time(page):
    pictures = [(f"{number}.png", base64.b64encode(picture(number)).decode()) for number in range(3)]
    page.wait_for_selector("#picture button")  # made by the page's own code, after its words
    page.evaluate(DROP, pictures)
    page.wait_for_selector("#refused .refusal")
    assert re.match(r"These files were not sent\.\s+3 at once; give one picture at a time\.", page.inner_text("#refused"))
    page.wait_for_selector("#picture button")
    page.evaluate(DROP, pictures[:1])
    assert len(labels(page)) == 5 and not page.locator("#refused").is_visible()


@on_a_phone
def test_examples_and_another_network(page, served):
    page.click("#examples button.gallery-item >> nth=0")
    assert labels(page) == [guess.label.replace("_", " ") for guess in Predictor(served.folder / "bundles" / "first")(picture(5))]
    page.click("#network input")
    page.get_by_role("option", name="second").click()
    page.click("#about button >> nth=0")
    page.get_by_text("Card of the second").wait_for()
    assert "not measured" in page.inner_text("#about") and fits(page)
    assert page.locator("#about script, #about svg[onload], #about img[onerror], #about a[href^='javascript']").count() == 0
    assert page.evaluate("window.ran === undefined")
    # The card's picture lies elsewhere: it was stopped, and only the browser's word about that is in the console.
    page.wait_for_timeout(300)
    page.wrong[:] = [line for line in page.wrong if "Content Security Policy" not in line and "example.invalid" not in line]


@on_a_desk
def test_busy_is_said(page, served):
    busy = lambda route: route.fulfill(status=503, json={"detail": "Busy: more people are asking than this server can answer."})
    page.route("**/gradio_api/queue/join*", busy)
    choose(page, real_image(served.folder))
    page.wait_for_selector("#refused .refusal")
    assert re.match(r"No answer this time\.\s+Busy: more people", page.inner_text("#refused"))
    assert not page.get_by_text("Error", exact=True).nth(1).is_visible()  # one is Gradio's box, which goes away
    page.unroute("**/gradio_api/queue/join*")
    page.locator("#picture .icon-button-wrapper button").first.click()
    page.locator("#refused").wait_for(state="hidden")  # the next question was answered
    page.wrong[:] = [line for line in page.wrong if "503" not in line]


@on_a_desk
def test_a_pasted_picture(page):
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.evaluate(
        """async () => {
            const blob = await new Promise((done) => document.createElement("canvas").toBlob(done, "image/png"));
            await navigator.clipboard.write([new ClipboardItem({ "image/png": blob })]);
        }"""
    )
    page.get_by_label("Paste from clipboard").click()
    assert len(labels(page)) == 5


@on_a_phone
def test_a_picture_from_the_camera(page):
    page.get_by_label("Capture from camera").click()
    page.get_by_text("Click to Access Webcam").click()
    page.wait_for_function("document.querySelector('#picture video')?.videoWidth > 0")
    page.get_by_label("capture photo").click()
    assert len(labels(page)) == 5
