"""Evaluation: what a model answered, and what that is worth, class by class.

Here live predictions on disk (every answer by id, with all that post-hoc methods, metrics and pages need), the metrics,
the evaluation of one split, and the table over seeds and methods. A class without images in a split is left out,
counted and said, never scored 0. Everything is computed from predictions, never from what a training loop printed.
Nothing here trains, opens images or changes logits: corrections live in `tailwise.posthoc`, which this room must not
import. It may import NumPy, msgspec, safetensors and the vocabulary (`errors`, `counts`, `groups`, `store`).
"""

from tailwise.evaluation.calibration import calibration_error
from tailwise.evaluation.evaluation import ClassResult, Evaluation, GroupResult, evaluate
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
from tailwise.evaluation.pooled import Pooled, PooledGroups, from_counts
from tailwise.evaluation.predictions import Predictions, SplitPredictions
from tailwise.evaluation.summary import Cell, GroupSize, Measured, Setting, Summary, SummaryRow, summarise

__all__ = [
    "Cell",
    "ClassResult",
    "Evaluation",
    "GroupResult",
    "GroupSize",
    "Measured",
    "Pooled",
    "PooledGroups",
    "Predictions",
    "Setting",
    "SplitPredictions",
    "Summary",
    "SummaryRow",
    "balanced_error",
    "calibration_error",
    "confusion",
    "evaluate",
    "from_counts",
    "group_accuracy",
    "macro_accuracy",
    "macro_f1",
    "micro_accuracy",
    "per_class_accuracy",
    "predicted_labels",
    "summarise",
]
