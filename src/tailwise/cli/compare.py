"""`tailwise compare`: many methods, many seeds, equal parts once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any, Literal

from tailwise.cli.jobs import Jobs, check_jobs, is_helper
from tailwise.cli.options import Reading, Training, check_names
from tailwise.cli.together import several
from tailwise.errors import BadData, BadValue
from tailwise.study.words import DataWords, TrainingWords

if TYPE_CHECKING:
    from tailwise.study.compare import Study
    from tailwise.study.setup import Setup
    from tailwise.study.turns import Job


def compare(
    data: str | None = None,
    /,
    *,
    features: Path | None = None,
    methods: str = "all",
    seeds: int = 3,
    against: str | None = None,
    folds: int | None = None,
    reading: Reading = None,
    training: Training = None,
    out: Path | None = None,
    force: bool = False,
    jobs: int = 1,
    track: Literal["tensorboard", "trackio", "wandb"] | None = None,
    dry_run: bool = False,
    json: bool = False,
) -> None:
    """Compare methods over seeds; equal parts are trained once, and what is finished is not run again.

    Parameters
    ----------
    data
        A folder of class folders, a table, a file of arrays, or a name (digits).
    features
        In the place of DATA: a folder that `tailwise features` wrote. Heads, losses and corrections are trained on it in seconds.
    methods
        Names separated by commas, with knobs as in ldam(max_margin=0.3) and modifiers as in ldam+sam; a family; or all.
    seeds
        Number of seeds; from three on the figures speak of the method, below that of these networks alone.
    against
        Row that the others are held against. Default: ce, or the first.
    folds
        Deal all images into so many folds, 3 to 20, and measure each once, by a network that did not see it; every row is trained in each
        fold. For sets whose tails are too small for a test split.
    out
        Folder of the study. Default: tailwise-out/<data>-<key>.
    force
        Replace another study that stands there; it is kept aside until the new one stands.
    jobs
        Processes that share the runs, each with runs of its own and the recipe's threads; as many as there are free cores is usual.
    track
        Mirror log.jsonl and the figures to this dashboard too, once all runs stand; needs its library.
    dry_run
        Print the plan and its cost, and train nothing.
    json
        Print the table and what sharing saved as JSON.
    """
    reading, training = reading or DataWords(), training or TrainingWords()
    data = _one_source(data, features)
    check_names(data, methods, training.recipe)
    check_jobs(jobs, training)
    if is_helper():  # the command that is helped says and replaces what there is to say and replace
        force, track = False, None
    several(training)

    from tailwise import processes
    from tailwise.cli.tables import print_json
    from tailwise.registry import parse_rows
    from tailwise.ship.tracking import check_tracker
    from tailwise.ship.tracking import track as mirror
    from tailwise.study.setup import make_setup

    check_tracker(track)
    setup = make_setup(data, parse_rows(methods), reading, training, folds=folds, against=against)
    if features is not None and setup.manifest.kind != "features":
        raise BadData(f"--features {features} holds images; `tailwise features {features}` makes features of them, which it takes")
    study = run_study(setup, seeds, out, force, dry_run, json, jobs)
    if study is None or not processes.is_first():
        return
    mirror([run for runs in study.runs.values() for run in runs], track)
    if json:
        print_json(study_record(study))
    else:
        print_study(study)
        print_next(study, data, reading, training)


def _one_source(data: str | None, features: Path | None) -> str:
    """Give what is compared on, which is said once.

    Raises:
        BadValue: it is said twice, or not at all.
    """
    if (data is None) == (features is None):
        raise BadValue("compare takes DATA, or --features FOLDER in its place; give one of them")
    return data if data is not None else str(features)


def run_study(setup: Setup, seeds: int, out: Path | None, force: bool, dry_run: bool, quiet: bool, jobs: int = 1) -> Study | None:
    """Say what will be run and at what cost, and run it with progress.

    Returns:
        The study; None where only the plan was asked for, or where one said no to its cost.
    """
    from tailwise.cli.plans import plan_record, print_estimate, print_study_plan
    from tailwise.cli.progress import agreed
    from tailwise.cli.running import running
    from tailwise.cli.tables import print_json, say
    from tailwise.study.compare import Study, plan_study
    from tailwise.study.compare import compare as run_comparison
    from tailwise.study.estimate import estimate
    from tailwise.study.places import default_study

    folder = out or default_study(setup, range(seeds))
    standing = None if dry_run else Study.standing(folder, setup, range(seeds))
    if standing is not None:
        if not quiet:
            say(f"already done: {folder}")
        return standing
    plans, steps = plan_study(setup, range(seeds))
    if not quiet:
        print_study_plan(setup, seeds, plans, steps)
    cost = estimate(setup, range(seeds), steps).on(jobs)
    if not quiet:
        print_estimate(cost)
    elif dry_run:
        print_json(plan_record(folder, setup, plans, steps, cost))
    if dry_run or not agreed(cost.seconds):
        return None
    with running(setup, steps) as (ready, settings, label), Jobs(jobs) as helpers:

        def begun(job: Job) -> None:
            label(str(job))
            helpers.start()

        return run_comparison(ready, range(seeds), folder, settings, force, begun)


def print_study(study: Study) -> None:
    """Print the table, the recommendation, what sharing saved, and where things are."""
    from tailwise.cli.tables import console, print_summary, say
    from tailwise.study.recommend import describe_choice

    console.print()
    print_summary(study.summary())
    console.print()
    say(describe_choice(study.recommendation()))
    say(f"sharing: {study.saving()}")
    say(f"study: {study.folder} (index.html, report.json, report.md, report.csv, report.tex, runs/)")


def print_next(study: Study, data: str, reading: DataWords, training: TrainingWords) -> None:
    """Print the commands that use what was recommended, with the words of this one."""
    from tailwise.cli.options import typed
    from tailwise.cli.tables import say

    chosen = study.recommendation()
    if chosen is None:
        return
    recipe_alone = replace(training, settings=tuple(s for s in training.settings if s.startswith("recipe.")))  # knobs are in the row
    words = typed(reading, recipe_alone, leave_out=("split",))
    say("next:")
    record = study.runs[chosen.row][0].record
    if record["data"]["kind"] == "images" and not record.get("fold"):  # a fold's network saw a part of the images
        say(f"  {predict_line(chosen.run, record)}")
    needs_splits = record.get("selected") or record.get("learnt_on")  # what is chosen on val, or learns on what is measured
    all_data = "" if needs_splits else " --all-data"
    say(f"  tailwise train {quote(data)} --method {quote(chosen.method)}{all_data}{words}")


def predict_line(folder: Path, record: Mapping[str, Any]) -> str:
    """Write the command that predicts with a run; a user's own method is found by its file alone."""
    own = "" if record["typed"] == record["method"] else f" --method {quote(record['typed'])}"
    return f"tailwise predict {quote(str(folder))} IMAGES...{own}"


def study_record(study: Study) -> dict[str, Any]:
    """Give the table, the recommendation and what sharing saved as plain values."""
    chosen = study.recommendation()
    return {
        "schema": "tailwise.comparison/1",
        "folder": str(study.folder),
        "summary": study.summary().to_dict(),
        "recommendation": chosen and chosen.to_dict(),
        "saving": study.saving().to_dict(),
    }
