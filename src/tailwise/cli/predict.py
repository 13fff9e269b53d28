"""`tailwise predict`: images in, classes out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tailwise.errors import BadData
from tailwise.study.words import check_test_prior

if TYPE_CHECKING:
    from tailwise.study.predict import Answer


def predict(
    run: Path,
    /,
    *images: Path,
    top: int = 5,
    test_prior: str | None = None,
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
        Classes an image.
    test_prior
        Classes that are expected: train, uniform, reversed, or a file of counts or shares (JSON by label or class name, or .npy).
        Default: as the run's logits have it, which keeps its answers.
    method
        Path of the method's Python file, where the run was trained with a file of one's own.
    device
        Where to run.
    json
        Print the answers as JSON.
    """
    if test_prior is not None:
        check_test_prior(test_prior)

    from tailwise.api import method_row
    from tailwise.cli.progress import image_progress
    from tailwise.cli.tables import print_json
    from tailwise.study.predict import predict as ask
    from tailwise.study.runs import Run

    if (run / "study.json").is_file():
        raise BadData(f"{run} is a study; predict takes one of its runs, such as {_one_of(run)}")
    found = Run.load(run)
    bar, seen = image_progress("predicting")
    with bar:
        answers = ask(found, images, top, method_row(method) if method else None, device, seen, test_prior)
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
