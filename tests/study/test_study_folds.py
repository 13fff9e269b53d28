"""Comparisons over folds: every image measured once, by a network that did not see it, in one table."""

from __future__ import annotations

import gc
import json
import shutil
import weakref
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import tailwise as tw
from photos import COLOURS, paint, random_weights
from tailwise.data import Fold, deal, from_arrays, take_fold
from tailwise.errors import BadData, Clash
from tailwise.registry import parse_rows
from tailwise.store import Store
from tailwise.study.compare import Study, compare, plan_study
from tailwise.study.measure import evaluations
from tailwise.study.setup import make_setup
from tailwise.study.tree import count_steps
from tailwise.study.words import DataWords, TrainingWords
from tailwise.training import RunSettings

COUNTS = (17, 8, 4, 2, 1)
"""The last two classes are measured twice and never: one image of each is in no val."""

METHODS = "ce,tau-norm,crt"
SETTINGS = ("recipe.epochs=4", "recipe.second.epochs=1")


def features(counts=COUNTS, split: str | None = None) -> tw.Manifest:
    """Vectors of five dimensions, a direction a class."""
    labels = np.repeat(np.arange(len(counts)), counts)
    noise = np.random.default_rng(0).normal(0, 0.6, (len(labels), 5))
    made = from_arrays(labels, features=(np.eye(5)[labels] + noise).astype(np.float32), name="vectors")
    return made if split is None else tw.read(made, split=split)


def setup(store: Path, folds: int = 3, methods: str = METHODS, data=None, words: DataWords = DataWords()):
    training = TrainingWords(settings=SETTINGS, threads=1)
    return make_setup(data or features(), parse_rows(methods), words, training, Store(store), folds=folds)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Study, Path]:
    place = tmp_path_factory.mktemp("folds")
    ready = setup(place / "store")
    return compare(ready, range(2), place / "s", RunSettings(ready.store)), place


def figures(study: Study) -> list[object]:
    return [row.cells for split in ("val", "test") for row in study.summary(split).rows]


def test_no_image_is_measured_by_a_network_that_trained_on_it(made):
    study, place = made
    table = pl.read_csv(study.folder / "splits.csv")
    everything = features().rows["id"].to_list()
    assert table.columns == ["id", "label", "test_fold", "val_fold"]
    assert sorted(table["id"]) == sorted(everything)
    ready = setup(place / "store")
    for runs in study.runs.values():
        for run in runs:
            number = run.record["fold"]["number"]
            trained = set(ready.folds[number - 1].splits.rows["train"].ids)
            for split, column in (("test", "test_fold"), ("val", "val_fold")):
                measured = set(run.predictions.split(split).ids)
                assert not measured & trained
                assert measured == set(table.filter(pl.col(column) == number)["id"])
            rows = run.record["data"]["splits"]
            assert sum(rows.values()) == len(everything)
            assert sum(run.record["data"]["train_counts"]) == rows["train"] == len(trained)
            assert min(run.record["data"]["train_counts"]) == 1


def test_the_table_is_made_of_every_image_once_a_seed(made):
    study, _ = made
    summary = study.summary()
    assert summary.setting.images == 31  # the only image of the last class always trains
    assert summary.setting.absent_classes == ("4",)
    assert [(row.name, row.seeds) for row in summary.rows] == [(name, 2) for name in METHODS.split(",")]
    for text, runs in study.runs.items():
        assert [(run.record["seed"], run.record["fold"]["number"]) for run in runs] == [(s, j) for s in range(2) for j in (1, 2, 3)]
        right = 0
        for run in runs:
            test = run.predictions.split("test")
            right += int((test.logits.argmax(1) == test.labels).sum())
        (row,) = [row for row in summary.rows if row.name == text]
        assert row.cells["overall"].mean == pytest.approx(right / 62)
    assert study.summary("val").setting.images == 29


