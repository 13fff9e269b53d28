"""bfloat16 by request: what it reaches and what it does not, what it costs the answers, and how it is told and refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import tailwise as tw
from photos import paint
from tailwise.cli import run as command
from tailwise.errors import BadValue, Clash
from tailwise.method import Net
from tailwise.models import LinearHead, build
from tailwise.store import Store
from tailwise.study import numerics
from tailwise.study.numerics import check_precision
from tailwise.study.predict import RunModel
from tailwise.training.precision import BFLOAT16, FLOAT32, compute_in

CPU = torch.device("cpu")
IMAGES = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
QUICK = ["recipe.epochs=3", "recipe.second.epochs=1"]


def network(precision: str):
    torch.manual_seed(0)
    net = build(Net(backbone="resnet8", head=LinearHead()), (16, 16, 3), 7)
    compute_in(precision, net, CPU)
    return net


def test_a_network_computes_in_eight_bits_and_answers_and_learns_in_float32():
    seen = []
    plain, reduced = network(FLOAT32), network(BFLOAT16)
    conv = next(module for module in reduced.modules() if isinstance(module, torch.nn.Conv2d))
    conv.register_forward_hook(lambda module, inputs, out: seen.append(out.dtype))
    out, expected = reduced(IMAGES), plain(IMAGES)
    assert torch.bfloat16 in seen
    assert out.logits.dtype == out.features.dtype == torch.float32
    gap = float(((out.logits - expected.logits).abs().max() / expected.logits.abs().max()).detach())
    assert 1e-6 < gap < 0.05
    out.logits.square().sum().backward()
    assert all(p.dtype == p.grad.dtype == torch.float32 for p in reduced.parameters())
    norms = [module for module in reduced.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert all(norm.running_mean.dtype == torch.float32 for norm in norms)
    assert not torch.is_autocast_enabled("cpu")


def test_an_error_inside_leaves_the_caller_in_float32():
    net = network(BFLOAT16)
    with pytest.raises(RuntimeError):
        net(IMAGES[:, :2])
    assert not torch.is_autocast_enabled("cpu")
    assert net(IMAGES).logits.shape == (4, 7)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    place = tmp_path_factory.mktemp("precision")
    photos = paint(place / "photos", {"ant": 18, "bee": 12, "cow": 6})
    data, store = tw.read(photos, split="50/20/30"), Store(place / "store")
    made = {
        precision: tw.train(
            data, "ldam-drw", recipe="quick", net="resnet8", settings=QUICK, precision=precision, out=place / precision, store=store
        )
        for precision in ("fp32", "bf16")
    }
    return photos, made


needs_bf16 = pytest.mark.skipif(not numerics._cpu_has_bfloat16(), reason="this CPU has no instructions on bfloat16, and training says so")


@needs_bf16
def test_a_run_in_bfloat16_is_another_run_and_says_so(runs):
    _, made = runs
    assert [made[precision].record["numerics"]["precision"] for precision in ("fp32", "bf16")] == [FLOAT32, BFLOAT16]
    assert made["fp32"].record["key"] != made["bf16"].record["key"]
    one, other = (made[precision].predictions.split("test").logits for precision in ("fp32", "bf16"))
    assert 0 < np.abs(one - other).max() < np.abs(one).max()
    summary = tw.report(made["bf16"].folder)
    assert "cpu, 1 thread, bfloat16" in json.dumps(summary.to_dict())


@needs_bf16
def test_new_images_are_answered_as_it_was_measured(runs, tmp_path):
    photos, made = runs
    test = made["bf16"].predictions.split("test")
    found = RunModel(made["bf16"], None, CPU).logits([photos / id_ for id_ in test.ids])
    np.testing.assert_allclose(found, test.logits, atol=0.02 * np.abs(test.logits).max())
    check = tw.export(made["bf16"], tmp_path / "m", format="torch").record["checks"]["torch"]
    assert check["stored_gap"] < 0.05 * max(check["largest_logit"], 1)


def test_precision_is_refused_where_it_would_be_emulated_or_say_nothing(monkeypatch, tmp_path, capsys):
    with pytest.raises(BadValue, match="one of fp32, bf16"):
        check_precision("fp16", CPU)
    monkeypatch.setattr(numerics, "_cpu_has_bfloat16", lambda: False)
    with pytest.raises(BadValue, match="emulate it, slowly"):
        check_precision("bf16", CPU)
    check_precision("fp32", CPU)
    with pytest.raises(BadValue, match="not there on this mps"):
        check_precision("bf16", torch.device("mps"))
    monkeypatch.setattr(numerics, "_cpu_has_bfloat16", lambda: True)
    photos = paint(tmp_path / "photos", {"ant": 18, "bee": 12, "cow": 6})
    with pytest.raises(Clash, match="heads on features take seconds"):
        tw.train(photos, "ce", settings=[*QUICK, "recipe.image_size=32"], precision="bf16", out=tmp_path / "r", store=Store(tmp_path / "s"))
    assert command(["train", str(photos), "--precision", "bf61", "--out", str(tmp_path / "r")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "r").exists()
