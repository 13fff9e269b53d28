"""`tailwise demo`: the whole story on real digits."""

from __future__ import annotations

from pathlib import Path

METHODS = "ce,balanced-softmax,la,tau-norm,ldam-drw,crt"
SEEDS = 3


def demo(*, out: Path | None = None, force: bool = False, json: bool = False) -> None:
    """Make scikit-learn's digits long-tailed and compare six methods over three seeds; about half a minute.

    Parameters
    ----------
    out
        Folder of the study. Default: tailwise-out/demo-<key>.
    force
        Put another study that stands there aside.
    json
        Print the table and what sharing saved as JSON.
    """
    from tailwise.cli.compare import print_study, run_study, study_record
    from tailwise.cli.tables import console, print_json, say
    from tailwise.registry import parse_rows
    from tailwise.study.places import default_study
    from tailwise.study.setup import make_setup
    from tailwise.study.words import DataWords, TrainingWords

    data = DataWords(split="50/10/40", tail="exponential:50", groups="thirds")
    setup = make_setup("digits", parse_rows(METHODS), data, TrainingWords(recipe="demo"))
    out = out or default_study(setup, range(SEEDS), "demo")
    study = run_study(setup, SEEDS, out, force, dry_run=False, quiet=json)
    assert study is not None
    if json:
        print_json(study_record(study))
        return
    print_study(study)
    console.print()
    say("With a folder of your own, one folder a class inside it:")
    for line in (
        "tailwise explore photos/",
        "tailwise compare photos/",
        "tailwise show ldam-drw",
    ):
        say(f"  {line}")
