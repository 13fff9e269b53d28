"""Post-hoc corrections: logits in, better logits for the tail out, without training.

Here live pure functions on NumPy arrays, one correction a file, and a frozen dataclass around each that a method can
name. A dataclass is used in two steps: `fit(val)` settles what is open, such as a tau, and says how; `apply(scores)`
corrects. `temperature` makes scores as sure as they are right, `prior_shift` moves them to the classes that are expected
at test. `foreign` does all this for logits of another program, and says which rows moved. Nothing here reads files,
knows splits or measures accuracy: that is `tailwise.evaluation`, which this room must not import. It may import NumPy,
SciPy and the vocabulary (`errors`, `counts`, `groups`), nothing else.
"""

from tailwise.posthoc.estimated_prior import EstimatedPrior, estimate_prior
from tailwise.posthoc.foreign import Adjusted, Moved, adjust
from tailwise.posthoc.logit_adjustment import LogitAdjustment, adjust_logits
from tailwise.posthoc.mean_of_views import MeanOfViews
from tailwise.posthoc.nearest_mean import NearestMean, nearest_mean_logits
from tailwise.posthoc.prior_shift import PriorShift, expected_prior, prior_shares, shift_logits
from tailwise.posthoc.scores import PostHoc, Scores
from tailwise.posthoc.tau_grid import GRID, Tau
from tailwise.posthoc.tau_norm import TauNorm, normalise_weight, tau_normalised_logits
from tailwise.posthoc.temperature import FittedTemperature, Temperature, fit_temperature

__all__ = [
    "GRID",
    "Adjusted",
    "EstimatedPrior",
    "FittedTemperature",
    "LogitAdjustment",
    "MeanOfViews",
    "Moved",
    "NearestMean",
    "PostHoc",
    "PriorShift",
    "Scores",
    "Tau",
    "TauNorm",
    "Temperature",
    "adjust",
    "adjust_logits",
    "estimate_prior",
    "expected_prior",
    "fit_temperature",
    "nearest_mean_logits",
    "normalise_weight",
    "prior_shares",
    "shift_logits",
    "tau_normalised_logits",
]
