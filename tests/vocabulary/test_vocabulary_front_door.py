"""The front door: verbs stay verbs, whatever else was imported."""

from __future__ import annotations

import subprocess
import sys


def test_no_room_hides_a_verb():
    code = (
        "import importlib, pkgutil, tailwise as tw\n"
        "for module in pkgutil.walk_packages(tw.__path__, 'tailwise.'):\n"
        "    if not module.name.endswith('__main__'): importlib.import_module(module.name)\n"
        "print([name for name in tw.__all__ if name != '__version__' and not callable(getattr(tw, name))])\n"
        "print(len(tw.catalogue().methods) == len(tw.catalogue().methods) > 10)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "True"]
