"""Windows: a crop and a flip by one gather give the bits that padding, cropping and flipping give, one part after the other."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tailwise import seeds
from tailwise.pixels import Normalise, Rows, View
from tailwise.pixels.augment import ColourJitter, Flip, PadCrop
from tailwise.pixels.windows import Windows

CPU = torch.device("cpu")
PACKED = np.random.default_rng(0).integers(0, 256, (9, 5, 7, 3), dtype=np.uint8)
CHOSEN = np.array([3, 0, 6, 6, 1, 2])


def rows(packed=PACKED) -> Rows:
    positions = np.array([8, 1, 4, 0, 7, 2, 5])
    return Rows(tuple("abcdefg"), packed, positions, np.zeros(7, np.int64))


def rng(k: int) -> np.random.Generator:
    return seeds.generator(0, "view", k)


@pytest.mark.reference
@pytest.mark.parametrize("pad", [0, 1, 4])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_window_is_cut_and_then_mirrored(pad, channels):
    images = PACKED[..., :channels]
    made = Windows(images, pad)
    for top in range(2 * pad + 1):
        for left in range(2 * pad + 1):
            flipped = np.arange(9) % 2 == 0
            found = made.gather(np.arange(9), np.full(9, top), np.full(9, left), flipped)
            padded = np.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)))[:, top : top + 5, left : left + 7]
            expected = np.where(flipped[:, None, None, None], padded[:, :, ::-1], padded)
            np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("mine", [slice(None), slice(0, 4), slice(4, 6)])
@pytest.mark.parametrize(
    "chain",
    [
        (PadCrop(2), Flip()),
        (PadCrop(2),),
        (PadCrop(2), Flip(), ColourJitter()),
        (PadCrop(2), ColourJitter(), Flip()),
        (PadCrop(1), PadCrop(1)),
        (PadCrop(2, "edge"), Flip()),
        (Flip(), PadCrop(2)),
        (),
    ],
    ids=str,
)
def test_a_view_of_rows_is_the_view_of_what_is_gathered(chain, mine):
    view, source = View(chain, Normalise((0.5, 0.4, 0.3), (0.2, 0.3, 0.4))), rows()
    made = view.of_rows(source, CHOSEN, rng, mine, CPU)
    assert torch.equal(made, view(source.gather(CHOSEN[mine]), rng, mine, len(CHOSEN)))
    assert made.is_contiguous(memory_format=torch.channels_last)


def test_windows_are_made_once_and_only_of_what_fits(monkeypatch):
    source = rows()
    assert source.windows(2) is source.windows(2)
    assert source.windows(1) is not source.windows(2)
    size = Windows.size(7, (5, 7, 3), 2)
    assert size == 7 * 2 * 9 * 11 * 3
    for most, there in ((size, True), (size - 1, False)):
        monkeypatch.setattr("tailwise.pixels.windows.MOST", most)
        assert (rows().windows(2) is not None) == there
    view = View((PadCrop(2), Flip()), Normalise())
    assert torch.equal(view.of_rows(rows(), CHOSEN, rng, slice(None), CPU), view.of_rows(source, CHOSEN, rng, slice(None), CPU))


@pytest.mark.filterwarnings("ignore:The given NumPy array is not writable")
def test_a_gather_by_torch_is_that_by_numpy():
    by_numpy, by_torch = Windows(PACKED, 2), Windows(PACKED, 2)
    by_torch._view = torch.from_numpy(by_torch._view)  # as on other devices
    draw = np.random.default_rng(1)
    address = (draw.integers(0, 9, 40), draw.integers(0, 5, 40), draw.integers(0, 5, 40), draw.random(40) < 0.5)
    assert torch.equal(by_numpy.gather(*address), by_torch.gather(*address))


def test_windows_lie_on_the_device_where_they_fit(monkeypatch):
    cuda = torch.device("cuda")
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda device: (1000, 2000))
    assert Windows.place(250, cuda) == cuda
    assert Windows.place(251, cuda) == CPU
    monkeypatch.setattr("tailwise.pixels.windows.MOST", 300)
    assert Windows.place(301, cuda) is None
    assert Windows.place(1, CPU) == CPU


def test_features_have_no_windows():
    features = rows(np.ones((9, 4), np.float32))
    assert features.windows(2) is None
    assert View((PadCrop(2),), Normalise()).of_rows(features, CHOSEN, rng, slice(None), CPU).shape == (6, 4)
