"""Balanced softmax: the class prior is added to the logits in training, so that the logits themselves are free of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tailwise.counts import SHOWN
from tailwise.losses.balanced_softmax import BalancedSoftmaxLoss
from tailwise.method import About, Card, Method, Stage, knob, method


@method(
    Card(
        title="Balanced softmax, or logit adjustment in the loss",
        family="logit adjustment",
        paper="Ren et al., NeurIPS 2020; Menon et al., ICLR 2021",
        arxiv="2007.10740",
        formula="L = CE(z + tau log pi, y)",
        why="Plainly trained logits hold the training prior, which favours frequent classes. Here the loss adds that prior itself, so "
        "the logits need not learn it, and their largest is right under an even prior.",
        avoid="On rows that are drawn or weighted evenly, or under post-hoc adjustment: the prior would be taken out twice. Where the "
        "test is as long-tailed as the training, plain cross-entropy is right, or `--test-prior train`.",
        defaults="tau = 1: Ren et al., equation 3, where it has no knob; Menon et al., section 6",
        departs="the prior is that of the rows that the stage shows; Menon et al.'s code adds 1e-12 inside the log, ours does not",
        aliases=("logit-adjustment-loss", "la-loss", "bsce"),
        status="values",
    )
)
@dataclass(frozen=True)
class BalancedSoftmax(Method):
    """One row for two papers: with tau = 1 logit-adjusted cross-entropy is balanced softmax."""

    tau: float = knob(1.0, low=0.0, help="strength of the shift; 0 is cross-entropy")

    def stages(self, about: About) -> Iterable[Stage]:
        """Yield one stage."""
        yield Stage(criterion=BalancedSoftmaxLoss(SHOWN, self.tau), name="train")
