"""Post-hoc corrections: logits in, better logits for the tail out, without training.

Here live pure functions on NumPy arrays, one correction a file, and a frozen dataclass around each that a method can
name. A dataclass is used in two steps: `fit(val)` settles what is open, such as a tau, and says how; `apply(scores)`
corrects. `foreign` does the same for logits of another program, and says which rows moved. Nothing here reads files,
knows splits or measures accuracy: that is `tailwise.evaluation`, which this room must not import. It may import NumPy
and the vocabulary (`errors`, `counts`, `groups`), nothing else.
"""

from tailwise.posthoc.foreign import Adjusted, Moved, adjust
from tailwise.posthoc.logit_adjustment import LogitAdjustment, adjust_logits
from tailwise.posthoc.nearest_mean import NearestMean, nearest_mean_logits
from tailwise.posthoc.scores import PostHoc, Scores
from tailwise.posthoc.tau_grid import GRID, Tau
from tailwise.posthoc.tau_norm import TauNorm, normalise_weight, tau_normalised_logits

__all__ = [
    "GRID",
    "Adjusted",
    "LogitAdjustment",
    "Moved",
    "NearestMean",
    "PostHoc",
    "Scores",
    "Tau",
    "TauNorm",
    "adjust",
    "adjust_logits",
    "nearest_mean_logits",
    "normalise_weight",
    "tau_normalised_logits",
]
