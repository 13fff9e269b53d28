"""Corrections after the fact: another post-hoc part, or another class prior, on a run's stored predictions.

Neither the network nor an image is needed. What comes out is a run again: the same weights, other answers.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tailwise.disk import hash_file, json_bytes, replace_folder, whole_folder
from tailwise.errors import BadData, BadValue, Clash, OutputExists, UnknownName
from tailwise.evaluation import Predictions
from tailwise.posthoc import MeanOfViews, PostHoc, PriorShift, Temperature
from tailwise.records import plain, with_seal
from tailwise.registry import Row, find, parse_method, parse_row, split_outside
from tailwise.specification import awaits_shown, fill_shown, key_of
from tailwise.study.rebuild import as_trained
from tailwise.study.runs import CARD, EXTRACTOR, Run, apply_posthoc, check_nothing_of_others, whole_run
from tailwise.study.under_prior import under_prior
from tailwise.training.priors import is_over_corrected

OTHERS: Mapping[str, tuple[str, PostHoc]] = {"temperature": ("calibrated", Temperature()), "views": ("mirrored too", MeanOfViews())}
"""Corrections that are no methods of the catalogue: what they add to a row's name, and their part. A temperature changes no answer."""

CORRECTIONS = ("la", "ncm", "tau-norm", *OTHERS)
"""What can come after training, by name; the first three are methods that share all training with their base."""


def corrected(run: Run, posthoc: str) -> Run:
    """Put another post-hoc part on a run's network: its stored logits, features and head are enough.

    What the run itself ended with is undone first. The result is that of the method over the run's own, to the bit; where that takes the
    class prior out twice, the run says so.

    Args:
        run: measured, with predictions.
        posthoc: a method of the catalogue that only corrects, with its knobs (`la(tau=val)`, `tau-norm`, `ncm`), `temperature` or `views`.

    Returns:
        The run with other predictions, called as the method over the run's own would be: `la(base=ldam)`. Nothing is written.

    Raises:
        UnknownName: no such method.
        BadValue: a method that trains, or a knob that does not fit.
        Clash: the run lacks what the correction needs: a linear head, features, or logits of mirror images.
    """
    record, predictions = run.record, _own(run)
    prior = record.get("network_prior")
    text, part = _part(posthoc, run, predictions)
    if isinstance(part, Temperature):
        part = replace(part, left=None if prior is None else tuple(prior))
    elif awaits_shown(part):
        if record.get("shown") is None:
            raise Clash(
                f"{text}: run.json of {record['method']} does not say what its last stage showed; it needs a run that is trained anew"
            )
        part = fill_shown(part, tuple(record["shown"]))
    try:
        answers, fitted, said = apply_posthoc(predictions, part)
    except BadValue as reason:  # no head weight, no features, no class means, no views
        raise Clash(f"{text}: {reason}") from None
    left = None if prior is None or fitted is None else fitted.prior_left(prior)
    shares = None if left is None else [mass / sum(left) for mass in left]
    if is_over_corrected(shares, record["data"]["train_counts"]):
        said = f"{said}; the class prior is taken out twice, so expect the tail to be over-corrected"
    return _afterwards(run, text, answers, fitted, said, shares)


def shifted(run: Run, test_prior: str, split: str = "test") -> Run:
    """Put a run's answers under the class prior that is expected at test, with scores calibrated on val.

    Args:
        run: measured, with predictions.
        test_prior: as in `find_shift`.
        split: on whose images `estimated` estimates it.

    Raises:
        Clash: a run whose answers are a mean of views; and as `find_shift`.
    """
    if (run.record["correction"] or {}).get("part") == MeanOfViews.__name__:
        name = run.record["method"]
        raise Clash(f"{name}: answers of several views cannot be left under another prior as a run; give --test-prior to report or predict")
    answers, shift = under_prior(run.predictions, run.record, test_prior, split)
    if shift.left is None or shift.expected is None:
        raise AssertionError("a shift to a prior knows both priors")
    part = PriorShift(shift.left, shift.expected, shift.temperature)
    text = f"{_base_text(run)}, {Path(test_prior).name} prior"
    return _afterwards(run, text, answers, part, shift.scores, list(part.expected))


