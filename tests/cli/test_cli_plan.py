"""The plan before anything is trained: a screenful however much there is, and nothing read, counted or listed twice for it."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

import tailwise as tw
from tailwise.cli import run, tables
from tailwise.data import images
from tailwise.registry import entries
from tailwise.store import Store
from tailwise.study import estimate, numerics, setup, tree
from tailwise.study.compare import compare
from tailwise.study.setup import make_setup
from tailwise.study.words import DataWords, TrainingWords
from tailwise.training import RunSettings

WIDE, HIGH = 80, 40
"""A screen."""

CLASSES = 200
NAMES = [f"species_{label:03d}_with_a_long_name_as_museums_have_them" for label in range(CLASSES)]
QUICK = ["--recipe", "quick", "--net", "resnet8", "--set", "recipe.image_size=8"]
KNOBS = [f"ldam(max_margin={margin / 1000:g})" for margin in range(101, 161)]


@pytest.fixture(autouse=True)
def screen(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TAILWISE_STORE", str(tmp_path / "store"))
    monkeypatch.setattr(tables, "WIDTH", None)
    monkeypatch.setattr(tables, "console", Console(highlight=False, width=WIDE))


@pytest.fixture
def many(tmp_path) -> str:
    """Two hundred classes of 2 to 30 images."""
    counts = np.geomspace(30, 2, CLASSES).astype(int)
    labels = np.repeat(np.arange(CLASSES), counts)
    pixels = np.random.default_rng(0).integers(0, 256, (len(labels), 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "many.npz", images=pixels, labels=labels, classes=np.array(NAMES))
    return "many.npz"


def printed(capsys, *words: str) -> list[str]:
    assert run([*words, "--dry-run"]) == 0
    return capsys.readouterr().out.splitlines()


def fits(lines: list[str]) -> bool:
    return len(lines) <= HIGH and max(map(len, lines)) <= WIDE


@pytest.mark.parametrize("recipe", [QUICK, ["--recipe", "demo"]], ids=["quick", "demo"])
def test_all_methods_on_two_hundred_classes_are_a_screenful(many, capsys, recipe):
    lines = printed(capsys, "compare", many, "--seeds", "20", *recipe)
    said = " ".join(line.strip(" │├└─") for line in lines)
    assert fits(lines)
    unnamed = [name for name in entries("method") if name not in said]
    assert len(unnamed) < 3
    assert ("more, on which" in said) == bool(unnamed)  # what is folded away is counted
    assert "…" not in said
    assert not any(name in said for name in NAMES)
    assert "steps instead of" in said
    assert lines[-2].startswith("estimate: ") or lines[-1].startswith("estimate: ")


def test_a_run_is_a_screenful_too(many, capsys):
    lines = printed(capsys, "train", many, "--method", "la(base=ldam-drw)", "--with", "sam", *QUICK)
    assert fits(lines)
    said = " ".join(map(str.strip, lines))
    assert "LDAMLoss(max_margin=0.5, scale=30)" in said
    assert "warning: la(base=ldam-drw) corrects the class prior 2 times" in said
    assert not any(name in said for name in NAMES)


@pytest.mark.parametrize("methods", [KNOBS, [f"la(base={knobs})" for knobs in KNOBS], [f"{row}+sam" for row in KNOBS]])
def test_a_long_tree_is_folded_and_says_what_is_left_out_and_where_all_is(many, capsys, methods):
    lines = printed(capsys, "compare", many, "--seeds", "2", "--methods", ",".join(methods), *QUICK)
    assert fits(lines)
    said = " ".join(line.strip(" │├└─") for line in lines)
    assert "; --dry-run --json lists all" in said
    left = int(said.partition("more, on which ")[2].split()[0])
    assert sum(f"{row} " in said for row in methods) == 60 - left > 5
    listed = json.loads("\n".join(printed(capsys, "compare", many, "--seeds", "2", "--methods", ",".join(methods), *QUICK, "--json")))
    assert list(listed["plans"]) == methods


def test_rows_that_end_on_one_line_are_named_up_to_a_few(many, capsys):
    lines = printed(capsys, "compare", many, "--methods", ",".join(["ce", *(f"la(tau={n / 10})" for n in range(1, 60))]), *QUICK)
    said = " ".join(line.strip(" │├└─") for line in lines)
    assert fits(lines)
    assert "→ ce; on its predictions la(tau=0.1), la(tau=0.2)," in said
    assert "and 51 rows more" in said


def test_a_warning_that_is_said_of_many_rows_is_said_once(many, capsys):
    rows = ["la(base=ce-drw)", "la(base=class-balanced)", "la(base=reweight)", "la(base=balanced-softmax)", "la"]
    lines = printed(capsys, "compare", many, "--methods", ",".join(rows), *QUICK)
    said = " ".join(map(str.strip, lines))
    assert said.count("corrects the class prior 2 times (ClassWeighted, LogitAdjustment)") == 1
    assert "over-corrected; so do la(base=class-balanced)" in said
    assert fits(lines)
    listed = json.loads("\n".join(printed(capsys, "compare", many, "--methods", ",".join(rows), *QUICK, "--json")))
    assert len(listed["warnings"]) == 4


def test_lines_that_begin_in_the_middle_or_at_the_end_of_others_say_so(many, capsys):
    lines = printed(capsys, "compare", many, "--methods", "ce,ce-drw,crt,la(base=ce-drw)", *QUICK)
    said = " ".join(line.strip(" │├└─") for line in lines)
    assert "epochs 0-30: CrossEntropyLoss → ce " in said
    late = "deferred re-weighting, epochs 24-30: ClassWeighted(CrossEntropyLoss, beta=0.9999)"
    assert f" {late} → ce-drw; on its predictions la(base=ce-drw)" in said
    assert f"then {late}" not in said
    assert "then classifier re-training, epochs 0-10:" in said


def test_nothing_is_folded_where_it_goes_into_a_file(many, capsys, monkeypatch):
    monkeypatch.setattr(tables, "WIDTH", tables.WIDE)
    monkeypatch.setattr(tables, "console", Console(highlight=False, width=tables.WIDE))
    lines = printed(capsys, "train", many, "--method", "ldam-drw+sam", *QUICK)
    assert any(line.endswith("every row once an epoch; SAM(rho=0.05)") and "deferred" in line for line in lines)


# --- what a plan costs ----------------------------------------------------------------------------------------------------


@pytest.fixture
def counted(monkeypatch) -> Counter:
    """How often what takes time is done."""
    found: Counter = Counter()

    def count(where, name: str, label: str) -> None:
        inner = getattr(where, name)
        monkeypatch.setattr(where, name, lambda *a, **k: found.update([label]) or inner(*a, **k))

    count(images, "_pixels", "decoded")
    count(images, "_header", "headers")
    count(setup, "plan_method", "planned")
    count(tree, "stored_steps", "listed")
    count(numerics, "version", "versions")
    count(estimate, "seconds_a_step", "measured")
    return found


def photos(folder: Path, classes: int = 20, each: int = 10) -> Path:
    rng = np.random.default_rng(0)
    for label in range(classes):
        (folder / f"c{label:02d}").mkdir(parents=True)
        for number in range(each):
            Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(folder / f"c{label:02d}" / f"{number}.png")
    return folder


def test_a_dry_run_reads_plans_and_lists_each_thing_once(tmp_path, capsys, counted):
    source = str(photos(tmp_path / "photos"))
    words = ["compare", source, "--methods", "ce,la,ce-drw,crt,ldam,ldam(max_margin=0.2)", "--seeds", "4", *QUICK, "--json"]
    listed = json.loads("\n".join(printed(capsys, *words)))
    lines = 4 * 5  # ce, its last fifth, the second head, two of ldam
    assert counted["planned"] == 4 * 6
    assert counted["listed"] == lines
    assert counted["versions"] == len(numerics.LIBRARIES)
    assert counted["headers"] <= 2 * 200
    assert counted["decoded"] <= estimate.SEEN + 1
    assert counted["measured"] == 2  # what learns everything, what learns a head
    assert listed["steps_stored"] == 0

    from tailwise.registry import parse_rows

    made = make_setup(source, parse_rows("ce"), DataWords(), TrainingWords("quick", "resnet8", ("recipe.image_size=8",)))
    made.ready()
    counted.clear()
    again = json.loads("\n".join(printed(capsys, *words)))
    assert counted["decoded"] == 0
    assert {**again, "seconds": 0} == {**listed, "seconds": 0}


def test_what_stands_is_found_without_decoding(tmp_path, capsys, counted):
    from tailwise.registry import parse_rows

    source = photos(tmp_path / "photos", classes=3, each=12)
    words = TrainingWords("quick", "resnet8", ("recipe.image_size=8", "recipe.epochs=1"))
    made = make_setup(source, parse_rows("ce"), DataWords(), words)
    compare(made, [0], tmp_path / "s", RunSettings(made.store))
    Store().drop("pixels")
    counted.clear()
    command = ["compare", str(source), "--methods", "ce", "--seeds", "1", *QUICK, "--set", "recipe.epochs=1", "--out", str(tmp_path / "s")]
    assert run(command) == 0
    assert "already done" in capsys.readouterr().out
    assert counted["decoded"] == counted["measured"] == 0


def test_a_dry_run_leaves_everything_as_it_is(tmp_path, capsys):
    source = photos(tmp_path / "photos", classes=3, each=12)
    tw.train(source, recipe="quick", net="resnet8", settings=["recipe.image_size=8", "recipe.epochs=1"], out=tmp_path / "r")
    before = {str(p): (p.stat().st_size, p.stat().st_mtime_ns) for p in tmp_path.rglob("*") if p.is_file()}
    os.environ["TAILWISE_STORE_GB"] = "0.000001"  # far beyond its limit
    try:
        printed(capsys, "compare", str(source), *QUICK)
    finally:
        del os.environ["TAILWISE_STORE_GB"]
    assert {str(p): (p.stat().st_size, p.stat().st_mtime_ns) for p in tmp_path.rglob("*") if p.is_file()} == before


def test_branches_are_left_out_where_the_network_cannot_have_them(tmp_path, capsys):
    words = ["compare", "digits", "--split", "50/10/40", "--recipe", "demo", "--net", "mobilenetv3_small_050", "--seeds", "1", "--dry-run"]
    words += ["--out", str(tmp_path / "s"), "--methods"]
    assert run([*words, "ensemble,ce"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert (
        "left out: ride, sade: branches of 0.75 of the channels can be made of the CIFAR ResNets alone, not of 'mobilenetv3_small_050'"
        in said
    )
    assert run([*words, "ride"]) == 2
    assert "set the method's width=1" in capsys.readouterr().err
    assert run([*words, "ride(width=1,own_stages=9)"]) == 2
    assert "9 stages a branch leave no trunk of 'mobilenetv3_small_050', which has" in capsys.readouterr().err
    assert run([*words, "ride(width=1,own_stages=1)"]) == 0


def test_what_does_not_fit_is_left_out_of_all_and_refused_by_name(tmp_path, capsys):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "f.npz", features=rng.normal(size=(60, 4)).astype("float32"), labels=np.arange(60) % 3)
    words = ["compare", str(tmp_path / "f.npz"), "--split", "60/20/20", "--recipe", "head", "--seeds", "1", "--out", str(tmp_path / "s")]
    assert run([*words, "--methods", "all", "--dry-run"]) == 0
    said = capsys.readouterr().out
    left_out = re.findall(r"left out: ([\w, -]+):", said)
    assert left_out == ["bbn, ride, sade", "paco", "rsg"]  # those that have a reason in common, once
    assert f"{len(entries('method')) - 5} methods x 1 seeds" in said
    assert "left out: rsg: rsg generates rows between the blocks of a network, and feature vectors pass none" in " ".join(said.split())
    assert run([*words, "--methods", "information augmentation,ce", "--dry-run", "--json"]) == 0
    assert [line.split(":")[0] for line in json.loads(capsys.readouterr().out)["left_out"]] == ["rsg"]
    for methods in ("ce,rsg", "all --against rsg"):
        assert run([*words, "--methods", *methods.split()]) == 2
        assert "feature vectors pass none" in capsys.readouterr().err
    assert run([*words, "--methods", "ce,ncm,information augmentation"]) == 0
    capsys.readouterr()
    assert [line.split(":")[0] for line in json.loads((tmp_path / "s" / "study.json").read_text())["left_out"]] == ["rsg"]
