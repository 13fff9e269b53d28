"""Table A of the reference, row by row: the tests that hold an equality which our methods have, and what we do not have.

A method of the lower list that comes to the catalogue fails here until its row names the test of its limit.
"""

from __future__ import annotations

import ast
import functools
from pathlib import Path

import pytest

from tailwise.registry import entries

pytestmark = pytest.mark.contract
TESTS = Path(__file__).parents[1]
REFERENCE = TESTS.parent / "../shared/reference/methods.md"
PACKAGE = TESTS.parent / "src/tailwise"

HELD: dict[tuple[str, str], list[str]] = {
    ("any re-weighting (wmean, or wavg with sumC), LA, balanced softmax, CDT, VS, LADE (alpha=0), Bayias (q uniform)", "uniform counts"): [
        "losses/test_losses_class_weights.py::test_even_counts_are_the_plain_criterion",
        "losses/test_losses_limits.py::test_balanced_softmax_on_even_counts_is_cross_entropy",
        "posthoc/test_posthoc_logit_adjustment.py::test_uniform_counts_add_one_constant",
        "methods/test_methods_limits.py::test_even_counts_make_it_cross_entropy",
    ],
    ("power sampling", "q=1 / q=0 / q=-1"): [
        "samplers/test_samplers_power.py::test_power_one_is_the_images_and_zero_the_classes",
        "samplers/test_samplers_power.py::test_probabilities_equal_the_authors",
    ],
    ("any power sampling", "uniform counts"): ["samplers/test_samplers_power.py::test_even_counts_are_drawn_evenly_whatever_the_power"],
    ("class-balanced weights", "b=0 / b->1"): [
        "losses/test_losses_class_weights.py::test_strength_zero_is_the_plain_criterion",
        "losses/test_losses_limits.py::test_beta_near_one_is_inverse_frequency_in_value_and_gradient",
        "losses/test_losses_limits.py::test_beta_near_one_gives_inverse_frequency",
    ],
    ("cost-sensitive CE", "g=0 / g=1 (wmean)"): [
        "losses/test_losses_class_weights.py::test_strength_zero_is_the_plain_criterion",
        "losses/test_losses_class_weights.py::test_over_weights_is_torchs_weighted_cross_entropy",
    ],
    ("GRW", "rho=0 / rho=1 (wmean)"): ["losses/test_losses_limits.py::test_generalised_re_weighting_is_cost_sensitive_cross_entropy"],
    ("weighted CE, wmean", "w scaled by any constant; batch of one class"): [
        "losses/test_losses_limits.py::test_rescaling_the_weights_changes_nothing",
        "losses/test_losses_class_weights.py::test_a_batch_of_one_class_is_plain_over_weights_and_scaled_over_rows",
    ],
    ("focal softmax", "g=0"): ["losses/test_losses_focal.py::test_no_focusing_is_cross_entropy_to_the_bit"],
    ("focal, detached vs not", "any g"): [
        "losses/test_losses_focal.py::test_detached_or_not_is_one_value_and_one_gradient_without_focusing_only"
    ],
    ("label-aware smoothing", "head=tail=e; e=0"): [
        "losses/test_losses_label_aware_smoothing.py::test_equal_shares_are_uniform_smoothing",
        "losses/test_losses_label_aware_smoothing.py::test_no_smoothing_is_cross_entropy_to_the_bit",
    ],
    ("LDAM", "max_m=0; uniform counts"): [
        "losses/test_losses_limits.py::test_no_margin_is_scaled_cross_entropy",
        "losses/test_losses_limits.py::test_margins_of_even_counts_are_one_margin",
    ],
    ("LDAM-DRW", "before start, or b=0"): [
        "methods/test_methods_limits.py::test_limit_trains_the_simpler_methods_weights_to_the_bit",
        "losses/test_losses_limits.py::test_zero_beta_leaves_the_criterion",
    ],
    ("CosFace", "m=0"): ["losses/test_losses_limits.py::test_a_margin_of_zero_for_all_is_scaled_cross_entropy"],
    ("balanced softmax", "-"): ["losses/test_losses_limits.py::test_balanced_softmax_is_adjusted_cross_entropy_prior_ce_and_bayias"],
    ("logit-adjusted CE, post-hoc LA", "tau=0"): [
        "losses/test_losses_limits.py::test_zero_tau_is_cross_entropy",
        "posthoc/test_posthoc_logit_adjustment.py::test_tau_zero_changes_nothing",
        "methods/test_methods_limits.py::test_post_hoc_adjustment_of_strength_zero_changes_nothing",
    ],
    ("PC-softmax", "-"): [
        "posthoc/test_posthoc_prior_shift.py::test_equals_the_formula_in_a_plain_loop",
        "posthoc/test_posthoc_prior_shift.py::test_a_uniform_prior_is_post_hoc_logit_adjustment_to_the_bit",
    ],
    ("UNO-IC", "b"): [
        "posthoc/test_posthoc_logit_adjustment.py::test_probabilities_equal_uno_ic_towards_a_uniform_prior",
        "posthoc/test_posthoc_prior_shift.py::test_probabilities_equal_uno_ic_towards_any_prior",
    ],
    ("LWS", "s=1"): [
        "models/test_models_heads.py::test_scale_one_is_the_linear_head_to_the_bit",
        "methods/test_methods_usual.py::test_scales_that_do_not_learn_leave_the_base_to_the_bit",
    ],
    ("tau-norm", "tau=0 / tau=1"): [
        "posthoc/test_posthoc_tau_norm.py::test_tau_zero_is_the_head_without_bias",
        "posthoc/test_posthoc_tau_norm.py::test_tau_one_makes_unit_rows",
    ],
    ("temperature", "T=1; any T"): [
        "posthoc/test_posthoc_temperature.py::test_a_temperature_of_one_keeps_every_bit_and_the_dtype",
        "posthoc/test_posthoc_temperature.py::test_no_answer_changes",
    ],
    ("mixup, manifold, CutMix", "lam=1, or alpha<=0"): [
        "mixing/test_mixing_mixup.py::test_a_share_of_one_is_no_mixing_in_rows_loss_and_gradient",
        "mixing/test_mixing_mixup.py::test_alpha_zero_leaves_the_batch",
        "mixing/test_mixing_cutmix.py::test_a_box_is_nothing_or_all_at_a_tiny_alpha",
        "mixing/test_mixing_cutmix.py::test_alpha_zero_leaves_the_batch",
    ],
    ("SAM, ImbSAM", "rho=0 (tail factor 1)"): [
        "optim/test_optim_sam.py::test_no_radius_is_the_plain_gradient_to_the_bit",
        "methods/test_methods_limits.py::test_limit_trains_the_simpler_methods_weights_to_the_bit",
    ],
    ("EMA", "d=0"): [
        "optim/test_optim_ema.py::test_no_decay_is_the_live_weights",
        "methods/test_methods_limits.py::test_average_without_memory_is_the_live_network",
    ],
    ("gradient clipping", "max_norm=inf"): ["training/test_training_clip.py::test_a_limit_that_is_never_reached_changes_nothing"],
}
"""Method and setting of a row -> the tests of its value and gradient; what is post hoc or a sampler has no gradient."""

