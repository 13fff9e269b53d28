"""Sampling, weight scaling, nearest means and mixing, trained: what they move, what they show, what they refuse."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from tailwise.errors import Clash
from tailwise.losses import CrossEntropyLoss, LDAMLoss
from tailwise.method import About, Method, Net, Stage
from tailwise.mixing import CutMix, Mixup
from tailwise.models.heads import LinearHead, NormalisedHead
from tailwise.modifiers.mixup import WithMixup
from tailwise.objective import Objective, Term
from tailwise.registry import parse_row
from tailwise.training import Root, plan_method
from toy import toy_recipe, toy_splits

SECOND_STAGE_RESTS = {"second.optimiser.rate": 1e-30}


def plan(text: str):
    recipe, row = toy_recipe(), parse_row(text)
    return plan_method(Root(toy_splits(), recipe, recipe.net, 0, {"test": "yes"}), row.method, row.modifiers)


def network(outcome) -> dict[str, torch.Tensor]:
    return {n: t for n, t in outcome.state.tensors.items() if n.startswith("net.")}


# --- sampling -------------------------------------------------------------------------------------------------------------


def test_what_a_sampler_shows_is_what_the_stage_says():
    assert plan("cb-sampling").legs[0].shown == (5.75,) * 4
    roots = np.sqrt([13, 6, 3, 1])
    np.testing.assert_allclose(plan("sqrt-sampling").legs[0].shown, 23 * roots / roots.sum())
    np.testing.assert_allclose(plan("sqrt-sampling(power=1)").legs[0].shown, (13, 6, 3, 1))


def test_adjustment_over_a_sampler_subtracts_what_it_showed(run):
    roots = np.sqrt([13, 6, 3, 1])
    expected = run("sqrt-sampling")[1].astype(np.float64) - np.log(roots / roots.sum())
    np.testing.assert_allclose(run("la(base=sqrt-sampling)")[1], expected, rtol=1e-5)


# --- learnable weight scaling ---------------------------------------------------------------------------------------------


@pytest.mark.limit
@pytest.mark.parametrize("base", ["ce", "balanced-softmax", "mixup"])
def test_scales_that_do_not_learn_leave_the_base_to_the_bit(run, base):
    still = toy_recipe(**SECOND_STAGE_RESTS)
    scaled, logits = run(f"lws(base={base})", recipe=still)
    trained, base_logits = run(base, recipe=still)
    assert np.array_equal(logits, base_logits)
    assert scaled.state.tensors["net.head.scale"].tolist() == [1.0] * 4
    assert all(torch.equal(t, scaled.state.tensors[n]) for n, t in network(trained).items())


def test_only_the_scales_move(run):
    trained, _ = run("ce")
    scaled, _ = run("lws")
    moved = {n for n, t in network(scaled).items() if n not in trained.state.tensors or not torch.equal(t, trained.state.tensors[n])}
    assert moved == {"net.head.scale"}
    assert len(set(scaled.state.tensors["net.head.scale"].tolist())) == 4


@pytest.mark.reference
def test_its_predictions_are_the_bases_logits_times_the_scales(run):
    _, base = run("ce")
    scaled, logits = run("lws")
    np.testing.assert_allclose(logits, base * scaled.state.tensors["net.head.scale"].numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.reference
def test_the_stored_head_gives_the_logits(run):
    """Post-hoc parts work on `head_weight` and `head_bias`."""
    predictions = run("lws")[0].predictions()
    test = predictions.splits["test"]
    expected = test.features @ predictions.head_weight.T + predictions.head_bias
    np.testing.assert_allclose(test.logits, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.limit
def test_tau_zero_over_scaled_weights_is_the_scaled_head_without_its_bias(run):
    scaled = run("lws")[0].predictions()
    np.testing.assert_allclose(
        run("tau-norm(base=lws,tau=0)")[1], scaled.splits["test"].features @ scaled.head_weight.T, rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize(("base", "left"), [("ldam", "normalised"), ("ldam-drw", "normalised"), ("lws", "ScaledLinearHead")])
def test_scaling_refuses_a_head_that_it_cannot_scale_before_anything_trains(base, left):
    with pytest.raises(Clash, match=f"scales one linear head, and its base leaves {left}") as refused:
        plan(f"lws(base={base})")
    assert "\n" not in str(refused.value)


@dataclass(frozen=True)
class Smaller(Method):
    """Names a network of its own."""

    def stages(self, about: About) -> Iterable[Stage]:
        yield Stage(net=Net("resnet20"), criterion=CrossEntropyLoss(), name="train")


def test_scaling_keeps_the_network_that_the_base_named():
    row = parse_row("lws")
    recipe = toy_recipe()
    planned = plan_method(Root(toy_splits(), recipe, recipe.net, 0, {"test": "yes"}), dataclasses.replace(row.method, base=Smaller()))
    assert [leg.net.backbone for leg in planned.legs] == ["resnet20", "resnet20"]


def test_scaling_and_retraining_share_their_base(run):
    run("crt", store="shared")
    assert run("lws", store="shared")[0].trained < run("lws", store="alone")[0].trained


@pytest.mark.parametrize("text", ["crt(base=ldam-drw)", "crt(base=ride)", "balms(base=ldam-drw)"])
def test_a_classifier_trained_anew_is_linear_over_a_base_of_cosines(run, text):
    """Cosines without the scale of the base's loss lie within a unit of each other, and no cross-entropy is low on them."""
    outcome, _ = run(text)
    before, after = (leg.net.head for leg in outcome.legs[-2:])
    assert (before, after) == (NormalisedHead(), LinearHead())
    heads = {name for name in outcome.state.tensors if name.startswith("net.") and ".head." in name}
    assert {name.rsplit(".", 1)[1] for name in heads} == {"weight", "bias"}