def corrections(runs: Mapping[str, Sequence[Run]], posthoc: Sequence[str]) -> tuple[dict[str, list[Run]], dict[str, str]]:
    """Put corrections on rows of runs.

    Args:
        runs: row's text -> its runs.
        posthoc: of `corrected`.

    Returns:
        Row's text -> its runs, of those that are not there already; and row's text -> why it cannot be.
    """
    found: dict[str, list[Run]] = {}
    lacking: dict[str, str] = {}
    for of_row in runs.values():
        for wanted in posthoc:
            try:
                made = [corrected(run, wanted) for run in of_row]
            except Clash as reason:
                text, _, why = str(reason).partition(": ")
                lacking[text] = why
                continue
            for text in {run.record["method"] for run in made} - set(runs) - set(found):
                found[text] = made
    return found, lacking


def leave(run: Run, folder: Path, force: bool = False) -> Run:
    """Write a corrected run as a folder of its own, with the weights of the run that it comes from; one that stands is given as it is.

    Raises:
        OutputExists: the folder holds something else.
        BadData: what stands there is damaged, or the run that it comes from.
    """
    record, source = run.record, run.folder
    if (found := whole_run(folder, record["key"], force)) is not None:
        return found
    if folder.exists() and folder.samefile(source):
        raise OutputExists(f"{folder} is the run that would be corrected; give --out another folder")
    Run.load(source).check_whole()
    files = {name: source / name for name in record["files"]}
    if (extractor := record["extractor"]) is not None:  # a study has it once, a run of its own beside itself
        files[EXTRACTOR] = source / extractor["file"]
        if hash_file(files[EXTRACTOR]) != extractor["sha256"]:
            raise BadData(f"{files[EXTRACTOR]} is not what was written; run the same `tailwise compare` again, which writes it anew")
        hashes = {**record["files"], EXTRACTOR: extractor["sha256"]}
        record = {**record, "extractor": {**extractor, "file": EXTRACTOR}, "files": hashes}

    def fill(place: Path) -> None:
        for name, path in files.items():
            shutil.copyfile(path, place / name)
        run.predictions.save(place / "predictions")
        (place / CARD).write_bytes(json_bytes(with_seal({name: value for name, value in record.items() if name != "seal"})))

    if folder.exists():
        check_nothing_of_others(folder)
    (replace_folder if folder.exists() else whole_folder)(folder, fill)
    return Run.load(folder)


def _own(run: Run) -> Predictions:
    """Give the predictions with the network's own logits, before what the run ends with."""
    found = run.predictions
    splits = {
        name: part if part.network_logits is None else replace(part, logits=part.network_logits, network_logits=None)
        for name, part in found.splits.items()
    }
    if not splits:
        raise BadData(f"{run.folder} was trained on all its rows: nothing was predicted that could be corrected; give predict --test-prior")
    return replace(found, splits=splits)


def _part(posthoc: str, run: Run, predictions: Predictions) -> tuple[str, PostHoc]:
    """Read a correction: the name of the row that it makes of a run, and its part."""
    if posthoc.strip() in OTHERS:
        said, other = OTHERS[posthoc.strip()]
        return f"{_base_text(run)}, {said}", other
    name = posthoc.partition("(")[0].strip()
    try:
        find("method", name)
    except UnknownName:
        raise UnknownName("correction", name, CORRECTIONS) from None
    method = parse_method(posthoc)
    part = method.posthoc(as_trained(run.record, predictions).about(run.record["recipe"]["epochs"]))
    if part is None or not hasattr(method, "base"):
        raise BadValue(f"{posthoc} is trained, and --posthoc takes what comes after training: {', '.join(CORRECTIONS)}")
    return _text(method, run), part


def _text(method: Any, run: Run) -> str:
    """Call the row as the catalogue does, by its base; where the base is of a file of one's own, by both names."""
    try:
        base = parse_row(_base_text(run))
    except (UnknownName, BadData):
        return f"{_base_text(run)}, then {method}"
    return Row(replace(method, base=base.method), base.modifiers).text


def _base_text(run: Run) -> str:
    """Name the row whose network a run has, without what came after training."""
    trained = run.record.get("trained_as") or run.record
    text: str = trained["method"]
    if trained["correction"] is None:
        return text
    first, *modifiers = split_outside(text, "+")
    try:
        base = getattr(parse_method(first), "base", None)
    except (UnknownName, BadData):
        return text
    return text if base is None else "+".join([str(base), *modifiers])


def _afterwards(run: Run, text: str, answers: Predictions, part: PostHoc | None, said: str, left: list[float] | None) -> Run:
    record = run.record
    trained = record.get("trained_as") or {name: record[name] for name in ("method", "typed", "knobs", "correction")}
    made = {
        **record,
        "key": key_of(record["key"], plain(part)),
        "method": text,
        "typed": text,
        "trained_as": trained,
        "posthoc": said,
        "correction": plain(part),
        "prior_left": left,
    }
    return replace(run, record=made, answers=answers)
