"""Evaluation: what a model answered, and what that is worth, class by class.

Here live predictions on disk (every answer by id, with all that post-hoc methods, metrics and pages need), the metrics,
the evaluation of one split, the table over seeds and methods, and the statistics behind both: intervals for two named
claims, paired differences, Holm's procedure. A class without images in a split is left out, counted and said, never
scored 0. Everything is computed from predictions, never from what a training loop printed. Nothing here trains, opens
images or changes logits: corrections live in `tailwise.posthoc`, which this room must not import. It may import NumPy,
SciPy, msgspec, safetensors and the vocabulary (`errors`, `counts`, `groups`, `store`).
"""

from tailwise.evaluation.answers import Answers
from tailwise.evaluation.calibration import calibration_error
from tailwise.evaluation.cells import Cell, cell_of
from tailwise.evaluation.crossed import ClassMeans, of_answers, of_differences
from tailwise.evaluation.differences import Difference, Gap
from tailwise.evaluation.evaluation import ClassResult, Evaluation, GroupResult, evaluate
from tailwise.evaluation.holm import ALPHA, Tested, holm
from tailwise.evaluation.intervals import CLAIMS, LEAST_SEEDS, Claim, Estimate, Interval, Variance
from tailwise.evaluation.metrics import (
    balanced_error,
    confusion,
    group_accuracy,
    macro_accuracy,
    macro_f1,
    micro_accuracy,
    per_class_accuracy,
    predicted_labels,
)
from tailwise.evaluation.pooled import UNPAIRED, Pooled, PooledGroups, Separate, as_separate_samples, from_counts
from tailwise.evaluation.predictions import Predictions, SplitPredictions
from tailwise.evaluation.proportions import jeffreys, two_proportions, wilson
from tailwise.evaluation.sheets import SHIFTS, Sheet, level_sheet, relative_sheet
from tailwise.evaluation.summary import GroupSize, Measured, Setting, Summary, SummaryRow, choose_baseline, summarise

__all__ = [
    "ALPHA",
    "CLAIMS",
    "LEAST_SEEDS",
    "SHIFTS",
    "UNPAIRED",
    "Answers",
    "Cell",
    "Claim",
    "ClassMeans",
    "ClassResult",
    "Difference",
    "Estimate",
    "Evaluation",
    "Gap",
    "GroupResult",
    "GroupSize",
    "Interval",
    "Measured",
    "Pooled",
    "PooledGroups",
    "Predictions",
    "Separate",
    "Setting",
    "Sheet",
    "SplitPredictions",
    "Summary",
    "SummaryRow",
    "Tested",
    "Variance",
    "as_separate_samples",
    "balanced_error",
    "calibration_error",
    "cell_of",
    "choose_baseline",
    "confusion",
    "evaluate",
    "from_counts",
    "group_accuracy",
    "holm",
    "jeffreys",
    "level_sheet",
    "macro_accuracy",
    "macro_f1",
    "micro_accuracy",
    "of_answers",
    "of_differences",
    "per_class_accuracy",
    "predicted_labels",
    "relative_sheet",
    "summarise",
    "two_proportions",
    "wilson",
]
