"""The moving average against a plain loop."""

import pytest
import torch

from tailwise.optim import EMA


def run(average: EMA, steps: int = 25) -> tuple[dict[str, torch.Tensor], list[dict[str, torch.Tensor]]]:
    generator = torch.Generator().manual_seed(1)
    lives = [
        {"w": torch.randn(3, generator=generator, dtype=torch.float64), "seen": torch.tensor(step), "flag": torch.tensor(step % 2 == 0)}
        for step in range(steps)
    ]
    averaged = {name: tensor.clone() for name, tensor in lives[0].items()}
    for step, live in enumerate(lives):
        average.update(averaged, live, step)
    return averaged, lives


@pytest.mark.reference
@pytest.mark.parametrize(("decay", "warm_up"), [(0.9, False), (0.9, True), (0.999, True), (0.2, True)])
def test_equals_a_loop(decay, warm_up):
    averaged, lives = run(EMA(decay, warm_up))
    for k in range(3):
        mean = lives[0]["w"][k].item()
        for step, live in enumerate(lives):
            d = min(decay, (1 + step) / (10 + step)) if warm_up else decay
            mean = d * mean + (1 - d) * live["w"][k].item()
        assert averaged["w"][k].item() == pytest.approx(mean, rel=1e-12)


@pytest.mark.limit
@pytest.mark.parametrize("warm_up", [False, True])
def test_no_decay_is_the_live_weights(warm_up):
    averaged, lives = run(EMA(0.0, warm_up))
    assert torch.equal(averaged["w"], lives[-1]["w"])


def test_what_is_no_float_is_copied():
    averaged, lives = run(EMA(0.999))
    assert averaged["seen"].item() == lives[-1]["seen"].item() == 24
    assert averaged["flag"].item() is True


def test_the_live_weights_stay():
    live = {"w": torch.ones(2, requires_grad=True)}
    averaged = {"w": torch.zeros(2)}
    EMA(0.5, warm_up=False).update(averaged, live, 0)
    assert averaged["w"].tolist() == [0.5, 0.5]
    assert live["w"].tolist() == [1.0, 1.0]
    assert not averaged["w"].requires_grad


def test_the_average_moves_in_place():
    averaged = {"w": torch.zeros(2)}
    place = averaged["w"]
    EMA(0.5).update(averaged, {"w": torch.ones(2)}, 3)
    assert averaged["w"] is place


def test_warm_up_ends_at_the_decay():
    decays = [EMA(0.99).decay_at(step) for step in range(2000)]
    assert decays == sorted(decays)
    assert decays[0] == 0.1
    assert decays[-1] == 0.99
    assert {EMA(0.99, warm_up=False).decay_at(step) for step in (0, 1, 100)} == {0.99}
