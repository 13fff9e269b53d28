"""A report on disk: the same numbers as JSON, Markdown, CSV and LaTeX, and the page with its figures."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tailwise.disk import json_bytes, make_folder, whole_file
from tailwise.errors import OutputExists
from tailwise.evaluation import Measured, Summary
from tailwise.study.recommend import Recommendation, describe_choice, recommend
from tailwise.study.thumbnails import read_thumbnails
from tailwise.study.tree import Saving, saving

if TYPE_CHECKING:
    from tailwise.pages import Content
    from tailwise.study.runs import Run

SCHEMA = "tailwise.report/2"

REPORT = "report.json"
"""Of a report's files the one that is written last."""

PAGE = "index.html"
FIGURES = "figures"

OTHER_PRIOR = (
    "Answers are made anew under another class prior at test, so no row is recommended here: val has the classes as they were split. "
    "What each row gains and costs is said beside the numbers; `tailwise report` without --test-prior recommends one."
)

FILES = {
    REPORT: "all figures",
    "report.csv": "a line a row",
    "report.md": "tables",
    "report.tex": "tables for LaTeX",
    FIGURES: "SVG and PNG",
}
"""What lies beside the page."""


@dataclass(frozen=True)
class Report:
    """All that is reported of some rows of runs.

    Attributes:
        title: of the page.
        summary: figures and differences.
        measured: what they were computed from.
        runs: row's text -> its runs.
        chosen: what is recommended, or None.
        words: on the choice, a line each.
        saved: by sharing.
        folds: into how many the images were dealt, or None.
        provenance: how the data came about, in lines.
    """

    title: str
    summary: Summary
    measured: Sequence[Measured]
    runs: Mapping[str, Sequence[Run]]
    chosen: Recommendation | None
    words: str
    saved: Saving
    folds: int | None = None
    provenance: Sequence[str] = ()

    def tables(self) -> dict[str, bytes]:
        """Give the files of numbers, all from the same ones, in the order in which they are written."""
        parts = (self.summary.to_markdown().rstrip(), self.words.replace("\n", "\n\n"), str(self.saved))
        said = "\n\n".join(part for part in parts if part)
        return {
            "report.md": f"{said}\n".encode(),
            "report.csv": self.summary.to_csv().encode(),
            "report.tex": self.summary.to_latex().encode(),
            REPORT: json_bytes(self.to_dict()),
        }

    def to_dict(self) -> dict[str, Any]:
        """Give plain values, shares 0-1 unrounded."""
        return {
            "schema": SCHEMA,
            "folds": self.folds,
            "summary": self.summary.to_dict(),
            "recommendation": self.chosen and self.chosen.to_dict(),
            "saving": self.saved.to_dict(),
            "runs": {
                row.name: [
                    {"seed": seed, "evaluation": evaluation.to_dict()} for seed, evaluation in zip(row.seeds, row.evaluations, strict=True)
                ]
                for row in self.measured
            },
        }

    def page(self, figures: bool = True) -> bytes:
        """Give the page; with `figures`, it says that they lie beside it."""
        from tailwise.pages import report_page

        return report_page(self._content(figures)).encode()

    def charts(self) -> dict[str, Any]:
        """Give the figures as Altair charts, by name."""
        from tailwise.pages import figures

        return dict(figures(self._content(False)))

    def figures(self) -> Iterator[tuple[str, bytes]]:
        """Give the figures, each as SVG and PNG: name inside the folder, bytes."""
        from tailwise.pages import figure_files

        for name, data in figure_files(self._content(True)):
            yield f"{FIGURES}/{name}", data

    @cached_property
    def _thumbnails(self) -> Mapping[str, bytes]:
        return read_thumbnails([run for of_row in self.runs.values() for run in of_row])

    def _content(self, figures: bool) -> Content:
        from tailwise.pages import Content, RowContent

        rows = {
            row.name: RowContent(row, [run.record for run in self.runs[row.name]], [_log(run) for run in self.runs[row.name]])
            for row in self.measured
            if row.evaluations
        }
        return Content(
            title=self.title,
            summary=self.summary,
            rows=rows,
            chosen=self.chosen.row if self.chosen else next(iter(rows)),
            words=self.words.split("\n") if self.words else [],
            plan=[*self.provenance, str(self.saved)],
            files={name: what for name, what in FILES.items() if figures or name != FIGURES},
            thumbnails=self._thumbnails,
        )


def report_of_runs(
    runs: Mapping[str, Sequence[Run]], measured: Sequence[Measured], summary: Summary, against: str | None = None, own: bool = True
) -> Report:
    """Make a report of rows of runs, wherever they lie.

    Args:
        runs: row's text -> its runs.
        measured: rows as `measure` gives them.
        summary: of these.
        against: the row that the others are held against.
        own: whether the answers are those of `runs`; only then a row is recommended, which is done by those.
    """
    records = [run.record for found in runs.values() for run in found]
    first, rows = records[0], [row.name for row in measured if row.evaluations]
    what = rows[0] if len(rows) == 1 else f"{len(rows)} methods"
    is_open = own and len(rows) > 1
    chosen = recommend(runs, against) if is_open else None
    return Report(
        title=f"{first['data'].get('name') or 'images'}: {what}",
        summary=summary,
        measured=measured,
        runs=runs,
        chosen=chosen,
        words=describe_choice(chosen) if is_open else "" if own else OTHER_PRIOR,
        saved=saving(records),
        folds=(first.get("fold") or {"of": None})["of"],
        provenance=first["data"].get("provenance") or (),
    )


def write_report(report: Report, folder: Path, figures: bool = True) -> None:
    """Write the page, the figures where they are asked for, then the tables; the report stands once `report.json` does."""
    for name, data in report.figures() if figures else ():
        make_folder((folder / name).parent)
        whole_file(folder / name, data)
    make_folder(folder)
    for name, data in {PAGE: report.page(figures), **report.tables()}.items():
        whole_file(folder / name, data)


def check_report_folder(folder: Path) -> None:
    """Refuse a folder that holds anything but a report of runs.

    Raises:
        OutputExists: a file, another folder's content, or a study, whose report is of its own.
    """
    if not folder.exists():
        return
    if not folder.is_dir() or (any(folder.iterdir()) and not _is_report(folder)):
        raise OutputExists(f"{folder} exists and holds no report; give --out the name of a new folder, or of a report's")


def _is_report(folder: Path) -> bool:
    if any((folder / card).exists() for card in ("study.json", "run.json")):
        return False
    try:
        return str(json.loads((folder / REPORT).read_text(encoding="utf-8"))["schema"]).startswith("tailwise.report/")
    except (OSError, ValueError, KeyError, TypeError):
        names = {path.name for path in folder.iterdir()}  # of one whose writing was interrupted
        return REPORT not in names and names <= {*FILES, PAGE} and _are_figures(folder / FIGURES)


def _are_figures(folder: Path) -> bool:
    from tailwise.pages import FIGURE_NAMES

    return not folder.exists() or all(path.stem in FIGURE_NAMES and path.suffix in (".svg", ".png") for path in folder.iterdir())


def _log(run: Run) -> list[dict[str, Any]]:
    try:
        return [json.loads(line) for line in (run.folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError):
        return []  # curves are a help, and a run stands without them
