"""The best epoch on validation rows: the last stage leaves that one, and says by which metric it was chosen."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from tailwise.method import About, Best, Card, Modifier, Stage, knob, known_stages, modifier, relay


@modifier(
    Card(
        title="Best epoch on validation rows",
        family="optimisation",
        paper="Prechelt, Early Stopping - But When?, 1998",
        formula="argmax over epochs t of metric(val; theta_t), the first among equals",
        needs="a validation split; test never chooses",
        defaults="macro_accuracy, what a recommendation is made by: ours",
        departs="training goes on to its end, on the recipe's schedule; authors' code often chooses on test, which ours refuses",
        cost="1 forward, and a pass over val an epoch",
    )
)
@dataclass(frozen=True)
class WithBest(Modifier):
    """Sets what the last stage leaves; the stages before it leave their last state, which the next one begins from."""

    sets = "leaves"

    metric: Literal["macro_accuracy", "accuracy"] = knob("macro_accuracy", help="what an epoch is chosen by")
    split: str = knob("val", help="rows that it is measured on; not test")

    def __post_init__(self) -> None:
        super().__post_init__()
        Best(self.metric, self.split)  # refuses test here, before any image is read

    def modify(self, stages: Iterable[Stage], about: About) -> Iterator[Stage]:
        """Yield the stages, the last one with the choice.

        Raises:
            Clash: the method decides by results which stage is the last.
        """
        *earlier, last = known_stages(stages, "best")
        yield from relay(earlier)
        yield replace(last, leaves=Best(self.metric, self.split))
