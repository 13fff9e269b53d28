"""`benchmarks/results.py`: a section comes into its place and nothing else moves; a row below cross-entropy has its sentence."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from tailwise.data import from_arrays

FILE = Path(__file__).parents[2] / "benchmarks/results.py"

PAGE = """# Results

<!-- other -->
theirs \\1
<!-- end of other -->

<!-- toy -->
old
<!-- end of toy -->

by hand
"""


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("results", FILE)
    module = importlib.util.module_from_spec(spec)
    sys.modules["results"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def results(tmp_path, monkeypatch) -> ModuleType:
    """The script, with a comparison of seconds, and its page and studies in an empty folder."""
    module = load()
    monkeypatch.setenv("TAILWISE_STORE", str(tmp_path / "store"))
    monkeypatch.setattr(module, "PAGE", tmp_path / "results.md")
    monkeypatch.setattr(module, "STUDIES", tmp_path / "studies")
    monkeypatch.setitem(module.COMPARISONS, "toy", toy(module))
    return module


def points():
    """Three classes of points, 60, 20 and 4 to train on; each is found."""
    labels = np.repeat([0, 1, 2, 0, 1, 2], [60, 20, 4, 10, 10, 10])
    features = np.eye(3, dtype=np.float32)[labels] + np.random.default_rng(0).normal(0, 0.2, (len(labels), 3)).astype(np.float32)
    return from_arrays(labels, features=features, split=["train"] * 84 + ["test"] * 30, name="points")


def toy(module: ModuleType, **changes):
    """Cross-entropy, and an adjustment so strong that the rarest class is answered to everything."""
    fields = {
        "title": "Points",
        "said": "Three classes.",
        "data": points,
        "methods": "ce,la(tau=99)",
        "seeds": 1,
        "recipe": "head",
        "net": None,
        "settings": ("recipe.epochs=10",),
        "below": {"la(tau=99.0)": "far too strong"},
    }
    return module.Comparison(**{**fields, **changes})


def summary(**macro):
    rows = [SimpleNamespace(name=name, cells={"macro": SimpleNamespace(mean=mean)}) for name, mean in macro.items()]
    return SimpleNamespace(rows=rows)


# --- a section in its place ---------------------------------------------------------------------------------------------


def test_a_section_is_replaced_and_the_rest_stays(results):
    made = results.with_section(PAGE, "toy", "new \\1\nlines")
    assert made == PAGE.replace("old", "new \\1\nlines")
    assert results.with_section(made, "toy", "old") == PAGE


def test_a_page_without_the_section_gets_it_at_its_end(results):
    made = results.with_section("# Results\n", "toy", "new")
    assert made == "# Results\n\n<!-- toy -->\nnew\n<!-- end of toy -->\n"


def test_every_section_of_the_page_is_a_comparison():
    module = load()
    page = module.PAGE.read_text(encoding="utf-8")
    for name, comparison in module.COMPARISONS.items():
        assert page.count(f"<!-- {name} -->\n## {comparison.title}\n") == 1
        assert page.count(f"<!-- end of {name} -->") == 1
        section = page.partition(f"<!-- {name} -->")[2].partition(f"<!-- end of {name} -->")[0]
        assert comparison.said in section
        assert f"benchmarks/results.py {name}" in section


# --- below cross-entropy ------------------------------------------------------------------------------------------------


def test_rows_below_cross_entropy_are_those_with_less_macro_accuracy(results):
    assert results.rows_below(summary(ncm=0.4, ce=0.5, la=0.6, mixup=0.5, focal=0.4999)) == ["ncm", "focal"]
    assert results.rows_below(summary(ce=0.5, crt=None)) == []


def test_each_has_its_sentence_and_no_other_row_has_one(results):
    assert results.reasons(["ncm"], {"ncm": "because.", "la": "idle."}) == ["- ncm: because."]
    with pytest.raises(results.Unexplained, match=r"says why: focal, crt;") as refused:
        results.reasons(["focal", "ncm", "crt"], {"ncm": "because."})
    assert refused.value.exit_code == 1
    assert "\n" not in str(refused.value)


# --- the command --------------------------------------------------------------------------------------------------------


def test_the_command_writes_its_section_and_says_nothing_twice(results, capsys, monkeypatch):
    results.PAGE.write_text(PAGE)
    assert results.main(["toy"]) == 0
    page = results.PAGE.read_text()
    assert page.startswith("# Results\n\n<!-- other -->\ntheirs \\1\n<!-- end of other -->\n\n<!-- toy -->\n## Points\n\nThree classes.\n")
    assert page.endswith("<!-- end of toy -->\n\nby hand\n")
    assert "| la(tau=99.0) | 33.33" in page  # one class of three is answered to all
    assert "\n- la(tau=99.0): far too strong\n" in page
    assert "No recommendation" in page
    assert capsys.readouterr().err == ""

    # A finished comparison is told from what stands: neither trained again nor even read, whatever has changed since.
    monkeypatch.setitem(results.COMPARISONS, "toy", toy(results, data=None, settings=("recipe.epochs=5",)))
    assert results.main(["toy"]) == 0
    assert results.PAGE.read_text() == page
    monkeypatch.setitem(results.COMPARISONS, "toy", toy(results, settings=("recipe.epochs=2",)))
    assert results.main(["toy", "--again"]) == 0
    assert results.Study.load(results.STUDIES / "toy").record["recipe"]["epochs"] == 2


def test_without_its_sentence_nothing_is_written(results, capsys, monkeypatch):
    monkeypatch.setitem(results.COMPARISONS, "toy", toy(results, below={"la": "another row"}))
    results.PAGE.write_text(PAGE)
    assert results.main(["toy"]) == 1
    said = capsys.readouterr().err
    assert "la(tau=99.0);" in said
    assert said.count("\n") == 1
    assert results.PAGE.read_text() == PAGE


def test_a_sentence_too_many_is_left_out_and_said(results, capsys, monkeypatch):
    monkeypatch.setitem(results.COMPARISONS, "toy", toy(results, methods="ce,la(tau=0)", below={"la(tau=0.0)": "it is equal"}))
    assert results.main(["toy"]) == 0
    assert "it is equal" not in results.PAGE.read_text()
    assert "la(tau=0.0) is not below" in capsys.readouterr().err


def test_missing_images_are_one_line(results, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(results, "SHARED", tmp_path / "nowhere")
    for name in ("fashion-mnist", "cifar-features", "cifar-lt"):
        assert results.main([name]) == 2
        said = capsys.readouterr().err
        assert "nowhere" in said
        assert said.count("\n") == 1
    assert not results.PAGE.exists()
