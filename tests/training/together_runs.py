"""What several processes train together: cases that one process trains too, for comparison.

Run under torchrun, it writes what the first process ends with, a file a case, and checks that all processes hold the same bits:

    torchrun --nproc-per-node 2 tests/training/together_runs.py FOLDER CASE...
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from tailwise import processes
from tailwise.method import About, Stage, Stream
from tailwise.mixing import Mixup
from tailwise.objective import Batch, Clock, Objective, Term
from tailwise.optim import SGD, Constant
from tailwise.pixels import View
from tailwise.recipe import Recipe
from tailwise.registry import entries, parse_row
from tailwise.store import Store
from tailwise.training import Outcome, modes
from training import seam_objectives as seams
from training import seam_runs

SHORT = replace(seam_runs.RECIPE, epochs=3, schedule=Constant(), second=replace(seam_runs.RECIPE.second, epochs=1))  # type: ignore[type-var]
"""Twelve steps, of which the last of each epoch has one row: fewer than there are processes."""

LONG_SECOND = replace(SHORT.second, epochs=3, accumulate=2, optimiser=SGD(0.05, 0.9, 5e-4, nesterov=True))  # type: ignore[type-var]


@dataclass(eq=False)
class Contrast(Objective):
    """Every row against all rows of the batch: a term of the whole batch, which gathers for itself."""

    compares_rows = True

    def loss(self, net: nn.Module, batch: Batch, now: Clock) -> dict[str, Term]:
        out = net(batch["main"].images)
        mine = normalize(out.features, dim=1)
        rows = processes.gathered(0.3 * mine) + processes.gathered(0.7 * mine)  # both get one gradient, which neither may change
        labels = processes.gathered(batch["main"].labels)
        apart = (labels[:, None] != labels[None]) * (rows @ rows.T)
        values = cross_entropy(out.logits, batch["main"].labels, reduction="none")
        return {"class": Term(values), "contrast": Term(apart.square().mean(), divisor="batch", factor=0.5)}


@dataclass(eq=False)
class Centres(Objective):
    """Class means of the features, counted over the whole batch once a step, and a pull towards them."""

    def build(self, net: nn.Module, about: About) -> None:
        self.register_buffer("sums", torch.zeros(len(about.classes), net.width))
        self.register_buffer("counts", torch.zeros(len(about.classes)))

    def loss(self, net: nn.Module, batch: Batch, now: Clock) -> dict[str, Term]:
        out, labels = net(batch["main"].images), batch["main"].labels
        self.keep(features=out.features, labels=labels)
        centres = self.sums / self.counts.clamp_min(1)[:, None]
        pulled = (out.features - centres[labels]).square().mean(1)
        values = cross_entropy(out.logits, labels, reduction="none")
        return {"class": Term(values), "pull": Term(pulled, self.counts[labels] + 1, "weights", 0.1)}

    def settle(self, net: nn.Module, kept: Mapping[str, Tensor], now: Clock) -> None:
        self.sums.index_add_(0, kept["labels"], kept["features"])
        self.counts += torch.bincount(kept["labels"], minlength=len(self.counts))


def of(objective: Objective, streams: Mapping[str, Stream] | None = None, **fields: Any) -> seams.Stages:
    return seams.Stages(lambda about: [Stage(objective=objective, streams=streams or {"main": Stream()}, **fields)])


Case = tuple[Any, Iterable[Any], Recipe]


def written(text: str, recipe: Recipe = SHORT) -> Case:
    row = parse_row(text)
    return row.method, row.modifiers, recipe


CASES: dict[str, Callable[[], Case]] = {
    **{name: lambda name=name: written(name) for name in entries("method")},
    **{f"ce+{name}": lambda name=name: written(f"ce+{name}") for name in entries("modifier")},
    "paco(gpaco)": lambda: written("paco(gpaco)"),
    "shares of branches drawn": lambda: written("bbn(schedule=beta)+sam", replace(SHORT, accumulate=2)),
    "clipped": lambda: written("ldam-drw", replace(SHORT, clip=0.5)),
    "accumulated": lambda: written("ldam-drw+sam+ema(decay=0.8)", replace(SHORT, accumulate=2)),
    "weights learnt over their mean": lambda: written("meta-weight-net(normalise=true)+drw+sam", replace(SHORT, clip=0.5)),
    "learnt rates, accumulated": lambda: written("balms+mixup+ema(decay=0.8)", replace(SHORT, second=replace(LONG_SECOND, clip=0.5))),
    "mixup over weights": lambda: (of(seams.Termwise((1.0, 2.0, 4.0, 8.0)), mixing=Mixup(1.0)), (), SHORT),
    "weighted means": lambda: (of(seams.Termwise((1.0, 20.0, 4.0, 0.0))), (), SHORT),
    "rows grow in the middle": lambda: (seams.growing(), (), SHORT),
    "two streams and branches": lambda: (seams.two_streams(), (), SHORT),
    "momentum copy and queue": lambda: (seams.remembering(), (), SHORT),
    "queue, sam and ema": lambda: (seams.remembering(), parse_row("ce+sam+ema(decay=0.8)").modifiers, SHORT),
    "class statistics": lambda: (of(Centres()), (), SHORT),
    "contrast of the whole batch": lambda: (of(Contrast()), (), SHORT),
    "best, then another stage": lambda: (seams.best_then_rest(), (), SHORT),
    "decided by results": lambda: (seams.decided(2.0), (), SHORT),
}
"""What must equal one process with the joint batch."""

THREE = {
    "four rows among three": lambda: (of(Centres()), (), replace(SHORT, batch_size=45)),
    "one step over batch statistics": lambda: (
        of(seams.Termwise((1.0,) * 4), {"main": Stream(sampler=seams.FirstRows(48))}),
        (),
        replace(SHORT, batch_size=48, epochs=1),
    ),
}
"""What three processes do: of four rows one process has none; statistics of normalisation are the mean of three."""

OWN = {"bilevel step": lambda: (seams.bilevel(), (), SHORT)}
"""What cannot: its virtual step is taken by each process on its own rows."""

LONG = Recipe(name="long", net="features", epochs=30, batch_size=16, optimiser=SGD(0.05, weight_decay=5e-4), schedule=Constant())
FLOAT32 = ("ce", "ldam-drw", "crt", "ce+sam", "ce+ema", "class statistics")
STOPPED = ("float32 ldam-drw", "accumulated", "momentum copy and queue", "best, then another stage", "decided by results", "bilevel step")
LONG_ROWS = ("ce", "ldam-drw", "ce+sam+ema(decay=0.8)", "class-balanced", "cb-sampling")


def without_batch_statistics() -> None:
    """Let the networks have group normalisation: with batch normalisation each process normalises by its own rows."""
    nn.BatchNorm1d = nn.BatchNorm2d = lambda width: nn.GroupNorm(4, width)  # type: ignore[assignment, misc]


@contextlib.contextmanager
def in_float64() -> Iterator[None]:
    """Train in float64, images included, so that a difference is more than rounding."""
    plain = View.__call__
    modes.PRECISION = torch.float64
    View.__call__ = lambda *args: plain(*args).double()  # type: ignore[method-assign]
    try:
        yield
    finally:
        View.__call__ = plain  # type: ignore[method-assign]
        modes.PRECISION = torch.float32


def train(name: str, store: Store, **settings: Any) -> Outcome:
    """Train a case by its name: `float32 NAME` as users do, `NAME` in float64, `long NAME` for 120 steps on vectors."""
    kind, _, rest = name.partition(" ")
    if kind == "float32":
        method, modifiers, recipe = CASES[rest]()
        return seam_runs.train(method, modifiers, store, seam_runs.make_root(recipe), **settings)
    with in_float64():
        if kind == "long":
            method, modifiers, recipe = written(rest, LONG)
            return seam_runs.train(method, modifiers, store, seam_runs.make_root(recipe, seam_runs.feature_splits()), **settings)
        method, modifiers, recipe = (CASES | THREE | OWN)[name]()
        return seam_runs.train(method, modifiers, store, seam_runs.make_root(recipe), **settings)


def train_stopped(name: str, store: Store) -> tuple[Outcome, int]:
    """Train a case that is asked to stop again and again, in one process after the other, and begun anew each time."""
    stops = 0
    while True:
        left = 2 + stops if processes.rank() == stops % processes.count() else 10**9

        def ask() -> bool:
            nonlocal left
            left -= 1
            return left <= 0

        try:
            return train(name, store, interrupted=ask if stops < 3 else lambda: False), stops
        except KeyboardInterrupt:
            stops += 1


def same_everywhere(tensors: Mapping[str, Tensor]) -> bool:
    """Say whether all processes hold the same bits."""
    for tensor in tensors.values():
        mine = tensor.contiguous().clone()
        first = mine.clone()
        dist.broadcast(first, 0)
        (differs,) = processes.agreed(not torch.equal(mine, first))
        if differs:
            return False
    return True


def main(folder: Path, names: list[str]) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    if "one step over batch statistics" not in names:
        without_batch_statistics()
    for name in names:
        store = Store(folder / "stores" / name.replace(" ", "-"))
        if name.startswith("stopped "):
            outcome, stops = train_stopped(name.removeprefix("stopped "), store)
            assert stops == 3
        else:
            outcome = train(name, store)
        assert same_everywhere(outcome.state.tensors), f"{name}: the processes ended in different states"
        if processes.is_first():
            save_file({n: t.contiguous() for n, t in outcome.state.tensors.items()}, folder / f"{name}.safetensors")
            print(f"{name}: {outcome.trained} steps", flush=True)
    dist.barrier()
    os._exit(0)  # torch now and then aborts while an interpreter is torn down that was one of several processes


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
