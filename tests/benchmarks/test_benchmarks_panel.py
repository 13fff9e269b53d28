"""`benchmarks/panel/`: work becomes epochs, rows that nobody explains are refused, and what is trained is not trained again."""

from __future__ import annotations

import importlib.util
import re
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch

from tailwise.data import from_arrays
from tailwise.errors import BadValue

FILE = Path(__file__).parents[2] / "benchmarks/panel/panel.py"
METHODS = "ce,balanced-softmax,crt,meta-weight-net"


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("panel", FILE)
    module = importlib.util.module_from_spec(spec)
    sys.modules["panel"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def panel(tmp_path, monkeypatch) -> ModuleType:
    """The script, with tables of seconds, and its page and studies in an empty folder."""
    module = load()
    monkeypatch.setenv("TAILWISE_STORE", str(tmp_path / "store"))
    monkeypatch.setattr(module, "PAGE", tmp_path / "panel.md")
    monkeypatch.setattr(module, "STUDIES", tmp_path / "studies")
    monkeypatch.setattr(module, "EPOCHS", 12)
    monkeypatch.setattr(module, "SECOND", 6)
    for name, table in module.TABLES.items():
        toy = {"data": points, "seeds": 1, "recipe": "head", "net": None, "settings": ("recipe.batch_size=12",), "below": AnyRow()}
        monkeypatch.setitem(module.TABLES, name, replace(table, **toy))
    monkeypatch.setitem(module.TABLES, "cifar", replace(module.TABLES["cifar"], settings=("recipe.epochs=4", "recipe.batch_size=12")))
    return module


class AnyRow(dict):
    """A sentence for every row."""

    def __contains__(self, name):
        return True

    def __missing__(self, name):
        return "toy data."


def points():
    """Three classes of points, 60, 20 and 4 to train on; each is found."""
    labels = np.repeat([0, 1, 2, 0, 1, 2], [60, 20, 4, 10, 10, 10])
    features = np.eye(3, dtype=np.float32)[labels] + np.random.default_rng(0).normal(0, 0.2, (len(labels), 3)).astype(np.float32)
    return from_arrays(labels, features=features, split=["train"] * 84 + ["test"] * 30, name="points")


def rows_of(text: str, heading: str) -> dict[str, dict[str, str]]:
    """The last table of a section: row -> column -> cell."""
    section = text.partition(heading)[2].partition("<!-- end of")[0]
    block = re.findall(r"(?:^\|.*\|\n)+", section, flags=re.M)[-1]
    head, _, *lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines()]
    return {line[0]: dict(zip(head, line, strict=True)) for line in lines}


# --- work to epochs -----------------------------------------------------------------------------------------------------


def test_epochs_are_rounded_and_at_least_one(panel):
    assert panel.epochs_for(work=100.0, wanted=50.0, epochs=24) == 12
    assert panel.epochs_for(work=100.0, wanted=100.0, epochs=24) == 24
    assert panel.epochs_for(work=1000.0, wanted=101.0, epochs=24) == 2  # 2.42
    assert panel.epochs_for(work=1000.0, wanted=1.0, epochs=24) == 1
    assert panel.epochs_for(work=80.0, wanted=100.0, epochs=24) == 30  # what costs less gets more


def test_second_stages_shrink_in_proportion_and_keep_an_epoch(panel):
    table = replace(panel.TABLES["equal-work"], settings=())
    assert panel.lasting(table, 12).settings == ("recipe.epochs=12", "recipe.second.epochs=6")
    assert panel.lasting(table, 5).settings == ("recipe.epochs=5", "recipe.second.epochs=2")
    assert panel.lasting(table, 1).settings == ("recipe.epochs=1", "recipe.second.epochs=1")