# --- nearest class means --------------------------------------------------------------------------------------------------


@pytest.mark.reference
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_rows_go_to_the_nearest_mean_of_the_training_features(run, metric):
    outcome, logits = run(f"ncm(metric={metric})")
    train = outcome._sweep("train").features
    test = outcome._sweep("test").features
    labels = outcome.root.splits.rows["train"].labels
    means = np.stack([train[labels == c].mean(0) for c in range(4)])
    for row, answer in zip(test, logits.argmax(1), strict=True):
        if metric == "euclidean":
            nearest = min(range(4), key=lambda c: np.linalg.norm(row - means[c]))
        else:
            nearest = max(range(4), key=lambda c: row @ means[c] / np.linalg.norm(row) / np.linalg.norm(means[c]))
        assert answer == nearest


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_a_class_without_images_is_never_chosen(run, metric):
    _, logits = run(f"ncm(metric={metric})", splits=toy_splits((7, 0, 2)))
    assert np.isfinite(logits).all()
    assert not (logits.argmax(1) == 1).any()


def test_nearest_means_train_nothing_beyond_the_base(run):
    run("ce", store="shared")
    assert run("ncm", store="shared")[0].trained == 0


# --- mixing ---------------------------------------------------------------------------------------------------------------


def test_the_modifier_mixes_every_stage():
    for row in ("crt+mixup(alpha=0.3)", "ldam-drw+mixup(alpha=0.3)"):
        assert [leg.stage.mixing for leg in plan(row).legs] == [Mixup(0.3)] * 2


@pytest.mark.parametrize("row", ["mixup+drw", "focal+drw", "reweight+drw", "class-balanced+drw", "sqrt-sampling+drw", "lws+drw", "ncm+drw"])
def test_deferred_weights_go_over_each(run, row):
    outcome, logits = run(row)
    assert np.isfinite(logits).all()
    assert type(outcome.leg.stage.objective.criterion).__name__ == "ClassWeighted"
    assert outcome.leg.stage.mixing == outcome.legs[0].stage.mixing


def test_mixing_twice_is_refused():
    with pytest.raises(Clash, match="would replace the Mixup of stage 'train'; leave one of them out"):
        plan("mixup+mixup(alpha=0.2)")


@dataclass(eq=False)
class Wordless(Objective):
    """An objective over no criterion: it would train mixed rows on the labels of one."""

    def loss(self, net, batch, now) -> Term:
        return Term(net(batch["main"].images).logits.square().sum(1))


def test_boxes_are_cut_out_of_images_alone():
    (stage,) = plan("ce+cutmix(alpha=0.5,per=row)").legs
    assert stage.stage.mixing == CutMix(0.5, "row")
    with pytest.raises(Clash, match="mixup and cutmix both set a stage's mixing"):
        parse_row("ce+mixup+cutmix")
    with pytest.raises(Clash, match="cutmix would replace the Mixup of stage 'train'"):
        plan("mixup+cutmix")
    about = dataclasses.replace(toy_splits().about(1), shape=(320,))
    with pytest.raises(Clash, match="these rows are feature vectors"):
        parse_row("ce+cutmix").modifiers[0].modify([Stage(criterion=CrossEntropyLoss())], about)


def test_mixing_under_an_objective_without_a_criterion_is_refused():
    with pytest.raises(Clash, match="mixup needs a criterion to take on both labels, and Wordless has none"):
        list(WithMixup().modify([Stage(objective=Wordless())], None))


def test_accumulated_batches_mix_the_same_pairs(run):
    """Pairs are drawn for the whole batch, which is cut afterwards; features have no batch statistics."""
    splits = toy_splits()
    flat = {n: dataclasses.replace(r, packed=r.packed.reshape(len(r), -1).astype(np.float32) / 255) for n, r in splits.rows.items()}
    features = dataclasses.replace(splits, rows=flat)

    def trained(parts: int):
        recipe = dataclasses.replace(toy_recipe(accumulate=parts), net="features")
        return run("mixup+drw", splits=features, recipe=recipe, store=str(parts))[0].state.tensors

    whole, cut = trained(1), trained(3)
    for name, tensor in whole.items():
        torch.testing.assert_close(cut[name], tensor, rtol=1e-4, atol=1e-5)


def test_mixed_margins_predict_on_the_scale_of_their_softmax(run):
    outcome, logits = run("ldam(scale=7)+mixup")
    assert isinstance(outcome.leg.stage.objective.criterion, LDAMLoss)
    assert 1.0 < np.abs(logits).max() <= 7.0 + 1e-5
