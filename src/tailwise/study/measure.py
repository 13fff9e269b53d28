"""What runs are measured by: one set of predictions a seed, held-out ones pooled where the data were dealt into folds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from tailwise.counts import ESTIMATED
from tailwise.errors import BadData, Clash
from tailwise.evaluation import Evaluation, Measured, Predictions, Sheet, Summary, choose_baseline, evaluate, relative_sheet, summarise
from tailwise.evaluation.folds import pool
from tailwise.posthoc.prior_shift import expected_prior
from tailwise.study.class_numbers import read_prior
from tailwise.study.fairness import Effort, differences, equal_setting
from tailwise.study.under_prior import under_prior

if TYPE_CHECKING:
    from tailwise.study.runs import Run


def measure(runs: Mapping[str, Sequence[Run]], split: str | None = None, test_prior: str | None = None) -> list[Measured]:
    """Measure rows of runs.

    Args:
        runs: row's text -> its runs.
        split: None for test where there is one, else val.
        test_prior: class distribution that is expected at test, as `find_shift` takes it: answers are made anew under it, and overall
            accuracy stands for it. None leaves the runs' own answers.

    Returns:
        Rows whose notes say what was fitted or chosen on val, where something was. One that cannot be brought under the test prior has
        no evaluations, and its note says why.
    """
    return [_measured(text, found, split, test_prior) for text, found in runs.items()]


def _measured(text: str, runs: Sequence[Run], split: str | None, test_prior: str | None) -> Measured:
    try:
        found = evaluations(runs, split, test_prior)
    except Clash as reason:
        return Measured(text, [], str(reason).removeprefix(f"{text}: "))
    return Measured(text, found, _note(runs, test_prior, split or "test"), [group[0].record["seed"] for group in by_seed(runs)])


def tabulate(measured: Sequence[Measured], runs: Mapping[str, Sequence[Run]], against: str | None = None) -> Summary:
    """Make the tables of measured rows: figures, differences from one row, what each took and what is not equal in it.

    Args:
        measured: rows, as `measure` gives them.
        runs: row's text -> its runs.
        against: the row that the others are held against; None for `ce`, or the first.

    Raises:
        Clash: no row could be measured; why the first could not.
    """
    made = {row.name: runs[row.name] for row in measured if row.evaluations}
    if measured and not made:
        raise Clash(f"{measured[0].name}: {measured[0].note}")
    differs = differences(made, choose_baseline(list(made), against)) if made else {}
    rows = [replace(row, effort=_effort(runs[row.name]), differs=differs.get(row.name, ())) for row in measured]
    pooled = describe_folds([run for found in made.values() for run in found])
    return summarise(rows, against, f"{equal_setting(made)} {pooled}".strip())


def relate(measured: Sequence[Measured], twins: Sequence[Measured], against: str | None = None) -> Sheet:
    """Relate rows to the same rows, and to the baseline, trained on the balanced twin of the set, on the same test images.

    Args:
        measured: rows, as `measure` gives them.
        twins: rows of runs on the balanced twin, measured on the same split.
        against: the row that the others are held against, whose twin is the plain upper reference.

    Raises:
        Clash: the twins were measured on other images, or none of them is the baseline or one of the rows.
    """
    rows, others = ([row for row in found if row.evaluations] for found in (measured, twins))
    first, second = (found[0].evaluations[0].answers if found else None for found in (rows, others))
    if first is None or second is None or first.ids != second.ids or (first.labels != second.labels).any():
        raise Clash(
            "the runs on the balanced twin were measured on other images; relative accuracy needs the same ones, as `build --twin` gives"
        )
    cells = [{row.name: row.cells["macro"] for row in summarise(found).rows} for found in (rows, others)]
    baseline = choose_baseline(list(cells[1]), against if against in cells[1] else None)
    plain = cells[1][baseline] if baseline in (against, "ce") else None
    if plain is None and not set(cells[0]) & set(cells[1]):
        raise Clash(f"none of the runs on the balanced twin is ce or one of the rows; name runs of {', '.join(cells[0])}")
    return relative_sheet(cells[0], plain, cells[1], rows[0].evaluations[0].split, baseline)


def _effort(runs: Sequence[Run]) -> dict[str, float]:
    """Give what a seed of a row took, by the names of the table's columns."""
    if not runs:
        return {}
    took = Effort.of(runs)
    passes = None if took.passes == took.images_seen else took.passes
    counted = {"steps": took.steps, "images seen": took.images_seen, "passes": passes, "seconds": took.seconds}
    return {name: number for name, number in counted.items() if number is not None}


