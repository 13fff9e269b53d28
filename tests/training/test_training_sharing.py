"""What two methods have in common is trained once, and nobody can tell from the result."""

from __future__ import annotations

import pytest

from tailwise.method import Stage
from tailwise.store import Store
from training import seam_objectives as seams
from training import seam_runs
from training.seam_runs import STEPS, differing, train


def test_drw_starts_from_the_state_that_its_base_left(store: Store) -> None:
    assert train("ldam", store=store).trained == 5 * STEPS
    shared = train("ldam-drw", store=store)
    assert shared.trained == 1 * STEPS
    assert differing(shared, train("ldam-drw")) == []


def test_a_posthoc_method_over_a_trained_one_trains_nothing(store: Store) -> None:
    train("ldam-drw", store=store)
    assert train("la(base=ldam-drw)", store=store).trained == 0


def test_the_longer_method_first_serves_the_shorter_one_too(store: Store) -> None:
    train("crt", store=store)
    shared = train("ce", store=store)
    assert shared.trained == 0
    assert differing(shared, train("ce")) == []


@pytest.mark.parametrize("grow_from", [0.8, 0.4])
def test_rows_that_grow_later_share_the_stage_before(store: Store, grow_from: float) -> None:
    train(seams.growing(1.0), store=store)
    shared = train(seams.growing(grow_from), store=store)
    assert shared.trained == (1 if grow_from == 0.8 else 5) * STEPS  # at 0.4 the recipe keeps no state
    assert differing(shared, train(seams.growing(grow_from))) == []


def test_weights_over_any_objective_with_a_criterion_share_its_start(store: Store) -> None:
    modifiers = seam_runs.parse_row("ce+drw").modifiers
    train(seams.two_streams(), store=store)
    shared = train(seams.two_streams(), modifiers, store)
    assert shared.trained == 1 * STEPS
    assert differing(shared, train(seams.two_streams(), modifiers)) == []


def test_a_second_stage_shares_a_base_with_another_network_state(store: Store) -> None:
    train(seams.remembering(), store=store)
    shared = train(seams.head_again(), store=store)
    assert shared.trained == 2 * STEPS
    assert differing(shared, train(seams.head_again())) == []


def test_the_best_state_can_be_chosen_on_a_line_that_was_trained_without_choosing(store: Store) -> None:
    train("ce", store=store)
    shared = train(seams.best_then_rest(), store=store)
    assert differing(shared, train(seams.best_then_rest())) == []


def test_two_seeds_share_nothing(store: Store) -> None:
    train("ce", store=store)
    assert train("ce", store=store, root=seam_runs.make_root(seed=1)).trained == 5 * STEPS


def test_a_state_lost_in_the_middle_of_a_chain_is_trained_again(store: Store) -> None:
    first = train("crt", store=store)
    for leg in first.legs[:1]:
        store.drop("states", leg.line)
    again = train("crt", store=store)
    assert again.trained == 5 * STEPS
    assert differing(first, again) == []
    assert train("crt", store=store).predictions().splits["val"].logits.tobytes() == first.predictions().splits["val"].logits.tobytes()


def test_a_stage_that_names_what_the_network_is_already_shares_too(store: Store) -> None:
    from tailwise.losses.cross_entropy import CrossEntropyLoss
    from tailwise.method import Net

    train("ce", store=store)
    named = seams.Stages(lambda about: [Stage(criterion=CrossEntropyLoss(), net=Net("resnet8", "linear"))])
    assert train(named, store=store).trained == 0
