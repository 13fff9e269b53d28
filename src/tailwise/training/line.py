"""Training a line: from the nearest stored state to the step that is wanted."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

import torch

from tailwise import processes
from tailwise.errors import Stopped
from tailwise.models import build
from tailwise.specification import fresh
from tailwise.store import Store
from tailwise.training.joint import Joint, build_objective, carry_network, carry_objective, forked, initialise, moves, owners, rename
from tailwise.training.loop import Loop
from tailwise.training.modes import plainly
from tailwise.training.plan import Leg, Root, about_leg
from tailwise.training.precision import FLOAT32, compute_in
from tailwise.training.replay import replay_steps
from tailwise.training.resting import read_features
from tailwise.training.speed import COMPILED, FAST, PLAIN, compile_network, keep_memory, lay_out
from tailwise.training.states import State, drop_inner, drop_state, load_state, nearest_state, save_state, stored_steps
from tailwise.training.streams import StreamReader, read_batch

KEEP_SECONDS = 60.0
"""How often a state in the middle of things is stored, so that a killed run loses no more than this."""


AtEpoch = Callable[[State], Mapping[str, float]]


class Watch(Protocol):
    """Who watches: a progress bar, an estimate, nobody."""

    def __call__(self, leg: Leg, done: int, trained: int) -> None:
        """Hear that `done` steps of the leg's line stand, `trained` of them in this process."""
        ...


def nobody(leg: Leg, done: int, trained: int) -> None:
    """Watch nothing."""


@dataclass(frozen=True)
class RunSettings:
    """Where and how to run; nothing here reaches a result.

    Attributes:
        store: the cache of states.
        device: where to train.
        watch: hears of every step.
        interrupted: asked after every step; True stores the state and raises KeyboardInterrupt.
        waiting: hears a sentence when another process has to finish something first.
        keep_seconds: how often a state in the middle is stored.
        replay: whether steps are recorded once and replayed whole, on a CUDA device and where a stage allows it.
    """

    store: Store
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    watch: Watch = nobody
    interrupted: Callable[[], bool] = lambda: False
    waiting: Callable[[str], None] = lambda sentence: None
    keep_seconds: float = KEEP_SECONDS
    replay: bool = False


def make_loop(root: Root, leg: Leg, parent: State | None, device: torch.device) -> Loop:
    """Make network, objective and optimisers as they stand at the start of a line.

    Args:
        root: of the run.
        leg: on the line.
        parent: the state that the line starts from; None at the root.
        device: where to train.
    """
    with forked(root.seed, "init", "network", leg.origin):
        net = build(leg.net, root.splits.shape, len(root.splits.classes))
    initialise(net, root.seed, leg.origin)
    with forked(root.seed, "fields", leg.origin):
        joint = Joint(net, fresh(leg.stage.objective))
    goes_on = parent is not None and leg.stage.start.clock == "continue"
    earlier = parent.left(live=goes_on and leg.stage.average is not None) if parent is not None else {}
    if parent is not None:
        carry_network(net, earlier, leg.stage.start)
    build_objective(joint, about_leg(root, leg), root.seed, leg.origin)
    moved = moves(parent.owners if parent is not None else {}, owners(joint.objective))
    carry_objective(joint.objective, earlier, moved, leg.stage.start)
    if device.type == "mps":
        joint.float()  # MPS holds no float64, in which constants are kept
    joint.to(device=device)
    named = root.numerics.get("speed", FAST)
    if len(root.splits.shape) == 3:
        lay_out(named, net)
    if named != PLAIN and device.type == "cpu":
        keep_memory()
    compute_in(root.numerics.get("precision", FLOAT32), net, device)
    loop = Loop(joint, leg, root.seed, device)
    if parent is not None and goes_on:
        loop.go_on(rename(parent.tensors, moved))
    return loop


