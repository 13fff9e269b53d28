import numpy as np
import pytest
from sklearn.metrics import f1_score

from tailwise.evaluation import SplitPredictions
from tailwise.evaluation.answers import answers_of
from tailwise.evaluation.redraws import _draws, estimate, redraw

LABELS = np.repeat([0, 1, 2, 4], [30, 12, 5, 1])


def part(number: int) -> SplitPredictions:
    random = np.random.default_rng(number)
    logits = random.normal(size=(len(LABELS), 5)) + 1.5 * np.eye(5)[LABELS]
    return SplitPredictions(tuple(f"{i:03}" for i in range(len(LABELS))), LABELS, logits)


def test_every_draw_has_as_many_images_of_a_class_as_there_are():
    times = np.concatenate(list(_draws(LABELS, 5, 200)), axis=1)
    assert times.shape == (len(LABELS), 200)
    for label in range(5):
        assert (times[label == LABELS].sum(0) == (label == LABELS).sum()).all()
    assert times[LABELS == 0].var() > 0.5  # and they are draws
    assert (times[LABELS == 4] == 1).all()


@pytest.mark.parametrize("expected", [None, (0.1, 0.2, 0.3, 0.1, 0.3)])
def test_figures_of_draws_are_those_of_the_images_drawn(expected):
    networks = [answers_of(part(number), expected) for number in (0, 1)]
    drawn = redraw(networks, draws=7)
    times = np.concatenate(list(_draws(LABELS, 5, 7)), axis=1).astype(int)
    for number, found in enumerate(drawn):
        answers = networks[number]
        for draw in range(7):
            rows = np.repeat(np.arange(len(LABELS)), times[:, draw])
            weights = None if expected is None else answers.weights[rows]
            f1 = f1_score(LABELS[rows], answers.predicted[rows], labels=[0, 1, 2, 4], average="macro", sample_weight=weights)
            assert found[draw] == pytest.approx(f1)


def test_draws_do_not_depend_on_how_many_are_held_at_a_time(monkeypatch):
    networks = [answers_of(part(0))]
    whole = redraw(networks, draws=50)
    monkeypatch.setattr("tailwise.evaluation.redraws.AT_ONCE", 3 * len(LABELS))
    parts = redraw(networks, draws=50)
    assert parts[0].std() == pytest.approx(whole[0].std(), rel=0.5)
    assert len(parts[0]) == 50


def test_an_estimate_adds_both_redraws_uncorrected():
    found = estimate([0.4, 0.5, 0.6], [np.array([0.3, 0.5]), np.array([0.5, 0.5]), np.array([0.5, 0.7])])
    assert found.value == pytest.approx(0.5)
    assert found.by_images.value == pytest.approx(np.var([1.3 / 3, 1.7 / 3]))
    assert found.by_seeds.value == pytest.approx(np.var([0.4, 0.5, 0.6]) / 3)
    assert found.by_seeds.freedom == 2
    assert found.claim == "method"
