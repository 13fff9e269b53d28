"""`tailwise compare`: many methods, many seeds, equal parts once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tailwise.cli.options import DataOptions, TrainingOptions, check_data_name, check_names, check_seeds

if TYPE_CHECKING:
    from tailwise.study.compare import Study
    from tailwise.study.setup import Setup


def compare(
    data: str,
    /,
    *,
    methods: str = "all",
    seeds: int = 3,
    reading: DataOptions | None = None,
    training: TrainingOptions | None = None,
    out: Path | None = None,
    force: bool = False,
    dry_run: bool = False,
    json: bool = False,
) -> None:
    """Compare methods over seeds; equal parts are trained once, and what is finished is not run again.

    Examples:
      tailwise compare photos/
      tailwise compare photos/ --methods ce,la,ldam-drw,crt --seeds 5 --recipe quick
      tailwise compare digits --recipe demo --split 50/10/40 --tail exponential:50 --methods "ldam,ldam(max_margin=0.3)"

    Parameters
    ----------
    data
        A folder of class folders, an .npz file, or a name (digits).
    methods
        Names separated by commas, with knobs as in ldam(max_margin=0.3) and modifiers as in ldam+sam; a family; or all.
    seeds
        Number of seeds.
    out
        Folder of the study. Default: tailwise-out/<data>-<key>.
    force
        Put another study that stands there aside.
    dry_run
        Print the plan and its cost, and train nothing.
    json
        Print the table and what sharing saved as JSON.
    """
    from tailwise.catalogue import split_outside

    reading, training = reading or DataOptions(), training or TrainingOptions()
    check_names(split_outside(methods, ","), training.recipe)
    check_data_name(data)
    check_seeds(seeds)

    from tailwise.catalogue import parse_rows
    from tailwise.cli.progress import image_progress
    from tailwise.study.setup import make_setup

    t = training
    bar, decoded = image_progress()
    with bar:
        setup = make_setup(reading.words(data), parse_rows(methods), t.recipe, t.net, t.setting, t.threads, t.device, progress=decoded)
    study = run_study(setup, seeds, out, force, dry_run, json)
    if study is None:
        return
    if json:
        print_study_json(study)
        return
    print_study(study)


def run_study(setup: Setup, seeds: int, out: Path | None, force: bool, dry_run: bool, quiet: bool) -> Study | None:
    """Say what will be run and at what cost, run it with progress; None for a dry run."""
    from tailwise.cli.progress import StepProgress, gently
    from tailwise.cli.tables import print_json, say
    from tailwise.study.compare import Study, plan_study
    from tailwise.study.compare import compare as run_comparison
    from tailwise.study.places import default_study
    from tailwise.training import RunSettings

    folder = out or default_study(setup, range(seeds))
    plans, tree = plan_study(setup, range(seeds))
    if not quiet:
        say(repr(setup.manifest))
        for line in setup.manifest.provenance:
            say(f"  {line}")
        say(f"{len(setup.rows)} methods x {seeds} seeds on {setup.backbone}, recipe {setup.recipe.name}:")
        for text, plan in plans.items():
            say(f"  {text}")
            for line in (*plan.sentences(), *(f"warning: {w}" for w in plan.warnings)):
                say(f"    {line}")
        more = ", and what is decided by results" if tree.undecided else ""
        say(f"{tree.shared:,} steps instead of {tree.alone:,}: equal parts are trained once{more}; the store has {tree.stored:,}")
    if dry_run:
        if quiet:
            print_json(
                {
                    "out": str(folder),
                    "steps_alone": tree.alone,
                    "steps_shared": tree.shared,
                    "steps_stored": tree.stored,
                    "plans": {text: plan.sentences() for text, plan in plans.items()},
                    "warnings": [warning for plan in plans.values() for warning in plan.warnings],
                }
            )
        return None
    done = (folder / "report.json").exists() and (folder / "study.json").exists() and Study.load(folder).is_finished
    progress = StepProgress(tree.ahead)
    with gently() as interrupted, progress.bar:
        settings = RunSettings(setup.store, setup.device, progress.watch, interrupted)
        study = run_comparison(
            setup, range(seeds), folder, settings, force, begun=lambda row, seed: progress.label(f"{row.text}, seed {seed}")
        )
    if done and not quiet and progress.trained == 0:
        say(f"already done: {folder}")
    return study


def print_study(study: Study) -> None:
    """Print the table, what sharing saved, and where things are."""
    from tailwise.cli.tables import console, print_summary, say

    console.print()
    print_summary(study.summary())
    console.print()
    say(f"Sharing: {study.saving()}.")
    say(f"Study: {study.folder} (report.json, report.md, report.csv, runs/)")


def print_study_json(study: Study) -> None:
    """Print the table and what sharing saved as JSON."""
    from tailwise.cli.tables import print_json

    print_json(
        {
            "schema": "tailwise.comparison/1",
            "folder": str(study.folder),
            "summary": study.summary().to_dict(),
            "saving": study.saving().to_dict(),
        }
    )
