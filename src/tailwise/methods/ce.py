"""Cross-entropy on all images as they come: the baseline."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tailwise.losses.cross_entropy import CrossEntropyLoss
from tailwise.method import About, Card, Method, Stage, method


@method(
    Card(
        title="Cross-entropy",
        family="baseline",
        formula="L = -log softmax(z)_y",
        why="It does not: every image counts alike, so frequent classes decide where the boundaries lie. It learns features from all "
        "images, and is what every other method starts from and is measured against.",
        avoid="As an answer where rare classes matter: it gives their images to frequent ones. It is right where the test is as "
        "long-tailed as the training and only the share of right images counts.",
        needs="nothing",
        aliases=("cross-entropy",),
        status="values",
    )
)
@dataclass(frozen=True)
class CE(Method):
    """Plain training; what every other method is measured against."""

    def stages(self, about: About) -> Iterable[Stage]:
        """Yield one stage."""
        yield Stage(criterion=CrossEntropyLoss(), name="train")
