"""The tables of `docs/results.md`: one command a table.

    .venv/bin/python benchmarks/results.py fashion-mnist

trains the comparison, or takes the one that is finished, and writes its section; the rest of the page stays. Whoever stops it goes on
with the same command, and two of them at once share the work. What is finished is not trained again when tailwise has changed since: the
section says which version trained it, and `--again` trains anew.

A row whose macro accuracy is below cross-entropy's needs a sentence that says why, in `below`; without one nothing is written.
"""

from __future__ import annotations

import argparse
import io
import itertools
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
from PIL import Image

import tailwise as tw
from tailwise.data import Manifest, from_arrays, split, thin
from tailwise.disk import whole_file
from tailwise.errors import BadData, TailwiseError
from tailwise.evaluation import Summary
from tailwise.registry import parse_rows
from tailwise.study.compare import Study, compare
from tailwise.study.compare import report_of as whole_report
from tailwise.study.setup import Setup, make_setup
from tailwise.study.words import TrainingWords
from tailwise.training import RunSettings

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared/data"
PAGE = ROOT / "docs/results.md"
STUDIES = ROOT / "tailwise-out/results"
BASELINE = "ce"
BEGINNING = """# Results

Each section is one comparison, made by the command that stands at its end; `benchmarks/README.md` says what they take. Accuracies are of
test images that chose nothing. Seconds are of a machine that other work shared, and go up to threefold with it; steps and images do not.
"""


class Unexplained(TailwiseError):
    """A row is below cross-entropy, and nobody has said why."""

    exit_code = 1


# --- data -------------------------------------------------------------------------------------------------------------


def fashion_mnist() -> Manifest:
    """600 to 6 training images a class, 40 more a class for val, the whole test set."""
    whole = tw.read(_present(SHARED / "fashion-mnist"))
    train = whole.replace(rows=whole.rows.filter(pl.col("split") == "train"))
    test = whole.rows.filter(pl.col("split") == "test")
    balanced = split(thin(train, "uniform:640:640"), "93.75/6.25/0")  # 600 and 40 a class
    return thin(balanced.replace(rows=pl.concat([balanced.rows, test])), "exponential:100")


def cifar_features() -> Manifest:
    """All 10,847 training rows, and 10,000 of test."""
    with np.load(_present(SHARED / "cifar-100-lt-features/efficientnet_lite0_320d.npz")) as kept:
        train, test = (kept[name] * kept["scale"] + kept["offset"] for name in ("train", "test"))
        labels = np.concatenate([kept["train_labels"], kept["test_labels"]])
    return from_arrays(labels, features=np.concatenate([train, test]), split=_splits(train, test), name="cifar-100-lt-features")


def cifar_lt() -> Manifest:
    """The images themselves: 10,847 to train on, and 10,000 of test."""
    with np.load(_present(SHARED / "cifar-100-lt/cifar100_lt100.npz")) as packed:
        (train, train_labels), (test, test_labels) = (_unpacked(packed, name) for name in ("train", "test"))
        classes = [str(name) for name in packed["class_names"]]
    labels, images = np.concatenate([train_labels, test_labels]), np.concatenate([train, test])
    return from_arrays(labels, images=images, classes=classes, split=_splits(train, test), name="cifar-100-lt")


