"""Comparisons: many methods, many seeds, equal parts once, one table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tailwise.catalogue import Row
from tailwise.errors import BadValue, OutputExists
from tailwise.evaluation import Summary
from tailwise.records import STUDY, plain, read_record
from tailwise.specification import key_of
from tailwise.store import PENDING, check_writable, json_bytes, whole_file, whole_folder, write_json, writing
from tailwise.study.recommend import Recommendation, describe_choice, recommend
from tailwise.study.runs import EXTRACTOR, Cache, Run, execute, run_key, slug, summarise_runs, write_extractor
from tailwise.study.setup import Setup
from tailwise.study.tree import Saving, Steps, count_steps, saving
from tailwise.training import Plan, RunSettings
from tailwise.version import __version__


@dataclass(frozen=True)
class Study:
    """A comparison on disk.

    Attributes:
        folder: with `study.json`, `runs/`, `splits.csv` and the report.
        record: `study.json`.
        runs: row's text -> its runs, seed by seed.
    """

    folder: Path
    record: Mapping[str, Any]
    runs: Mapping[str, tuple[Run, ...]]

    @classmethod
    def load(cls, folder: Path | str) -> Study:
        """Read a comparison, or as much of it as is finished.

        Raises:
            BadData: the folder is no comparison.
        """
        folder = Path(folder)
        record = read_record(folder / "study.json", STUDY)
        places = {text: [folder / "runs" / name for name in names] for text, names in record["rows"].items()}
        runs = {text: tuple(Run.load(p) for p in found if (p / "run.json").exists()) for text, found in places.items()}
        return cls(folder, record, runs)

    @classmethod
    def standing(cls, folder: Path, setup: Setup, seeds: Sequence[int]) -> Study | None:
        """Give the study in a folder when it is this one and finished, else None."""
        if not (folder / "study.json").is_file() or not (folder / "report.json").is_file():
            return None
        study = cls.load(folder)
        return study if study.is_finished and study.record["key"] == study_key(setup, seeds) else None

    @property
    def is_finished(self) -> bool:
        """Whether every row has all its seeds."""
        return all(len(runs) == len(self.record["seeds"]) for runs in self.runs.values())

    def summary(self, split: str | None = None) -> Summary:
        """Measure all finished runs from their predictions; on test when there is one, else on val."""
        return summarise_runs(self.runs, split)

    def recommendation(self) -> Recommendation | None:
        """Choose a row on val; None where the data have no val images."""
        return recommend(self.runs)

    def saving(self) -> Saving:
        """Count what sharing saved."""
        return saving([run.record for runs in self.runs.values() for run in runs])

    def __repr__(self) -> str:
        done = sum(map(len, self.runs.values()))
        return f"Study of {len(self.runs)} methods, {done} runs, on {self.record['data']} in {self.folder}"

    def _repr_markdown_(self) -> str:
        return self.summary().to_markdown()


def plan_study(setup: Setup, seeds: Sequence[int]) -> tuple[dict[str, Plan], Steps]:
    """Plan all rows: each row's plan for the first seed, and the tree of all lines."""
    plans = {(row.text, seed): setup.plan(row, seed) for seed in seeds for row in setup.rows}
    first = {row.text: plans[row.text, seeds[0]] for row in setup.rows}
    return first, count_steps(plans.values(), setup.store)


def compare(
    setup: Setup,
    seeds: Sequence[int],
    folder: Path,
    settings: RunSettings,
    force: bool = False,
    begun: Callable[[Row, int], None] = lambda row, seed: None,
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
    setup = setup.ready()
    _claim(folder, setup, _record(setup, seeds), force)
    shared: Cache = {}
    for seed in seeds:
        for row in setup.rows:
            begun(row, seed)
            execute(setup, row, seed, folder / "runs" / _run_name(row, seed), settings, shared=shared, extractor=f"../../{EXTRACTOR}")
        shared.clear()
    study = Study.load(folder)
    write_report(study)
    return study


def _run_name(row: Row, seed: int) -> str:
    return f"{slug(row.text)}-seed{seed}"


def study_key(setup: Setup, seeds: Sequence[int]) -> str:
    """Name a comparison by the keys of all its runs.

    Raises:
        BadValue: there are no seeds.
    """
    if not seeds:
        raise BadValue("seeds are a whole number from 1, got 0 of them")
    return key_of([run_key(setup, row, seed) for row in setup.rows for seed in seeds])


def _record(setup: Setup, seeds: Sequence[int]) -> dict[str, Any]:
    rows = {row.text: [_run_name(row, seed) for seed in seeds] for row in setup.rows}
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
        "recipe": plain(setup.recipe),
        "network": setup.network,
        "version": __version__,
        "splits": "splits.csv",
    }


def _claim(folder: Path, setup: Setup, record: Mapping[str, Any], force: bool) -> None:
    """Make the study's folder ours, whole or not at all, or find that it is.

    With `force` another study's folder is moved aside under a name that says so; nothing of a user's is deleted.
    """
    check_writable(folder)
    if folder.is_dir() and any(not place.name.startswith(PENDING) for place in folder.iterdir()):
        if not (folder / "study.json").is_file():
            raise OutputExists(f"{folder} exists and is no study of tailwise; choose another --out")
        if read_record(folder / "study.json", STUDY)["key"] != record["key"] and force:
            with writing(folder):
                folder.rename(_aside(folder))
    table = setup.manifest.rows.sort("id").select("id", "label", "split")

    def fill(place: Path) -> None:
        (place / "splits.csv").write_bytes(table.write_csv().encode())
        write_extractor(setup, place)
        (place / "study.json").write_bytes(json_bytes(record))

    if not (folder / "study.json").is_file():
        whole_folder(folder, fill)
    if read_record(folder / "study.json", STUDY)["key"] != record["key"]:
        raise OutputExists(f"{folder} holds another study (other rows, data, settings or version); choose another --out, or use --force")


def _aside(folder: Path) -> Path:
    number = 1
    while (place := folder.with_name(f"{folder.name}.old-{number}")).exists():
        number += 1
    return place


def write_report(study: Study) -> None:
    """Write the table as JSON, Markdown and CSV, all from the same numbers."""
    summary = study.summary()
    saved = study.saving()
    chosen = study.recommendation()
    report = {
        "schema": "tailwise.report/1",
        "summary": summary.to_dict(),
        "recommendation": chosen and chosen.to_dict(),
        "saving": saved.to_dict(),
        "runs": {
            text: [{"seed": run.record["seed"], "evaluation": run.evaluate(summary.setting.split).to_dict()} for run in runs]
            for text, runs in study.runs.items()
        },
    }
    write_json(study.folder / "report.json", report)
    said = "\n\n".join((summary.to_markdown().rstrip(), describe_choice(chosen), str(saved)))
    whole_file(study.folder / "report.md", f"{said}\n".encode())
    whole_file(study.folder / "report.csv", summary.to_csv().encode())
