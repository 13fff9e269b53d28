"""Comparisons: many methods, many seeds, equal parts once, one table."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from tailwise import processes
from tailwise.data import Fold
from tailwise.data.folds import TEST_FOLD, VAL_FOLD
from tailwise.errors import BadValue
from tailwise.evaluation import Measured, Predictions, Summary
from tailwise.records import STUDY, plain
from tailwise.registry import Row
from tailwise.specification import key_of
from tailwise.study.claim import CARD, check_ours, claim, damaged_files, drop_replaced, read_study
from tailwise.study.live import announced, dear, needs_of
from tailwise.study.measure import measure, tabulate, whole_seeds
from tailwise.study.publish import PAGE, REPORT, Report, write_report
from tailwise.study.recommend import Recommendation, describe_choice, recommend
from tailwise.study.runs import EXTRACTOR, Run, Shared, extractor_file, run_key, slug, standing, train_job
from tailwise.study.setup import Setup
from tailwise.study.thumbnails import thumbnails_file
from tailwise.study.tree import Saving, Steps, count_steps, saving
from tailwise.study.turns import Job, Turns
from tailwise.training import Plan, RunSettings
from tailwise.version import __version__

SPLITS = "splits.csv"


@dataclass(frozen=True)
class Study:
    """A comparison on disk.

    Attributes:
        folder: with `study.json`, `runs/`, `splits.csv` and the report.
        record: `study.json`.
        runs: row's text -> its runs, seed by seed, fold by fold; a seed that still lacks a fold is left out.
    """

    folder: Path
    record: Mapping[str, Any]
    runs: Mapping[str, tuple[Run, ...]]
    _measured: dict[tuple[str | None, str | None], list[Measured]] = field(default_factory=dict, init=False, repr=False, compare=False)

    @classmethod
    def load(cls, folder: Path | str) -> Study:
        """Read a comparison, or as much of it as is finished.

        Raises:
            BadData: the folder is no comparison, or its record is damaged.
        """
        folder = Path(folder)
        record = read_study(folder)
        places = {text: [folder / "runs" / name for name in names] for text, names in record["rows"].items()}
        runs = {text: whole_seeds([Run.load(p) for p in found if (p / "run.json").exists()]) for text, found in places.items()}
        return cls(folder, record, runs)

    @classmethod
    def standing(cls, folder: Path, setup: Setup, seeds: Sequence[int]) -> Study | None:
        """Give the study in a folder when it is this one, finished and whole, else None; of several processes the first looks.

        What such a study has replaced goes now, where a command was killed before it did so.

        Raises:
            BadData: one of its runs is damaged.
        """
        return processes.told(lambda: cls._standing(folder, setup, seeds))

    @classmethod
    def _standing(cls, folder: Path, setup: Setup, seeds: Sequence[int]) -> Study | None:
        if not (folder / CARD).is_file() or not (folder / REPORT).is_file():
            return None
        study = cls.load(folder)
        if study.record["key"] != study_key(setup, seeds) or not study.is_finished or damaged_files(folder, study.record):
            return None
        for runs in study.runs.values():
            for run in runs:
                run.check_whole()
        for name, data in report_of(study).tables().items():
            if not (folder / name).is_file() or (folder / name).read_bytes() != data:
                logging.getLogger("tailwise").warning(f"{folder / name} is missing or not what it was, and is written again")
                return None
        if not (folder / PAGE).is_file():
            logging.getLogger("tailwise").warning(f"{folder / PAGE} is missing, and is written again")
            return None
        drop_replaced(folder, study.record["key"])
        return study

    @property
    def is_finished(self) -> bool:
        """Whether every row has all its seeds, in all folds."""
        return all(len(runs) == len(names) for runs, names in zip(self.runs.values(), self.record["rows"].values(), strict=True))

    def summary(self, split: str | None = None, against: str | None = None, test_prior: str | None = None) -> Summary:
        """Measure all finished runs from their predictions: figures with intervals, and differences from one row.

        Args:
            split: None for test when there is one, else val.
            against: text of the row that the others are held against; None for the study's own choice, `ce`, or the first.
            test_prior: class distribution that is expected at test, see `measure`.
        """
        return tabulate(self.measured(split, test_prior), self.runs, against or self.against)

    def measured(self, split: str | None = None, test_prior: str | None = None) -> list[Measured]:
        """Measure all finished runs, once for each split."""
        if (split, test_prior) not in self._measured:
            self._measured[split, test_prior] = measure(self.runs, split, test_prior)
        return self._measured[split, test_prior]

    def recommendation(self) -> Recommendation | None:
        """Choose a row on val; None where the data have no val images."""
        return self._recommendation

    @cached_property
    def _recommendation(self) -> Recommendation | None:
        return recommend(self.runs, self.against, self.measured)

    @property
    def against(self) -> str | None:
        """The row that the others are held against, where one was named and has runs."""
        named: str | None = self.record["against"]
        return named if named is not None and self.runs[named] else None

    def saving(self) -> Saving:
        """Count what sharing saved."""
        return saving([run.record for runs in self.runs.values() for run in runs])

    def __repr__(self) -> str:
        done = sum(map(len, self.runs.values()))
        return f"Study of {len(self.runs)} methods, {done} runs, on {self.record['data']} in {self.folder}"

    def figures(self) -> dict[str, Any]:
        """Give the figures of the report as Altair charts by name, which show themselves in a notebook."""
        return report_of(self).charts()

    def _repr_html_(self) -> str:
        from html import escape

        said = "".join(f"<p>{escape(line)}</p>" for line in (repr(self), *describe_choice(self.recommendation()).split("\n")) if line)
        return f"{said}{self.summary()._repr_html_()}<p>{escape(f'sharing: {self.saving()}')}</p>"


def plan_study(setup: Setup, seeds: Sequence[int]) -> tuple[dict[str, Plan], Steps]:
    """Plan all rows: each row's plan for the first seed, in the first fold, and the tree of all lines."""
    plans = [fold.plan(row, seed) for seed in seeds for fold in setup.folds for row in setup.rows]
    first = {row.text: setup.folds[0].plan(row, seeds[0]) for row in setup.rows}
    return first, count_steps(plans, setup.store)


