"""One run: trained through the store, and left as a folder that needs the store no more."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
from safetensors.torch import save as save_tensors

from tailwise import processes
from tailwise.data import Fold
from tailwise.data.columns import LEVELS
from tailwise.data.listing import first_five
from tailwise.disk import PENDING, check_writable, hash_file, json_bytes, put_back, replace_folder, whole_folder
from tailwise.errors import BadData, OutputExists
from tailwise.evaluation import Evaluation, Measured, Predictions, SplitPredictions, evaluate, summarise
from tailwise.method import Best, Net
from tailwise.posthoc import PostHoc, Scores
from tailwise.records import RUN, plain, read_sealed, with_seal
from tailwise.registry import Row
from tailwise.specification import key_of, spec
from tailwise.study.extractor import extractor_bytes
from tailwise.study.live import announced, dear, needs_of
from tailwise.study.setup import Setup
from tailwise.study.thumbnails import thumbnails_file
from tailwise.study.turns import Job, Turns
from tailwise.training import Leg, Outcome, Plan, RunSettings, prior_left, run_method
from tailwise.training.sentences import describe
from tailwise.training.splits import MEASURED
from tailwise.version import __version__

EXTRACTOR = "extractor.safetensors"
"""The extractor of a run, or of all runs of a study, with the standardisation of its features."""

WEIGHTS = "weights.safetensors"

PROBE = "probe.safetensors"
"""A few rows as the network saw them, the first of the first split that is measured, by which an exported model is checked."""

PROBED = 4

CARD = "run.json"

PARTS = re.compile(r"run\.json|predictions/(predictions\.json|[^/]+\.safetensors)|(report|tensorboard)/.*|(.*/)?\.pending-.*")
"""Files of a run beside those that its card names."""


class _Method(msgspec.Struct):
    part: str


class _Data(msgspec.Struct):
    name: str
    kind: str
    identity: str
    shape: tuple[int, ...]
    splits: dict[str, int]
    train_counts: tuple[int, ...]


class _Recipe(msgspec.Struct):
    name: str
    epochs: int


class _Network(msgspec.Struct):
    backbone: str


class _Extractor(msgspec.Struct):
    network: str
    size: int
    normalise: dict[str, Any]
    file: str
    sha256: str


class _Fold(msgspec.Struct):
    number: int
    of: int
    whole: str


class _Leg(msgspec.Struct):
    line: str
    start: int
    stop: int
    seconds: float


class _Card(msgspec.Struct):
    """What is read again of `run.json`; the rest is for people."""

    key: str
    method: str
    typed: str
    knobs: _Method
    modifiers: tuple[dict[str, Any], ...]
    seed: int
    data: _Data
    recipe: _Recipe
    network: _Network
    posthoc: str
    correction: dict[str, Any] | None
    extractor: _Extractor | None
    weights: str
    files: dict[str, str]
    legs: tuple[_Leg, ...]
    steps: int
    steps_trained: int
    fold: _Fold | None = None


@dataclass(frozen=True)
class Run:
    """A run on disk.

    Attributes:
        folder: with `run.json`, `log.jsonl`, `weights.safetensors` and `predictions/`.
        record: `run.json`, see `docs/formats.md`.
        stood: whether the folder was there already, or another command made it meanwhile.
        answers: predictions that stand for those of the folder, where they were corrected afterwards; else None.
    """

    folder: Path
    record: Mapping[str, Any]
    stood: bool = field(default=False, compare=False)
    answers: Predictions | None = field(default=None, repr=False, compare=False)

    @classmethod
    def load(cls, folder: Path | str) -> Run:
        """Read a run's record.

        Raises:
            BadData: the folder is no run, or its record is damaged.
        """
        path = Path(folder) / CARD
        record = read_sealed(path, RUN)
        try:
            msgspec.convert(record, _Card)
        except msgspec.ValidationError as error:
            raise BadData(f"{path} is damaged ({error}); put it back, or move {folder} away and train again") from None
        return cls(Path(folder), record)

    @property
    def predictions(self) -> Predictions:
        """Every validation and test answer."""
        return self.answers or Predictions.load(self.folder / "predictions")

    def check_whole(self) -> Run:
        """Give the run again, once its files are found to be those that were written.

        Raises:
            BadData: one is missing or another; the line says what to do.
        """
        for name, sha256 in self.record["files"].items():
            path = self.folder / name
            if not path.is_file() or hash_file(path) != sha256:
                raise BadData(
                    f"{path} is missing or not what was written; delete {self.folder} and run the same command again: "
                    "it begins from the states in the store"
                )
        _ = self.predictions  # hashed as they are read
        return self

    @property
    def is_measured(self) -> bool:
        """Whether anything was set aside to measure on; not when all images were trained on."""
        return any(name in self.record["data"]["splits"] for name in ("val", "test"))

    def evaluate(self, split: str | None = None) -> Evaluation:
        """Measure a split from the predictions: test when there is one, else val.

        Raises:
            BadData: the run was trained on all images.
            UnknownName: there is no such split.
        """
        if not self.is_measured:
            raise BadData(f"{self.folder} was trained on all its rows, so nothing is left to measure on")
        predictions = self.predictions
        return evaluate(predictions, split or ("test" if "test" in predictions.splits else "val"))

    def _repr_html_(self) -> str:
        from html import escape

        said = [repr(self), *(self.record.get(what) or "" for what in ("posthoc", "chosen", "learnt_on")), *self.record["plan"]]
        words = "".join(f"<p>{escape(line)}</p>" for line in said if line)
        return words + (summarise([Measured(self.record["method"], [self.evaluate()])])._repr_html_() if self.is_measured else "")

    def __repr__(self) -> str:
        said = self.record
        fold = f", {Fold(said['fold']['number'], said['fold']['of'])}" if said.get("fold") else ""
        return f"Run {said['method']}, seed {said['seed']}{fold}, on {said['data']['name']} in {self.folder}"


def run_key(setup: Setup, row: Row, seed: int) -> str:
    """Name a run by all that decides it: the states that it goes through, what corrects them, and what it is measured on.

    The method itself is in it too, with its code: stages that are decided by results are in no plan.
    """
    plan = setup.plan(row, seed)
    measured = {name: setup.splits.identity(name) for name in setup.splits.rows}
    states: list[Any] = [[leg.line, leg.stop] for leg in plan.legs]
    if plan.decided_by_results:
        states += [setup.backbone, spec(setup.recipe), spec(setup.recipe.second)]
    return key_of(states, spec(plan.posthoc), spec(row.method), [spec(modifier) for modifier in row.modifiers], measured)


def slug(text: str) -> str:
    """Turn a row's text into a folder's name.

    >>> slug("la(base=ldam-drw)+sam(rho=0.1)")
    'la-base-ldam-drw-sam-rho-0.1'
    """
    return re.sub(r"[^A-Za-z0-9.]+", "-", text).strip("-.") or "run"


def standing(folder: Path, key: str, force: bool) -> Run | None:
    """Give the run that stands in a folder, when it is the one that is wanted.

    Raises:
        OutputExists: the folder holds something else.
    """
    if force and folder.is_symlink():
        raise OutputExists(f"{folder} is a link, which --force never replaces; give --out the folder itself")
    holds = folder.exists() and not (folder.is_dir() and all(place.name.startswith(PENDING) for place in folder.iterdir()))
    if not (folder / CARD).is_file():
        if holds and not (folder / CARD).is_file():  # it may have come since we looked
            raise OutputExists(f"{folder} exists and is no run of tailwise (it has no {CARD}); move it away, or choose another --out")
        return None
    found = Run.load(folder)
    if found.record["key"] == key:
        return replace(found, stood=True)
    if force:
        check_nothing_of_others(folder)
        return None
    count = found.record["numerics"]["processes"]
    where = "" if count == str(processes.count()) else f", on {count} process{'es' if count != '1' else ''}"
    raise OutputExists(
        f"{folder} holds another run ({found.record['method']}, seed {found.record['seed']}{where}, other data, settings or version); "
        "choose another --out, or replace it with --force"
    )


def whole_run(folder: Path, key: str, force: bool) -> Run | None:
    """Give the run that stands in a folder as `standing` does, once its files are found whole; of several processes the first looks.

    Raises:
        OutputExists: the folder holds something else.
        BadData: the run is damaged.
    """

    def find() -> Run | None:
        found = standing(folder, key, force)
        return found and found.check_whole()

    return processes.told(find)


def execute(setup: Setup, row: Row, seed: int, folder: Path, settings: RunSettings, force: bool = False) -> Run:
    """Train a row with a seed and leave its folder; a folder that stands already is returned as it is.

    Where another command that shares the store is at the same run, it is waited for, and what it left is returned.

    Args:
        setup: of the data and the recipe; made ready where it is not.
        row: what to train.
        seed: of initialisation, order and augmentation.
        folder: where the run goes; it appears whole, or not at all.
        settings: store, device, watcher.
        force: whether another run in the folder is replaced.

    Raises:
        OutputExists: the folder holds something else.
        Stopped, KeyboardInterrupt: on the way; the same call goes on.
    """
    job = Job(row, seed, folder, run_key(setup, row, seed), setup.plan(row, seed))
    found = whole_run(folder, job.key, force)
    if found is not None:
        return found
    processes.told(lambda: _make_way(folder))
    with announced(setup.store, folder, "train", job.key, needs_of(setup, [row], [seed])):
        processes.told(lambda: setup.store.trim(dear(setup.store)))  # from here on a full disk knows what is dear
        setup = setup.ready()
        with Turns([job], settings, lambda job: standing(folder, job.key, force) is not None) as turns:
            ours = turns.take() is not None
            if ours:
                train_job(setup, job, settings, force)
    return replace(processes.told(lambda: Run.load(folder)), stood=not ours)


def check_nothing_of_others(folder: Path) -> None:
    """Refuse to replace a run to which somebody has added files.

    Raises:
        OutputExists: naming up to five of them.
    """
    added = added_files(folder)
    if added:
        raise OutputExists(
            f"{folder} holds {len(added):,} files that tailwise did not make, which --force would delete: {first_five(added)}; "
            "move them, or choose another --out"
        )


def added_files(folder: Path) -> list[str]:
    """Name the files in a run's folder that are not the run's, links included."""
    names = Run.load(folder).record["files"]
    found = [place.relative_to(folder).as_posix() for place in folder.rglob("*") if place.is_symlink() or not place.is_dir()]
    return sorted(name for name in found if name not in names and not PARTS.fullmatch(name))


def _make_way(folder: Path) -> None:
    """See that a folder can be written, and put right what a command left there that was killed while it replaced a run."""
    check_writable(folder)
    put_back(folder)


@dataclass(frozen=True)
class Shared:
    """What the runs of a comparison share.

    Attributes:
        extractor: SHA-256 of the extractor that lies beside `study.json`; None where no features are frozen.
        predictions: of networks that several rows have, by line and step.
        check: raises where the study's folder is no longer the study's.
    """

    extractor: str | None
    predictions: dict[tuple[str, int], Predictions]
    check: Callable[[], None]


def train_job(setup: Setup, job: Job, settings: RunSettings, force: bool = False, shared: Shared | None = None) -> None:
    """Train a run that is ours to train, and leave its folder; of several processes the first leaves it."""
    outcome, posthoc = run_method(setup.root(job.seed), job.row.method, job.row.modifiers, settings)
    processes.told(lambda: _leave(setup, job, outcome, posthoc, force, shared))


def _leave(setup: Setup, job: Job, outcome: Outcome, posthoc: PostHoc | None, force: bool, shared: Shared | None) -> None:
    raw = replace(_predictions(outcome, shared), **_of_classes(setup))
    predictions, fitted, said = apply_posthoc(raw, posthoc)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in outcome.predictor.state_dict().items()}
    log = "".join(json.dumps(line) + "\n" for line in outcome.log()).encode()
    files = (
        {WEIGHTS: save_tensors(tensors), "log.jsonl": log}
        | _probe_file(setup)
        | ({} if shared else extractor_file(setup) | thumbnails_file(setup))
    )
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    record = {
        "schema": RUN,
        "key": job.key,
        **_method_record(job.row, job.seed),
        "fold": _fold_record(setup),
        **_data_record(setup),
        **_training_record(setup, job.plan, outcome),
        **_chosen_record(outcome),
        "learnt_on": _learnt_on(outcome),
        "posthoc": said,
        "correction": plain(fitted),
        "prior_left": prior_left(setup.splits.counts.real, outcome.leg, fitted),
        "network_prior": prior_left(setup.splits.counts.real, outcome.leg, None),
        "shown": None if outcome.leg.shown is None else list(outcome.leg.shown),
        "extractor": _extractor_record(setup, hashes, shared),
        "weights": hashes[WEIGHTS],
        "files": hashes,
        "version": __version__,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }

    def fill(place: Path) -> None:
        for name, data in files.items():
            (place / name).write_bytes(data)
        predictions.save(place / "predictions")
        (place / CARD).write_bytes(json_bytes(with_seal(record)))

    if shared is not None:
        shared.check()
    if standing(job.folder, job.key, force) is None:  # a command with another store may have been faster
        (replace_folder if job.folder.exists() else whole_folder)(job.folder, fill)
    setup.store.trim(dear(setup.store))


def _probe_file(setup: Setup) -> dict[str, bytes]:
    rows = next((setup.splits.rows[name] for name in ("test", "val") if name in setup.splits.rows and len(setup.splits.rows[name])), None)
    return {} if rows is None else {PROBE: save_tensors({"rows": rows.gather(np.arange(min(PROBED, len(rows))))})}


def _of_classes(setup: Setup) -> dict[str, Any]:
    """Give what the data say of their classes beside the names: the levels of a hierarchy, and their source's ids."""
    table = setup.manifest.class_table
    columns = {} if table is None else table.to_dict(as_series=False)
    levels = {name: tuple(columns[name]) for name in LEVELS if name in columns and _is_level(columns[name])}
    ids = tuple(columns.get("class_id", ()))
    return {"levels": levels, "class_ids": () if None in ids else ids}


