"""Batch normalisation of channels-last maps: torch's formulas by float64, either way and twice, and torch's own where it is not ours."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from tailwise.method import Net
from tailwise.models import LinearHead, build
from tailwise.models.batch_norm import LINE, BatchNorm2d, with_exact_norms

LAST = torch.channels_last
SIZES = [(128, 16, 32, 32), (6, 32, 7, 5), (3, 5, 3, 3), (3, 2 * LINE, 1, 2), (7, 64, 1, 1)]


def maps(size, dtype=torch.float32) -> torch.Tensor:
    made = torch.randn(size, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2 + 3
    return made.to(dtype).contiguous(memory_format=LAST)


def pair(channels: int, dtype=torch.float32) -> tuple[BatchNorm2d, nn.BatchNorm2d]:
    """Ours in a precision, torch's in float64."""
    torch.manual_seed(0)
    ours = BatchNorm2d(channels)
    nn.init.uniform_(ours.weight, -1, 2)
    nn.init.uniform_(ours.bias, -1, 1)
    theirs = nn.BatchNorm2d(channels).double()
    theirs.load_state_dict(ours.state_dict())
    return ours.to(dtype), theirs


def differentiated(norm, x):
    x = x.detach().requires_grad_()
    out = norm(x)
    slope = torch.randn(x.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(x.dtype)
    return out, *torch.autograd.grad(out, [x, norm.weight, norm.bias], slope)


def gap(found, expected) -> float:
    return float(((found.double() - expected).norm() / expected.norm().clamp_min(1e-30)).detach())


@pytest.mark.reference
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_it_is_torchs_formula_to_rounding(size):
    ours, theirs = pair(size[1])
    x = maps(size)
    made, expected = differentiated(ours, x), differentiated(theirs, x.double().contiguous())
    assert made[0].is_contiguous(memory_format=LAST)
    for found, wanted in zip(made, expected, strict=True):
        assert gap(found, wanted) < 2e-6
    for name in ("running_mean", "running_var"):
        assert gap(getattr(ours, name), getattr(theirs, name)) < 3e-7
    assert ours.num_batches_tracked == theirs.num_batches_tracked == 1


@pytest.mark.reference
def test_sums_over_many_positions_are_exact_where_torchs_own_are_not():
    """The reason for all this; where torch's sums have become exact, it can go."""
    x = maps((128, 16, 32, 32))
    ours, theirs = pair(16)
    torchs = nn.BatchNorm2d(16)
    torchs.load_state_dict(ours.state_dict())
    expected = theirs(x.double().contiguous())
    assert gap(ours(x), expected) < 3e-7
    assert gap(torchs(x), expected) > 2e-6


@pytest.mark.parametrize("size", [(4, 3, 2, 2), (2, 600, 1, 2)], ids=str)
def test_slopes_and_slopes_of_slopes(size):
    ours, _ = pair(size[1], torch.float64)
    x = maps(size, torch.float64).requires_grad_()

    def run(x, weight, bias):
        return torch.func.functional_call(ours, {"weight": weight, "bias": bias}, x).contiguous(memory_format=LAST)

    given = (x[:, :3], ours.weight[:3], ours.bias[:3]) if size[1] > 3 else (x, ours.weight, ours.bias)
    if size[1] == 3:
        assert torch.autograd.gradcheck(run, given)
        assert torch.autograd.gradgradcheck(run, given)
    else:
        out = run(x, ours.weight, ours.bias)
        (once,) = torch.autograd.grad(out.square().sum(), x, create_graph=True)
        plain = x.detach().contiguous().requires_grad_()
        expected = nn.functional.batch_norm(plain, None, None, ours.weight, ours.bias, True)
        (wanted,) = torch.autograd.grad(expected.square().sum(), plain, create_graph=True)
        torch.testing.assert_close(once, wanted, rtol=1e-9, atol=1e-9)
        for made, aim in zip(torch.autograd.grad(once.sin().sum(), x), torch.autograd.grad(wanted.sin().sum(), plain), strict=True):
            torch.testing.assert_close(made, aim, rtol=1e-8, atol=1e-9)


def other(**words) -> BatchNorm2d:
    return BatchNorm2d(4, **words)


@pytest.mark.parametrize(
    ("norm", "x"),
    [
        (other().eval(), maps((5, 4, 3, 3))),
        (other(), maps((5, 4, 3, 3)).contiguous()),
        (other(affine=False), maps((5, 4, 3, 3))),
        (other(track_running_stats=False), maps((5, 4, 3, 3))),
        (other(momentum=None), maps((5, 4, 3, 3))),
        (other(), maps((5, 4, 3, 3)).bfloat16()),
    ],
    ids=["eval", "NCHW", "no factors", "no statistics", "cumulative", "bfloat16"],
)
def test_all_else_is_torchs_own_to_the_bit(norm, x):
    theirs = copy.deepcopy(norm)
    theirs.__class__ = nn.BatchNorm2d
    assert torch.equal(norm(x), theirs(x))
    assert all(torch.equal(a, b) for a, b in zip(norm.state_dict().values(), theirs.state_dict().values(), strict=True))


def test_one_row_is_refused_as_by_torch():
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        other()(maps((1, 4, 1, 1)))


def test_every_plain_normalisation_of_a_network_is_of_this_kind():
    class More(nn.BatchNorm2d):
        pass

    net = with_exact_norms(nn.Sequential(nn.BatchNorm2d(3), nn.Sequential(nn.BatchNorm2d(3), More(3)), nn.BatchNorm1d(3)))
    assert [type(module) for module in net.modules()][1:] == [BatchNorm2d, nn.Sequential, BatchNorm2d, More, nn.BatchNorm1d]
    for name in ("resnet8", "resnet18"):
        built = build(Net(backbone=name, head=LinearHead()), (32, 32, 3), 5)
        kinds = {type(module) for module in built.modules() if isinstance(module, nn.BatchNorm2d)}
        assert nn.BatchNorm2d not in kinds
