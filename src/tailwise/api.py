"""The verbs, in Python: the same words and defaults as on the command line."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tailwise.checks.run import Checked, look
from tailwise.checks.run import check as run_checks
from tailwise.data import NAMES, Manifest
from tailwise.data import read as read_data
from tailwise.data.building import Making, build_set
from tailwise.data.describe import Description, describe
from tailwise.data.tails import ClassOrder
from tailwise.data.trainable import EmptyClasses
from tailwise.data.writers.layouts import LayoutName
from tailwise.disk import check_apart
from tailwise.errors import BadData, BadValue, Clash
from tailwise.evaluation import Measured, Summary
from tailwise.method import Method
from tailwise.models import NETWORKS
from tailwise.posthoc.foreign import Adjusted
from tailwise.posthoc.foreign import adjust as adjust_foreign
from tailwise.registry import Entry, Row, entries, load_file, parse_modifier, parse_row, parse_rows
from tailwise.ship import Citation, Exported, runs_of
from tailwise.ship import cite as cite_runs
from tailwise.ship import export as export_run
from tailwise.ship.tracking import Tracker, check_tracker
from tailwise.ship.tracking import track as mirror
from tailwise.store import Store
from tailwise.study import afterwards
from tailwise.study.class_numbers import read_prior
from tailwise.study.compare import Study
from tailwise.study.compare import compare as run_comparison
from tailwise.study.features import write_features
from tailwise.study.measure import by_seed, measure, relate, set_of, tabulate
from tailwise.study.places import default_run, default_study
from tailwise.study.predict import Answer
from tailwise.study.predict import predict as predict_images
from tailwise.study.publish import check_report_folder, report_of_runs, write_report
from tailwise.study.runs import Run, execute
from tailwise.study.setup import make_manifest, make_setup
from tailwise.study.shift_sheets import shift_sheets
from tailwise.study.words import DataWords, TrainingWords
from tailwise.training import RunSettings

Device = Literal["auto", "cpu", "cuda", "mps"]
GroupScheme = Literal["counts", "thirds"]


def read(
    source: Any,
    *,
    root: Path | None = None,
    columns: str | None = None,
    format: str | None = None,
    split: str | None = None,
    tail: str | None = None,
    split_seed: int = 0,
    empty_classes: EmptyClasses = "refuse",
) -> Manifest:
    """Read a data set, split it where it has no splits, and thin its tail.

    Args:
        source: a name such as `digits`, a folder, a file, or a data set object; `tailwise.data.read` lists them.
        root: folder that the paths of a table start from, or where the images of a saved manifest are now.
        columns: names of a table's columns where they are not recognised, as in `path=file,label=species`.
        format: of the source, where it is not to be recognised; `tailwise.data.formats.FORMATS` has the names.
        split: shares of train, val and test such as `80/10/10`; None keeps the data's own, or makes the default ones.
        tail: a profile such as `exponential:100`; None keeps all training images.
        split_seed: seed of both.
        empty_classes: `refuse`, `keep` or `drop` classes without training images.

    Raises:
        BadData, BadValue, UnknownName: one line on what does not fit.

    >>> read("digits", split="50/10/40", tail="exponential:50")
    Manifest 'digits': 1,135 images, 10 classes, imbalance ratio 87; train 239, val 177, test 719
    """
    return make_manifest(source, DataWords(root, split, tail, split_seed, empty_classes, columns=columns, format=format))


def explore(source: Any, *, groups: GroupScheme | None = None) -> Description:
    """Describe a data set as it is: images, classes, imbalance, groups, sizes and kinds of images, with advice.

    Args:
        source: what `read` takes.
        groups: `counts` or `thirds`; None for the default.
    """
    manifest = read_data(source)
    return describe(manifest, groups, look(manifest))


def check(
    source: Any,
    *,
    root: Path | None = None,
    columns: str | None = None,
    format: str | None = None,
    files: Sequence[Path | str] = (),
) -> Checked:
    """Look at every image of a data set, once, and say what is wrong.

    Args:
        source: what `read` takes; read as it is, not split.
        root: as `read` takes it.
        columns: as `read` takes them.
        format: as `read` takes it.
        files: Python files with checks of one's own.

    Returns:
        Findings with the images that they name, and a score; `tailwise.checks.run.repair` leaves these images out.
    """
    return run_checks(read_data(source, root, columns, format), files=files)


def build(
    data: Manifest | Path | str,
    dest: Path | str,
    *,
    layout: LayoutName = "folder",
    split: str | None = None,
    tail: str | None = None,
    class_order: ClassOrder = "index",
    split_seed: int = 0,
    twin: Path | str | None = None,
    empty_classes: EmptyClasses = "refuse",
    licence: str | None = None,
    link: bool = False,
    force: bool = False,
) -> Manifest:
    """Split and thin a data set, and write it with a manifest and a data card.

    Args:
        data: what `read` gives or takes.
        dest: folder; appears whole, or not at all.
        layout: `folder` (`train/<class>/<name>`), `mini-imagenet-lt`, `parquet`, `hub`, `coco` or `list`.
        split: as in `read`; equal bytes never come into two splits.
        tail: as in `read`.
        class_order: of a falling tail: `index`, or `random` by the seed.
        split_seed: seed of all three.
        twin: folder for the balanced twin, with the same val and test and as many training images.
        empty_classes: as in `read`.
        licence: a note for the data card.
        link: whether files become hard links, where the file system can, instead of copies.
        force: replace a folder that was built before.

    Returns:
        The written set; `read(dest)` gives it again.
    """
    if isinstance(data, Path | str) and os.path.lexists(data):
        check_apart(data, dest, *([] if twin is None else [twin]))
    making = Making(split, tail, split_seed, class_order, empty_classes, licence)
    return build_set(read_data(data), dest, making, layout, twin, link, force)[0].manifest


def features(
    data: Manifest | Path | str,
    net: str = "efficientnet-lite0",
    *,
    size: int | None = None,
    device: Device = "auto",
    engine: Literal["auto", "eager", "compiled", "onnx"] = "auto",
    out: Path | str | None = None,
) -> Manifest:
    """Give the features of a pre-trained network as a data set of feature vectors, and write them.

    Args:
        data: what `read` gives or takes.
        net: network with pre-trained weights, as in `tailwise networks`.
        size: side of the images in pixels; None for the one of the weights.
        device: `auto`, `cpu`, `cuda` or `mps`.
        engine: what runs the network on a CPU: torch as it is (`eager`), `compiled`, or ONNX Runtime (`onnx`, of the extra `fast`); `auto`
            takes the fastest for so many images of those that are there.
        out: folder; None for `tailwise-out/<data>-features-<key>`.
    """
    return write_features(data, net, size, device=device, engine=engine, out=None if out is None else Path(out)).manifest


def train(
    data: Manifest | Path | str,
    method: Method | str = "ce",
    *,
    modifiers: Sequence[str] = (),
    settings: Sequence[str] = (),
    recipe: str = "head",
    net: str | None = None,
    seed: int = 0,
    groups: GroupScheme | None = None,
    all_data: bool = False,
    out: Path | str | None = None,
    force: bool = False,
    device: Device = "auto",
    threads: int | Literal["auto"] | None = None,
    precision: Literal["fp32", "bf16"] = "fp32",
    speed: Literal["fast", "plain", "compiled"] = "fast",
    allow: Sequence[Literal["test", "val"]] = (),
    track: Tracker | None = None,
    store: Store | None = None,
) -> Run:
    """Train one method with one seed, sharing with earlier runs what is equal.

    Args:
        data: what `read` gives or takes.
        method: a name with knobs, as in `ldam(max_margin=0.3)`, the path of a Python file, or a method object.
        modifiers: as in `["sam(rho=0.1)"]`.
        settings: as in `["max_margin=0.3", "recipe.epochs=20"]`.
        recipe: name of a recipe.
        net: name of a network; None for the recipe's.
        seed: of initialisation, order and augmentation.
        groups: `counts` or `thirds`; None for the default.
        all_data: whether val and test images are training images too; nothing is measured then.
        out: folder of the run; None for `tailwise-out/<data>-<method>-seed<seed>-<key>`.
        force: replace another run that stands there.
        device: `auto`, `cpu`, `cuda` or `mps`.
        threads: torch threads; `auto` for the number that is fastest here, measured once; None for the recipe's.
        precision: what networks compute in: `fp32`, or `bf16` where the CPU or GPU has it; weights and loss stay float32.
        speed: how the arithmetic is laid out: `fast`; `plain`, to check it against; or `compiled`, for runs of thousands of steps.
        allow: splits on whose images methods may learn too, without their labels; reports say so.
        track: `tensorboard`, `trackio` or `wandb`: the log and the figures are mirrored there once they stand.
        store: of states; None for the default one.

    Returns:
        The run on disk; when it stands already, it is not trained again.
    """
    check_tracker(track)
    training = TrainingWords(recipe, net, tuple(settings), device, threads, tuple(allow), precision, speed)
    setup = make_setup(data, [method_row(method, modifiers)], DataWords(groups=groups), training, store, all_data=all_data)
    row = setup.rows[0]
    folder = Path(out) if out is not None else default_run(setup, row, seed)
    run = execute(setup, row, seed, folder, RunSettings(setup.store, setup.device), force)
    mirror([run], track)
    return run


def compare(
    data: Manifest | Path | str,
    methods: str = "all",
    *,
    seeds: int = 3,
    against: str | None = None,
    folds: int | None = None,
    settings: Sequence[str] = (),
    recipe: str = "head",
    net: str | None = None,
    groups: GroupScheme | None = None,
    out: Path | str | None = None,
    force: bool = False,
    device: Device = "auto",
    threads: int | Literal["auto"] | None = None,
    precision: Literal["fp32", "bf16"] = "fp32",
    speed: Literal["fast", "plain", "compiled"] = "fast",
    allow: Sequence[Literal["test", "val"]] = (),
    track: Tracker | None = None,
    store: Store | None = None,
) -> Study:
    """Compare methods over seeds, training equal parts once.

    Args:
        data: what `read` gives or takes.
        methods: names separated by commas, a family, or `all`.
        seeds: number of seeds, 0 to seeds - 1.
        against: the row that the others are held against; None for `ce`, or the first.
        folds: deal all images into so many folds, 3 to 20, and measure each image once, by a network that did not see it; None measures
            the data's own test split, or the default one.
        settings: as in `["ldam.max_margin=0.3", "recipe.epochs=20"]`.
        recipe: name of a recipe.
        net: name of a network; None for the recipe's.
        groups: `counts` or `thirds`; None for the default.
        out: folder of the study; None for `tailwise-out/<data>-<key>`.
        force: replace another study that stands there; it is kept aside until the new one stands.
        device: `auto`, `cpu`, `cuda` or `mps`.
        threads: torch threads; `auto` for the number that is fastest here, measured once; None for the recipe's.
        precision: what networks compute in: `fp32`, or `bf16` where the CPU or GPU has it; weights and loss stay float32.
        speed: how the arithmetic is laid out: `fast`; `plain`, to check it against; or `compiled`, for runs of thousands of steps.
        allow: splits on whose images methods may learn too, without their labels; reports say so.
        track: `tensorboard`, `trackio` or `wandb`: the log and the figures are mirrored there once they stand.
        store: of states; None for the default one.

    Returns:
        The study on disk; what is finished is not run again.
    """
    check_tracker(track)
    training = TrainingWords(recipe, net, tuple(settings), device, threads, tuple(allow), precision, speed)
    setup = make_setup(data, parse_rows(methods), DataWords(groups=groups), training, store, folds=folds, against=against)
    folder = Path(out) if out is not None else default_study(setup, range(seeds))
    study = run_comparison(setup, range(seeds), folder, RunSettings(setup.store, setup.device), force)
    mirror(runs_of([study]), track)
    return study


def predict(
    run: Run | Path | str,
    images: Path | str | Sequence[Path | str],
    *,
    top: int = 5,
    test_prior: str | Path | Sequence[float] | None = None,
    method: Method | str | None = None,
) -> list[Answer]:
    """Name the most likely classes of images.

    Args:
        run: a run trained on images, or its folder.
        images: a file or folder, or several.
        top: classes an image.
        test_prior: classes that are expected, which moves the answers: `train`, `uniform`, `reversed`, a file or numbers, as in `adjust`;
            a file may name classes too. None keeps the prior of the run's logits.
        method: the method, for a run of a file of one's own.
    """
    places = [images] if isinstance(images, Path | str) else images
    found = run if isinstance(run, Run) else Run.load(run)
    return predict_images(found, places, top, method_row(method) if method else None, test_prior=test_prior)


def adjust(
    logits: np.ndarray,
    counts: Iterable[int],
    tau: float = 1.0,
    *,
    test_prior: str | Path | Sequence[float] = "uniform",
    val_logits: np.ndarray | None = None,
    val_labels: np.ndarray | None = None,
) -> Adjusted:
    """Correct the logits, or probabilities, of any model for the tail, without training; `tailwise.posthoc.adjust` says how.

    Args:
        logits: (N, C) finite numbers.
        counts: (C,) training images a class.
        tau: strength with which the training prior is taken out.
        test_prior: classes that are expected at test: `train`, `uniform`, `reversed`, a file of counts or shares, or (C,) numbers.
        val_logits: (M, C) of images that were not trained on; with them a temperature makes scores calibrated.
        val_labels: (M,) their labels.
    """
    return adjust_foreign(logits, counts, tau, read_prior(test_prior), val_logits, val_labels)


def adjust_run(
    run: Run | Path | str,
    *,
    posthoc: str | None = None,
    test_prior: str | None = None,
    out: Path | str | None = None,
    force: bool = False,
) -> Run:
    """Give a run other answers after the fact, from its stored predictions alone: neither network nor images are needed.

    Args:
        run: measured, or its folder.
        posthoc: `la`, `tau-norm`, `ncm`, each with its knobs as in `la(tau=val)`, `temperature` or `views`; or
        test_prior: classes that are expected at test: `train`, `uniform`, `reversed`, `estimated`, or a file of shares or counts.
        out: folder for the corrected run, with the same weights; None writes nothing.
        force: replace another run that stands there.

    Raises:
        BadValue: neither or both are given, or a method that trains.
        Clash: the run lacks what the correction needs.
        OutputExists: `out` holds something else.
    """
    found = run if isinstance(run, Run) else Run.load(run)
    if posthoc is not None and test_prior is None:
        made = afterwards.corrected(found, posthoc)
    elif test_prior is not None and posthoc is None:
        made = afterwards.shifted(found, test_prior)
    else:
        raise BadValue("a run is corrected by a post-hoc method or moved to a test prior; give one of posthoc and test_prior")
    return made if out is None else afterwards.leave(made, Path(out), force)


def export(
    run: Run | Path | str, out: Path | str, *, format: Literal["onnx", "torch", "all"] = "all", method: Method | str | None = None
) -> Exported:
    """Write a run's whole model for other programs, checked against the run; `tailwise.ship.export` says how.

    Args:
        run: trained, or its folder.
        out: new folder for `model.onnx`, `model.pt2` and `export.json`.
        format: `onnx`, `torch` or `all`.
        method: the method, for a run of a file of one's own.
    """
    found = run if isinstance(run, Run) else Run.load(run)
    formats: tuple[Literal["onnx", "torch"], ...] = ("onnx", "torch") if format == "all" else (format,)
    return export_run(found, Path(out), formats, method_row(method) if method else None)


def cite(*runs: Run | Study | Path | str) -> Citation:
    """Give the references of everything that runs, or a study, used: BibTeX and one paragraph for a methods section; `print` it.

    Args:
        runs: runs, a study, or their folders.
    """
    found: list[Run | Study] = []
    for one in runs:
        if isinstance(one, Run | Study):
            found.append(one)
        else:
            found.append(Study.load(one) if (Path(one) / "study.json").is_file() else Run.load(one))
    return cite_runs(runs_of(found))


def catalogue() -> Catalogue:
    """List what can be named: methods, modifiers, recipes, networks, data sets; `print` it, or take its fields."""
    return Catalogue(
        methods=tuple(entries("method").values()),
        modifiers=tuple(entries("modifier").values()),
        recipes=tuple(entries("recipe")),
        networks=tuple(NETWORKS),
        data=NAMES,
    )


@dataclass(frozen=True)
class Catalogue:
    """What can be named.

    Attributes:
        methods: entries with `name`, `title`, `family`, `aliases`, `presets`.
        modifiers: likewise.
        recipes: names.
        networks: names of our own; timm's models have timm's names.
        data: names of data sets that need no path.
    """

    methods: tuple[Entry, ...]
    modifiers: tuple[Entry, ...]
    recipes: tuple[str, ...]
    networks: tuple[str, ...]
    data: tuple[str, ...]

    def __str__(self) -> str:
        lines = []
        for kind in ("methods", "modifiers"):
            lines += [f"{kind}:", *(f"  {entry.name:18}{entry.title}" for entry in getattr(self, kind))]
        return "\n".join([*lines, *(f"{kind}: {', '.join(getattr(self, kind))}" for kind in ("recipes", "networks", "data"))])


def report(
    *folders: Path | str,
    split: str | None = None,
    against: str | None = None,
    test_prior: str | None = None,
    posthoc: Sequence[str] = (),
    shift: bool = False,
    twins: Sequence[Path | str] = (),
    out: Path | str | None = None,
) -> Summary:
    """Summarise runs, or one study, from their predictions: figures with intervals, differences from one row, what each row took.

    Args:
        folders: run folders; runs of one method with different seeds become one row. Or the folder of one study.
        split: `test` or `val`; None for test when there is one.
        against: the row that the others are held against; None for the study's own, `ce`, or the first.
        test_prior: class distribution that is expected at test: `train`, `uniform`, `reversed`, or a file of shares or counts; answers are
            made anew under it, and overall accuracy stands for it; or `estimated`, on the measured images without their labels. None leaves
            the runs' own answers.
        posthoc: corrections that every row is shown with too, as in `adjust_run`: rows that are not there already.
        shift: whether sheets are added of what every row reaches where classes at test are distributed otherwise, see `shift_sheets`.
        twins: runs, or a study, on the balanced twin of the set, measured on the same images: a sheet of relative accuracies is added.
        out: folder for the report: the page `index.html`, `figures/`, and the tables as JSON, Markdown, CSV and LaTeX; one that is
            there is replaced. None writes nothing.

    Raises:
        BadData: a folder that is neither; runs that were not measured on the same images.
        Clash: `shift` beside a test prior, or no row can be brought under it.
        UnknownName: no row is called like `against`.
        OutputExists: `out` holds something else.
    """
    if out is not None:
        check_report_folder(Path(out))
    if shift and test_prior is not None:
        raise Clash(f"--shift shows every distribution at test, and --test-prior {test_prior} would change how rows answer; leave one out")
    runs = _runs_of(folders)
    if len(folders) == 1 and (Path(folders[0]) / "study.json").exists():
        against = against or Study.load(folders[0]).against
    made, lacking = afterwards.corrections(runs, posthoc)
    runs = {**runs, **made}
    measured = [*measure(runs, split, test_prior), *(Measured(text, [], reason) for text, reason in lacking.items())]
    runs = {**dict.fromkeys(lacking, ()), **runs}
    summary = tabulate(measured, runs, against)
    sheets = [*shift_sheets(measured, runs)] if shift else []
    if twins:
        balanced = _runs_of(twins)
        balanced |= afterwards.corrections(balanced, posthoc)[0]
        sheets.append(relate(measured, measure(balanced, split, test_prior), against))
    summary = replace(summary, sheets=(*summary.sheets, *sheets))
    if out is not None:
        write_report(report_of_runs(runs, measured, summary, against, own=test_prior is None), Path(out))
    return summary


def _runs_of(folders: Sequence[Path | str]) -> dict[str, Sequence[Run]]:
    """Load runs, by row: of a study its rows; of several folders those of one method together."""
    if len(folders) == 1 and (Path(folders[0]) / "study.json").exists():
        return dict(Study.load(folders[0]).runs)
    runs: dict[str, list[Run]] = {}
    for folder in map(Path, folders):
        found = (
            [run for of_row in Study.load(folder).runs.values() for run in of_row]
            if (folder / "study.json").exists()
            else [Run.load(folder)]
        )
        for run in found:
            runs.setdefault(run.record["method"], []).append(run)
    for found in runs.values():
        _check_alike(found)
    return dict(runs)


def _check_alike(runs: Sequence[Run]) -> None:
    """Refuse runs that are no seeds of one thing: a spread over them would be no spread over seeds."""
    first = runs[0]
    for other in runs[1:]:
        for field in ("knobs", "modifiers", "recipe", "network"):
            if other.record[field] != first.record[field]:
                raise BadData(
                    f"{first.folder} and {other.folder} are both {first.record['method']} and differ in {field}; report them apart"
                )
        if set_of(other) != set_of(first):
            raise BadData(f"{first.folder} and {other.folder} were trained on different data; report them apart")
    seeds = [group[0].record["seed"] for group in by_seed(runs)]
    if len(set(seeds)) != len(seeds):
        raise BadData(f"{first.record['method']} is there with the same seed twice ({sorted(seeds)}); name each run once")


def method_row(method: Method | str, modifiers: Sequence[str] = ()) -> Row:
    """Make a row of a method and modifiers by name or as an object."""
    if isinstance(method, Method):
        return Row(method, tuple(parse_modifier(m) for m in modifiers))
    if method.endswith(".py"):  # a path, whatever letters its folders have
        return Row(load_file(method)(), tuple(parse_modifier(m) for m in modifiers))
    row = parse_row(method)
    return Row(row.method, (*row.modifiers, *(parse_modifier(m) for m in modifiers)))
