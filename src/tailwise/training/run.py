"""Running a method: its stages one after another, each from the store where it can be, and what it leaves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from tailwise import processes
from tailwise.errors import BadData, BadValue, Stopped
from tailwise.evaluation import Predictions, SplitPredictions, macro_accuracy, micro_accuracy
from tailwise.method import Best, advance
from tailwise.models.chain import Chain, Joined
from tailwise.models.heads import linear_weights
from tailwise.pixels import Rows
from tailwise.pixels.augment import Flip
from tailwise.specification import key_of, room_digest
from tailwise.store import Store
from tailwise.training import speed
from tailwise.training.joint import forked
from tailwise.training.line import AtEpoch, LineRun, RunSettings, make_loop, parent_of
from tailwise.training.modes import plainly
from tailwise.training.plan import Leg, Root, about_leg, fill_posthoc, next_leg, stages_of
from tailwise.training.precision import FLOAT32
from tailwise.training.states import State, load_state
from tailwise.training.streams import PLAIN
from tailwise.training.sweep import Answers, sweep
from tailwise.training.views import Mirrored

METRICS: dict[str, Callable[..., float | None]] = {"macro_accuracy": macro_accuracy, "accuracy": micro_accuracy}


@dataclass(frozen=True)
class Outcome:
    """What a stage left, and what a method may look at between stages.

    Attributes:
        root: of the run.
        legs: all so far.
        state: the state that the last leg left.
        settings: where it ran.
        trained: steps trained in this process.
        seconds: that each leg takes when it is trained, whoever did so.
        logs: the log of each leg's line up to where it was left.
    """

    root: Root
    legs: tuple[Leg, ...]
    state: State
    settings: RunSettings
    trained: int = 0
    seconds: tuple[float, ...] = ()
    logs: tuple[tuple[Mapping[str, Any], ...], ...] = ()

    def log(self) -> list[dict[str, Any]]:
        """Give the records of all epochs on the way, stage by stage."""
        said = []
        for number, (leg, records) in enumerate(zip(self.legs, self.logs, strict=True)):
            first = leg.origin + leg.start
            said += [{"stage": number, "name": leg.stage.name, **r} for r in records if r["step"] > first]
        return said

    @property
    def leg(self) -> Leg:
        """The last leg."""
        return self.legs[-1]

    @cached_property
    def predictor(self) -> nn.Module:
        """The module that is evaluated and exported, with the weights that the stage left; averaged ones where it averages."""
        parent = parent_of(self.root, self.leg, self.settings, self.legs)
        with plainly(self.leg.recipe.threads):
            loop = make_loop(self.root, self.leg, parent, self.settings.device)
            loop.joint.load_state_dict(self.state.left(), strict=True)
            return loop.objective.predictor(loop.net).eval()

    def logits(self, split: str) -> NDArray[np.float32]:
        """Give (N, C) logits of a split that may decide something.

        Raises:
            BadValue: `test` decides nothing.
            BadData: the data have no such split.
        """
        if split == "test":
            raise BadValue("split 'test' decides nothing; a method looks at 'val', which --split 80/10/10 sets aside")
        if split not in self.root.splits.rows:
            raise BadData(f"the data have no split {split!r} to decide on; set some of train aside with --split 80/10/10")
        _ = self.predictor  # made by all processes together, before one of them answers for all
        return processes.told(lambda: self._sweep(split).logits)

    def accuracy(self, split: str = "val", metric: str = "macro_accuracy") -> float:
        """Measure on a split that may decide something; raises as `logits`."""
        logits = self.logits(split)
        measured = METRICS[metric](self.root.splits.rows[split].labels, logits, len(self.root.splits.classes))
        if measured is None:
            raise BadData(f"split {split!r} has no rows to decide on; set some of train aside with --split 80/10/10")
        return measured

    def _sweep(self, split: str, predictor: nn.Module | None = None) -> Answers:
        rows: Rows = self.root.splits.rows[split]
        with plainly(self.leg.recipe.threads), forked(self.root.seed, "predict", split, device=self.settings.device):
            normalise, numerics = self.leg.recipe.normalise or PLAIN, self.root.numerics
            precision, folds = numerics.get("precision", FLOAT32), numerics.get("speed") != speed.PLAIN
            return sweep(predictor or self.predictor, rows, normalise, self.settings.device, precision, folds)

    def predictions(self) -> Predictions:
        """Predict every validation and test row, with the class means of the training features and the head's weights.

        Of several processes one is enough.
        """
        splits = self.root.splits
        made = {}
        for name in ("val", "test"):
            if name in splits.rows and len(splits.rows[name]):
                found, rows = self._sweep(name), splits.rows[name]
                made[name] = SplitPredictions(rows.ids, rows.labels, found.logits, found.features, None, found.experts, self._views(name))
        features = self._sweep("train").features
        weight, bias = self._linear_head()
        return Predictions(
            splits=made,
            classes=splits.classes,
            counts=about_leg(self.root, self.leg).counts,
            groups=splits.groups,
            data=splits.identity("train"),
            class_means=None if features is None else class_means(features, splits.rows["train"].labels, len(splits.classes)),
            head_weight=weight,
            head_bias=bias,
        )

    def _views(self, split: str) -> NDArray[np.float32] | None:
        """Give (N, 1, C) logits of mirror images, where the recipe takes one to be of the same class; else None."""
        if len(self.root.splits.shape) == 1 or not any(isinstance(part, Flip) for part in self.root.recipe.augment):
            return None
        return self._sweep(split, Mirrored(self.predictor)).logits[:, None]

    def _linear_head(self) -> tuple[NDArray[np.float32] | None, NDArray[np.float32] | None]:
        net: Any = self.predictor
        found = linear_weights(net.head) if isinstance(net, Chain | Joined) else None
        return (None, None) if found is None else (_numpy(found[0]), _numpy(found[1]))


def _numpy(tensor: Tensor) -> NDArray[np.float32]:
    return tensor.detach().float().cpu().numpy()


def class_means(features: NDArray[np.float32], labels: NDArray[np.int64], classes: int) -> NDArray[np.float32]:
    """Average features by class: (classes, D) float32, NaN for a class without rows."""
    sums = np.zeros((classes, features.shape[1]))
    np.add.at(sums, labels, features)
    counts = np.bincount(labels, minlength=classes)[:, None]
    return np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0).astype(np.float32)


def run_method(root: Root, method: Any, modifiers: Iterable[Any], settings: RunSettings) -> tuple[Outcome, Any]:
    """Run a method's stages, each from the nearest stored state, and store what they leave.

    Returns:
        What the last stage left, and the method's post-hoc part with its counts filled in, or None.

    Raises:
        Stopped: a loss that is not finite.
        KeyboardInterrupt: asked to stop; the same call goes on from there.
    """
    about = root.splits.about(root.recipe.epochs)
    stages = stages_of(method, tuple(modifiers), about, root.seed)
    outcome: Outcome | None = None
    while (stage := advance(stages, outcome)) is not None:
        leg = next_leg(root, stage, outcome.leg if outcome else None, outcome.state.step if outcome else None)
        outcome = _run_leg(root, leg, outcome, settings)
    if outcome is None:
        raise BadValue(f"{method} has no stage")
    if processes.count() > 1:
        _ = outcome.predictor  # made together here, so that one process can use it alone
    return outcome, fill_posthoc(method, about, outcome.leg)


def _run_leg(root: Root, leg: Leg, before: Outcome | None, settings: RunSettings) -> Outcome:
    legs = (*(before.legs if before else ()), leg)
    run = LineRun(root, leg, settings, lambda: parent_of(root, leg, settings, legs))
    leaves = leg.stage.leaves

    def measured(state: State) -> dict[str, float]:
        """Measure val at the end of an epoch, where the recipe wants it: for the log, nothing is decided by it."""
        every, epoch = leg.recipe.measure_every, leg.epoch + state.step // leg.steps
        rows = root.splits.rows.get("val")
        if not every or epoch % every or not rows:
            return {}
        return {"val_macro": Outcome(root, legs, state, settings).accuracy("val")}

    if isinstance(leaves, Best) and leg.length:
        state = _best(leaves, root, leg, legs, run, settings, measured)
    else:
        state = run.reach(leg.stop, at_epoch=measured if leg.recipe.measure_every else None)
    seconds = state.seconds * leg.length / max(1, state.step)
    if before is None:
        return Outcome(root, legs, state, settings, run.trained, (seconds,), (state.log,))
    return Outcome(root, legs, state, settings, before.trained + run.trained, (*before.seconds, seconds), (*before.logs, state.log))


def _best(best: Best, root: Root, leg: Leg, legs: tuple[Leg, ...], run: LineRun, settings: RunSettings, measured: AtEpoch) -> State:
    """Reach the end of a stage and give the state of the epoch that was best on validation; the first among equals.

    The scores of epochs are kept beside the states, and the best state so far is stored, so that a killed run goes on.
    """
    key = key_of(leg.line, best.metric, root.splits.identity(best.split), room_digest("evaluation"))
    scores: dict[int, float] = {}
    kept: State | None = None

    def chosen(until: int) -> int:
        among = {s: score for s, score in scores.items() if leg.start < s <= until}
        return max(among, key=lambda s: (among[s], -s))

    def usable(step: int) -> bool:
        scores.update(_read_scores(settings.store, key))
        needed = range(leg.start + leg.steps, step + 1, leg.steps)
        return all(s in scores for s in needed) and (not needed or load_state(settings.store, leg.line, chosen(step)) is not None)

    def score(state: State) -> Mapping[str, float]:
        nonlocal kept
        before = chosen(state.step - 1) if any(leg.start < s < state.step for s in scores) else None
        scores[state.step] = Outcome(root, legs, state, settings).accuracy(best.split, best.metric)
        if chosen(state.step) == state.step:
            kept = state
            run.keep(state)
        if processes.is_first():
            settings.store.write_json("scores", key, {str(s): value for s, value in sorted(scores.items())})
        if kept is state and before is not None:  # only now: a run killed in between still finds the state that its scores name
            run.drop(before)
        return measured(state)

    if not processes.told(lambda: usable(leg.stop)):
        run.reach(leg.stop, at_epoch=score, usable=usable)
    found = processes.told(lambda: load_state(settings.store, leg.line, chosen(leg.stop)) or kept)
    if found is None:
        raise Stopped("the store lost the best state of this stage; give it more room with TAILWISE_STORE_GB and run again")
    return found


def _read_scores(store: Store, key: str) -> dict[int, float]:
    """Read the scores of epochs; none where they are not there or damaged, since the store is only a cache."""
    return {int(step): score for step, score in (store.read_json("scores", key) or {}).items()}
