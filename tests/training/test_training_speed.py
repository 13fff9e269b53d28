"""Speeds: plain, fast and compiled loops do the same mathematics, and each is what its name says."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest
import torch
from torch import nn

from tailwise.errors import BadValue, Clash, Stopped
from tailwise.registry import parse_row
from tailwise.study.numerics import check_speed
from tailwise.training import RunSettings, run_method, speed
from tailwise.training.folding import folded
from tailwise.training.line import make_loop
from tailwise.training.streams import StreamReader, read_batch
from training.seam_runs import RECIPE, make_root, new_store, plan

sweeping = import_module("tailwise.training.sweep")
CPU = torch.device("cpu")
has_compiler = pytest.mark.skipif(not any(map(shutil.which, ("g++", "clang++"))), reason="no C++ compiler is there")


def root_at(named: str, epochs: int = 1):
    return replace(make_root(replace(RECIPE, epochs=epochs)), numerics={"torch": torch.__version__, "speed": named})


def train(named: str, method: str = "ce", said=lambda sentence: None):
    row = parse_row(method)
    return run_method(root_at(named), row.method, row.modifiers, RunSettings(new_store(), waiting=said))[0]


def test_plain_and_fast_loops_lay_memory_out_as_they_say():
    seen = []
    for named in ("plain", "fast"):
        loop = make_loop(root_at(named), plan("ce").legs[0], None, CPU)
        conv = next(module for module in loop.net.modules() if isinstance(module, nn.Conv2d))
        conv.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].is_contiguous()))
        loop.net(torch.zeros(2, 8, 8, 1).permute(0, 3, 1, 2).expand(2, 1, 8, 8).contiguous(memory_format=torch.channels_last))
        weights = [m.weight for m in loop.net.modules() if isinstance(m, nn.Conv2d) and m.weight.shape[1] > 1]
        assert all(w.is_contiguous() for w in weights) == (named == "plain")
        assert all(w.is_contiguous(memory_format=torch.channels_last) for w in weights) == (named == "fast")
    assert seen[0]


@pytest.mark.parametrize("method", ["ce", "ldam", "mixup", "crt"])
def test_a_plain_loop_trains_the_same_network_up_to_rounding(method):
    plain, fast = (train(named, method).logits("val") for named in ("plain", "fast"))
    assert np.abs(plain - fast).max() <= 1e-3 * np.abs(plain).max()


FAULTS = """
import ctypes, resource, sys
import torch
from tailwise.training.speed import keep_memory
torch.set_num_threads(1)
if not hasattr(ctypes.CDLL(None), "mallopt"):
    sys.exit("no glibc")

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(4):
        torch.ones(2**24)  # 64 MB, freed at once
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

plain = faults()
keep_memory()
torch.ones(2**24)
print(plain, faults())
"""


def test_memory_of_one_step_is_there_for_the_next():
    done = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, timeout=120)
    if "no glibc" in done.stderr:
        pytest.skip("another C library than glibc")
    assert done.returncode == 0, done.stderr
    plain, kept = map(int, done.stdout.split())
    assert kept < plain / 10


@pytest.mark.parametrize(("named", "asked"), [("fast", 1), ("plain", 0)])
def test_a_plain_loop_leaves_the_c_library_alone(named, asked, monkeypatch):
    calls = []
    monkeypatch.setattr(import_module("tailwise.training.line"), "keep_memory", lambda: calls.append(1))
    make_loop(root_at(named), plan("ce").legs[0], None, CPU)
    assert len(calls) == asked


def test_a_plain_sweep_folds_nothing(monkeypatch):
    calls: list[int] = []
    monkeypatch.setattr(sweeping, "folded", lambda *given: calls.append(1) or folded(*given))
    monkeypatch.setattr(sweeping, "batch_of", lambda shape, device: 5)
    train("plain").logits("val")
    assert not calls
    train("fast").logits("val")
    assert calls


@has_compiler
@pytest.mark.parametrize("method", ["ce", "crt"])
def test_a_compiled_loop_trains_the_same_network_up_to_rounding(method):
    said: list[str] = []
    compiled, fast = train("compiled", method, said.append), train("fast", method)
    assert np.abs(compiled.logits("val") - fast.logits("val")).max() <= 1e-3 * np.abs(fast.logits("val")).max()
    assert said
    assert all(re.fullmatch(r"stage [a-z -]+ was compiled in \d+ s", sentence) for sentence in said)
    first, second = compiled.log()[0]["loss"], fast.log()[0]["loss"]
    assert first == pytest.approx(second, rel=1e-4)


@has_compiler
def test_compiling_moves_no_state():
    root = root_at("compiled")
    leg = plan("ce", root=root).legs[0]
    loop = make_loop(root, leg, None, CPU)
    before = {name: tensor.clone() for name, tensor in loop.tensors()}
    readers = {name: StreamReader(name, stream, root, leg, CPU) for name, stream in leg.stage.streams.items()}
    seconds = speed.compile_network(loop, [read_batch(readers, leg, step, 0) for step in (0, 3)])
    assert seconds is not None
    after = dict(loop.tensors())
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not loop.meter


def test_an_objective_with_a_step_of_its_own_is_not_compiled():
    said: list[str] = []
    assert train("compiled", "meta-weight-net", said.append).trained
    assert said == ["stage train is not compiled, since it makes its steps in a way of its own"]


def test_what_torch_cannot_compile_is_said_in_one_line(monkeypatch):
    def cannot(*given, **words):
        def run(*inputs):
            raise RuntimeError("graph break\nand much more")

        return run

    monkeypatch.setattr(torch, "compile", cannot)
    with pytest.raises(Stopped, match=r"cannot compile this network \(graph break\); leave --speed compiled out$"):
        train("compiled")


def test_speeds_that_cannot_be_are_refused(monkeypatch):
    check_speed("fast", "bf16", CPU)
    check_speed("plain", "fp32", CPU)
    with pytest.raises(BadValue, match="fast, plain, compiled"):
        check_speed("slow", "fp32", CPU)
    with pytest.raises(Clash, match="leave one of them out"):
        check_speed("plain", "bf16", CPU)
    monkeypatch.setattr("tailwise.study.numerics.has_compiler", lambda: False)
    with pytest.raises(BadValue, match="needs a C"):
        check_speed("compiled", "fp32", CPU)
