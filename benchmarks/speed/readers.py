"""Readers of metadata, each run as a process of its own that prints what it took: `python readers.py NAME FILE`."""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path


def read_by_pandas(file: str) -> int:
    """Read with json, and join by id as tables."""
    import pandas as pd

    with open(file, encoding="utf-8") as stream:
        table = json.load(stream)
    joined = pd.DataFrame(table["annotations"]).merge(pd.DataFrame(table["images"]), on="image_id")
    return len(joined.merge(pd.DataFrame(table["categories"]), on="category_id"))


def read_by_tailwise(file: str) -> int:
    """Read into a manifest."""
    from tailwise.data import read

    return read(file).rows["label"].drop_nulls().len()


READERS = {"json and pandas": read_by_pandas, "tailwise": read_by_tailwise}


def main() -> None:
    """Read, and print the number of rows, seconds and peak memory as a line of JSON."""
    wall, cpu = time.perf_counter(), time.process_time()
    said = READERS[sys.argv[1]](sys.argv[2])
    print(json.dumps({"said": said, "seconds": time.perf_counter() - wall, "cpu": time.process_time() - cpu, "bytes": peak_memory()}))


def peak_memory() -> int:
    """Give the most bytes that this process has had; Linux has those of the one that started it in `ru_maxrss`, so `VmHWM` is asked."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    main()
