"""`tailwise adjust`: anybody's logits, or a run's answers, corrected for the tail after training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tailwise.errors import BadData, BadValue, Clash
from tailwise.study.words import check_test_prior

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from tailwise.posthoc.foreign import Adjusted

MAGIC = b"\x93NUMPY"
"""The first bytes of every `.npy` file."""


def adjust(
    logits: Path,
    /,
    *,
    counts: Path | None = None,
    tau: float = 1.0,
    posthoc: str | None = None,
    test_prior: str | None = None,
    val_logits: Path | None = None,
    val_labels: Path | None = None,
    out: Path,
    force: bool = False,
    json: bool = False,
) -> None:
    """Correct anybody's logits or probabilities, or a run's answers, for the tail, without training, network or images.

    Parameters
    ----------
    logits
        An .npy file of shape (images, classes), or an .npz file with one array or the key logits. Or the folder of a run.
    counts
        Training images a class: JSON, a list in label order or {"0": 480, "1": 12}, or .npy. A run knows its own.
    tau
        Strength with which the training prior is taken out, from 0 (left as it is); 1 is the formula. For a run: --posthoc "la(tau=1)".
    posthoc
        Of a run: what comes after its training instead: la, tau-norm, ncm, each with its knobs, temperature, or views (mirrored too).
    test_prior
        Classes expected at test: uniform (the default for arrays), train, reversed, a file of counts or shares in the form of --counts, or
        estimated: read off the answers, without labels.
    val_logits
        Logits of images that were not trained on, from the same model: a temperature is fitted on them, so that scores are calibrated.
    val_labels
        Their labels, an .npy file of shape (images,), or an .npz file with one array or the key labels.
    out
        Where the corrected logits go, an .npy file. Of a run: a folder for it with its corrected answers, a run like any other.
    force
        Replace another .npy file, or another run, that stands there; nothing else is ever replaced.
    json
        Print what changed as JSON.
    """
    if logits.is_dir():
        arrays = {"--counts": counts, "--val-logits": val_logits, "--val-labels": val_labels, "--tau": None if tau == 1.0 else tau}
        _adjust_run(logits, arrays, posthoc, test_prior, out, force, json)
        return
    if not logits.exists():
        raise BadData(f"{logits}: no such file or run; give an .npy or .npz file of logits, or the folder of a run")
    if posthoc is not None:
        raise Clash(f"--posthoc {posthoc} needs a run, and {logits} is a file; leave it out, --tau is the strength of logit adjustment")
    if counts is None:
        raise BadValue(f"{logits} comes without --counts, the training images a class; give them as JSON or .npy")
    test_prior = test_prior or "uniform"
    if out.suffix.lower() != ".npy":
        raise BadValue(f"--out {out} is no name of an array; let it end in .npy")
    if _is_same(out, logits):
        raise BadValue(f"--out {out} is the input; give another name, or the same command again would correct twice")
    for word, file in {"counts": counts, "test prior": Path(test_prior), "val logits": val_logits, "val labels": val_labels}.items():
        if file is not None and _is_same(out, file):
            raise BadValue(f"--out {out} holds the {word}; give another name, or the same command again would not find them")
    if (val_logits is None) != (val_labels is None):
        given, missing = ("--val-labels", "--val-logits") if val_logits is None else ("--val-logits", "--val-labels")
        raise BadValue(f"{given} comes without {missing}; a temperature needs both")
    check_test_prior(test_prior)

    from tailwise.cli.foreign_files import read_counts, read_labels, read_logits
    from tailwise.cli.tables import print_json
    from tailwise.posthoc.foreign import adjust as correct
    from tailwise.study.class_numbers import read_prior

    adjusted = correct(
        read_logits(logits),
        read_counts(counts),
        tau,
        read_prior(test_prior),
        read_logits(val_logits) if val_logits else None,
        read_labels(val_labels) if val_labels else None,
    )
    is_new = _write(out, adjusted.logits, force)
    if json:
        print_json({**adjusted.to_dict(), "test_prior": test_prior, "out": str(out)})
    else:
        _print(adjusted, test_prior, out, is_new)


def _adjust_run(
    folder: Path, arrays: Mapping[str, object], posthoc: str | None, test_prior: str | None, out: Path, force: bool, json: bool
) -> None:
    """Correct a run's answers, leave them as a run of their own, and show what that changed."""
    if not (folder / "run.json").is_file():
        raise BadData(f"{folder} is no run; expected one that `tailwise train` made, one of a study's runs/, or an .npy file of logits")
    given = [word for word, value in arrays.items() if value is not None]
    if given:
        raise Clash(f"{', '.join(given)} is for arrays, and {folder} is a run, which has its own; leave it out")
    if (posthoc is None) == (test_prior is None):
        raise BadValue(f"{folder} is a run: name what comes after its training, either --posthoc or --test-prior")
    if test_prior is not None:
        check_test_prior(test_prior)

    from tailwise.api import adjust_run
    from tailwise.cli.tables import print_json, print_summary, say
    from tailwise.study.measure import measure, tabulate
    from tailwise.study.runs import Run

    run = Run.load(folder)
    made = adjust_run(run, posthoc=posthoc, test_prior=test_prior, out=out, force=force)
    if json:
        print_json({**made.record, "folder": str(out), "evaluation": made.evaluate().to_dict()})
        return
    rows = {found.record["method"]: [found] for found in (run, made)}
    say(f"{made.record['method']}: {made.record['posthoc']}")
    print_summary(tabulate(measure(rows), rows, run.record["method"]))
    say(f"{'already done' if made.stood else 'written'}: {out}")


def _is_same(out: Path, read: Path) -> bool:
    return out.exists() and read.exists() and out.samefile(read)


def _write(out: Path, logits: np.ndarray, force: bool) -> bool:
    """Write the array, and say whether it was not there already, byte for byte."""
    import io

    import numpy as np

    from tailwise.disk import leave_file

    data = io.BytesIO()
    np.save(data, logits, allow_pickle=False)
    return leave_file(out, data.getvalue(), force, lambda there: there.startswith(MAGIC), ".npy file")


def _print(adjusted: Adjusted, test_prior: str, out: Path, is_new: bool) -> None:
    from rich.table import Table
    from rich.text import Text

    from tailwise.cli.tables import console, say

    rows, classes = adjusted.logits.shape
    if adjusted.took_log:
        say("The rows are probabilities, so their logarithm was taken first.")
    changed = f"{adjusted.changed:,} rows ({100 * adjusted.changed / rows:.2f} %) changed their class"
    say(f"{rows:,} rows, {classes:,} classes, tau {adjusted.tau:g}: {changed}.")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("answered with", "classes", "rows before", "rows after", "moved there"):
        table.add_column(column, justify="left" if column == "answered with" else "right")
    for name, part in adjusted.moved.items():
        table.add_row(Text(name), f"{part.classes:,}", f"{part.before:,}", f"{part.after:,}", f"{part.moved_to:,}")
    console.print(table)
    say(f"Groups by {adjusted.groups.scheme}: {adjusted.groups.rule}.")
    if empty := adjusted.counts.count(0):
        say(f"{empty:,} {'class has' if empty == 1 else 'classes have'} no training images and gained nothing.")
    say(f"Test prior {test_prior}; scores, the softmax of what is written: {adjusted.sentence}.")
    say("Not for a model whose loss knew the prior (balanced softmax, logit-adjusted loss): that would correct twice.")
    say(f"{'written' if is_new else 'already done'}: {out} ({adjusted.logits.dtype})")