def compare(
    setup: Setup,
    seeds: Sequence[int],
    folder: Path,
    settings: RunSettings,
    force: bool = False,
    begun: Callable[[Job], None] = lambda job: None,
) -> Study:
    """Run all rows over all seeds, and leave one table; what is finished is not run again.

    Args:
        setup: data, recipe, rows; made ready where it is not.
        seeds: of the runs; a seed is the same initialisation, order and augmentation for every row.
        folder: where the study goes.
        settings: store, device, watcher.
        force: whether another study in the folder is replaced.
        begun: hears of each run as it begins.

    Raises:
        OutputExists: the folder holds something else.
        Stopped, KeyboardInterrupt: on the way; the same call goes on.
    """
    if (finished := Study.standing(folder, setup, seeds)) is not None:
        return finished
    card = _card(setup, seeds)
    with announced(setup.store, folder, "compare", card["key"], needs_of(setup, setup.rows, seeds)) as claimed:
        ready = setup.ready()
        found = processes.told(lambda: _claim(folder, ready, card, settings, force))
        claimed()
        processes.told(lambda: _check_runs(folder, ready, seeds))
        processes.told(lambda: setup.store.trim(dear(setup.store)))  # from here on a full disk knows what is dear
        _run_all(folder, ready, seeds, found, settings, begun)
        return processes.told(lambda: _finish(folder, card["key"]))


def _run_all(
    folder: Path, setup: Setup, seeds: Sequence[int], card: Mapping[str, Any], settings: RunSettings, begun: Callable[[Job], None]
) -> None:
    """Train what nobody else has trained or is training, until all runs stand."""
    folds = {fold.fold: fold for fold in setup.folds}
    predictions: dict[tuple[int, Fold | None], dict[tuple[str, int], Predictions]] = {}
    with Turns(_jobs(folder, setup, seeds), settings, lambda job: standing(job.folder, job.key, force=False) is not None) as turns:
        while (job := turns.take()) is not None:
            begun(job)
            predictions = {beside: predictions.get(beside, {}) for beside in {waiting.beside for waiting in turns.left}}
            shared = Shared(card["files"].get(EXTRACTOR), predictions[job.beside], lambda: check_ours(folder, card["key"]))
            train_job(folds[job.fold], job, settings, shared=shared)