class LineRun:
    """One line being trained, from wherever the store has it."""

    def __init__(self, root: Root, leg: Leg, settings: RunSettings, parent: Callable[[], State | None]) -> None:
        self.root = root
        self.leg = leg
        self.settings = settings
        self.parent = parent
        self.trained = 0

    def reach(
        self,
        step: int,
        at_epoch: AtEpoch | None = None,
        usable: Callable[[int], bool] = lambda step: True,
    ) -> State:
        """Train to a step of the line, from the nearest stored state, or load it.

        Args:
            step: wanted.
            at_epoch: called with the state at the end of each epoch trained here; gives further figures for the log.
            usable: says of a stored step whether to begin from it.

        Raises:
            Stopped: a loss that is not finite.
            KeyboardInterrupt: asked to stop; the state is stored.
        """
        state = self._nearest(step, usable)
        self.settings.watch(self.leg, state.step if state else 0, 0)
        if state is not None and state.step == step:
            return state
        with self._line_held():
            state = self._nearest(step, usable)
            if state is not None and state.step == step:
                return state
            with plainly(self.leg.recipe.threads):
                return self._train(state, step, at_epoch)

    def _nearest(self, step: int, usable: Callable[[int], bool]) -> State | None:
        return processes.told(lambda: nearest_state(self.settings.store, self.leg.line, step, usable))

    @contextmanager
    def _line_held(self) -> Iterator[None]:
        """Hold the line's lock, so that no two commands train it at once; one of several processes that train as one holds it for all."""
        said = False

        def waiting() -> None:
            nonlocal said
            if not said:
                self.settings.waiting("another command trains what comes next here; waiting for it")
                said = True
            if self.settings.interrupted():
                raise KeyboardInterrupt

        if processes.is_first():
            with self.settings.store.lock("line", self.leg.line, waiting):
                yield
        else:
            yield

    def _train(self, state: State | None, stop: int, at_epoch: AtEpoch | None) -> State:
        loop = make_loop(self.root, self.leg, self.parent() if self.leg.parent else None, self.settings.device)
        if state is not None:
            loop.restore(state.tensors)
        leg, settings = self.leg, self.settings
        readers = {n: StreamReader(n, s, self.root, leg, settings.device) for n, s in leg.stage.streams.items()}
        readers = read_features(loop, self.root, readers)
        log = list(state.log) if state else []
        if self.root.numerics.get("speed") == COMPILED:
            self._compile(loop, readers)
        if settings.replay:
            replay_steps(loop)
        begun, before, kept = time.perf_counter(), state.seconds if state else 0.0, time.perf_counter()
        cuts = self.cuts

        def now_state(step: int) -> State:
            tensors = {name: tensor.detach().clone() for name, tensor in loop.tensors()}
            seconds = before + time.perf_counter() - begun
            return State(leg.line, step, tensors, tuple(log), seconds, owners(loop.objective))

        for step in range(state.step if state else 0, stop):
            batch, now = read_batch(readers, leg, step, self.root.seed, loop.objective)
            loop.run_step(batch, now)
            done = step + 1
            self.trained += 1
            settings.watch(leg, done, self.trained)
            interrupted, late = processes.agreed(settings.interrupted(), time.perf_counter() - kept > settings.keep_seconds)
            lasting, ends_epoch = done in cuts or done == stop, now.step == now.steps - 1
            storing = lasting or interrupted or late
            if settings.device.type == "cpu" or storing or ends_epoch:  # elsewhere the question would make the host wait at every step
                self._check_sound(loop, whole=storing or (ends_epoch and at_epoch is not None))
            if ends_epoch:
                log.append({"epoch": now.epoch, "step": now.total + 1, "rate": loop.rate, **loop.read_meter()})
                if at_epoch is not None:
                    log[-1] = {**log[-1], **at_epoch(now_state(done))}
            if storing:
                left = now_state(done)
                self.keep(left, inner=not lasting)
                kept = time.perf_counter()
                if done == stop:
                    return left  # the very one that others find in the store, its seconds too
                del left  # a second copy of the network for no longer than it takes to store it
            if interrupted:
                raise KeyboardInterrupt(f"step {done:,} of {stop:,} is stored")
        return now_state(stop)  # of a stage of no steps

    def _compile(self, loop: Loop, readers: Mapping[str, StreamReader]) -> None:
        """Compile the network for the first batch of an epoch and for its last, which may be short; the seconds are said apart."""
        steps = dict.fromkeys((0, self.leg.steps - 1))
        took = compile_network(loop, (read_batch(readers, self.leg, step, self.root.seed) for step in steps))
        said = "is not compiled, since it makes its steps in a way of its own" if took is None else f"was compiled in {took:.0f} s"
        self.settings.waiting(f"stage {self.leg.stage.name} {said}")

    @property
    def cuts(self) -> set[int]:
        """Steps of the line whose states are kept for others to start from."""
        return {(self.leg.recipe.epoch_at(share) - self.leg.epoch) * self.leg.steps for share in self.leg.recipe.shares()}

    def keep(self, state: State, inner: bool = False) -> None:
        """Store a state that others will want; an `inner` one only shortens a resumption, and takes the place of those before it."""
        if processes.is_first():
            save_state(self.settings.store, state, inner)
            drop_inner(self.settings.store, self.leg.line, state.step)

    def drop(self, step: int) -> None:
        """Delete a state that nobody wants any more; those at cuts stay."""
        if processes.is_first() and step not in self.cuts:
            drop_state(self.settings.store, self.leg.line, step)

    def _check_sound(self, loop: Loop, whole: bool) -> None:
        """Stop where a loss, or anything of a state, is no longer finite, before such a state is stored or measured.

        Raises:
            Stopped: with the step, the learning rate, what is left, and what to try.
        """
        wrong, at = "loss is", loop.stray
        if at is None and whole and (name := loop.unsound()) is not None:
            wrong, at = f"tensor {name} is", loop.now.total
        if at is None:
            return
        leg, recipe = self.leg, self.leg.recipe
        epoch = leg.epoch + (at - leg.origin) // leg.steps
        rate = recipe.optimiser.rate * recipe.schedule.factor(epoch, recipe.epochs)
        good = processes.told(lambda: stored_steps(self.settings.store, leg.line))
        left = f"the last good state, step {leg.origin + good[-1]:,}, is kept" if good else "no state of this stage was stored yet"
        field = "recipe." if recipe == self.root.recipe else "recipe.second."
        clip = f" or clipped gradients (--set {field}clip=5)" if recipe.clip is None else ""
        raise Stopped(
            f"the {wrong} no longer finite at step {at + 1:,} (epoch {epoch}, learning rate {rate:g}); {left}; "
            f"try a smaller rate (--set {field}optimiser.rate={recipe.optimiser.rate / 10:g}){clip}"
        )


def state_of(root: Root, leg: Leg, at: int, settings: RunSettings, legs: tuple[Leg, ...]) -> State:
    """Give a state that earlier legs lead to, training what the store has lost of them."""
    stored = processes.told(lambda: load_state(settings.store, leg.line, at))
    if stored is not None:
        return stored
    return LineRun(root, leg, settings, lambda: parent_of(root, leg, settings, legs)).reach(at)


def parent_of(root: Root, leg: Leg, settings: RunSettings, legs: tuple[Leg, ...]) -> State | None:
    """Give the state that a leg's line starts from."""
    if leg.parent is None:
        return None
    line, at = leg.parent
    before = next(earlier for earlier in reversed(legs) if earlier.line == line)
    return state_of(root, before, at, settings, legs)
