"""`tailwise report`: tables from predictions."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from tailwise.errors import BadData


def report(*folders: Path, split: Literal["test", "val"] | None = None, json: bool = False) -> None:
    """Print the figures of one run, or the table of several runs or of a study, from their predictions.

    Parameters
    ----------
    folders
        Run folders; runs of one method with different seeds become one row. Or a study.
    split
        What to measure. Default: test when there is one.
    json
        Print the figures as JSON.
    """
    if not folders:
        raise BadData("report needs at least one folder that `tailwise train` or `tailwise compare` made")
    missing = [folder for folder in folders if not (folder / "run.json").is_file() and not (folder / "study.json").is_file()]
    if missing:
        raise BadData(f"{missing[0]} is no run and no study; expected a folder that `tailwise train` or `tailwise compare` made")

    from tailwise.api import report as summarise
    from tailwise.cli.tables import print_evaluation, print_json, print_summary, say
    from tailwise.study.runs import Run

    if len(folders) == 1 and (folders[0] / "run.json").is_file():
        run = Run.load(folders[0])
        evaluation = run.evaluate(split)
        if json:
            print_json(evaluation.to_dict())
            return
        say(repr(run))
        print_evaluation(evaluation)
        return
    summary = summarise(*folders, split=split)
    if json:
        print_json(summary.to_dict())
        return
    print_summary(summary)
