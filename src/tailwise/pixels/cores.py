"""How many cores of a machine are ours."""

from __future__ import annotations

import math
import os
from pathlib import Path

QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""Where Linux says how much of a processor a container has, and in which period."""


def cores() -> int:
    """Give the cores that this process may use: those of its affinity, and no more than the quota of its container."""
    mine = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = QUOTA.read_text(encoding="ascii").split()
        return max(1, min(mine, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):  # no container, or no quota: `max 100000`
        return mine
