"""Reports on disk: of a study, of a run, of runs from several places; what may be replaced, and what an interruption leaves."""

from __future__ import annotations

import json

import pytest

import tailwise as tw
from tailwise.cli import run as command
from tailwise.errors import OutputExists
from tailwise.store import Store
from tailwise.study import publish

QUICK = ["recipe.epochs=1"]


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    place = tmp_path_factory.mktemp("study")
    data = tw.read("digits", split="50/10/40", tail="exponential:50")
    return tw.compare(data, "ce,la", seeds=2, recipe="demo", settings=QUICK, out=place / "s", store=Store(place / "store"))


def test_a_comparison_leaves_its_page_and_knows_itself_again(study, capsys):
    page = (study.folder / "index.html").read_text(encoding="utf-8")
    assert "<title>digits: 2 methods, 2 seeds</title>" in page
    assert f"{study.saving()}" in page
    for name in ("report.csv", "report.tex", "report.md", "report.json"):
        assert (study.folder / name).is_file()
        assert f'href="{name}"' in page
    assert 'href="figures"' not in page
    for line in study.summary().tables[0].lines:
        assert line[1] in page


def test_report_writes_everything_from_the_same_numbers(study, tmp_path, capsys):
    out = tmp_path / "r"
    assert command(["report", str(study.folder), "--out", str(out)]) == 0
    assert f"report: {out}/index.html" in " ".join(capsys.readouterr().out.split())
    assert sorted(p.name for p in out.iterdir()) == ["figures", "index.html", "report.csv", "report.json", "report.md", "report.tex"]
    assert {p.suffix for p in (out / "figures").iterdir()} == {".svg", ".png"}
    assert (out / "report.csv").read_bytes() == (study.folder / "report.csv").read_bytes()
    assert (out / "report.json").read_bytes() == (study.folder / "report.json").read_bytes()
    macro = str(study.summary().rows[1].cells["macro"])
    for name in ("report.md", "report.tex", "index.html"):
        assert macro in (out / name).read_text(encoding="utf-8")


def test_one_run_has_a_page_of_its_own(study, tmp_path):
    run = study.runs["ce"][0]
    tw.report(run.folder, out=tmp_path / "r")
    page = (tmp_path / "r/index.html").read_text(encoding="utf-8")
    assert "<title>digits: ce</title>" in page
    assert "Learning curves" in page
    assert not (tmp_path / "r/figures/differences.svg").exists()
    assert json.loads((tmp_path / "r/report.json").read_text())["recommendation"] is None


def test_runs_from_anywhere_make_one_report(study, tmp_path):
    folders = [run.folder for runs in study.runs.values() for run in runs]
    summary = tw.report(*folders, out=tmp_path / "r")
    assert [row.seeds for row in summary.rows] == [2, 2]
    found = json.loads((tmp_path / "r/report.json").read_text())
    assert found["recommendation"]["row"] in ("ce", "la")


def test_under_another_prior_nothing_is_recommended(study, tmp_path):
    tw.report(study.folder, test_prior="uniform", out=tmp_path / "r")
    assert json.loads((tmp_path / "r/report.json").read_text())["recommendation"] is None
    for file in ("report.md", "index.html"):
        said = (tmp_path / "r" / file).read_text()
        assert "no row is recommended here" in said
        assert "Recommended:" not in said


def test_only_a_report_is_replaced(study, tmp_path, capsys):
    out = tmp_path / "r"
    tw.report(study.folder, out=out)
    (out / "index.html").unlink()
    tw.report(study.folder, out=out)
    assert (out / "index.html").is_file()
    other = tmp_path / "photos"
    other.mkdir()
    (other / "cat.jpg").write_bytes(b"x")
    (tmp_path / "file").write_text("x")
    (tmp_path / "paper/figures").mkdir(parents=True)
    (tmp_path / "paper/figures/front.pdf").write_bytes(b"x")
    for place in (other, tmp_path / "paper", tmp_path / "file", study.folder, study.runs["ce"][0].folder):
        before = sorted(p.name for p in place.iterdir()) if place.is_dir() else []
        with pytest.raises(OutputExists, match="holds no report"):
            tw.report(study.folder, out=place)
        assert command(["report", str(study.folder), "--out", str(place)]) == 2
        assert capsys.readouterr().err.count("\n") == 1
        assert (sorted(p.name for p in place.iterdir()) if place.is_dir() else []) == before


def test_a_report_that_was_interrupted_is_written_anew(study, tmp_path, monkeypatch):
    def full_disk(*parts: object) -> None:
        raise OSError(28, "No space left on device")

    out = tmp_path / "r"
    with monkeypatch.context() as patch:
        patch.setattr(publish.Report, "tables", full_disk)
        with pytest.raises(OSError, match="No space"):
            tw.report(study.folder, out=out)
    assert not (out / "report.json").exists()
    tw.report(study.folder, out=out)
    assert (out / "report.json").is_file()


def test_published_numbers_have_no_page(tmp_path, capsys):
    (tmp_path / "n.json").write_text('{"a": {"few": [1, 4]}, "b": {"few": [2, 4]}}')
    assert command(["report", str(tmp_path / "n.json"), "--out", str(tmp_path / "r")]) == 2
    assert "no page" in capsys.readouterr().err


def test_a_missing_page_is_written_again(study, caplog):
    (study.folder / "index.html").unlink()
    data = tw.read("digits", split="50/10/40", tail="exponential:50")
    store = Store(study.folder.parent / "store")
    tw.compare(data, "ce,la", seeds=2, recipe="demo", settings=QUICK, out=study.folder, store=store)
    assert (study.folder / "index.html").is_file()
    assert "index.html is missing, and is written again" in caplog.text
