"""Deferred re-weighting: plain first, class-balanced weights for the last part of training."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, is_dataclass, replace
from typing import Any

from tailwise.errors import Clash
from tailwise.losses.class_weighted import ClassWeighted
from tailwise.method import About, Card, Modifier, Stage, Start, knob, known_stages, modifier, relay
from tailwise.specification import fresh


@modifier(
    Card(
        title="Deferred re-weighting",
        family="class-sensitive",
        paper="Cao et al., NeurIPS 2019",
        arxiv="1906.07413",
        formula="w_k = (1 - beta) / (1 - beta^n_k), scaled to sum C, from `start` on",
        defaults="start = 0.8 (160 of 200 epochs), beta = 0.9999: cifar_train.py of the authors",
        departs="the start is a share of the training; theirs is `epoch // 160`",
        status="values",
    )
)
@dataclass(frozen=True)
class DRW(Modifier):
    """Ends the base's last stage at `start`, and continues it, optimiser and clock, with weighted rows."""

    sets = "criterion"

    start: float = knob(0.8, above=0.0, high=1.0, help="share of training after which rows are weighted")
    beta: float = knob(0.9999, low=0.0, high=0.999999999, help="of the effective number of samples; 0 leaves all weights 1")

    def modify(self, stages: Iterable[Stage], about: About) -> Iterator[Stage]:
        """Yield the stages, the last one cut in two."""
        *earlier, last = known_stages(stages, "drw")
        start = self.start * last.until
        if earlier and last.start.clock == "continue" and start < earlier[-1].until:
            raise Clash(f"drw would start at {start:g} of the training, and the base's last stage begins at {earlier[-1].until:g} only")
        yield from relay(earlier)
        yield replace(last, until=start, leaves="last")  # a choice among epochs is made once, at the end
        yield replace(_weighted(last, about, self.beta), net=None, start=Start(), name="deferred re-weighting")


def _weighted(stage: Stage, about: About, beta: float) -> Stage:
    def over(criterion: Any) -> ClassWeighted:
        return ClassWeighted(criterion, about.counts.real, beta)

    if stage.criterion is not None:
        return replace(stage, criterion=over(stage.criterion))
    if is_dataclass(stage.objective) and hasattr(stage.objective, "criterion"):
        return replace(stage, objective=fresh(stage.objective, criterion=over(stage.objective.criterion)))
    raise Clash(f"drw weights the rows of a criterion, and {type(stage.objective).__name__} has none")
