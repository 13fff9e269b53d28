"""Folded normalisation: the same answers by float64's arithmetic, and the plain network wherever they would not be the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from tailwise.method import Net
from tailwise.models import Branches, LinearHead, build
from tailwise.objective import Out
from tailwise.pixels import Normalise, Rows
from tailwise.training import sweep as sweeps
from tailwise.training.folding import folded
from tailwise.training.sweep import sweep

IMAGES = torch.randn(5, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def trained(net: nn.Module) -> nn.Module:
    """A network whose running statistics, factors and summands are anything but those of the beginning."""
    torch.manual_seed(0)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d) and module.track_running_stats:
            nn.init.uniform_(module.running_mean, -1, 1)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, -1, 2)
            nn.init.uniform_(module.bias, -1, 1)
    return net.eval()


def norms(net: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in net.modules())


@pytest.mark.reference
@pytest.mark.parametrize(
    "net",
    [Net(backbone="resnet8", head=LinearHead()), Net(backbone="resnet8", head=LinearHead(), branches=Branches(2, stages=1))],
    ids=["one", "branches"],
)
def test_every_normalisation_is_folded_and_answers_stay(net):
    plain = trained(build(net, (16, 16, 3), 7))
    with torch.inference_mode():
        made = folded(plain, IMAGES)
        assert norms(plain) >= 7, "the network that trains keeps its own"
        assert norms(made) == 0
        expected = plain.double()(IMAGES.double()).logits
        torch.testing.assert_close(made(IMAGES).logits.double(), expected, rtol=0, atol=2e-5 * float(expected.abs().max()))


class Twice(nn.Module):
    """What the convolution says is used beside the normalisation."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, images):
        maps = self.conv(images)
        return Out((self.norm(maps) + maps).mean((2, 3)), maps.mean((2, 3)))


class Rectified(nn.BatchNorm2d):
    """A normalisation that does more."""

    def forward(self, maps):
        return super().forward(maps).relu()


class Holder(nn.Module):
    """The same, where the two follow each other."""

    def __init__(self, norm) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = norm

    def forward(self, images):
        return self.norm(self.conv(images)).mean((2, 3))


@pytest.mark.parametrize(
    "net",
    [Twice(), Holder(Rectified(4)), Holder(nn.BatchNorm2d(4, track_running_stats=False)), nn.Flatten()],
    ids=lambda net: type(net).__name__,
)
def test_a_network_that_would_answer_otherwise_stays_as_it_is(net):
    net = trained(net)
    with torch.inference_mode():
        assert folded(net, IMAGES) is net


def test_a_sweep_of_many_rows_is_a_sweep_of_each(monkeypatch):
    net = trained(build(Net(backbone="resnet8", head=LinearHead()), (16, 16, 3), 7))
    pixels = np.random.default_rng(0).integers(0, 256, (70, 16, 16, 3), dtype=np.uint8)
    rows = Rows(tuple(map(str, range(70))), pixels, np.arange(70)[::-1].copy(), np.zeros(70, np.int64))
    made = sweep(net, rows, Normalise(), torch.device("cpu"))
    monkeypatch.setattr(sweeps, "IN_CACHE", 80)
    monkeypatch.setattr(sweeps, "folded", lambda *given: pytest.fail("one batch is not worth a fold"))
    whole = sweep(net, rows, Normalise(), torch.device("cpu"))
    np.testing.assert_allclose(made.logits, whole.logits, rtol=0, atol=1e-5 * np.abs(whole.logits).max())
    np.testing.assert_allclose(made.features, whole.features, rtol=0, atol=1e-5 * np.abs(whole.features).max())
