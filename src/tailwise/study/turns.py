"""Runs that several shells may be at: whose turn it is here, and whom we wait for."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from tailwise import processes
from tailwise.data import Fold
from tailwise.registry import Row
from tailwise.store import Store
from tailwise.training import Plan, RunSettings
from tailwise.training.states import stored_steps

LOOK_SECONDS = 0.5
"""How often we look again whether something became free."""


@dataclass(frozen=True)
class Job:
    """A run to be done.

    Attributes:
        row: what is trained.
        seed: of initialisation, order and augmentation.
        folder: where the run goes.
        key: of the run.
        plan: the lines that it goes through.
        fold: in which it is, where the data are dealt into folds.
    """

    row: Row
    seed: int
    folder: Path
    key: str
    plan: Plan
    fold: Fold | None = None

    @property
    def beside(self) -> tuple[int, Fold | None]:
        """What it has in common with those that share trained parts with it: seed and fold."""
        return self.seed, self.fold

    def __str__(self) -> str:
        return f"{self.row.text}, seed {self.seed}" + (f", {self.fold}" if self.fold else "")


class Turns:
    """Jobs one after another, each held by one of all the commands that share a store.

    A job that another command holds, or whose next line it trains, is put off; when all that is left is with others, we wait for them.
    The kernel holds a job for as long as its process lives, asleep or not, and frees a dead one's. Of several processes that train as
    one, the first chooses and holds for all, and all look again together, so that none of them waits alone for long.

    Args:
        jobs: seed by seed, fold by fold.
        settings: store, and who hears that we wait.
        stands: says whether a job is done already, by whomever.
    """

    def __init__(self, jobs: Sequence[Job], settings: RunSettings, stands: Callable[[Job], bool]) -> None:
        self.left = list(jobs)
        self._settings = settings
        self._stands = stands
        self._held = ExitStack()

    def __enter__(self) -> Turns:
        return self

    def __exit__(self, *error: object) -> None:
        self._held.close()

    def take(self) -> Job | None:
        """Give the next job that does not stand, held until the next call; None when all stand.

        Raises:
            KeyboardInterrupt: asked to stop while waiting.
        """
        self._held.close()
        looks = 0
        while True:
            places, taken = processes.told(self._choose)
            self.left = [self.left[place] for place in places]
            if taken is not None or not self.left:
                return None if taken is None else self.left[taken]
            looks += 1
            if looks == 2 and processes.is_first():  # at the first look somebody may just have been looking too
                self._settings.waiting(self._whom())
            (interrupted,) = processes.agreed(self._settings.interrupted())
            if interrupted:
                raise KeyboardInterrupt
            time.sleep(LOOK_SECONDS)

    def _whom(self) -> str:
        first, *more = self.left
        others = f" and {len(more)} more of the runs that are left" if more else ""
        return f"another command is at {first}{others}; waiting for it"

    def _choose(self) -> tuple[list[int], int | None]:
        """Hold the first free job; give the places of those that are left, and where among these the held one is."""
        places = [place for place, job in enumerate(self.left) if not self._stands(job)]
        store = self._settings.store
        for _, together in groupby(enumerate(places), key=lambda found: self.left[found[1]].beside):
            here = {at: self.left[place] for at, place in together}
            taken = {at for at, job in here.items() if store.is_locked("run", job.key)}
            # A run that was taken just now may not have reached its line yet, so the lines ahead of all taken runs are busy.
            busy = {next_line(store, here[at].plan) for at in taken} - {None}
            for at, job in here.items():
                line = next_line(store, job.plan)
                is_free = at not in taken and line not in busy and not (line and store.is_locked("line", line))
                if is_free and self._holds(job):
                    return places, at
        return places, None

    def _holds(self, job: Job) -> bool:
        """Try to hold a job; it is let go where it stands by now."""
        if self._held.enter_context(self._settings.store.try_lock("run", job.key)) and not self._stands(job):
            return True
        self._held.close()
        return False


def next_line(store: Store, plan: Plan) -> str | None:
    """Give the first line of a plan whose state the store does not have; None where nothing is left to train."""
    return next((leg.line for leg in plan.legs if leg.stop not in stored_steps(store, leg.line)), None)
