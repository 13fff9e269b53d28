"""Engines: each gives the features of the network itself, or is refused."""

from __future__ import annotations

import shutil

import pytest
import torch
from torch import nn

from tailwise.errors import BadValue, Stopped
from tailwise.models import choose_engine, engine_version, engines, frozen_body, start_engine

CPU = torch.device("cpu")
has_compiler = pytest.mark.skipif(not any(map(shutil.which, engines.COMPILERS)), reason="no C++ compiler is there")


def small() -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    net[1].running_mean = torch.randn(8)
    net[1].running_var = torch.rand(8) + 0.5
    return net.requires_grad_(False)


def images(rows: int, seed: int = 0, size: int = 16) -> torch.Tensor:
    drawn = torch.randn(rows, size, size, 3, generator=torch.Generator().manual_seed(seed))
    return drawn.permute(0, 3, 1, 2)  # as normalisation leaves them: channels last in memory


@pytest.mark.parametrize("engine", ["eager", "onnx", pytest.param("compiled", marks=has_compiler)])
@torch.no_grad()
def test_an_engine_answers_as_the_network_for_any_number_of_rows(engine):
    net = small()
    answer = start_engine(engine, net, images(8), rows=8, threads=1)
    for rows in (1, 3, 8):
        found = answer(images(rows, seed=rows))
        assert found.shape == (rows, 8)
        assert torch.allclose(found, net(images(rows, seed=rows)), atol=1e-5)


@torch.no_grad()
def test_onnx_takes_the_network_that_comes_along():
    net = frozen_body("efficientnet-lite0", (32, 32, 3))
    answer = start_engine("onnx", net, images(8, size=32), rows=8, threads=1)
    expected = net(images(5, 1, 32))
    assert (answer(images(5, 1, 32)) - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize("wrong", [lambda found: found * 1.001, lambda found: found.flip(0), lambda found: found * float("nan")])
def test_an_engine_that_answers_otherwise_is_refused(wrong, monkeypatch):
    net = small()
    monkeypatch.setattr(engines, "_in_onnx", lambda module, example, threads: lambda images: wrong(module(images)))
    with pytest.raises(Stopped, match=r"differ by .* from the network's own, .*; use --engine eager"):
        start_engine("onnx", net, images(8), rows=8, threads=1)


class Talks(nn.Module):
    """What no exporter can follow: it looks at the values."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.mean((2, 3)) if float(images.sum()) > 0 else -images.mean((2, 3))


def test_a_network_that_an_engine_cannot_take_is_said_in_one_line():
    with pytest.raises(Stopped, match="engine onnx cannot take this network") as raised:
        start_engine("onnx", Talks(), images(8), rows=8, threads=1)
    assert "\n" not in str(raised.value)
    assert str(raised.value).endswith("use --engine eager")


def test_auto_takes_the_fastest_that_pays_at_so_many_images(monkeypatch):
    monkeypatch.setattr(engines, "find_spec", lambda name: object())
    monkeypatch.setattr(engines.shutil, "which", lambda name: "/usr/bin/" + name)
    assert [choose_engine("auto", images, CPU) for images in (0, 1_999, 2_000, 20_000)] == ["eager", "eager", "onnx", "onnx"]
    monkeypatch.setattr(engines, "find_spec", lambda name: None if name == "onnxruntime" else object())
    assert [choose_engine("auto", images, CPU) for images in (2_000, 19_999, 20_000)] == ["eager", "eager", "compiled"]
    monkeypatch.setattr(engines.shutil, "which", lambda name: None)
    assert choose_engine("auto", 10**6, CPU) == "eager"
    assert choose_engine("auto", 10**6, torch.device("cuda")) == "eager"


@pytest.mark.parametrize(("engine", "lacks"), [("onnx", r"pip install 'tailwise\[fast\]'"), ("compiled", "C.. compiler")])
def test_an_engine_that_is_not_there_is_refused(engine, lacks, monkeypatch):
    monkeypatch.setattr(engines, "find_spec", lambda name: None)
    monkeypatch.setattr(engines.shutil, "which", lambda name: None)
    with pytest.raises(BadValue, match=lacks):
        choose_engine(engine, 10, CPU)
    with pytest.raises(BadValue, match="auto, onnx, compiled, eager"):
        choose_engine("tensorrt", 10, CPU)


def test_engines_have_names_of_their_own_in_keys():
    assert len({engine_version(engine) for engine in ("eager", "compiled", "onnx")}) == 3
    assert engine_version("onnx").startswith("onnxruntime 1")
