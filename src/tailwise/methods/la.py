"""Logit adjustment post hoc: the class prior is taken out of a trained network's logits; nothing is trained."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from tailwise.counts import SHOWN
from tailwise.method import About, Card, Method, Stage, knob, method
from tailwise.methods.ce import CE
from tailwise.posthoc.logit_adjustment import LogitAdjustment


@method(
    Card(
        title="Logit adjustment, post hoc",
        family="logit adjustment",
        paper="Menon et al., ICLR 2021",
        arxiv="2007.07314",
        formula="argmax_k z_k - tau log pi_k",
        why="Plainly trained logits hold the log prior of the training rows; taking it off after training favours rare classes exactly "
        "as much as the counts disfavoured them, and costs nothing.",
        avoid="Over a base that corrects the prior already: it would be taken out twice, and the plan warns. Where the network knows "
        "its training rows by heart, logits are no log-probabilities and tau = 1 may be off: tau=val chooses it.",
        needs="class counts; a trained network",
        defaults="tau = 1: section 4.2; tau=val chooses it on the validation split",
        cost="none beyond its base",
        aliases=("logit-adjustment", "posthoc-la"),
        status="values",
    )
)
@dataclass(frozen=True)
class LogitAdjustmentPostHoc(Method):
    """Shares the whole training with its base."""

    tau: float | Literal["val"] = knob(1.0, low=0.0, help="strength of the shift, or val to choose it on validation")
    base: Method = knob(CE(), help="the method whose network is adjusted")

    def stages(self, about: About) -> Iterable[Stage]:
        """Yield the base's stages."""
        return self.base.stages(about)

    def posthoc(self, about: About) -> LogitAdjustment:
        """Subtract the prior of what the base's last stage showed."""
        return LogitAdjustment(SHOWN, self.tau)
