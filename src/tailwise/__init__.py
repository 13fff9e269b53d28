"""tailwise: the workbench for long-tailed image data.

    import tailwise as tw

    data = tw.read("digits", split="50/10/40", tail="exponential:50")
    run = tw.train(data, "ldam-drw", recipe="demo")
    print(run.evaluate("test"))

Importing this package is quick: torch is imported by the first thing that needs it.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

from tailwise.version import __version__

if TYPE_CHECKING:
    from tailwise.api import (
        adjust,
        adjust_run,
        build,
        catalogue,
        check,
        cite,
        compare,
        explore,
        export,
        features,
        predict,
        read,
        report,
        train,
    )

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # torch's threads must not spin while they wait; it is read when torch is imported

_VERBS = (
    "read",
    "explore",
    "check",
    "build",
    "train",
    "compare",
    "features",
    "predict",
    "adjust",
    "adjust_run",
    "report",
    "export",
    "cite",
    "catalogue",
)
__all__ = [
    "__version__",
    "adjust",
    "adjust_run",
    "build",
    "catalogue",
    "check",
    "cite",
    "compare",
    "explore",
    "export",
    "features",
    "predict",
    "read",
    "report",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _VERBS:
        return getattr(importlib.import_module("tailwise.api"), name)
    raise AttributeError(f"module 'tailwise' has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted(__all__)
