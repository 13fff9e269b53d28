"""`tailwise train`: one method, one seed."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from tailwise.cli.options import Reading, Training, check_names
from tailwise.cli.together import several
from tailwise.study.words import DataWords, TrainingWords

if TYPE_CHECKING:
    from tailwise.study.runs import Run


def train(
    data: str,
    /,
    *,
    method: str = "ce",
    modifiers: Annotated[tuple[str, ...], Parameter(name="--with", negative="")] = (),
    seed: int = 0,
    reading: Reading = None,
    training: Training = None,
    all_data: bool = False,
    out: Path | None = None,
    force: bool = False,
    track: Literal["tensorboard", "trackio", "wandb"] | None = None,
    dry_run: bool = False,
    json: bool = False,
) -> None:
    """Train one method with one seed; what earlier runs share with it is not trained again.

    Parameters
    ----------
    data
        A folder of class folders, a table, a file of arrays, or a name (digits).
    method
        Name with knobs, as in ldam(max_margin=0.3), or the path of a Python file.
    modifiers
        A modifier over the method, as in --with sam; may be repeated.
    seed
        Seed of initialisation, order and augmentation.
    all_data
        Train on every image, val and test included: the model to use once a comparison has chosen. Nothing is measured.
    out
        Folder of the run. Default: tailwise-out/<data>-<method>-seed<seed>-<key>.
    force
        Replace another run that stands there.
    track
        Mirror log.jsonl and the figures to this dashboard too, once the run stands; needs its library.
    dry_run
        Print the plan and train nothing.
    json
        Print the record and the figures as JSON.
    """
    reading, training = reading or DataWords(), training or TrainingWords()
    check_names(data, "+".join((method, *modifiers)), training.recipe)
    several(training)

    from tailwise import processes
    from tailwise.api import method_row
    from tailwise.cli.plans import plan_record, print_estimate, print_run_plan
    from tailwise.cli.progress import agreed
    from tailwise.cli.running import running
    from tailwise.cli.tables import print_json
    from tailwise.ship.tracking import check_tracker
    from tailwise.ship.tracking import track as mirror
    from tailwise.study.estimate import estimate
    from tailwise.study.places import default_run
    from tailwise.study.runs import execute, run_key, whole_run
    from tailwise.study.setup import make_setup
    from tailwise.study.tree import count_steps

    check_tracker(track)
    setup = make_setup(data, [method_row(method, modifiers)], reading, training, all_data=all_data)
    row = setup.rows[0]
    folder = out or default_run(setup, row, seed)
    run = None if dry_run else whole_run(folder, run_key(setup, row, seed), force)
    if run is None:
        plan = setup.plan(row, seed)
        steps = count_steps([plan], setup.store)
        if not json:
            print_run_plan(setup, seed, plan, steps)
        cost = estimate(setup, [seed], steps)
        if not json:
            print_estimate(cost, indent=2)
        elif dry_run:
            print_json(plan_record(folder, setup, {row.text: plan}, steps, cost))
        if dry_run or not agreed(cost.seconds):
            return
        with running(setup, steps) as (ready, settings, label):
            label(row.text)
            run = execute(ready, row, seed, folder, settings, force)
    if not processes.is_first():
        return
    mirror([run], track)
    if json:
        print_json(run_record(run))
    else:
        print_run(run, run.stood)


def print_run(run: Run, done: bool) -> None:
    """Print the figures, where things are, and what comes next."""
    from tailwise.cli.compare import predict_line
    from tailwise.cli.tables import print_evaluation, say

    say("already done:" if done else f"trained {run.record['steps_trained']:,} of {run.record['steps']:,} steps")
    for said in ("posthoc", "chosen", "learnt_on"):
        if run.record.get(said):
            say(run.record[said])
    if run.is_measured:
        print_evaluation(run.evaluate())
    else:
        say("trained on all images, so nothing is left to measure on")
    say(f"run: {run.folder}")
    following = [predict_line(run.folder, run.record)] if run.record["data"]["kind"] == "images" else []
    following += [f"tailwise report {quote(str(run.folder))}"] if run.is_measured else []
    for line in ("next:", *(f"  {line}" for line in following)) if following else ():
        say(line)


def run_record(run: Run) -> dict[str, Any]:
    """Give the record and the figures as plain values."""
    return {**run.record, "folder": str(run.folder), "evaluation": run.evaluate().to_dict() if run.is_measured else None}
