"""`tailwise export`: a run as a file for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from tailwise.errors import BadData


def export(
    run: Path,
    /,
    *,
    out: Path,
    format: Literal["onnx", "torch", "all"] = "all",
    method: Path | None = None,
    json: bool = False,
) -> None:
    """Write a run's whole model, decoded pixels in and final logits out, and check that it answers as the run does.

    Parameters
    ----------
    run
        Folder that `tailwise train` made, or one of a study's runs/.
    out
        New folder: model.onnx, model.pt2, and export.json with classes, input and what was checked.
    format
        onnx for ONNX Runtime and others, torch for torch.export.load, or all.
    method
        Path of the method's Python file, where the run was trained with a file of one's own.
    json
        Print export.json.
    """
    if (run / "study.json").is_file():
        raise BadData(f"{run} is a study; export takes one of its runs/")

    from tailwise.api import export as write
    from tailwise.cli.tables import print_json, say

    made = write(run, out, format=format, method=None if method is None else str(method))
    if json:
        print_json(made.record)
        return
    for name, check in made.record["checks"].items():
        gap = max(check["stored_gap"], check["rebuilt_gap"], check["alone_gap"])
        say(
            f"{made.folder / made.record['files'][name]}: {check['rows_stored']:,} stored and {check['rows'] - check['rows_stored']:,} "
            f"random rows answered as by the run; logits differ by {gap:.1e}, of at most {check['largest_logit']:.1f}"
        )
    shape = " x ".join(map(str, made.record["input"]["shape"]))
    say(f"input: {made.record['input']['dtype']} {shape}; {made.record['preparation']}.")
    say(f"score: {made.record['scores']}")