LACKING: dict[str, list[str]] = {
    "any re-weighting (wmean, or wavg with sumC), LA, balanced softmax, CDT, VS, LADE (alpha=0), Bayias (q uniform)": [
        *("cdt", "vs", "lade", "bayias", "unimix")
    ],
    "progressive sampling": ["progressive", "progressive_sampling", "progressively_balanced"],
    "repeat factor": ["repeat_factor", "rfs"],
    "effective-number sampling": ["effective_number_sampling", "drs"],
    "focal sigmoid, CB-focal": ["focal_sigmoid", "sigmoid_focal", "class_balanced_focal", "cb_focal", "cb_bce"],
    "CB-focal": ["class_balanced_focal", "cb_focal"],
    "GCL": ["gcl"],
    "CosFace": ["cosface"],
    "RoBal": ["robal"],
    "VS": ["vs", "vector_scaling"],
    "CDT": ["cdt"],
    "Bayias": ["bayias"],
    "LADE": ["lade"],
    "EM prior": ["em_prior", "prior_estimation"],
    "DisAlign": ["disalign"],
    "causal head": ["causal_head", "tde", "causal"],
    "EQL": ["eql", "equalization"],
    "SEQL": ["seql", "equalization_softmax"],
    "EQL v2": ["eql_v2", "eqlv2"],
    "seesaw": ["seesaw"],
    "IB": ["ib", "influence_balanced"],
    "DB": ["db", "distribution_balanced"],
    "ASL": ["asl", "asymmetric"],
    "ASL single label": ["asl", "asymmetric", "asymmetric_single_label"],
    "DR loss": ["etf", "dr_loss", "dot_regression"],
    "mixup, manifold, CutMix": ["manifold_mixup"],
    "Remix": ["remix", "mamix"],
    "CMO": ["cmo"],
    "UniMix": ["unimix"],
    "SAM, ImbSAM": ["imbsam", "imb_sam"],
    "ImbSAM": ["imbsam", "imb_sam"],
    "CC-SAM": ["cc_sam", "ccsam"],
    "MaxNorm": ["maxnorm", "max_norm", "weight_balancing"],
}
"""Method of a row, all of it or in part -> names that it would go by, as a file of a room or an alias, if we had it."""


def rows_of_the_reference() -> list[tuple[str, str]]:
    if not REFERENCE.is_file():
        pytest.fail(f"{REFERENCE} is missing: without it nobody knows which equalities are to hold", pytrace=False)
    section = REFERENCE.read_text(encoding="utf-8").split("## Table A.")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")][1:]
    return [(cells[1].strip(), cells[2].strip()) for cells in (line.split("|") for line in lines)]


@functools.cache
def functions_of(file: str) -> set[str]:
    return {node.name for node in ast.parse((TESTS / file).read_text(encoding="utf-8")).body if isinstance(node, ast.FunctionDef)}


def test_every_row_is_held_by_a_test_or_is_of_what_we_lack():
    rows = rows_of_the_reference()
    assert len(rows) > 50
    assert set(HELD) <= set(rows)
    assert set(LACKING) <= {method for method, _ in rows}
    assert [row for row in rows if row not in HELD and row[0] not in LACKING] == []


@pytest.mark.parametrize(("row", "named"), [(row, named) for row, found in HELD.items() for named in found])
def test_the_named_test_is_there(row, named):
    file, _, name = named.partition("::")
    assert name in functions_of(file), f"{row[0]}: {named} is gone"


def test_what_is_lacking_has_not_come_since():
    """Then its row needs a test, and goes to the upper list."""
    parts = {path.stem for room in ("losses", "samplers", "mixing", "optim", "posthoc") for path in (PACKAGE / room).glob("*.py")}
    listed = [entry for kind in ("method", "modifier") for entry in entries(kind).values()]
    ours = parts | {name.replace("-", "_") for entry in listed for name in (entry.name, *entry.aliases)}
    assert {row: here for row, names in LACKING.items() if (here := sorted(ours & set(names)))} == {}
