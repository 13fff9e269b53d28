"""Several processes that train as one: two of them end where one ends with the joint batch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from tailwise.registry import entries, load
from tailwise.store import Store
from training import together_runs
from training.together_runs import CASES, FLOAT32, LONG_ROWS, OWN, STOPPED

pytestmark = pytest.mark.xdist_group("together")  # what two processes train is trained once
SCRIPT = Path(together_runs.__file__)
LONG = [f"long {name}" for name in LONG_ROWS]
PLAIN = [f"float32 {name}" for name in FLOAT32]


def together(folder: Path, *names: str, count: int = 2) -> None:
    """Train cases in several processes, as torchrun starts them."""
    environment = {k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    environment |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join((str(SCRIPT.parents[1]), os.environ.get("PYTHONPATH", "")))}
    words = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count), str(SCRIPT), str(folder), *names]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes end with, a file a case; each script has checked that both hold the same bits."""
    folder = tmp_path_factory.mktemp("two")
    together(folder, *CASES, *OWN, *PLAIN, *LONG, *(f"stopped {name}" for name in STOPPED))
    return folder


@pytest.fixture
def group_norm(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BatchNorm1d", "BatchNorm2d"):
        monkeypatch.setattr(nn, name, lambda width: nn.GroupNorm(4, width))


def farthest(one: dict[str, Tensor], other: dict[str, Tensor]) -> tuple[float, str]:
    """The tensor in which two states differ most, by the size of its entries."""
    assert set(one) == set(other)
    apart = {
        n: float((t.double() - other[n].double()).abs().max() / t.double().abs().max().clamp_min(1e-3)) for n, t in one.items() if t.numel()
    }
    name = max(apart, key=lambda n: apart[n])
    return apart[name], name


@pytest.mark.parametrize(("name", "tolerance"), [*((name, 1e-11) for name in (*CASES, *LONG)), *((name, 2e-4) for name in PLAIN)])
def test_two_processes_end_where_one_does(name: str, tolerance: float, two: Path, store: Store, group_norm: None) -> None:
    if name in entries("method") and load("method", name).card.processes:
        pytest.skip(load("method", name).card.processes)
    alone = together_runs.train(name, store)
    assert alone.trained >= 10
    apart, where = farthest(dict(alone.state.tensors), load_file(two / f"{name}.safetensors"))
    assert apart < tolerance, f"{where} is {apart:.1e} away"


def test_what_cannot_equal_one_process_still_holds_the_same_bits_in_all(two: Path, store: Store, group_norm: None) -> None:
    (name,) = OWN
    apart, _ = farthest(dict(together_runs.train(name, store).state.tensors), load_file(two / f"{name}.safetensors"))
    assert apart > 1e-3


@pytest.mark.parametrize("name", STOPPED)
def test_stopped_in_one_process_and_begun_again_in_both_they_end_in_the_same_bits(name: str, two: Path) -> None:
    whole, stopped = (load_file(two / f"{prefix}{name}.safetensors") for prefix in ("", "stopped "))
    assert set(whole) == set(stopped)
    assert [n for n, t in whole.items() if not torch.equal(t, stopped[n])] == []


def test_of_four_rows_among_three_processes_each_counts_once(tmp_path: Path, store: Store, group_norm: None) -> None:
    name = "four rows among three"
    together(tmp_path, name, count=3)
    alone = together_runs.train(name, store)
    assert alone.root.recipe.batch_size == 45
    apart, where = farthest(dict(alone.state.tensors), load_file(tmp_path / f"{name}.safetensors"))
    assert apart < 1e-11, f"{where} is {apart:.1e} away"


def test_statistics_of_normalisation_are_the_mean_over_the_processes(tmp_path: Path, store: Store) -> None:
    """The first normalisation sees what no other has normalised: the mean of three equal shares' means is that of all rows."""
    name = "one step over batch statistics"
    together(tmp_path, name, count=3)
    three, alone = load_file(tmp_path / f"{name}.safetensors"), together_runs.train(name, store).state
    assert alone.step == 1
    mean, var = "net.blocks.stem.norm.running_mean", "net.blocks.stem.norm.running_var"
    assert torch.allclose(three[mean], alone.tensors[mean], rtol=1e-9, atol=1e-12)
    assert torch.allclose(three[var], alone.tensors[var], rtol=0.05)
    assert not torch.equal(three[var], alone.tensors[var])  # each process takes it from its own rows
