"""The page in a real Chromium: in both colour schemes, as wide as a telephone, and on paper."""

import shutil

import pytest
from robustness.subjects import make_bundle, others

from cifar_lit.robustness import __main__ as command

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium")]
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    made = make_bundle(folder / "model", title="a_title_" * 12)
    arguments = [str(made), "-o", str(folder / "out"), "--limit", "20", "--ood", str(others(folder / "others"))]
    assert command.main([*arguments, "--device", "cpu"]) == 0
    return (folder / "out" / "index.html").as_uri()


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as playing:
        opened = playing.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield opened
        opened.close()


def brightness(colour):
    return sum(float(part) for part in colour[colour.index("(") + 1 : -1].split(",")[:3]) / 765


@pytest.mark.parametrize(
    ("width", "scheme"), [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark"), (700, "dark, printed")]
)
def test_it_reads_well_and_asks_for_nothing(browser, page, width, scheme):
    context = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme.split(",")[0])
    tab = context.new_page()
    asked, said = [], []
    tab.on("request", lambda request: asked.append(request.url))
    tab.on("console", lambda message: said.append(message.text))
    if "printed" in scheme:
        tab.emulate_media(media="print", color_scheme="dark")
    tab.goto(page)
    assert [url for url in asked if not url.startswith("data:")] == [page] and not said
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    paper = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    inks = tab.evaluate(
        "[...document.querySelectorAll('p, td, th, svg text')].map(one => one instanceof SVGElement"
        " ? getComputedStyle(one).fill : getComputedStyle(one).color)"
    )
    assert len(inks) > 200
    contrast = [brightness(ink) - brightness(paper) for ink in inks]
    assert min(contrast) > 0.4 if scheme == "dark" else max(contrast) < -0.4
    context.close()