def test_groups_are_the_same_in_all_folds_and_made_of_what_trains_on_average(made):
    study, _ = made
    records = [run.record for runs in study.runs.values() for run in runs]
    assert len({json.dumps(record["groups"]) for record in records}) == 1
    assert "by the mean of what trains in 3 folds" in study.summary().caption
    counts = np.mean([record["data"]["train_counts"] for record in records], axis=0)
    assert counts.tolist() == pytest.approx([17 / 3, 8 / 3, 4 / 3, 4 / 3, 1])
    sizes = study.summary().setting.groups
    assert sum(size.train_images for size in sizes.values()) == 6 + 3 + 1 + 1 + 1
    assert {sum(run.record["data"]["train_counts"]) for run in study.runs["ce"]} <= {11, 12, 13}


def test_the_mean_of_the_folds_decides_a_group_not_any_one_of_them(tmp_path):
    ready = setup(tmp_path / "store", data=features((59, 330, 12)), words=DataWords(groups="counts"))
    assert [fold.splits.counts.real[0] for fold in ready.folds] == [19, 20, 20]  # 19.67 on average: not below 20
    for fold in ready.folds:
        assert fold.splits.groups.members == {"many": (1,), "medium": (0,), "few": (2,)}


def test_records_say_the_folds(made):
    study, _ = made
    assert study.record["folds"] == 3
    assert study.record["seeds"] == [0, 1]
    assert study.record["rows"]["ce"] == [f"ce-seed{s}-fold{j}" for s in range(2) for j in (1, 2, 3)]
    assert len({run.record["key"] for runs in study.runs.values() for run in runs}) == 18
    wholes = {run.record["fold"]["whole"] for runs in study.runs.values() for run in runs}
    assert wholes == {features().identity}
    assert "fold 2 of 3" in repr(study.runs["ce"][1])
    report = json.loads((study.folder / "report.json").read_text())
    assert [found["seed"] for found in report["runs"]["ce"]] == [0, 1]
    assert report["runs"]["ce"][0]["evaluation"]["images"] == 31
    for said in ("Pooled over 3 folds", "did not see it", "Bengio & Grandvalet"):
        assert said in (study.folder / "report.md").read_text()


def test_one_choice_is_made_on_the_val_images_of_all_folds(made):
    study, _ = made
    chosen = study.recommendation()
    assert (chosen.seeds, chosen.val_images) == (2, 29)
    macro = {row.name: row.cells["macro"].mean for row in study.summary("val").rows}
    assert chosen.val == max(macro.values()) == macro[chosen.row]


def test_a_run_of_a_fold_is_the_run_of_its_splits(made, tmp_path):
    study, _ = made
    alone = take_fold(deal(features(), 3), Fold(2, 3))
    for name in METHODS.split(","):
        run = tw.train(alone, name, settings=SETTINGS, threads=1, seed=1, out=tmp_path / name, store=Store(tmp_path / "store"))
        folded = study.runs[name][3 + 1]
        for split in ("val", "test"):
            assert run.predictions.split(split).ids == folded.predictions.split(split).ids
            assert np.array_equal(run.predictions.split(split).logits, folded.predictions.split(split).logits)
        assert run.record["key"] == folded.record["key"]
        assert run.record["fold"] is None


def test_what_is_fitted_is_fitted_in_each_fold_on_its_own_val(made):
    study, _ = made
    for run in study.runs["tau-norm"]:
        assert f"n = {run.record['data']['splits']['val']}" in run.record["posthoc"]
    (note,) = [row.note for row in study.summary().rows if row.name == "tau-norm"]
    assert note.count("chosen on val") == 1
    assert "in other runs likewise" in note


def test_steps_are_shared_within_a_fold_and_counted_over_all(made, tmp_path):
    study, _ = made
    _, steps = plan_study(setup(tmp_path / "empty"), range(2))
    assert study.saving().steps_shared == steps.shared
    assert sum(run.record["steps_trained"] for runs in study.runs.values() for run in runs) == steps.shared
    alone = sum(run.record["steps"] for runs in study.runs.values() for run in runs)
    assert steps.alone == alone > steps.shared


