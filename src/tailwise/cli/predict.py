"""`tailwise predict`: images in, classes out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tailwise.errors import BadData, BadValue
from tailwise.study.words import check_test_prior

if TYPE_CHECKING:
    from tailwise.ship import Submission
    from tailwise.study.predict import Answer


def predict(
    run: Path,
    /,
    *images: Path,
    top: int | None = None,
    test_prior: str | None = None,
    submission: Path | None = None,
    out: Path | None = None,
    force: bool = False,
    method: str | None = None,
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto",
    json: bool = False,
) -> None:
    """Name the most likely classes of images with a trained run; the folder of the run is all that is needed.

    Parameters
    ----------
    run
        Folder that `tailwise train` made, or one of a study's runs/.
    images
        Image files, or folders that are searched at any depth.
    top
        Classes an image. Default: 5, or as many as a row of the sample submission has.
    test_prior
        Classes that are expected: train, uniform, reversed, a file of counts or shares (JSON by label or class name, or .npy), or
        estimated: read off the answers on these images. Default: as the run's logits have it, which keeps its answers.
    submission
        A competition's sample submission, such as sample_submission.csv with the header Id,Predicted: its images are answered in its
        order, with the classes' own ids, and written to --out.
    out
        Where the submission goes.
    force
        Replace another submission that stands there.
    method
        Path of the method's Python file, where the run was trained with a file of one's own.
    device
        Where to run.
    json
        Print the answers as JSON.
    """
    if test_prior is not None:
        check_test_prior(test_prior)
    if (submission is None) != (out is None):
        given, missing = ("--out", "--submission SAMPLE") if submission is None else ("--submission", "--out FILE")
        raise BadValue(f"{given} comes without {missing}; a submission needs both")

    from tailwise.api import method_row
    from tailwise.cli.progress import image_progress
    from tailwise.cli.tables import print_json
    from tailwise.ship import write_submission
    from tailwise.study.predict import predict as ask
    from tailwise.study.runs import Run

    if (run / "study.json").is_file():
        raise BadData(f"{run} is a study; predict takes one of its runs, such as {_one_of(run)}")
    found = Run.load(run)
    bar, seen = image_progress("predicting")
    asking: dict[str, Any] = {
        "method": method_row(method) if method else None,
        "device": device,
        "progress": seen,
        "test_prior": test_prior,
    }
    if submission is not None and out is not None:
        with bar:
            made = write_submission(found, images, submission, out, top, force, **asking)
        if json:
            print_json(made.to_dict())
        else:
            print_submission(made)
        return
    with bar:
        answers = ask(found, images, 5 if top is None else top, **asking)
    if json:
        said = [answer_record(answer) for answer in answers]
        print_json({"schema": "tailwise.answers/1", "run": str(run), "scoring": answers[0].scoring.to_dict(), "answers": said})
    else:
        print_answers(answers)


def _one_of(study: Path) -> Path:
    """Give the run that a study recommends, or its first."""
    from tailwise.study.compare import Study

    found = Study.load(study)
    chosen = found.recommendation()
    return chosen.run if chosen else next((run.folder for runs in found.runs.values() for run in runs), study / "runs")


def answer_record(answer: Answer) -> dict[str, object]:
    """Give an answer as plain values."""
    top = [{"class": name, "score": score} for name, score in zip(answer.classes, answer.scores, strict=True)]
    return {"image": str(answer.image), "top": top}


def print_submission(made: Submission) -> None:
    """Say what a submission holds, and where it looks wrong."""
    from tailwise.cli.tables import percent, say

    name, share = made.commonest
    say(
        f"{'already done' if made.stood else 'written'}: {made.path}: {made.images:,} rows of {made.values}, {made.classes:,} classes first"
    )
    say(f"The commonest first answer is {name}, in {percent(share)} of the rows.")
    if made.classes == 1 and made.images > 1:
        say("Every image is answered alike: look whether these are the images that the run was trained for.")
    if made.left_out:
        say(f"{made.left_out:,} images are not asked for and left out.")


def print_answers(answers: list[Answer]) -> None:
    """Print one line an image, best class first."""
    from rich.table import Table
    from rich.text import Text

    from tailwise.cli.tables import console, percent, say

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("image", "class", "score", "then"):
        table.add_column(column, justify="right" if column == "score" else "left", overflow="fold")
    for answer in answers:
        then = ", ".join(f"{name} {percent(score)}" for name, score in zip(answer.classes[1:], answer.scores[1:], strict=True))
        table.add_row(Text(str(answer.image)), Text(answer.classes[0]), percent(answer.scores[0]), Text(then))
    console.print(table)
    say(f"score: {answers[0].scoring.scores}")
