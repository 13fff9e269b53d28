"""Mixup over any method: rows are averaged in pairs, and so are the losses on their labels."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, is_dataclass, replace
from typing import Literal

from tailwise.errors import Clash
from tailwise.method import About, Card, Modifier, Stage, knob, modifier, relay
from tailwise.mixing.mixup import Mixup


@modifier(
    Card(
        title="Mixup",
        family="information augmentation",
        paper="Zhang et al., ICLR 2018; for long tails Zhong et al. (MiSLAS), CVPR 2021",
        arxiv="1710.09412",
        formula="x = lam x_i + (1 - lam) x_j; L = lam L(y_i) + (1 - lam) L(y_j); lam ~ Beta(alpha, alpha)",
        needs="nothing",
        defaults="alpha = 1: Zhang et al. and MiSLAS on CIFAR; imagenet-lt, places-lt, inaturalist: 0.2, MiSLAS",
        departs="all stages mix, a second stage on balanced rows too; MiSLAS mixes in its first stage only",
        presets={"imagenet-lt": {"alpha": 0.2}, "places-lt": {"alpha": 0.2}, "inaturalist": {"alpha": 0.2}},
        status="formula",
    )
)
@dataclass(frozen=True)
class WithMixup(Modifier):
    """Sets the mixing of every stage, on its `main` stream."""

    sets = "mixing"

    alpha: float = knob(1.0, low=0.0, help="of the Beta distribution; towards 0 rows hardly mix, 0 is plain training")
    per: Literal["batch", "row"] = knob("batch", help="what has a lam of its own: a batch, as in the authors' code, or a row")

    def modify(self, stages: Iterable[Stage], about: About) -> Iterable[Stage]:
        """Give the stages with the mixing.

        Raises:
            Clash: a stage mixes its rows already, or its objective is over no criterion, so that mixed labels would be lost.
        """
        return relay(stages, lambda stage: replace(unmixed(stage, "mixup"), mixing=Mixup(self.alpha, self.per)))


def unmixed(stage: Stage, name: str) -> Stage:
    """Give a stage whose rows can be mixed.

    Raises:
        Clash: it mixes them already, or nothing takes a loss on both labels.
    """
    if stage.mixing is not None:
        raise Clash(f"{name} would replace the {type(stage.mixing).__name__} of stage {stage.name!r}; leave one of them out")
    if stage.criterion is None and not (is_dataclass(stage.objective) and hasattr(stage.objective, "criterion")):
        raise Clash(f"{name} needs a criterion to take on both labels, and {type(stage.objective).__name__} has none")
    return stage