def test_work_is_steps_times_operations_of_every_stage(panel):
    legs = [{"start": 0, "stop": 10}, {"start": 10, "stop": 14}, {"start": 0, "stop": 0}]
    assert panel.work_of(legs, [3.0, 5.0, 0.0]) == 10 * 3 + 4 * 5
    with pytest.raises(BadValue, match="the short training had not"):
        panel.work_of(legs, [3.0, 0.0, 0.0])


def test_counted_work_is_that_of_the_steps_forwards_and_backwards(panel):
    """84 rows in steps of 12, 3 features, 3 classes: a product forwards and one backwards, for the weight alone."""
    table = panel.TABLES["equal-work"]
    one = 2 * 12 * 3 * 3
    assert panel.count_work(table, "ce", again=False) == [2 * one]
    assert panel.count_work(table, "crt", again=False) == [2 * one, 7 * 2 * one]  # its second stage takes all rows in a step
    (weighed,) = panel.count_work(table, "meta-weight-net", again=False)
    assert weighed > 6 * one  # the virtual step, the meta batch, the step itself


def test_work_is_counted_once(panel, monkeypatch):
    table = panel.TABLES["equal-work"]
    found = panel.count_work(table, "ce", again=False)
    with monkeypatch.context() as patched:
        patched.setattr(panel, "run_method", None)
        assert panel.count_work(table, "ce", again=False) == found
        assert panel.count_work(table, "ce", again=True) == found  # nothing has changed
    (kept,) = (panel.STUDIES / "work").glob("*.json")
    kept.write_text(kept.read_text().replace('"key": "', '"key": "other'))
    monkeypatch.setattr(panel, "run_method", lambda *words: pytest.fail("counted anew"))
    assert panel.count_work(table, "ce", again=False) == found
    with pytest.raises(pytest.fail.Exception, match="counted anew"):
        panel.count_work(table, "ce", again=True)


# --- sharing the work ----------------------------------------------------------------------------------------------------


def test_what_another_process_is_at_comes_last(panel):
    done = []
    store = panel.Store()
    with store.try_lock("panel-row", panel.key_of(str(panel.STUDIES), "b")) as held:
        assert held
        panel.share_out(["a", "b", "c"], "row", done.append)
    assert done == ["a", "c", "b"]


# --- the sections ---------------------------------------------------------------------------------------------------------


def test_both_tables_are_written_and_told_again_without_training(panel, capsys, monkeypatch):
    assert panel.main(["--methods", METHODS]) == 0
    page = panel.PAGE.read_text()
    assert page.startswith("# The panel\n")
    assert page.index("<!-- equal-epochs -->") < page.index("<!-- equal-work -->")
    costs = rows_of(page, "## Equal epochs")
    assert {name: (row["epochs"], row["second stage"]) for name, row in costs.items()} == {
        "ce": ("12", "–"),
        "balanced-softmax": ("12", "–"),
        "crt": ("12", "6"),
        "meta-weight-net": ("12", "–"),
    }
    assert costs["ce"]["published"] == "38.32"
    assert costs["meta-weight-net"]["published"] == ""
    work = rows_of(page, "## Equal work")
    assert work["ce"]["epochs"] == work["balanced-softmax"]["epochs"] == "12"
    assert (work["crt"]["epochs"], work["crt"]["second stage"]) == ("8", "4")  # 12 and 6 are half as much again
    assert work["crt"]["x ce"] == "1.00"
    assert int(work["meta-weight-net"]["epochs"]) < 6
    assert "better than ce" in page or "no difference" in page or "worse than ce" in page
    assert "p (Holm)" in page

    def refuse(*words, **settings):
        pytest.fail("trained again")

    for name, table in panel.TABLES.items():
        monkeypatch.setitem(panel.TABLES, name, replace(table, data=refuse))
    assert panel.main(["--methods", METHODS]) == 0
    assert panel.PAGE.read_text() == page


