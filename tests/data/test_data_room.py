from __future__ import annotations

import subprocess
import sys

import pytest

import tailwise.data


def loaded_after(statement):
    code = f"import sys\n{statement}\nprint(*(m for m in ('polars', 'torch', 'sklearn', 'PIL') if m in sys.modules))"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()


def test_images_need_no_tables():
    assert loaded_after("import tailwise.data.images") == ["PIL"]


def test_no_part_of_the_room_loads_torch():
    assert "torch" not in loaded_after("from tailwise.data import *\nread('digits')")


def test_every_name_is_there_and_verbs_are_functions():
    for name in tailwise.data.__all__:
        assert getattr(tailwise.data, name) is not None
        assert name in dir(tailwise.data)
    assert callable(tailwise.data.read)
    with pytest.raises(AttributeError, match="no attribute 'reed'"):
        _ = tailwise.data.reed
