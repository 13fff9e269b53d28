"""Golden records of published implementations, for the tests of this folder."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

FILE = Path(__file__).with_name("values.json")


@pytest.fixture
def golden() -> Callable[[str], list[dict]]:
    """Give a method's records; a missing file or method is a failure, never a skip."""

    def records(method: str) -> list[dict]:
        if not FILE.is_file():
            pytest.fail(f"{FILE} is missing: without it nothing is compared with published code", pytrace=False)
        found = [record for record in json.loads(FILE.read_text())["records"] if record["method"] == method]
        if not found:
            pytest.fail(f"{FILE} has no record of {method}", pytrace=False)
        return found

    return records