def _is_level(members: Sequence[str | None]) -> bool:
    """Say whether a column puts classes together: some are known, and not each by a member of its own."""
    return any(member is not None for member in members) and len(set(members)) < len(members)


def extractor_file(setup: Setup) -> dict[str, bytes]:
    """Make the file that holds the extractor, by its name; none where no features are frozen."""
    found = {fold.fold.number if fold.fold else 0: fold.standardise for fold in setup.folds if fold.standardise is not None}
    return {EXTRACTOR: extractor_bytes(setup.extractor, found)} if setup.extractor is not None and found else {}


def _extractor_record(setup: Setup, hashes: Mapping[str, str], shared: Shared | None) -> dict[str, Any] | None:
    """Describe the extractor, and where its file lies: in the run's folder, or beside `study.json`."""
    if setup.extractor is None:
        return None
    if shared is not None:
        return {**setup.extractor.to_dict(), "file": f"../../{EXTRACTOR}", "sha256": shared.extractor}
    return {**setup.extractor.to_dict(), "file": EXTRACTOR, "sha256": hashes[EXTRACTOR]}


def _predictions(outcome: Outcome, shared: Shared | None) -> Predictions:
    """Predict once for each trained network, however many rows use it."""
    key = (outcome.state.line, outcome.state.step)
    if shared is None:
        return outcome.predictions()
    if key not in shared.predictions:
        shared.predictions[key] = outcome.predictions()
    return shared.predictions[key]


