"""Runs that leave the workbench."""

from __future__ import annotations

import pytest

import tailwise as tw
from photos import paint
from tailwise.store import Store


@pytest.fixture(scope="package")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("ship")


@pytest.fixture(scope="package")
def digits(place):
    """A study on images in arrays, a whole small network."""
    data = tw.read("digits", split="50/10/40", tail="exponential:50")
    rows = "ce,la,tau-norm,ncm,ncm(metric=euclidean),ldam,ride,ce+sam"
    quick = ["recipe.epochs=2", "ride.experts=2"]
    return tw.compare(data, rows, seeds=1, recipe="demo", settings=quick, out=place / "digits", store=Store(place / "store"))


@pytest.fixture(scope="package")
def frozen(place):
    """A study on photographs: heads on frozen features."""
    quick = ["recipe.epochs=2", "recipe.second.epochs=1", "recipe.image_size=32"]
    data = paint(place / "photos")
    return tw.compare(data, "ce,la", seeds=1, settings=quick, out=place / "frozen", store=Store(place / "store"))
