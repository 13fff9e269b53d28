"""`tailwise train`: one method, one seed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from tailwise.cli.options import Reading, Training, check_names
from tailwise.study.words import DataWords, TrainingWords


def train(
    data: str,
    /,
    *,
    method: str = "ce",
    modifiers: Annotated[tuple[str, ...], Parameter(name="--with", negative="")] = (),
    seed: int = 0,
    reading: Reading = None,
    training: Training = None,
    out: Path | None = None,
    force: bool = False,
    dry_run: bool = False,
    json: bool = False,
) -> None:
    """Train one method with one seed; what earlier runs share with it is not trained again.

    Parameters
    ----------
    data
        A folder of class folders, an .npz file, or a name (digits).
    method
        Name with knobs, as in ldam(max_margin=0.3), or the path of a Python file.
    modifiers
        A modifier over the method, as in --with sam; may be repeated.
    seed
        Seed of initialisation, order and augmentation.
    out
        Folder of the run. Default: tailwise-out/<data>-<method>-seed<seed>-<key>.
    force
        Replace another run that stands there.
    dry_run
        Print the plan and train nothing.
    json
        Print the record and the figures as JSON.
    """
    reading, training = reading or DataWords(), training or TrainingWords()
    check_names(data, "+".join((method, *modifiers)), training.recipe)

    from tailwise.api import method_row
    from tailwise.cli.compare import plan_record
    from tailwise.cli.progress import StepProgress, gently, image_progress
    from tailwise.cli.tables import print_data, print_evaluation, print_json, say
    from tailwise.study.places import default_run
    from tailwise.study.runs import execute, run_key, standing
    from tailwise.study.setup import make_setup
    from tailwise.study.tree import count_steps
    from tailwise.training import RunSettings

    bar, decoded = image_progress()
    with bar:
        setup = make_setup(data, [method_row(method, modifiers)], reading, training, progress=decoded)
    row = setup.rows[0]
    folder = out or default_run(setup, row, seed)
    plan = setup.plan(row, seed)
    steps = count_steps([plan], setup.store)
    if json and dry_run:
        print_json(plan_record(folder, {row.text: plan}, steps))
    elif not json:
        print_data(setup.manifest)
        say(f"{row.text} on {setup.backbone}, recipe {setup.recipe.name}, seed {seed}:")
        for line in (*plan.sentences(), *(f"warning: {w}" for w in plan.warnings)):
            say(f"  {line}")
        say(f"  {steps.shared:,} steps, of which the store has {steps.stored:,}")
    if dry_run:
        return
    done = standing(folder, run_key(setup, row, seed), force) is not None
    progress = StepProgress(steps.ahead)
    progress.label(row.text)
    with gently() as interrupted, progress.bar:
        settings = RunSettings(setup.store, setup.device, progress.watch, interrupted)
        run = execute(setup, row, seed, folder, settings, force)
    if json:
        print_json({**run.record, "folder": str(folder), "evaluation": run.evaluate().to_dict()})
        return
    say("already done:" if done else f"trained {run.record['steps_trained']:,} of {run.record['steps']:,} steps:")
    if run.record["posthoc"]:
        say(run.record["posthoc"])
    print_evaluation(run.evaluate())
    say(f"run: {folder}")
    say(f"next: tailwise report {folder}")