def apply_posthoc(predictions: Predictions, posthoc: PostHoc | None) -> tuple[Predictions, PostHoc | None, str]:
    """Correct all predictions after fitting what is open on validation; give the fitted part too, and say how."""
    if posthoc is None:
        return predictions, None, ""

    def scores(split: SplitPredictions) -> Scores:
        p = predictions
        return Scores(split.logits, split.labels, split.features, p.head_weight, p.head_bias, p.class_means, split.views)

    val = predictions.splits.get("val")
    fitted, said = posthoc.fit(scores(val) if val is not None else None)
    corrected = {
        name: replace(split, logits=fitted.apply(scores(split)), network_logits=split.logits) for name, split in predictions.splits.items()
    }
    return replace(predictions, splits=corrected), fitted, said


def _network(net: Net) -> dict[str, Any]:
    """Describe the network that was trained; weights by their content, wherever the file was."""
    weights = net.weights and {"name": net.weights.name, "sha256": net.weights.sha256}
    return {"backbone": net.backbone, "weights": weights, "head": plain(net.head), "branches": plain(net.branches)}


def _method_record(row: Row, seed: int) -> dict[str, Any]:
    return {
        "method": row.text,
        "typed": row.typed,
        "title": row.method.card.title,
        "paper": row.method.card.paper,
        "knobs": plain(row.method),
        "modifiers": [plain(modifier) for modifier in row.modifiers],
        "seed": seed,
    }


