"""References: every card has its entry, every key its entry, and what the paragraph says is what the record says."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

import tailwise as tw
from tailwise.cli import run as command
from tailwise.registry import entries
from tailwise.ship.citations import PAPERS, references


@pytest.mark.parametrize("kind", ["method", "modifier"])
def test_every_card_with_a_paper_has_an_entry(kind):
    library = "\n".join(references().values())
    for entry in entries(kind).values():
        if entry.arxiv:
            assert f"eprint = {{{entry.arxiv}}}" in library, entry.name
        elif entry.paper and kind == "modifier":
            assert PAPERS[entry.name] in references()


def test_entries_are_whole_bibtex():
    for key, entry in references().items():
        assert re.fullmatch(r"[a-z0-9]+", key)
        assert entry.count("{") == entry.count("}")
        for field in ("author", "title", "year"):
            assert re.search(rf"^  {field} = \{{.+\}},$", entry, re.M), (key, field)


def test_the_authors_and_years_are_those_of_the_cards():
    for entry in entries("method").values():
        if entry.arxiv:
            found = next(text for text in references().values() if entry.arxiv in text)
            first = re.search(r"author = \{([^,]+),", found)[1]
            assert first in entry.paper
            assert re.search(r"year = \{(\d+)\}", found)[1] in entry.paper


def test_a_study_cites_what_it_used(digits):
    found = tw.cite(digits)
    keys = set(re.findall(r"[\w]+", " ".join(re.findall(r"\\cite\{([^}]+)\}", found.paragraph))))
    assert keys == set(found.bibtex)
    assert {"menon2021longtail", "kang2020decoupling", "cao2019ldam", "wang2021ride", "foret2021sam", "he2016resnet"} <= keys
    assert {"pedregosa2011sklearn", "holm1979simple", "tailwise", "paszke2019pytorch"} <= keys
    assert not {"zhang2022sade", "guo2017calibration", "tan2019efficientnet"} & keys
    assert "10 classes, 239 training images, 177 for validation, 719 for test" in found.paragraph
    assert "2 epochs by SGD at a rate of 0.1 in batches of 32" in found.paragraph


def test_a_run_cites_its_base_and_its_correction(digits):
    found = tw.cite(digits.runs["ldam"][0])
    assert "holm1979simple" not in found.bibtex
    assert "menon2021longtail" not in found.bibtex
    corrected = tw.cite(tw.adjust_run(digits.runs["ldam"][0], posthoc="la"))
    assert {"menon2021longtail", "cao2019ldam"} <= set(corrected.bibtex)
    shifted = tw.cite(tw.adjust_run(digits.runs["ce"][0], test_prior="uniform"))
    assert {"saerens2002adjusting", "guo2017calibration"} <= set(shifted.bibtex)


def test_runs_of_several_sets_are_told_apart(digits, frozen):
    one, other = digits.runs["ce"][0], frozen.runs["la"][0]
    made = tw.cite(one, other)
    assert made.paragraph.count("We trained ") == 2
    assert made.paragraph.count("Each trained ") == 2
    for run in (one, other):
        assert f"{run.record['data']['splits']['train']:,} training images" in made.paragraph
    assert "Holm" not in made.paragraph, "rows of two sets are not held against each other"
    assert "Holm" in tw.cite(digits).paragraph


def test_names_are_text_for_latex_and_for_bibtex(digits):
    run = digits.runs["ce"][0]
    other = replace(run, record={**run.record, "seed": 5, "data": {**run.record["data"], "name": "digits_of@my birds & co"}})
    made = tw.cite(other)
    assert r"on digits\_of\char64{}my birds \& co (" in made.paragraph
    assert "@" not in made.paragraph
    assert "scikit" not in str(made.bibtex), "another set is cited by whoever took it"
    assert any("digits_of" in line for line in made.left)
    third = replace(run, record={**run.record, "seed": 7})
    assert "seeds 0 and 7" in tw.cite(run, third).paragraph


def test_data_of_one_s_own_are_named(frozen, capsys):
    assert command(["cite", str(frozen.folder)]) == 0
    said = capsys.readouterr().out
    assert "% Cite the source of the data set 'photos' too." in said
    assert "tan2019efficientnet" in said
    assert "frozen features" in said
    assert command(["cite", str(frozen.folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["schema"] == "tailwise.citation/1"
    assert command(["cite"]) == 2