def _check_runs(folder: Path, setup: Setup, seeds: Sequence[int]) -> None:
    """Refuse to go on beside a run of this study that is damaged, before anything is trained."""
    for job in _jobs(folder, setup, seeds):
        if (found := standing(job.folder, job.key, force=False)) is not None:
            found.check_whole()


def _jobs(folder: Path, setup: Setup, seeds: Sequence[int]) -> list[Job]:
    """List all runs, seed by seed and fold by fold: what rows share of these is at hand while they are through.

    Of a seed and fold the longest come first, so that where several commands share them none is left alone with a long one.
    """
    return [
        Job(row, seed, folder / "runs" / _run_name(row, seed, fold.fold), run_key(fold, row, seed), fold.plan(row, seed), fold.fold)
        for seed in seeds
        for fold in setup.folds
        for row in sorted(setup.rows, key=lambda row: -sum(leg.passes for leg in fold.plan(row, seed).legs))
    ]


def _claim(folder: Path, setup: Setup, card: Mapping[str, Any], settings: RunSettings, force: bool) -> dict[str, Any]:
    """Claim the study's folder, one command at a time, and give the card that lies there."""
    roles = (TEST_FOLD, VAL_FOLD) if setup.dealt else ("split",)
    table = setup.manifest.rows.sort("id").select("id", "label", *roles)

    def waiting() -> None:
        if settings.interrupted():
            raise KeyboardInterrupt

    with settings.store.lock("claim", key_of(str(folder.absolute())), waiting):
        return claim(folder, card, lambda: {SPLITS: table.write_csv().encode(), **extractor_file(setup), **thumbnails_file(setup)}, force)


def _finish(folder: Path, key: str) -> Study:
    """Write the report of a study whose runs all stand, by whomever, and drop what the study replaces."""
    check_ours(folder, key)
    study = Study.load(folder)
    write_report(report_of(study), folder, figures=False)  # the study stands once its report does, and what it replaced goes after that
    drop_replaced(folder, key)
    return study


def _run_name(row: Row, seed: int, fold: Fold | None) -> str:
    return f"{slug(row.text)}-seed{seed}" + (f"-fold{fold.number}" if fold else "")


def study_key(setup: Setup, seeds: Sequence[int]) -> str:
    """Name a comparison by the keys of all its runs.

    Raises:
        BadValue: there are no seeds.
    """
    if not seeds:
        raise BadValue("seeds are a whole number from 1, got 0 of them")
    keys = [run_key(fold, row, seed) for row in setup.rows for seed in seeds for fold in setup.folds]
    return key_of(keys if setup.against is None else [*keys, setup.against])


def _card(setup: Setup, seeds: Sequence[int]) -> dict[str, Any]:
    rows = {row.text: [_run_name(row, seed, fold.fold) for seed in seeds for fold in setup.folds] for row in setup.rows}
    names = [name for found in rows.values() for name in found]
    if len(set(names)) != len(names):
        raise BadValue("two rows of the comparison would share a folder; name them more differently")
    return {
        "schema": STUDY,
        "key": study_key(setup, seeds),
        "data": setup.manifest.name,
        "provenance": list(setup.manifest.provenance),
        "rows": rows,
        "seeds": list(seeds),
        "folds": len(setup.dealt) or None,
        "against": setup.against,
        "left_out": list(setup.left_out),
        "recipe": plain(setup.recipe),
        "network": setup.network,
        "version": __version__,
    }


def report_of(study: Study) -> Report:
    """Make the report of a study."""
    methods, seeds = len(study.runs), len(study.record["seeds"])
    return Report(
        title=f"{study.record['data']}: {methods} method{'s' if methods != 1 else ''}, {seeds} seed{'s' if seeds != 1 else ''}",
        summary=study.summary(),
        measured=study.measured(),
        runs=study.runs,
        chosen=study.recommendation(),
        words=describe_choice(study.recommendation()),
        saved=study.saving(),
        folds=study.record.get("folds"),
        provenance=study.record["provenance"],
    )