def _fold_record(setup: Setup) -> dict[str, Any] | None:
    """Say which fold of which set this is; without its splits, the set is the one that `--all-data` trains on."""
    if setup.fold is None:
        return None
    whole = setup.manifest.replace(rows=setup.manifest.rows.with_columns(split=pl.lit("train")))
    return {"number": setup.fold.number, "of": setup.fold.of, "whole": whole.identity}


def _data_record(setup: Setup) -> dict[str, Any]:
    manifest, splits = setup.manifest, setup.splits
    return {
        "data": {
            "name": manifest.name,
            "kind": manifest.kind,
            "identity": manifest.identity,
            "classes": len(manifest.classes),
            "shape": list(splits.shape),
            "splits": {name: len(rows) for name, rows in splits.rows.items()},
            "train_counts": list(splits.counts.real),
            "imbalance_ratio": splits.counts.imbalance_ratio,
            "provenance": list(manifest.provenance),
        },
        "groups": {
            "scheme": splits.groups.scheme,
            "rule": splits.groups.rule,
            "members": {name: list(labels) for name, labels in splits.groups.members.items()},
        },
    }


def _training_record(setup: Setup, plan: Plan, outcome: Outcome) -> dict[str, Any]:
    return {
        "network": _network(outcome.leg.net),
        "recipe": plain(setup.recipe),
        "plan": plan.sentences(),
        "warnings": list(plan.warnings),
        "notes": list(plan.notes),
        "left": {"line": outcome.state.line, "step": outcome.state.step},
        "legs": [_leg_record(leg, seconds) for leg, seconds in zip(outcome.legs, outcome.seconds, strict=True)],
        "steps": sum(leg.length for leg in outcome.legs),
        "images_seen": sum(leg.images_seen for leg in outcome.legs),
        "passes": sum(leg.passes for leg in outcome.legs),
        "steps_trained": outcome.trained,
        "numerics": dict(outcome.root.numerics),
    }


