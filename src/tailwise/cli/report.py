"""`tailwise report`: tables from predictions, or from published numbers of right answers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tailwise.errors import BadData, Clash, UnknownName
from tailwise.registry import split_outside
from tailwise.study.words import check_test_prior

if TYPE_CHECKING:
    from tailwise.evaluation import PooledGroups


def report(
    *folders: Path,
    split: Literal["test", "val"] | None = None,
    against: str | None = None,
    test_prior: str | None = None,
    posthoc: str | None = None,
    shift: bool = False,
    twin: tuple[Path, ...] = (),
    out: Path | None = None,
    json: bool = False,
) -> None:
    """Print figures with their intervals: of one run, of several runs or a study, or of published numbers of right answers.

    Parameters
    ----------
    folders
        Run folders; runs of one method with different seeds become one row. Or a study. Or one JSON file of published numbers, as in
        {"rsg": {"many": [3598, 4740], "few": [122, 240]}}: right answers and images of each group.
    split
        What to measure. Default: test when there is one.
    against
        Row that the others are held against. Default: ce, or the first.
    test_prior
        Class distribution that is expected at test: train, uniform, reversed, or a file of shares or counts. Answers are made anew under
        it, with scores calibrated on val, and the overall figure stands for it. Or estimated: on the measured images, without their labels.
    posthoc
        Corrections that every row is shown with too, from its stored predictions: any of la, tau-norm, ncm, temperature and views (the mean
        with the mirror image), separated by commas, each with its knobs.
    shift
        Add what every row reaches where the classes at test are distributed otherwise, from fifty times as many images of the most frequent
        class as of the rarest to the reverse: as it is, with that distribution known, and estimated without labels.
    twin
        A study or runs on the balanced twin of the set (`build --twin`), measured on the same images: relative accuracies are added.
    out
        Folder for the report: the page index.html, its figures as SVG and PNG, and the tables as JSON, Markdown, CSV and LaTeX. A report
        that is there is replaced.
    json
        Print the figures as JSON.
    """
    if not folders:
        raise BadData("report needs at least one folder that `tailwise train` or `tailwise compare` made")
    if test_prior is not None:
        check_test_prior(test_prior)
    if len(folders) == 1 and folders[0].is_file():
        if split is not None or test_prior is not None or posthoc is not None or out is not None or shift or twin:
            raise Clash(
                f"{folders[0]} holds numbers, not predictions: they have no split, no page, no prior, no logits; leave these words out"
            )
        _report_published(folders[0], against, json)
        return
    missing = [folder for folder in folders if not (folder / "run.json").is_file() and not (folder / "study.json").is_file()]
    if missing:
        raise BadData(f"{missing[0]} is no run and no study; expected a folder that `tailwise train` or `tailwise compare` made")

    wanted = () if posthoc is None else split_outside(posthoc, ",")
    if len(folders) == 1 and (folders[0] / "run.json").is_file() and out is None and not wanted and not shift and not twin:
        if against is not None:
            raise Clash(f"--against {against} needs other rows, and there is one run; name several, or a study")
        _report_run(folders[0], split, test_prior, json)
        return

    from tailwise.api import report as summarise
    from tailwise.cli.tables import print_json, print_summary, say

    summary = summarise(*folders, split=split, against=against, test_prior=test_prior, posthoc=wanted, shift=shift, twins=twin, out=out)
    if json:
        print_json(summary.to_dict())
        return
    print_summary(summary)
    if out is not None:
        say(f"report: {out}/index.html (figures/, report.json, report.md, report.csv, report.tex)")


def _report_run(folder: Path, split: str | None, test_prior: str | None, json: bool) -> None:
    """Print one run's figures, and what was fitted or chosen on val."""
    from tailwise.cli.tables import print_evaluation, print_json, say
    from tailwise.study.measure import evaluations
    from tailwise.study.runs import Run
    from tailwise.study.under_prior import find_shift

    run = Run.load(folder)
    (evaluation,) = evaluations([run], split, test_prior)
    shift = None if test_prior is None else find_shift(run.predictions, run.record, test_prior)
    fitted = {what: run.record.get(what, "") for what in ("posthoc", "chosen", "learnt_on")}
    if json:
        print_json({**evaluation.to_dict(), **fitted, "scoring": shift and shift.to_dict()})
        return
    for said in (repr(run), *filter(None, fitted.values()), *([f"scores: {shift.scores}"] if shift else [])):
        say(said)
    print_evaluation(evaluation)


def _report_published(path: Path, against: str | None, json: bool) -> None:
    """Print published accuracies with their intervals, and what can be said of their differences."""
    from rich.table import Table
    from rich.text import Text

    from tailwise.cli.tables import console, percent, print_json, say
    from tailwise.evaluation import UNPAIRED, as_separate_samples

    tables = _read_published(path)
    if against is not None and against not in tables:
        raise UnknownName("row", against, tables)
    base = against or next(iter(tables))
    compared = {name: as_separate_samples(found, tables[base]) for name, found in tables.items() if name != base}
    if json:
        plain = {name: [part.to_dict() for part in found] for name, found in compared.items()}
        rows = {name: found.to_dict() for name, found in tables.items()}
        print_json({"schema": "tailwise.published/1", "rows": rows, "against": base, "as_separate_samples": plain})
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("", "group", "accuracy", "95 %", "correct", "images"):
        table.add_column(column, justify="left" if column in ("", "group") else "right")
    for name, found in tables.items():
        for group, part in found.parts.items():
            table.add_row(Text(name), Text(group), percent(part.accuracy), str(part.interval), f"{part.correct:,}", f"{part.images:,}")
    console.print(table)
    say("Shares of all images of a group, with Wilson's intervals.")
    for name, differences in compared.items():
        say(f"{name} against {base}:")
        for difference in differences:
            say(f"  {difference.words}")
    if compared:
        say(UNPAIRED)


def _read_published(path: Path) -> dict[str, PooledGroups]:
    """Read rows of groups of right answers and images.

    Raises:
        BadData: the file is no JSON object of such rows.
    """
    import msgspec

    from tailwise.evaluation import from_counts

    expected = 'expected {"NAME": {"GROUP": [right answers, images]}}'
    try:
        rows = msgspec.json.decode(path.read_bytes(), type=dict[str, dict[str, tuple[int, int]]])
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BadData(f"{path} is no file of published numbers ({error}); {expected}") from None
    if not rows:
        raise BadData(f"{path} holds no row; {expected}")
    try:
        return {name: from_counts(groups) for name, groups in rows.items()}
    except BadData as error:
        raise BadData(f"{path}: {error}") from None
