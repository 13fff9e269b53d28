"""Values that the authors' own code produced, for every folder of tests."""

import functools
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from toy import run

__all__ = ["run"]

FILE = Path(__file__).parents[1] / "../shared/reference/values.json"


@functools.cache
def _read() -> list[dict]:
    return json.loads(FILE.read_text(encoding="utf-8"))["records"]


@pytest.fixture
def records() -> Callable[[str], list[dict]]:
    """Give a method's records; a missing file or method is a failure, never a skip."""

    def find(method: str) -> list[dict]:
        if not FILE.is_file():
            pytest.fail(f"{FILE} is missing: without it nothing is compared with the authors' code", pytrace=False)
        found = [record for record in _read() if record["method"] == method]
        if not found:
            pytest.fail(f"{FILE} has no record of {method}", pytrace=False)
        return found

    return find
