"""The page in a real Chromium: quiet, asking nobody, within a phone's width, light and dark, and on paper."""

from pathlib import Path

import pytest

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM.exists(), reason="no /usr/bin/chromium"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        found = started.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield found
        found.close()


def opened(browser, path: Path, **options):
    """The page, and everything that it said or asked for."""
    page = browser.new_context(**options).new_page()
    heard: list[str] = []
    page.on("console", lambda message: heard.append(message.text))
    page.on("pageerror", lambda error: heard.append(str(error)))
    page.on("request", lambda request: heard.append(request.url))
    page.goto(path.as_uri())
    assert [line for line in heard if not line.startswith("data:")] == [path.as_uri()]
    return page


@pytest.mark.parametrize("width", [320, 390, 820, 1280])
def test_quiet_and_within_its_width(browser, written, width):
    page = opened(browser, written[1] / "index.html", viewport={"width": width, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    parts = "[...document.querySelectorAll('figure, svg, h1, h2, h3, p, li')]"
    wide = f"{parts}.filter(e => e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 80))"
    assert page.evaluate(wide) == []
    assert page.evaluate("[...document.querySelectorAll('figure svg')].every(e => e.getBoundingClientRect().height > 60)")


def test_text_can_be_read_on_a_phone(browser, written):
    page = opened(browser, written[1] / "index.html", viewport={"width": 390, "height": 844})
    heights = page.evaluate("[...document.querySelectorAll('figure svg text')].map(e => e.getBoundingClientRect().height)")
    assert len(heights) > 200 and sorted(heights)[len(heights) // 20] >= 8


@pytest.mark.parametrize(("scheme", "media"), [("light", "screen"), ("dark", "screen"), ("dark", "print")])
def test_figures_follow_the_ground(browser, written, scheme, media):
    page = opened(browser, written[1] / "index.html", color_scheme=scheme)
    page.emulate_media(media=media, color_scheme=scheme)
    dark = scheme == "dark" and media == "screen"
    ground = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    ink = page.evaluate("getComputedStyle(document.querySelector('figure svg text')).fill")
    assert (ground, ink) == (("rgb(20, 23, 26)", "rgb(232, 234, 236)") if dark else ("rgb(255, 255, 255)", "rgb(23, 25, 28)"))


def test_the_table_in_the_page_is_reached_by_the_keyboard(browser, written):
    page = opened(browser, written[1] / "index.html", viewport={"width": 390, "height": 844})
    regions = page.locator(".scroll")
    assert regions.count() >= 3
    for place in range(regions.count()):
        assert regions.nth(place).get_attribute("tabindex") == "0" and regions.nth(place).get_attribute("aria-label")


A4 = {"width": 718, "height": 1047}  # pixels of 1/96 inch, less margins of a centimetre


@pytest.fixture
def paper(browser, written):
    page = opened(browser, written[1] / "index.html", viewport=A4)
    page.emulate_media(media="print")
    return page


def styles(page, selector: str, name: str) -> set[str]:
    return set(page.evaluate(f"[...document.querySelectorAll('{selector}')].map(e => getComputedStyle(e)['{name}'])"))


def test_paper_holds_everything_in_its_width(paper):
    """Nobody scrolls or clicks on paper: tables whole, links to places hidden, nothing beyond an edge."""
    assert not paper.locator("nav").is_visible()
    hidden = "e => e.scrollWidth > e.clientWidth || e.scrollHeight > e.clientHeight || getComputedStyle(e).overflow != 'visible'"
    assert paper.evaluate(f"[...document.querySelectorAll('.scroll')].filter({hidden}).length") == 0
    assert styles(paper, ".scroll", "borderTopWidth") == {"0px"} and styles(paper, ".scroll", "maxHeight") == {"none"}
    beyond = "e => e.getBoundingClientRect().left < 0 || e.getBoundingClientRect().right > innerWidth + 1"
    parts = "[...document.querySelectorAll('section, table, tr, figure, svg, h1, h2, h3, p, li')]"
    assert paper.evaluate(f"{parts}.filter({beyond}).map(e => e.outerHTML.slice(0, 80))") == []
    assert styles(paper, "thead th", "position") == {"static"}  # a head that sticks would lie on the rows


def test_paper_is_used_to_its_edges(paper):
    """Two figures side by side, small print, and no margin beside the printer's own."""
    for width in (A4["width"], 1500):
        paper.set_viewport_size({"width": width, "height": 1000})
        box = paper.locator("main").bounding_box()
        assert (box["x"], box["width"]) == (0, width) and styles(paper, "main", "padding") == {"0px"}
        tops = "[...document.querySelectorAll('.figures')].map(e => [...e.children].map(f => f.getBoundingClientRect().top))"
        for rows in paper.evaluate(tops):
            assert all(rows.count(top) == 2 for top in rows[: len(rows) // 2 * 2]), width
    assert styles(paper, "html", "fontSize") == {"14px"} and styles(paper, "table", "fontSize") == {"10px"}
    assert styles(paper, "td", "paddingLeft") == {"4.2px"} and styles(paper, ".figures", "columnGap") == {"11.2px"}


def test_pages_do_not_end_within_a_row_or_after_a_heading(paper):
    assert styles(paper, "h2, h3", "breakAfter") == {"avoid"}
    assert styles(paper, "tr, figure", "breakInside") == {"avoid"}
