"""What the tables of docs/results.md say, on the same real images, in less time."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

import tailwise as tw
from tailwise.errors import BadData
from tailwise.evaluation import Cell, Summary
from tailwise.store import Store

pytestmark = pytest.mark.real

FILE = Path(__file__).parents[2] / "benchmarks/results.py"


@pytest.fixture(scope="module")
def results() -> ModuleType:
    """The script that makes the tables."""
    spec = importlib.util.spec_from_file_location("results", FILE)
    module = importlib.util.module_from_spec(spec)
    sys.modules["results"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def read(results: ModuleType, name: str):
    """A table's data; without the shared files this fails, and is never skipped."""
    try:
        return results.COMPARISONS[name].data()
    except BadData as missing:
        pytest.fail(f"{missing}: the tables are not tried on real data", pytrace=False)


def compare(results: ModuleType, name: str, folder: Path, methods: str, seeds: int, settings: tuple[str, ...] = ()) -> Summary:
    table = results.COMPARISONS[name]
    study = tw.compare(
        read(results, name),
        methods,
        seeds=seeds,
        settings=(*table.settings, *settings),
        recipe=table.recipe,
        net=table.net,
        out=folder / "study",
        device="cpu",
        threads=1,
        store=Store(folder / "store"),
    )
    return study.summary()


def cells(summary: Summary, row: str) -> dict[str, Cell]:
    return dict(next(found for found in summary.rows if found.name == row).cells)


def test_fashion_mnist_is_thinned_to_600_and_6(results):
    data = read(results, "fashion-mnist")
    assert data.counts("train") == (600, 359, 215, 129, 77, 46, 27, 16, 10, 6)  # int(600 * 0.01 ** (c / 9))
    assert data.counts("val") == (40,) * 10
    assert data.counts("test") == (1000,) * 10


def test_balanced_softmax_helps_the_few_of_fashion_mnist_by_more_than_the_spread(results, tmp_path):
    """Images at half their side and a fifth of the epochs; the table has all of both."""
    shorter = ("recipe.image_size=14", "recipe.epochs=6")
    table = compare(results, "fashion-mnist", tmp_path, "ce,balanced-softmax", 3, shorter)
    plain, balanced = cells(table, "ce")["few"], cells(table, "balanced-softmax")["few"]
    assert balanced.mean - plain.mean > balanced.spread + plain.spread
    assert balanced.images == 3000


def test_heads_on_cifar_features_reach_what_an_exact_fit_reaches(results, tmp_path):
    """The README beside the features: L-BFGS gives 47.1 (75.5, 46.8, 14.3), and 55.9 (68.9, 57.9, 38.5) with the adjusted loss."""
    table = compare(results, "cifar-features", tmp_path, "ce,balanced-softmax,la", 1)
    expected = {"ce": (0.471, 0.755, 0.468, 0.143), "balanced-softmax": (0.559, 0.689, 0.579, 0.385), "la": (0.559, 0.689, 0.579, 0.385)}
    for row, (overall, many, medium, few) in expected.items():
        found = cells(table, row)
        assert found["overall"].mean == pytest.approx(overall, abs=0.015)
        assert found["many"].mean == pytest.approx(many, abs=0.03)
        assert found["medium"].mean == pytest.approx(medium, abs=0.03)
        assert found["few"].mean == pytest.approx(few, abs=0.03)
        assert found["overall"].images == 10_000


def test_cifar_lt_has_the_published_counts(results):
    data = read(results, "cifar-lt")
    assert data.counts("train") == tuple(int(500 * 0.01 ** (c / 99)) for c in range(100))
    assert data.counts("test") == (100,) * 100