def _note(runs: Sequence[Run], test_prior: str | None, split: str) -> str:
    """Say what was fitted and chosen on val, on which measured images a stage learnt, and how scores came under a test prior.

    Of one run, and that others did likewise.
    """
    said = [[run.record.get(what) for run in runs] for what in ("posthoc", "chosen", "learnt_on")]
    if test_prior is not None:
        said.append([under_prior(run.predictions, run.record, test_prior, split)[1].scores for run in runs])
    return "; ".join(filter(None, map(_once, said)))


def _once(said: Sequence[str | None]) -> str:
    first, *others = dict.fromkeys(filter(None, said)) or [""]
    return f"{first}; in other runs likewise, each on its own val" if others else first


def evaluations(runs: Sequence[Run], split: str | None = None, test_prior: str | None = None) -> list[Evaluation]:
    """Measure one method: one evaluation a seed, in the order of the seeds' first runs; runs of folds are pooled, all K of a seed.

    Raises:
        BadData: a run was trained on all images, or a fold is missing, there twice or of another set; no such test prior.
        UnknownName: there is no such split.
        Clash: the method's scores cannot be brought under a test prior.
    """
    found = []
    for group in by_seed(runs):
        predictions = predictions_of(group, test_prior, split or "test")
        expected = None
        if test_prior is not None and test_prior != ESTIMATED:  # whose classes are as they are in the split
            expected = expected_prior(read_prior(test_prior, predictions.classes), predictions.counts.real).tolist()
        found.append(evaluate(predictions, split or _usual(predictions), expected))
    return found


def by_seed(runs: Sequence[Run]) -> list[list[Run]]:
    """Put the runs of one row together that make one evaluation: a run alone, or the folds of a seed.

    >>> by_seed([])
    []
    """
    groups: dict[object, list[Run]] = {}
    for place, run in enumerate(runs):
        groups.setdefault(("fold", run.record["seed"]) if run.record.get("fold") else place, []).append(run)
    return list(groups.values())


def predictions_of(runs: Sequence[Run], test_prior: str | None = None, split: str = "test") -> Predictions:
    """Give the predictions of a run, or those of the K folds of a seed, pooled; each run's under a test prior where one is given.

    A prior that is to be estimated is estimated on the images of `split`.

    Raises:
        BadData: the run was trained on all images; not each fold is there once, or they are of several sets.
    """
    first = runs[0]
    if not first.is_measured:
        raise BadData(f"{first.folder} was trained on all its rows, so nothing is left to measure on")
    if not first.record.get("fold"):
        return _answers(first, test_prior, split)
    folds = [run.record["fold"] for run in runs]
    wanted, found = list(range(1, folds[0]["of"] + 1)), sorted(fold["number"] for fold in folds)
    if len(set(map(set_of, runs))) > 1:
        raise BadData(f"{first.folder} and others beside it are folds of several sets; report them apart")
    if found != wanted:
        raise BadData(
            f"{first.record['method']}, seed {first.record['seed']}, has {_listed(found)} of {len(wanted)}, and is measured by all of "
            "them together, each once; name all, or run the same `tailwise compare` again, which makes those that are missing"
        )
    return pool([_answers(run, test_prior, split) for run in runs])


def _answers(run: Run, test_prior: str | None, split: str) -> Predictions:
    return run.predictions if test_prior is None else under_prior(run.predictions, run.record, test_prior, split)[0]


def set_of(run: Run) -> str:
    """Name the set that a run was trained and measured on by its identity; folds of one set are of the same."""
    fold = run.record.get("fold")
    return f"{fold['whole']} in {fold['of']} folds" if fold else str(run.record["data"]["identity"])


def whole_seeds(runs: Sequence[Run]) -> tuple[Run, ...]:
    """Leave out the runs of seeds that are not finished: some of their folds are not there yet."""
    return tuple(run for of_seed in by_seed(runs) for run in of_seed if len(of_seed) == (run.record.get("fold") or {"of": 1})["of"])


def describe_folds(runs: Sequence[Run]) -> str:
    """Say how figures were pooled, and what they cannot show; nothing where there are no folds."""
    fold = runs[0].record.get("fold") if runs else None
    if fold is None:
        return ""
    return (
        f"Pooled over {fold['of']} folds: each image is measured by a network that did not see it{_seen(runs)}. The {fold['of']} networks "
        "share training images, so the spread over seeds understates what new data would change (Bengio & Grandvalet, JMLR 2004). What val "
        "chose was chosen on the same images, answered by other networks, which flatters the chosen row a little, the more so the more "
        "rows there are."
    )


def _seen(runs: Sequence[Run]) -> str:
    rows = dict.fromkeys(run.record["method"] for run in runs if run.record.get("learnt_on"))
    return f", but for {', '.join(rows)}, which learnt on it without its label" if rows else ""


def _usual(predictions: Predictions) -> str:
    return "test" if "test" in predictions.splits else "val"


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))