def _unpacked(packed: Mapping[str, np.ndarray], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Decode one WebP picture a class, its images stacked from top to bottom: (N, 32, 32, 3) uint8, and (N,) labels."""
    data, offsets = packed[f"{name}_webp"], packed[f"{name}_offsets"].astype(int)
    pictures = [np.asarray(Image.open(io.BytesIO(data[a:b].tobytes())).convert("RGB")) for a, b in itertools.pairwise(offsets)]
    return np.concatenate(pictures).reshape(-1, 32, 32, 3), np.repeat(np.arange(len(pictures)), packed[f"{name}_counts"])


def _splits(train: np.ndarray, test: np.ndarray) -> list[str]:
    return ["train"] * len(train) + ["test"] * len(test)


def _present(path: Path) -> Path:
    if not path.exists():
        raise BadData(f"{path} is missing, and this table is measured on it; put it there")
    return path


# --- the tables ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Comparison:
    """One section of the page.

    Attributes:
        title: its heading.
        said: what is compared on what, before the table.
        data: makes the data set.
        methods: as `tailwise compare` takes them.
        seeds: how many.
        recipe: by name.
        net: by name.
        settings: of the recipe.
        below: row -> why its macro accuracy is below cross-entropy's.
    """

    title: str
    said: str
    data: Callable[[], Manifest]
    methods: str
    seeds: int
    recipe: str
    net: str | None
    settings: tuple[str, ...]
    below: Mapping[str, str]


COMPARISONS = {
    "fashion-mnist": Comparison(
        title="Fashion-MNIST, 600 to 6 images a class",
        said="""\
Grey pictures of clothes, 28 x 28 pixels (Xiao, Rasul and Vollgraf, arXiv 1708.07747), thinned to int(600 * 0.01 ** (c / 9)) training
images of class c. Val is 40 a class of the training images that this leaves out, as even as ImageNet-LT's; test is the whole test set.
ResNet-8 from random values, recipe `quick` at 28 pixels (30 epochs of 24 steps), every method at its own defaults. Seeds differ in initial
values, order and augmentation; the images are one draw.""",
        data=fashion_mnist,
        methods="all",
        seeds=3,
        recipe="quick",
        net="resnet8",
        settings=("recipe.image_size=28",),
        below={
            "mixup": "within noise, and above in one seed of three. Mixing is a remedy against overfitting, and here nothing overfits: "
            "twice the epochs give `ce` itself 10 points more. Mixed rows slow the fit: of the training images, as a mean over "
            "classes and seeds, it has 55.3 % right where `ce` has 61.2 %, and on test the medium classes lose most. It is not "
            "the class prior that it leaves in the logits: with `la` over both the gap is 4.1 points. Milder mixing, alpha = "
            "0.2, is 0.35 points below `ce`; 60 epochs do not close the gap (4.5 points; training images 67.0 and 73.7 %). "
            "Published gains are those of 200 epochs.",
        },
    ),
    "cifar-features": Comparison(
        title="Heads on frozen features of CIFAR-100-LT, ratio 100",
        said="""\
The 320 features that an EfficientNet-Lite0, trained on ImageNet, gives of each image of CIFAR-100-LT. All 10,847 training rows are trained
on, so there is no val and nothing is chosen: `la` has tau = 1, `tau-norm` its published 0.7. Recipe `head`, with a weight decay of 0.5
instead of 1: at 0.5 `ce` fits the training rows as closely (92.1 % of them, seed 0) as the exact fit in the README beside the features does
(L-BFGS, penalty 0.001 times the sum of the squared weights: 92.2 %). On test that fit has 47.1 % (75.5, 46.8, 14.3) with
cross-entropy and 55.9 % (68.9, 57.9, 38.5) with the adjusted loss, which here is called `balanced-softmax`; its logits adjusted post hoc
have 56.4 % (68.1, 57.9, 41.1).""",
        data=cifar_features,
        methods="all",
        seeds=3,
        recipe="head",
        net=None,
        settings=("recipe.optimiser.weight_decay=0.5", "recipe.second.optimiser.weight_decay=0.5"),
        below={
            "focal": "it takes no notice of classes, so it moves nothing to the few; it spends the head's weights on training rows that "
            "are wrong, and that generalises worse. With gamma = 0, 0.5, 1 and 2 more of the training rows are right (92.1, 92.7, "
            "93.1, 93.3 %, seed 0) and fewer of the test images (47.9, 47.5, 47.2, 46.7 %), in every group alike. It is the same at half "
            "and at twice the weight decay; at four times both underfit, and focal is ahead (46.3 against 45.8 %). Published tables "
            "for networks from scratch have focal level with cross-entropy.",
        },
    ),
    "cifar-lt": Comparison(
        title="CIFAR-100-LT, ratio 100: scaled, not comparable with published rows",
        said="""\
The real pixels of CIFAR-100-LT in LDAM-DRW's protocol (recipe `cifar`), scaled to a budget of twenty minutes of one core: ResNet-20 of
half width (8, 16 and 32 channels) instead of ResNet-32, 30 epochs instead of 200, one seed. Published accuracies are higher throughout, so
no row here may stand beside one of theirs. There is no val, so nothing is chosen.""",
        data=cifar_lt,
        methods="ce,ce-drw,balanced-softmax,crt,la",
        seeds=1,
        recipe="cifar",
        net="resnet20-half",
        settings=("recipe.epochs=30",),
        below={},
    ),
}


# --- from a comparison to its section -----------------------------------------------------------------------------------


def find_study(
    folder: Path,
    comparison: Comparison,
    again: bool,
    device: Literal["auto", "cpu"] = "cpu",
    interrupted: Callable[[], bool] = lambda: False,
) -> Study:
    """Give the finished comparison, whichever version trained it; else train it, or what is left of it.

    Args:
        folder: of the study.
        comparison: what is compared.
        again: whether a finished one is trained anew where tailwise or the comparison has changed since.
        device: where to train.
        interrupted: asked after every step; True stores the state and raises KeyboardInterrupt.
    """
    if not again and (folder / "study.json").is_file() and (study := Study.load(folder)).is_finished:
        return study
    setup = set_up(comparison, device)
    settings = RunSettings(setup.store, setup.device, interrupted=interrupted)
    return compare(setup, range(comparison.seeds), folder, settings, force=again)


def set_up(comparison: Comparison, device: Literal["auto", "cpu"] = "cpu") -> Setup:
    """Check what a comparison names, and read its data; one thread, whatever the recipe says."""
    words = TrainingWords(comparison.recipe, comparison.net, comparison.settings, device, threads=1)
    return make_setup(comparison.data(), parse_rows(comparison.methods), training=words)


def rows_below(summary: Summary) -> list[str]:
    """Name the rows whose macro accuracy, as a mean over seeds, is below cross-entropy's."""
    macro = {row.name: row.cells["macro"].mean for row in summary.rows}
    return [name for name, mean in macro.items() if mean is not None and mean < (macro[BASELINE] or 0.0)]


def reasons(below: Sequence[str], known: Mapping[str, str]) -> list[str]:
    """Give a line for each row below cross-entropy, and none for others.

    Raises:
        Unexplained: a row has no sentence.
    """
    missing = [name for name in below if name not in known]
    if missing:
        raise Unexplained(f"below cross-entropy, and no sentence in `below` says why: {', '.join(missing)}; find out and write it there")
    return [f"- {name}: {known[name]}" for name in below]


def section(comparison: Comparison, summary: Summary, parts: Sequence[str], made: str) -> str:
    """Write a section: what was compared, what came out, why rows are below cross-entropy, and how to make it again.

    Args:
        comparison: what was compared.
        summary: what came out, for the rows below cross-entropy.
        parts: what came out, in Markdown.
        made: the last sentence.

    Raises:
        Unexplained: a row is below cross-entropy and has no sentence.
    """
    lines = reasons(rows_below(summary), comparison.below)
    why = ["Rows whose macro accuracy is below cross-entropy's, and why:", "\n".join(lines)] if lines else []
    return "\n\n".join([f"## {comparison.title}", comparison.said, *(part.strip() for part in parts), *why, made])


def report_of(study: Study) -> str:
    """Give a study's own report in Markdown."""
    return whole_report(study).tables()["report.md"].decode()


def write_section(page: Path, beginning: str, name: str, text: str) -> None:
    """Put a section in its place on a page, which begins with so much when it is new."""
    before = page.read_text(encoding="utf-8") if page.exists() else beginning
    whole_file(page, with_section(before, name, text).encode())


def say_idle(comparison: Comparison, summary: Summary) -> None:
    """Name the sentences that were left out, because their rows are not below cross-entropy."""
    for name in set(comparison.below) - set(rows_below(summary)):
        print(f"{name} is not below cross-entropy; its sentence in `below` was left out", file=sys.stderr)


def with_section(page: str, name: str, text: str) -> str:
    """Put a section in its place between its markers; a page without them gets it at its end.

    >>> page = with_section("# Results\\n", "a", "old")
    >>> print(with_section(with_section(page, "b", "other"), "a", "new"))
    # Results
    <BLANKLINE>
    <!-- a -->
    new
    <!-- end of a -->
    <BLANKLINE>
    <!-- b -->
    other
    <!-- end of b -->
    <BLANKLINE>
    """
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    whole = f"{begin}\n{text}\n{end}"
    if begin not in page:
        return f"{page.rstrip()}\n\n{whole}\n"
    return re.sub(f"{re.escape(begin)}.*?{re.escape(end)}", lambda _: whole, page, flags=re.S)


def main(words: Sequence[str] | None = None) -> int:
    """Make one section; 0 when it is written, 1 when a row needs a sentence, 2 for what does not fit, 3 when it was stopped."""
    parser = argparse.ArgumentParser(description="Make one table of docs/results.md.")
    parser.add_argument("name", choices=COMPARISONS)
    parser.add_argument("--again", action="store_true", help="train anew where tailwise has changed since")
    asked = parser.parse_args(words)
    comparison = COMPARISONS[asked.name]
    try:
        study = find_study(STUDIES / asked.name, comparison, asked.again)
        made = f"Trained by tailwise {study.record['version']}; made by `.venv/bin/python benchmarks/results.py {asked.name}`."
        text = section(comparison, study.summary(), [report_of(study)], made)
        write_section(PAGE, BEGINNING, asked.name, text)
    except TailwiseError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    say_idle(comparison, study.summary())
    print(f"{PAGE}: {asked.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