def _learnt_on(outcome: Outcome) -> str:
    """Say on which rows that are measured on a stage learnt; nothing of most methods."""
    splits = {stream.split for leg in outcome.legs for stream in leg.stage.streams.values()} & set(MEASURED)
    return f"learnt on the images of {' and '.join(sorted(splits))} too, without their labels" if splits else ""


def _chosen_record(outcome: Outcome) -> dict[str, Any]:
    """Say by what on which rows the epoch was chosen that is kept, where it was."""
    leg, best = outcome.leg, outcome.leg.stage.leaves
    if not isinstance(best, Best) or not leg.length:
        return {"chosen": "", "selected": None}
    labels, classes = outcome.root.splits.rows[best.split].labels, len(outcome.root.splits.classes)
    absent = classes - len(set(labels.tolist()))
    images = f"n = {len(labels):,}" + (f", {absent} of {classes} classes absent" if absent else "")
    epoch, score = leg.epoch + outcome.state.step // leg.steps, outcome.accuracy(best.split, best.metric)
    by = best.metric.replace("_", " ")
    return {
        "chosen": f"epoch {epoch} of {leg.recipe.epochs}, chosen on {best.split} ({images}) by {by} ({score:.2%})",
        "selected": {"metric": best.metric, "split": best.split, "images": len(labels), "epoch": epoch, "score": score},
    }


def _leg_record(leg: Leg, seconds: float) -> dict[str, Any]:
    """Say of a stage what two runs are compared by: how much was shown, what learnt, and what was done beside the loss."""
    stage = leg.stage
    return {
        "line": leg.line,
        "start": leg.start,
        "stop": leg.stop,
        "seconds": seconds,
        "name": stage.name,
        "recipe": stage.recipe,
        "epochs": leg.epochs,
        "images_seen": leg.images_seen,
        "passes": leg.passes,
        "learn": [entry.pattern for entry in leg.learn],
        **{name: part and describe(part) for name in ("mixing", "gradient", "average") for part in [getattr(stage, name)]},
        "leaves": "last" if stage.leaves == "last" else f"best by {stage.leaves.metric} on {stage.leaves.split}",
    }
