"""Exports: every kind of run answers the same elsewhere, and one that does not leaves nothing."""

from __future__ import annotations

import json
import shutil
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import tailwise as tw
from photos import pixels
from tailwise.cli import run as command
from tailwise.errors import BadData, OutputExists, Stopped
from tailwise.posthoc import PriorShift, Scores
from tailwise.ship.whole import after
from tailwise.study.runs import Run

ROWS = ("ce", "la", "tau-norm", "ncm", "ncm(metric=euclidean)", "ldam", "ride(experts=2)", "ce+sam")


@pytest.mark.parametrize("row", ROWS)
def test_a_row_answers_its_stored_rows_as_it_did(digits, row, tmp_path):
    made = tw.export(digits.runs[row][0], tmp_path / "m", format="torch")
    check = made.record["checks"]["torch"]
    assert check["rows_stored"] == 4
    assert max(check["stored_gap"], check["rebuilt_gap"], check["alone_gap"]) < 1e-4 * max(check["largest_logit"], 1)


@pytest.mark.parametrize("row", ["la", "ride(experts=2)"])
def test_onnx_runs_without_us(digits, row, tmp_path):
    import onnxruntime

    run = digits.runs[row][0]
    made = tw.export(run, tmp_path / "m", format="onnx")
    assert sorted(path.name for path in made.folder.iterdir()) == ["export.json", "model.onnx"]
    session = onnxruntime.InferenceSession(str(made.folder / "model.onnx"), providers=["CPUExecutionProvider"])
    images = np.random.default_rng(1).integers(0, 256, (7, 8, 8, 1), dtype=np.uint8)
    for number, image in enumerate(images):
        Image.fromarray(image[..., 0]).save(tmp_path / f"{number}.png")
    (logits,) = session.run(None, {"inputs": images})
    answers = tw.predict(run, [tmp_path / f"{number}.png" for number in range(7)])
    scaled = logits / made.record["temperature"]
    shares = np.exp(scaled) / np.exp(scaled).sum(1, keepdims=True)
    for row_shares, answer in zip(shares, answers, strict=True):
        assert made.record["classes"][int(row_shares.argmax())] == answer.classes[0]
        assert row_shares.max() == pytest.approx(answer.scores[0], abs=1e-4)


def test_frozen_features_are_in_the_graph(frozen, tmp_path, capsys):
    run, out = frozen.runs["la"][0], tmp_path / "m"
    assert command(["export", str(run.folder), "--out", str(out), "--format", "torch"]) == 0
    assert "answered as by the run" in " ".join(capsys.readouterr().out.split())
    image = pixels(1, 1, seed=3, size=32)
    Image.fromarray(image[0]).save(tmp_path / "x.png")
    program = torch.export.load(out / "model.pt2").module()
    with torch.inference_mode():
        logits = program(torch.from_numpy(image)).numpy()[0]
    record = json.loads((out / "export.json").read_text())
    assert record["input"]["shape"] == ["rows", 32, 32, 3]
    check = record["checks"]["torch"]
    assert check["rows_stored"] == 4
    assert check["stored_gap"] < 1e-4 * max(check["largest_logit"], 1)
    best = tw.predict(run, tmp_path / "x.png")[0]
    shares = np.exp(logits / record["temperature"]) / np.exp(logits / record["temperature"]).sum()
    assert shares.max() == pytest.approx(best.scores[0], abs=1e-4)
    assert record["classes"][int(shares.argmax())] == best.classes[0]


@pytest.mark.parametrize("expected", [(1.0,) * 10, (0.0, 1.0) * 5])
def test_a_shifted_run_is_exported_with_its_prior(digits, expected, tmp_path):
    run = digits.runs["ce"][0]
    predictions = run.predictions
    part = PriorShift(tuple(run.record["prior_left"]), expected, 1.7)
    z = predictions.split("test").logits[:20]
    found = after(part, predictions)(torch.from_numpy(z.copy()), torch.zeros(20, 1)).numpy()
    np.testing.assert_allclose(found, part.apply(Scores(z)), atol=1e-3)
    out = tw.adjust_run(run, test_prior="reversed", out=tmp_path / "r")
    assert tw.export(out, tmp_path / "m", format="torch").record["checks"]["torch"]["stored_gap"] < 1e-3


def test_a_file_that_answers_otherwise_leaves_nothing(digits, tmp_path, monkeypatch):
    writers = sys.modules["tailwise.ship.export"].WRITERS
    honest = writers["torch"]

    def wrong(model, shape, path):
        answering = honest(model, shape, path)
        return lambda inputs: answering(inputs) + np.eye(1, 10, 3, dtype=np.float32) * 0.05

    monkeypatch.setitem(writers, "torch", wrong)
    with pytest.raises(Stopped, match=r"model\.pt2 does not answer as .* logits differ by 0\.05"):
        tw.export(digits.runs["ce"][0], tmp_path / "m", format="torch")
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("wrong", ["far", "nan"])
def test_neither_a_class_far_below_nor_nan_hides_a_wrong_answer(digits, tmp_path, monkeypatch, wrong):
    """A class that is not expected lies 1,000 below, and is no measure of what may differ."""
    (tmp_path / "farm.json").write_text(json.dumps({str(label): 0 if label == 3 else 1 for label in range(10)}))
    run = tw.adjust_run(digits.runs["ce"][0], test_prior=str(tmp_path / "farm.json"), out=tmp_path / "r")
    assert tw.export(run, tmp_path / "good", format="torch").record["checks"]["torch"]["largest_logit"] < 100
    writers = sys.modules["tailwise.ship.export"].WRITERS
    honest = writers["torch"]

    def bad(model, shape, path):
        answering = honest(model, shape, path)
        kept = {"far": lambda made: made + np.eye(1, 10, 5, dtype=np.float32) * 0.5, "nan": lambda made: made * np.float32("nan")}[wrong]
        return lambda inputs: kept(answering(inputs)) if len(inputs) == 4 else answering(inputs)

    monkeypatch.setitem(writers, "torch", bad)
    with pytest.raises(Stopped, match="stored"):
        tw.export(run, tmp_path / "m", format="torch")


def test_a_probe_that_is_not_the_run_s_is_found(digits, tmp_path):
    shutil.copytree(digits.runs["ce"][0].folder, tmp_path / "run")
    run = Run.load(tmp_path / "run")
    (tmp_path / "run/probe.safetensors").write_bytes(b"damaged")
    with pytest.raises(BadData, match="damaged"):
        tw.export(run, tmp_path / "m", format="torch")


def test_what_stands_is_not_replaced(digits, tmp_path):
    (tmp_path / "m").mkdir()
    with pytest.raises(OutputExists):
        tw.export(digits.runs["ce"][0], tmp_path / "m")


def test_a_study_is_no_run(digits, tmp_path, capsys):
    assert command(["export", str(digits.folder), "--out", str(tmp_path / "m")]) == 2
    assert "one of its runs" in capsys.readouterr().err