def test_reports_of_the_study_and_of_its_runs_agree(made):
    study, _ = made
    folders = [run.folder for runs in study.runs.values() for run in runs]
    assert tw.report(*folders[::-1]).to_dict()["rows"][-1]["cells"] == tw.report(study.folder).to_dict()["rows"][0]["cells"]
    assert tw.report(study.folder).to_dict() == study.summary().to_dict()
    with pytest.raises(BadData, match=r"ce, seed 1, has 1, 3 of 3"):
        tw.report(*[folder for folder in folders if folder.name != "ce-seed1-fold2"])
    with pytest.raises(BadData, match=r"has 1, 2, 2, 3 of 3"):
        tw.report(*folders[:3], folders[1])


def test_folds_of_other_sets_are_not_pooled(made, tmp_path):
    study, _ = made
    ready = setup(tmp_path / "store", data=features((17, 8, 5, 2, 1)), methods="ce")
    other = compare(ready, [0], tmp_path / "s", RunSettings(ready.store))
    mixed = [*study.runs["ce"][:2], other.runs["ce"][2]]
    with pytest.raises(BadData, match="different data"):
        tw.report(*[run.folder for run in mixed])
    with pytest.raises(BadData, match="folds of several sets"):
        evaluations(mixed)


def test_predictions_are_forgotten_once_a_fold_is_through(tmp_path, monkeypatch):
    from tailwise.study import compare as room
    from tailwise.training import Outcome

    alive: list[weakref.ref] = []
    predict, train_job = Outcome.predictions, room.train_job

    def predictions(outcome):
        alive.append(weakref.ref(found := predict(outcome)))
        return found

    def watched(setup, job, *words, **options):
        gc.collect()
        through = job.fold.number - 1  # one network a fold
        assert [ref() is None for ref in alive[:through]] == [True] * through
        train_job(setup, job, *words, **options)

    monkeypatch.setattr(Outcome, "predictions", predictions)
    monkeypatch.setattr(room, "train_job", watched)
    ready = setup(tmp_path / "store", methods="ce,tau-norm")
    compare(ready, [0], tmp_path / "s", RunSettings(ready.store))
    assert len(alive) == 3


def test_the_same_call_again_finds_the_study_as_it_was(made):
    study, place = made
    before = {path: path.stat().st_mtime_ns for path in study.folder.rglob("*")}
    again = compare(setup(place / "store"), range(2), study.folder, RunSettings(Store(place / "store")))
    assert again.is_finished
    assert {path: path.stat().st_mtime_ns for path in study.folder.rglob("*")} == before
    assert Study.standing(study.folder, setup(place / "store", folds=4), range(2)) is None


def test_an_interrupted_comparison_is_taken_up_in_its_fold(made, tmp_path):
    whole, _ = made
    ready = setup(tmp_path / "store")
    first = count_steps([ready.folds[0].plan(row, 0) for row in ready.rows], ready.store).shared
    asked = 0

    def interrupted() -> bool:
        nonlocal asked
        asked += 1
        return asked == first + 2  # in the second fold of the first seed

    with pytest.raises(KeyboardInterrupt):
        compare(ready, range(2), tmp_path / "s", RunSettings(ready.store, interrupted=interrupted))
    assert {path.name for path in tmp_path.glob("s/runs/*")} == {f"{name}-seed0-fold1" for name in ("ce", "crt", "tau-norm")}
    partly = Study.load(tmp_path / "s")
    assert not partly.is_finished
    assert partly.runs == {"ce": (), "tau-norm": (), "crt": ()}  # no seed has all its folds
    study = compare(ready, range(2), tmp_path / "s", RunSettings(ready.store))
    assert study.is_finished
    assert figures(study) == figures(whole)
    assert study.runs["ce"][0].record["finished"] == json.loads((tmp_path / "s/runs/ce-seed0-fold1/run.json").read_text())["finished"]


