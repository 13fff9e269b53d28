"""Mixup: rows are averaged in pairs, and so are the losses on their labels."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tailwise.method import About, Card, Method, Stage, knob, method
from tailwise.methods.ce import CE
from tailwise.modifiers.mixup import WithMixup


@method(
    Card(
        title="Mixup",
        family="information augmentation",
        paper="Zhang et al., ICLR 2018; for long tails Zhong et al. (MiSLAS), CVPR 2021",
        arxiv="1710.09412",
        formula="x = lam x_i + (1 - lam) x_j; L = lam CE(y_i) + (1 - lam) CE(y_j); lam ~ Beta(alpha, alpha)",
        why="It does not look at class counts: rows between rows smooth the boundaries and lower the confidence that networks have in "
        "few images. Methods for long tails build on the features that it gives, MiSLAS for one.",
        avoid="As the only remedy for a long tail, which it leaves where it is. In short trainings, or where nothing overfits: it slows "
        "the fit.",
        needs="nothing",
        defaults="alpha = 1: Zhang et al. and MiSLAS on CIFAR; imagenet-lt, places-lt, inaturalist: 0.2, MiSLAS",
        departs="none: one lam a batch, partners by a permutation of it, as in Zhang et al.'s code",
        presets={"imagenet-lt": {"alpha": 0.2}, "places-lt": {"alpha": 0.2}, "inaturalist": {"alpha": 0.2}},
        status="formula",
    )
)
@dataclass(frozen=True)
class MixupMethod(Method):
    """Cross-entropy on mixed rows; over any other method as the modifier of this name, as in `ldam-drw+mixup`."""

    alpha: float = knob(1.0, low=0.0, help="of the Beta distribution; towards 0 rows hardly mix, 0 is cross-entropy")

    def stages(self, about: About) -> Iterable[Stage]:
        """Yield one stage."""
        return WithMixup(self.alpha).modify(CE().stages(about), about)
