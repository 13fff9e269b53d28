"""One run: trained through the store, and left as a folder that needs the store no more."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from safetensors.torch import save as save_tensors

from tailwise.catalogue import Row
from tailwise.errors import BadData, OutputExists
from tailwise.evaluation import Evaluation, Measured, Predictions, SplitPredictions, Summary, evaluate, summarise
from tailwise.method import Net
from tailwise.posthoc import PostHoc, Scores
from tailwise.records import RUN, plain, read_record
from tailwise.specification import key_of, spec
from tailwise.store import check_writable, json_bytes, replace_folder, whole_folder
from tailwise.study.extractor import extractor_bytes
from tailwise.study.setup import Setup
from tailwise.training import Outcome, Plan, RunSettings, run_method
from tailwise.version import __version__

EXTRACTOR = "extractor.safetensors"
"""The extractor of a run, or of all runs of a study, with the standardisation of its features."""

WEIGHTS = "weights.safetensors"


@dataclass(frozen=True)
class Run:
    """A run on disk.

    Attributes:
        folder: with `run.json`, `log.jsonl`, `weights.safetensors` and `predictions/`.
        record: `run.json`, see `docs/formats.md`.
    """

    folder: Path
    record: Mapping[str, Any]

    @classmethod
    def load(cls, folder: Path | str) -> Run:
        """Read a run's record.

        Raises:
            BadData: the folder is no run.
        """
        return cls(Path(folder), read_record(Path(folder) / "run.json", RUN))

    @property
    def predictions(self) -> Predictions:
        """Every validation and test answer."""
        return Predictions.load(self.folder / "predictions")

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

    def __repr__(self) -> str:
        said = self.record
        return f"Run {said['method']}, seed {said['seed']}, on {said['data']['name']} in {self.folder}"


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
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return None
    if not (folder / "run.json").is_file():
        raise OutputExists(f"{folder} exists and is no run of tailwise; choose another --out")
    found = Run.load(folder)
    if found.record["key"] == key:
        return found
    if force:
        return None
    raise OutputExists(
        f"{folder} holds another run ({found.record['method']}, seed {found.record['seed']}, other data, settings or version); "
        "choose another --out, or replace it with --force"
    )


def execute(
    setup: Setup,
    row: Row,
    seed: int,
    folder: Path,
    settings: RunSettings,
    force: bool = False,
    shared: Cache | None = None,
    extractor: str | None = None,
) -> Run:
    """Train a row with a seed and leave its folder; a folder that stands already is returned as it is.

    Args:
        setup: of the data and the recipe; made ready where it is not.
        row: what to train.
        seed: of initialisation, order and augmentation.
        folder: where the run goes; it appears whole, or not at all.
        settings: store, device, watcher.
        force: whether another run in the folder is replaced.
        shared: predictions of networks that other rows of the same comparison have too.
        extractor: where the extractor lies already, relative to the folder; None to leave a copy in it.
    """
    key = run_key(setup, row, seed)
    found = standing(folder, key, force)
    if found is not None:
        return found
    check_writable(folder)
    setup = setup.ready()
    outcome, posthoc = run_method(setup.root(seed), row.method, row.modifiers, settings)
    raw = _predictions(outcome, shared)
    predictions, fitted, said = apply_posthoc(raw, posthoc)
    weights = save_tensors({name: tensor.detach().cpu().contiguous() for name, tensor in outcome.predictor.state_dict().items()})
    record = {
        "schema": RUN,
        "key": key,
        **_method_record(row, seed),
        **_data_record(setup),
        **_training_record(setup, setup.plan(row, seed), outcome),
        "posthoc": said,
        "correction": plain(fitted),
        "extractor": setup.extractor and {**setup.extractor.to_dict(), "file": extractor or EXTRACTOR},
        "weights": hashlib.sha256(weights).hexdigest(),
        "version": __version__,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }

    def fill(place: Path) -> None:
        (place / WEIGHTS).write_bytes(weights)
        if extractor is None:
            write_extractor(setup, place)
        predictions.save(place / "predictions")
        (place / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in outcome.log()), encoding="utf-8")
        (place / "run.json").write_bytes(json_bytes(record))

    (replace_folder if force else whole_folder)(folder, fill)
    settings.store.trim()
    return Run.load(folder)


def write_extractor(setup: Setup, folder: Path) -> None:
    """Leave a copy of the extractor in a folder, where features are frozen."""
    if setup.extractor is not None and setup.standardise is not None:
        (folder / EXTRACTOR).write_bytes(extractor_bytes(setup.extractor, setup.standardise))


Cache = dict[tuple[str, int], Predictions]


def _predictions(outcome: Outcome, shared: Cache | None) -> Predictions:
    """Predict once for each trained network, however many rows use it."""
    key = (outcome.state.line, outcome.state.step)
    if shared is None:
        return outcome.predictions()
    if key not in shared:
        shared[key] = outcome.predictions()
    return shared[key]


def apply_posthoc(predictions: Predictions, posthoc: PostHoc | None) -> tuple[Predictions, PostHoc | None, str]:
    """Correct all predictions after fitting what is open on validation; give the fitted part too, and say how."""
    if posthoc is None:
        return predictions, None, ""

    def scores(split: SplitPredictions) -> Scores:
        p = predictions
        return Scores(split.logits, split.labels, split.features, p.head_weight, p.head_bias, p.class_means)

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
        "left": {"line": outcome.state.line, "step": outcome.state.step},
        "legs": [
            {"line": leg.line, "start": leg.start, "stop": leg.stop, "seconds": seconds}
            for leg, seconds in zip(outcome.legs, outcome.seconds, strict=True)
        ],
        "steps": sum(leg.length for leg in outcome.legs),
        "steps_trained": outcome.trained,
        "numerics": dict(outcome.root.numerics),
    }


def summarise_runs(runs: Mapping[str, Sequence[Run]], split: str | None = None) -> Summary:
    """Summarise rows of runs; the note of a row is how its post-hoc part was fitted, where it has one."""
    rows = []
    for text, found in runs.items():
        notes = list(dict.fromkeys(run.record["posthoc"] for run in found if run.record["posthoc"]))
        rows.append(Measured(text, [run.evaluate(split) for run in found], "; ".join(notes)))
    return summarise(rows)
