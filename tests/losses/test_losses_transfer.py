"""Centre distances and vector errors against loops over the formulas, their gradients, and what they must not see."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from tailwise.losses.transfer import centre_distances, vector_errors


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


MAPS, CENTRES = random(3, 4, 2, 5), random(3, 2, 4, seed=1)
SHARES = random(3, 2, seed=2).softmax(1)
VARIATION, MOVED, AIM = (random(3, 4, 2, 5, seed=seed) for seed in (3, 4, 5))


def test_centre_distances_are_sums_over_centres_channels_and_positions():
    for i, found in enumerate(centre_distances(MAPS, SHARES, CENTRES)):
        expected = 0.0
        for k in range(2):
            for c in range(4):
                for h in range(2):
                    for w in range(5):
                        expected += float(SHARES[i, k] * (MAPS[i, c, h, w] - CENTRES[i, k, c]) ** 2)
        assert float(found) == pytest.approx(expected, rel=1e-12)


def test_centre_distances_have_the_gradient_of_differences_in_centres_and_shares():
    def of(scores: Tensor, centres: Tensor) -> Tensor:
        return centre_distances(MAPS, scores.softmax(1), centres)

    assert gradcheck(of, (random(3, 2, seed=2).requires_grad_(), CENTRES.clone().requires_grad_()))


def test_one_centre_is_drawn_to_the_mean_of_pooled_maps():
    """With K = 1 the gradient is `2 H W / B sum_i (c - g_i)`, which is zero at the class mean."""
    centre = random(1, 1, 4, seed=7).requires_grad_()
    centre_distances(MAPS, torch.ones(3, 1, dtype=torch.float64), centre.expand(3, 1, 4)).mean().backward()
    means = MAPS.mean((2, 3))
    torch.testing.assert_close(centre.grad, 2 * 10 / 3 * (centre.detach() - means[:, None]).sum(0, keepdim=True), rtol=1e-12, atol=0)
    at_mean = means.mean(0).requires_grad_()
    centre_distances(MAPS, torch.ones(3, 1, dtype=torch.float64), at_mean.expand(3, 1, 4)).mean().backward()
    assert float(at_mean.grad.abs().max()) < 1e-13


def looped(channels: int, vectors: list[tuple[list[float], list[float], list[float]]]) -> tuple[float, float]:
    """Sum the published terms over vectors (variation, moved, aim), the offset of the second one taken off."""
    length = direction = 0.0
    for before, after, wanted in vectors:
        norms = [math.sqrt(sum(x * x for x in vector)) for vector in (before, after, wanted)]
        length += abs(norms[1] - norms[0])
        direction += sum(abs(a / norms[1] * w / norms[2] - 1) for a, w in zip(after, wanted, strict=True)) - (channels - 1)
    return length, direction


@pytest.mark.parametrize("memory_chunks", [False, True])
def test_vector_errors_are_the_published_sums_without_offset(memory_chunks):
    lengths, directions = vector_errors(VARIATION, MOVED, AIM, memory_chunks)
    for i in range(3):
        if memory_chunks:
            flat = [maps[i].flatten().tolist() for maps in (VARIATION, MOVED, AIM)]
            vectors = [tuple(numbers[start : start + 4] for numbers in flat) for start in range(0, 40, 4)]
        else:
            vectors = [tuple(maps[i, :, h, w].tolist() for maps in (VARIATION, MOVED, AIM)) for h in range(2) for w in range(5)]
        length, direction = looped(4, vectors)
        assert float(lengths[i]) == pytest.approx(length, rel=1e-12)
        assert float(directions[i]) == pytest.approx(direction, rel=1e-12)


@pytest.mark.parametrize("memory_chunks", [False, True])
def test_memory_is_that_of_the_authors_whatever_the_maps_layout(memory_chunks):
    last = [maps.to(memory_format=torch.channels_last) for maps in (VARIATION, MOVED, AIM)]
    for one, other in zip(vector_errors(VARIATION, MOVED, AIM, memory_chunks), vector_errors(*last, memory_chunks), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=0)


def test_positions_are_not_mixed():
    """Moving positions about, in all three maps alike, changes nothing; runs of memory change with it."""
    order = torch.tensor([3, 0, 4, 1, 2])
    shuffled = [maps[..., order] for maps in (VARIATION, MOVED, AIM)]
    for one, other in zip(vector_errors(VARIATION, MOVED, AIM), vector_errors(*shuffled), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=0)
    assert not torch.allclose(vector_errors(VARIATION, MOVED, AIM, True)[0], vector_errors(*shuffled, True)[0])


def test_aligned_vectors_have_no_direction_error_and_kept_lengths_no_length_error():
    lengths, directions = vector_errors(VARIATION, VARIATION, 3 * VARIATION)
    assert float(lengths.abs().max()) == 0
    assert float(directions.abs().max()) < 1e-12
    opposite = vector_errors(VARIATION, -VARIATION, 3 * VARIATION)[1]
    torch.testing.assert_close(opposite, torch.full((3,), 20.0, dtype=torch.float64))


def test_the_gradient_is_that_of_the_published_form():
    moved, again = MOVED.clone().requires_grad_(), MOVED.clone().requires_grad_()
    vector_errors(VARIATION, moved, AIM)[1].sum().backward()
    unit, wanted = again / again.norm(dim=1, keepdim=True), AIM / AIM.norm(dim=1, keepdim=True)
    (unit * wanted - 1).abs().sum().backward()
    torch.testing.assert_close(moved.grad, again.grad, rtol=1e-10, atol=1e-14)


def test_vector_errors_have_the_gradient_of_differences():
    for term in range(2):
        assert gradcheck(lambda moved, term=term: vector_errors(VARIATION, moved, AIM)[term], MOVED.clone().requires_grad_())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_vectors_of_no_length_are_finite_and_have_no_gradient(dtype):
    """Where a rectifier leaves nothing, and the centre is still at zero, the variation is zero, and so is what it is moved to."""
    zero = torch.zeros(1, 4, 1, 2, dtype=dtype).requires_grad_()
    lengths, directions = vector_errors(zero.detach(), zero, AIM[:1, :, :1, :2].to(dtype))
    assert lengths.tolist() == [0]
    assert directions.tolist() == [2]
    (lengths + directions).sum().backward()
    assert float(zero.grad.abs().max()) == 0
    aimless = vector_errors(VARIATION, MOVED.clone().requires_grad_(), torch.zeros_like(AIM))[1]
    assert aimless.tolist() == [10, 10, 10]


def test_no_pair_is_no_error():
    none = MAPS[:0]
    assert [errors.shape for errors in vector_errors(none, none, none)] == [(0,), (0,)]
    assert centre_distances(none, SHARES[:0], CENTRES[:0]).shape == (0,)
