"""What the catalogue can combine: where a prior is corrected twice, where nothing is left to correct, and where all is well."""

from __future__ import annotations

import pytest

from tailwise.registry import entries, parse_row
from tailwise.training import Root, plan_method
from toy import toy_recipe, toy_splits

LONG = (500, 180, 60, 20, 5)
EVEN = (9,) * 5

TWICE = {
    "balanced-softmax+drw": "ClassWeighted, BalancedSoftmaxLoss",
    "cb-sampling+drw": "ClassBalancedSampler, ClassWeighted",
    "sqrt-sampling+drw": "PowerSampler, ClassWeighted",
    "reweight+drw": "ClassWeighted, FrequencyWeighted",
    "class-balanced+drw": "ClassWeighted, ClassWeighted",
    "crt+drw": "ClassBalancedSampler, ClassWeighted",
    "lws+drw": "ClassBalancedSampler, ClassWeighted",
    "la+drw": "ClassWeighted, LogitAdjustment",
    "la(base=balanced-softmax)": "BalancedSoftmaxLoss, LogitAdjustment",
    "la(base=reweight)": "FrequencyWeighted, LogitAdjustment",
    "la(base=class-balanced)": "ClassWeighted, LogitAdjustment",
    "la(base=ce-drw)": "ClassWeighted, LogitAdjustment",
    "la(base=ldam-drw)": "ClassWeighted, LogitAdjustment",
}
"""Rows that take the prior out twice -> the parts that do so."""

NOTED = {
    "la(base=cb-sampling)": "LogitAdjustment has nothing to adjust",
    "la(base=crt)": "LogitAdjustment has nothing to adjust",
    "la(base=lws)": "LogitAdjustment has nothing to adjust",
    "la(base=ldam)": "puts LogitAdjustment on LDAMLoss",
    "tau-norm(base=crt)": "puts TauNorm on an even prior",
    "tau-norm(base=lws)": "puts TauNorm on an even prior",
    "tau-norm(base=cb-sampling)": "puts TauNorm on an even prior",
    "tau-norm(base=balanced-softmax)": "puts TauNorm on an even prior",
    "tau-norm(base=reweight)": "puts TauNorm on an even prior",
}
"""Rows of which a part does little -> what is said of it."""

SILENT = [
    *entries("method"),
    *(f"ce+{name}" for name in entries("modifier")),
    *("ldam+drw", "focal+drw", "mixup+drw", "reweight(power=0)+drw", "ncm+drw", "crt+mixup", "balanced-softmax+mixup"),
    *("la(base=focal)", "la(base=mixup)", "la(base=sqrt-sampling)", "la(tau=0,base=balanced-softmax)"),
    *("tau-norm(base=focal)", "tau-norm(base=mixup)", "tau-norm(base=sqrt-sampling)"),
    *("ncm(base=crt)", "ncm(base=balanced-softmax)"),  # the head, where the prior was corrected, is left aside
    *("crt(base=balanced-softmax)", "crt(base=ldam-drw)", "lws(base=reweight)"),  # the head learns anew, or its scales do, on even rows
]


def said(row: str, counts: tuple[int, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    recipe, parsed = toy_recipe(), parse_row(row)
    plan = plan_method(Root(toy_splits(counts), recipe, recipe.net, 0, {"test": "yes"}), parsed.method, parsed.modifiers)
    return plan.warnings, plan.notes


@pytest.mark.parametrize("row", TWICE)
def test_a_prior_that_is_corrected_twice_is_warned_of(row: str) -> None:
    (warning,), _ = said(row, LONG)
    assert f"corrects the class prior 2 times ({TWICE[row]}), and one is enough" in warning


@pytest.mark.parametrize("row", NOTED)
def test_what_does_little_is_noted_and_not_warned_of(row: str) -> None:
    warnings, (note,) = said(row, LONG)
    assert warnings == ()
    assert NOTED[row] in note


@pytest.mark.parametrize("row", SILENT)
def test_nothing_is_said_of_what_is_usual(row: str) -> None:
    assert said(row, LONG) == ((), ())


@pytest.mark.parametrize("row", [*TWICE, *NOTED, *SILENT])
def test_nothing_is_said_where_classes_are_even(row: str) -> None:
    assert said(row, EVEN) == ((), ())
