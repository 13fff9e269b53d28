"""The page as text: whole by itself, and safe whatever classes are called."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import pytest

from made_pages import SCRIPT, make_content
from tailwise.pages import figure_files, report_page

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def page():
    return report_page(make_content())


class Elements(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def test_names_from_outside_are_text(page):
    assert SCRIPT not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert sum(tag == "script" for tag, _ in Elements(page).found) == 4  # data, data, the bundle, the page's own


def test_nothing_is_fetched_from_anywhere(page):
    for tag, attributes in Elements(page).found:
        assert tag not in ("iframe", "object", "embed")
        assert tag != "img" or attributes["src"].startswith("data:image/jpeg;base64,")
        assert not {"src", "srcset", "data"} & set(attributes) or tag == "img", tag
        assert re.fullmatch(r"#[a-z]+|data:,|report\.csv", attributes.get("href") or "#a")
    assert "default-src 'none'" in page
    assert not re.search(r"@import|url\(", re.search(r"<style>(.*?)</style>", page, re.S).group(1))


def test_the_data_of_the_page_are_json_that_cannot_end_their_element(page):
    for name in ("specifications", "class-data"):
        text = re.search(rf'<script type="application/json" id="{name}">(.*?)</script>', page, re.S).group(1)
        assert "<" not in text
        assert json.loads(text)
    assert json.loads(text)["names"][0] == SCRIPT
    assert json.loads(text)["rows"] == ["ce", "method 1", "method 2"]


def test_every_figure_of_the_tables_is_on_the_page(page):
    content = make_content()
    for table in content.summary.tables:
        for line in table.lines:
            assert all(cell.replace("<", "&lt;").replace("'", "&#39;") in page for cell in line)
    assert "method 1: learnt on the images of test too" in page
    assert "n = 240" in page


def test_twelve_methods_and_a_thousand_classes_stay_under_five_megabytes():
    assert len(report_page(make_content(classes=1000, rows=12, seeds=1, per_class=2)).encode()) < 5e6


def test_figures_are_saved_as_svg_and_png():
    found = dict(figure_files(make_content(classes=6)))
    assert {name.split(".")[0] for name in found} == {
        "frequency",
        "accuracy",
        "groups",
        "front",
        "differences",
        "shift",
        "reliability",
        "curves",
    }
    for name, data in found.items():
        if name.endswith(".svg"):
            assert ElementTree.fromstring(data).tag.endswith("svg")
            assert SCRIPT.encode() not in data
        else:
            assert data.startswith(PNG)