def test_more_rows_take_over_what_is_trained(panel):
    assert panel.main(["equal-epochs", "--methods", "ce,crt"]) == 0
    assert panel.main(["equal-epochs", "--methods", "ce,balanced-softmax,crt"]) == 0
    (folder,) = panel.STUDIES.glob("equal-epochs-3-*")
    runs = panel.Study.load(folder).runs
    assert {name: run.record["steps_trained"] for name, (run,) in runs.items()} == {"ce": 0, "balanced-softmax": 84, "crt": 0}
    assert list(rows_of(panel.PAGE.read_text(), "## Equal epochs")) == ["ce", "balanced-softmax", "crt"]
    assert panel.main(["equal-epochs", "--methods", "ce,balanced-softmax"]) == 0  # as many rows as at first, and not the same ones
    assert list(rows_of(panel.PAGE.read_text(), "## Equal epochs")) == ["ce", "balanced-softmax"]


def test_a_row_without_its_sentence_is_refused_and_the_other_table_is_written(panel, capsys, monkeypatch):
    monkeypatch.setattr(panel.sys.modules["results"], "rows_below", lambda summary: ["crt"])
    monkeypatch.setitem(panel.TABLES, "equal-epochs", replace(panel.TABLES["equal-epochs"], below={"ldam": "idle."}))
    assert panel.main(["--methods", "ce,crt"]) == 1
    said = capsys.readouterr().err
    assert re.search(r"^equal-epochs: .*says why: crt;", said, flags=re.M)
    page = panel.PAGE.read_text()
    assert "<!-- equal-epochs -->" not in page
    assert "\n- crt: toy data.\n" in page


def test_what_does_not_fit_is_one_line(panel, capsys):
    for words in (["--methods", "crt"], ["--methods", "ce,no-such"], ["equal-luck"]):
        assert panel.main(words) == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert not panel.PAGE.exists()


def test_published_figures_are_of_rows_and_have_a_source():
    module = load()
    assert set(module.PUBLISHED) <= set(module.METHODS.split(","))
    assert all(re.fullmatch(r"\d\d\.\d+", figure) and source for figure, source in module.PUBLISHED.values())


def test_sections_of_the_page_are_tables():
    module = load()
    page = module.PAGE.read_text(encoding="utf-8")
    assert page.startswith(module.BEGINNING.rstrip())
    for name in re.findall(r"^<!-- (?!end of)(.+) -->$", page, flags=re.M):
        written = page.partition(f"<!-- {name} -->\n")[2].partition(f"<!-- end of {name} -->")[0]
        assert written.startswith(f"## {module.TABLES[name].title}\n\n{module.TABLES[name].said}\n")


# --- the published protocol ------------------------------------------------------------------------------------------------


def test_cifar_is_the_published_protocol():
    table = load().TABLES["cifar"]
    assert (table.recipe, table.net, table.settings, table.methods) == ("cifar", "resnet32", (), load().METHODS)


def test_cifar_tells_the_rows_that_its_time_allows_and_goes_on(panel, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    times = iter(range(10**6))
    with monkeypatch.context() as patched:  # a clock that ticks once a look: 28 steps of ce, then some of the next row
        patched.setattr(panel, "time", SimpleNamespace(monotonic=lambda: next(times)))
        assert panel.main(["cifar", "--methods", "ce,balanced-softmax", "--minutes", "0.6"]) == 0
    assert "1 of 2 rows are finished" in capsys.readouterr().err
    assert list(rows_of(panel.PAGE.read_text(), "## CIFAR-100-LT")) == ["ce"]
    assert panel.main(["cifar", "--methods", "ce,balanced-softmax"]) == 0
    assert list(rows_of(panel.PAGE.read_text(), "## CIFAR-100-LT")) == ["ce", "balanced-softmax"]
    assert "; cpu, 1 thread;" in panel.PAGE.read_text()


def test_cifar_without_cross_entropy_in_time_writes_nothing(panel, capsys):
    assert panel.main(["cifar", "--methods", "ce,crt", "--minutes", "0"]) == 3
    assert "ce is not finished" in capsys.readouterr().err
    assert not panel.PAGE.exists()
