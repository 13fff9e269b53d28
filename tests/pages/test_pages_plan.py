"""The tree of what was trained: equal beginnings stand once, and each row ends where it left."""

from __future__ import annotations

from dataclasses import replace

from made_pages import make_content
from tailwise.pages import RowContent, report_page
from tailwise.pages.plan import plan_tree


def leg(line: str, start: int, stop: int, seconds: float = 1.0) -> dict:
    return {"line": line, "start": start, "stop": stop, "seconds": seconds, "name": line}


RECORDS = {
    "ldam": {"legs": [leg("a", 0, 100, 5.0)], "plan": ["train: epochs 0-10"]},
    "ldam-drw": {"legs": [leg("a", 0, 80, 4.0), leg("b", 80, 100)], "plan": ["train: epochs 0-8", "deferred: epochs 8-10"]},
    "la(base=ldam)": {"legs": [leg("a", 0, 100, 5.0)], "plan": ["train: epochs 0-10"]},
    "crt": {"legs": [leg("a", 0, 100, 5.0), leg("c", 0, 40)], "plan": ["train: epochs 0-10"]},
    "ce": {"legs": [leg("d", 0, 100)], "plan": ["train: epochs 0-10"]},
}


def test_equal_beginnings_stand_once():
    first, second = plan_tree(RECORDS)
    assert (first.sentence, first.steps, first.seconds) == ("train: epochs 0-10", 100, 5.0)
    assert first.ends == ["ldam", "la(base=ldam)"]
    assert list(first.lines) == ["b", "c"]
    assert (first.lines["b"].begins, first.lines["b"].ends) == (80, ["ldam-drw"])
    assert (first.lines["c"].begins, first.lines["c"].sentence) == (100, "c")
    assert second.ends == ["ce"]


def test_a_row_that_leaves_a_line_early_says_where():
    early = {"short": {"legs": [leg("a", 0, 80)], "plan": ["x"]}, "long": {"legs": [leg("a", 0, 100)], "plan": ["y"]}}
    (line,) = plan_tree(early)
    assert (line.sentence, line.ends) == ("y", ["short (at step 80)", "long"])


def test_the_page_shows_it():
    content = make_content(rows=2)
    names = list(content.rows)
    rows = {
        name: RowContent(content.rows[name].measured, [{**content.rows[name].records[0], **RECORDS[of]}])
        for name, of in zip(names, ("ldam", "ldam-drw"), strict=True)
    }
    page = report_page(replace(content, rows=rows))
    assert "What was trained, equal beginnings once" in page
    assert "from step 80: deferred: epochs 8-10" in page
    without = {name: RowContent(content.rows[name].measured) for name in names}
    assert "What was trained" not in report_page(replace(content, rows=without))
