"""Training: lines and states, the one loop, its memory.

Lives here: how stages become lines, how a line is trained from any stored state, what is evaluated and stored. Not here: any method,
loss, sampler or optimiser by name; tables; printing. May import `models`, `pixels`, `evaluation` and the vocabulary.
"""

from tailwise.training.line import RunSettings
from tailwise.training.plan import Leg, Plan, Root, plan_method
from tailwise.training.priors import prior_left
from tailwise.training.run import Outcome, run_method
from tailwise.training.splits import Splits

__all__ = ["Leg", "Outcome", "Plan", "Root", "RunSettings", "Splits", "plan_method", "prior_left", "run_method"]
