"""Class-balanced loss: cross-entropy whose rows are weighted by the effective number of their class."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from tailwise.losses.class_weighted import ClassWeighted
from tailwise.losses.cross_entropy import CrossEntropyLoss
from tailwise.method import About, Card, Method, Stage, knob, method


@method(
    Card(
        title="Class-balanced loss by the effective number of samples",
        family="class-sensitive",
        paper="Cui et al., CVPR 2019",
        arxiv="1901.05555",
        formula="L = (1/B) sum w_y CE, w_k = (1 - beta) / (1 - beta^n_k), scaled to sum C",
        why="The more images a class has, the less a further one adds: weights are the inverse of the number of images that count, "
        "which saturates at 1 / (1 - beta), so rare classes weigh more and huge ones not absurdly little.",
        avoid="Where the tail is extreme, weights from the first epoch on disturb the features and make gradients noisy: ce-drw defers "
        "them. Choose beta by the counts: classes far below 1 / (1 - beta) images get inverse frequency, classes far above it equal "
        "weights.",
        defaults="beta = 0.9999 and a mean over rows: cifar_main.py of the authors, their best on CIFAR-10; "
        "over the sum of weights in the code of LDAM-DRW and BagofTricks-LT",
        departs="cross-entropy over the softmax; the paper also has sigmoid and focal forms. An empty class weighs 0",
        aliases=("cb", "cb-loss", "cb-ce", "effective-number"),
        status="values",
    )
)
@dataclass(frozen=True)
class ClassBalanced(Method):
    """Weights from the first epoch; `ce-drw` defers them."""

    beta: float = knob(0.9999, low=0.0, high=0.999999999, help="of the effective number of samples; 0 is cross-entropy")
    divisor: Literal["rows", "weights"] = knob("rows", help="what the weighted sum is divided by: the rows, or the sum of weights")

    def stages(self, about: About) -> Iterable[Stage]:
        """Yield one stage."""
        criterion = ClassWeighted(CrossEntropyLoss(), about.counts.real, self.beta, divisor=self.divisor)
        yield Stage(criterion=criterion, name="train")
