"""CutMix over any method: a box of each row is another row's, and the losses on their labels are averaged by area."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from tailwise.errors import Clash
from tailwise.method import About, Card, Modifier, Stage, knob, modifier, relay
from tailwise.mixing.cutmix import CutMix
from tailwise.modifiers.mixup import unmixed


@modifier(
    Card(
        title="CutMix",
        family="information augmentation",
        paper="Yun et al., ICCV 2019",
        arxiv="1905.04899",
        formula="x = x_j inside a box, x_i outside; L = lam L(y_i) + (1 - lam) L(y_j); lam ~ Beta(alpha, alpha), then what is "
        "left of x_i once the box is cut off at the edge",
        needs="images",
        defaults="alpha = 1: Yun et al. on CIFAR and ImageNet",
        departs="every batch is mixed, where theirs mixes half of them on CIFAR; all stages mix, a second stage on balanced rows too",
        status="formula",
    )
)
@dataclass(frozen=True)
class WithCutMix(Modifier):
    """Sets the mixing of every stage, on its `main` stream."""

    sets = "mixing"

    alpha: float = knob(1.0, low=0.0, help="of the Beta distribution; towards 0 a box is nothing or all, 0 is plain training")
    per: Literal["batch", "row"] = knob("batch", help="what has a box of its own: a batch, as in the authors' code, or a row")

    def modify(self, stages: Iterable[Stage], about: About) -> Iterable[Stage]:
        """Give the stages with the mixing.

        Raises:
            Clash: the data are feature vectors; a stage mixes its rows already, or its objective is over no criterion.
        """
        if len(about.shape) == 1:
            raise Clash("cutmix cuts boxes out of images, and these rows are feature vectors; give images, or take mixup")
        return relay(stages, lambda stage: replace(unmixed(stage, "cutmix"), mixing=CutMix(self.alpha, self.per)))
