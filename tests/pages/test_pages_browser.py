"""The page as people have it: in Chromium, with mouse, keyboard, phone, dark mode, paper and a screen reader's rules."""

from __future__ import annotations

from pathlib import Path

import pytest

from made_pages import SCRIPT, make_content
from tailwise.pages import report_page

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

CLASSES = 600


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("page") / "index.html"
    place.write_text(report_page(make_content(classes=CLASSES, per_class=4)), encoding="utf-8")
    return place


@pytest.fixture
def opened(browser, file):
    """Open the page: `opened(width=390, dark=True)`; what it says in the console and asks of any host is a failure."""
    said, asked, contexts = [], [], []

    def open_page(width: int = 1440, dark: bool = False):
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light")
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: said.append(f"dialog {dialog.message}") or dialog.dismiss())
        page.on("request", lambda request: asked.append(request.url))
        page.goto(file.as_uri())
        page.locator("html[data-drawn='1']").wait_for(state="attached")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert said == []
    assert [url for url in asked if not url.startswith(("data:", file.as_uri(), "blob:"))] == []


def first_rows(page, column: int, count: int = 3) -> list[str]:
    rows = page.locator("#table tbody tr:not(.space)")
    return [rows.nth(i).locator("th, td").nth(column).inner_text() for i in range(count)]


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [390, 1440])
def test_figures_are_drawn_and_nothing_sticks_out(opened, width, dark):
    page = opened(width, dark)
    drawn = page.locator("[data-figure] .chart-wrapper > .marks")
    assert drawn.count() == page.locator("[data-figure]").count() == 8
    for i in range(8):
        box = drawn.nth(i).bounding_box()
        assert box["width"] > 150
        assert box["height"] > 100
    assert page.evaluate("document.documentElement.scrollWidth") == width
    ink, paper = page.evaluate("[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]")
    assert (sum(map(int, ink[4:-1].split(","))) > sum(map(int, paper[4:-1].split(",")))) is dark


def test_figures_follow_when_the_light_changes(opened):
    page = opened()
    label = "document.querySelector('#figure-front svg .role-axis-label text').getAttribute('fill')"
    before = page.evaluate(label)
    page.emulate_media(color_scheme="dark")
    page.locator("html[data-drawn='2']").wait_for(state="attached")
    assert page.evaluate(label) != before


def test_the_table_sorts_both_ways_and_says_so(opened):
    page = opened()
    head = page.locator("#table thead th")
    assert [int(n) for n in first_rows(page, 2)] == sorted((int(n) for n in first_rows(page, 2)), reverse=True)
    assert head.nth(2).get_attribute("aria-sort") == "descending"
    head.nth(2).get_by_role("button").click()
    assert first_rows(page, 2) == ["2", "2", "2"]
    assert head.nth(2).get_attribute("aria-sort") == "ascending"
    head.nth(0).get_by_role("button").click()
    assert first_rows(page, 0) == [SCRIPT, "class 00001", "class 00002"]
    assert head.nth(2).get_attribute("aria-sort") is None
    head.nth(4).get_by_role("button").click()
    shares = [float(share) for share in first_rows(page, 4, 8)]
    assert shares == sorted(shares, reverse=True)


def test_the_table_searches_and_filters(opened):
    page = opened()
    page.get_by_label("Search", exact=True).fill("CLASS 0012")
    assert page.inner_text("#shown") == "10 of 600 classes"
    assert set(first_rows(page, 0, 10)) == {f"class 0012{i}" for i in range(10)}
    page.fill("#search", "")
    page.get_by_label("Group", exact=True).select_option(label="few")
    assert set(first_rows(page, 1, 5)) == {"few"}
    page.fill("#search", "no such class")
    assert page.inner_text("#shown") == "0 of 600 classes"


def test_only_lines_in_view_are_in_the_document_and_the_last_one_is_reached(opened):
    page = opened()
    assert page.locator("#table tbody tr:not(.space)").count() < 60
    page.evaluate("document.getElementById('table').scrollTop = 1e6")
    page.get_by_text("class 00599").wait_for()
    assert page.locator("#table tbody tr:not(.space)").count() < 60


def test_a_keyboard_is_enough(opened):
    page = opened()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.focus("#search")
    page.keyboard.type("00042")
    assert first_rows(page, 0, 1) == ["class 00042"]
    page.locator("#table thead button").first.focus()
    page.keyboard.press("Enter")
    assert page.locator("#table thead th").first.get_attribute("aria-sort") == "ascending"
    page.locator("summary").first.focus()
    page.keyboard.press("Enter")
    assert page.locator("details").first.get_attribute("open") is not None


def test_hovering_says_which_class(opened):
    page = opened()
    page.locator("#figure-frequency svg .mark-symbol path").nth(20).hover(force=True)
    tip = page.locator("#vg-tooltip-element.visible")
    tip.wait_for()
    assert "class 000" in tip.inner_text()


def test_a_name_that_is_a_script_is_text(opened):
    page = opened()
    assert SCRIPT in page.title()
    page.fill("#search", "<script>")
    assert first_rows(page, 0, 1) == [SCRIPT]


def test_on_paper_figures_are_ink_on_white(opened):
    page = opened(dark=True)
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.locator("html[data-drawn='2']").wait_for(state="attached")
    assert page.evaluate("document.querySelector('#figure-front svg .role-axis-label text').getAttribute('fill')") == "#1d2226"
    assert page.locator("#table tbody tr").count() == 400
    assert page.pdf()[:4] == b"%PDF"


@pytest.mark.parametrize("dark", [False, True])
def test_no_rule_of_accessibility_is_broken_seriously(opened, dark):
    from axe_playwright_python.sync_playwright import Axe

    page = opened(dark=dark)
    found = Axe().run(page).response["violations"]
    serious = [
        (rule["id"], [node["html"][:120] for node in rule["nodes"]][:3]) for rule in found if rule["impact"] in ("serious", "critical")
    ]
    assert serious == []


def test_rows_are_switched_off_by_keyboard(opened):
    page = opened()
    button = page.locator("#rows").get_by_role("button", name="method 1", exact=True)
    names = page.locator("#figure-groups svg text", has_text="method 1")
    assert names.count() > 0
    button.focus()
    page.keyboard.press("Enter")
    page.locator("html[data-drawn='2']").wait_for(state="attached")
    assert button.get_attribute("aria-pressed") == "false"
    assert names.count() == 0
    assert page.locator("#figure-shift svg.marks").count() == 1
    page.keyboard.press("Space")
    page.locator("html[data-drawn='3']").wait_for(state="attached")
    assert names.count() > 0


def test_the_last_row_stays(opened):
    page = opened()
    for name in ("ce", "method 1", "method 2"):
        page.locator("#rows").get_by_role("button", name=name, exact=True).click()
    assert page.locator("#rows").get_by_role("button", name="method 2", exact=True).get_attribute("aria-pressed") == "true"


def test_confusions_have_their_images(opened):
    page = opened()
    images = page.locator("img.thumb")
    assert images.count() > 0
    assert images.first.evaluate("image => image.naturalWidth") == 64
