import numpy as np
import pytest
from scipy import stats

from tailwise.counts import ClassCounts
from tailwise.evaluation import Measured, Predictions, SplitPredictions, evaluate, summarise
from tailwise.groups import make_groups

COUNTS = ClassCounts((300, 50, 7))
LABELS = np.repeat([0, 1, 2], 40)


def row(name: str, *rights: np.ndarray) -> Measured:
    """Make a row whose networks answer just these images right."""
    found = []
    for right in rights:
        answers = np.where(right, LABELS, (LABELS + 1) % 3)
        test = SplitPredictions(tuple(f"{i:03}" for i in range(len(LABELS))), LABELS, np.eye(3)[answers])
        found.append(evaluate(Predictions({"test": test}, ("a", "b", "c"), COUNTS, make_groups(COUNTS.real), ""), "test"))
    return Measured(name, found)


def drawn(number: int, *shares: float) -> np.ndarray:
    return np.random.default_rng(number).random(len(LABELS)) < np.array(shares)[LABELS]


def test_a_difference_is_paired_by_image():
    ours, theirs = drawn(0, 0.9, 0.7, 0.6), drawn(1, 0.9, 0.6, 0.3)
    found = summarise([row("ce", theirs), row("la", ours)]).differences[0]
    of_class = (ours.astype(int) - theirs).reshape(3, 40)
    parts = of_class.var(1, ddof=1) / 40 / 9
    freedom = parts.sum() ** 2 / (parts**2 / 39).sum()
    t = of_class.mean() / np.sqrt(parts.sum())
    assert found.gaps["macro"].difference == pytest.approx(of_class.mean())
    assert found.p == pytest.approx(2 * stats.t.sf(abs(t), freedom))
    few = stats.ttest_1samp(of_class[2], 0).confidence_interval(0.95)
    assert (found.gaps["few"].interval.low, found.gaps["few"].interval.high) == (pytest.approx(few.low), pytest.approx(few.high))
    assert found.changed == pytest.approx((ours != theirs).mean())


def test_words_and_intervals_agree_and_say_what_moved_and_what_it_cost():
    base = [drawn(seed, 0.95, 0.6, 0.2) for seed in range(3)]
    better = [right | drawn(9 + seed, 0, 0.3, 0.7) for seed, right in enumerate(base)]
    better = [right & ~drawn(19 + seed, 0.25, 0, 0) for seed, right in enumerate(better)]
    found = summarise([row("ce", *base), row("la", *better)]).differences[0]
    assert found.is_shown
    assert found.gaps["macro"].interval.low > 0
    assert found.words.startswith("la: better than ce by more than noise: macro +")
    gains, costs = found.words.split(" It costs ")
    assert "It gains" in gains
    assert "few +" in gains
    assert costs.startswith("many -")
    flipped = summarise([row("ce", *base), row("la", *better)], against="la").differences[0]
    assert flipped.words.startswith("ce: worse than la by more than noise: macro -")


def test_noise_is_called_noise_with_what_would_have_shown():
    found = summarise([row("ce", drawn(0, 0.7, 0.7, 0.7)), row("la", drawn(1, 0.7, 0.7, 0.7))]).differences[0]
    assert not found.is_shown
    assert found.gaps["macro"].interval.low <= 0 <= found.gaps["macro"].interval.high
    assert "la: within noise of ce" in found.words
    assert f"where about {100 * found.detectable:.1f} would show" in found.words
    assert "only 3 seeds or more could" in found.words


def test_equal_answers_are_no_difference():
    same = drawn(0, 0.7, 0.7, 0.7)
    found = summarise([row("ce", same), row("tau", same)]).differences[0]
    assert found.words == "tau answers every image as ce does."
    assert (found.p, found.is_shown, found.changed) == (1.0, False, 0.0)
    assert found.gaps["macro"].interval.low < 0 < found.gaps["macro"].interval.high


def test_more_rows_ask_for_more():
    rows = [row("ce", drawn(0, 0.7, 0.6, 0.5)), row("la", drawn(1, 0.8, 0.75, 0.75))]
    others = [row(f"noise{number}", drawn(10 + number, 0.7, 0.6, 0.5)) for number in range(6)]
    alone, among = summarise(rows).differences[0], summarise(rows + others).differences[0]
    assert among.p == alone.p
    assert among.p_holm > alone.p_holm
    widths = [found.gaps["macro"].interval.high - found.gaps["macro"].interval.low for found in (alone, among)]
    assert widths[1] > widths[0]
    assert among.gaps["few"] == alone.gaps["few"]  # described, not tested


def test_a_table_of_differences_names_claim_rows_and_level():
    rows = [row("ce", drawn(0, 0.7, 0.6, 0.5)), row("la", drawn(1, 0.8, 0.75, 0.75))]
    caption = summarise(rows).tables[1].caption
    assert "Differences from ce in points, on the same images and seeds, for these networks on new images." in caption
    assert "Holm's procedure over 1 row, 5 % for any false alarm" in caption