def test_a_fold_that_is_deleted_is_made_again_from_the_store(made, tmp_path):
    study, place = made
    folder = tmp_path / "s"
    shutil.copytree(study.folder, folder)
    shutil.rmtree(folder / "runs" / "crt-seed1-fold3")
    ready = setup(place / "store")
    again = compare(ready, range(2), folder, RunSettings(ready.store))
    assert again.runs["crt"][-1].record["steps_trained"] == 0
    assert figures(again) == figures(study)


def test_all_labelled_images_are_dealt_whatever_their_splits(tmp_path):
    cut = features(split="50/10/40")
    ready = setup(tmp_path / "store", data=cut)
    assert any("all labelled images are dealt" in line for line in ready.manifest.provenance)
    test = {id_ for fold in ready.folds for id_ in fold.splits.rows["test"].ids}
    assert len(test) == 31
    assert [fold.manifest.provenance[-1] for fold in ready.folds] == ["fold 1 of 3", "fold 2 of 3", "fold 3 of 3"]


def test_a_split_or_a_thinned_tail_beside_folds_is_refused(tmp_path):
    with pytest.raises(Clash, match="--folds 3 measures every image, and --split 80/10/10 sets some aside"):
        setup(tmp_path / "store", words=DataWords(split="80/10/10"))
    with pytest.raises(Clash, match="--tail exponential:5 thins what trains"):
        setup(tmp_path / "store", words=DataWords(tail="exponential:5"))


def test_images_are_decoded_once_for_all_folds_and_the_estimate_counts_them_once(tmp_path, monkeypatch):
    from tailwise.study import setup as room
    from tailwise.study.estimate import estimate

    data = paint(tmp_path / "p", {"ant": 9, "bee": 6, "cow": 5}, size=8)
    training = TrainingWords("demo", settings=("recipe.epochs=1", "recipe.second.epochs=1", "recipe.image_size=8"), threads=1)
    words = (data, parse_rows("ce"), DataWords(), training, Store(tmp_path / "store"))
    ready = make_setup(*words, folds=4)
    _, steps = plan_study(ready, [0])
    assert estimate(ready, [0], steps).images == 20
    calls = []
    pack = room.fill_pixels
    monkeypatch.setattr(room, "fill_pixels", lambda *words: calls.append(1) or pack(*words))
    full = ready.ready()
    assert len(calls) == 1
    assert all(fold.is_ready for fold in full.folds)
    for fold in full.folds:
        for rows in fold.splits.rows.values():
            shown = rows.packed[rows.positions].astype(float).mean((1, 2))  # a colour a class
            assert np.abs(shown[:, None] - np.array(COLOURS[:3])).sum(2).argmin(1).tolist() == rows.targets.tolist()
    study = compare(ready, [0], tmp_path / "s", RunSettings(ready.store))
    assert study.summary().setting.images == 20


def test_frozen_features_are_standardised_by_the_training_rows_of_each_fold_and_a_run_predicts(tmp_path):
    from tailwise.study.predict import RunModel

    weights = random_weights(tmp_path / "weights.safetensors")
    data = paint(tmp_path / "p", {"ant": 9, "bee": 6, "cow": 3})
    training = TrainingWords(net=f"mobilenetv2_100@{weights}", settings=("recipe.epochs=1", "recipe.image_size=32"), threads=1)
    ready = make_setup(data, parse_rows("ce"), DataWords(), training, Store(tmp_path / "store"), folds=3)
    full = ready.ready()
    for fold in full.folds:
        rows = fold.splits.rows["train"]
        assert np.abs(rows.packed[rows.positions].mean(0)).max() < 1e-4
    assert len({fold.standardise.mean.tobytes() for fold in full.folds}) == 3
    study = compare(full, [0], tmp_path / "s", RunSettings(full.store))
    assert set(study.record["files"]) == {"splits.csv", "extractor.safetensors", "thumbnails.safetensors"}
    for run in study.runs["ce"]:
        test = run.predictions.split("test")
        answered = RunModel(run, None, full.device).logits([data / id_ for id_ in test.ids])
        assert np.allclose(answered, test.logits, atol=1e-4)
