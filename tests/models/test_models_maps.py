"""Where a chain of blocks is cut, and what flows there seen as maps."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tailwise.errors import BadData, UnknownName
from tailwise.method import Net
from tailwise.models import build, resolve
from tailwise.models.chain import Chain
from tailwise.models.maps import as_maps, find_cut, like_rows


class Tokens(nn.Module):
    """(B, C, H, W) -> (B, H W, 6) tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(1, 6)

    def forward(self, images: Tensor) -> Tensor:
        return self.embed(images.flatten(2).transpose(1, 2))


def tokens(blocks: int) -> Chain:
    inner = {f"block{number}": nn.Linear(6, 6) for number in range(1, blocks)}
    return Chain({"embed": Tokens(), **inner}, nn.Identity(), nn.Identity(), 6)


@pytest.mark.parametrize(
    ("name", "shape", "expected"),
    [
        ("resnet8", (8, 8, 1), ("stage3_1", 32)),
        ("resnet32", (32, 32, 3), ("stage3_1", 32)),
        ("resnet20-half", (28, 28, 1), ("stage3_1", 16)),
        ("resnet18", (64, 48, 3), ("stage4_1", 256)),
        ("vit_tiny_patch16_224", (224, 224, 3), ("block11", 192)),
    ],
)
def test_a_network_is_cut_before_its_last_stage(name, shape, expected):
    net = build(resolve(Net(), name), shape, 4).eval()
    assert find_cut(net, shape) == expected


def test_any_other_block_may_be_named():
    net = build(resolve(Net(), "resnet8"), (8, 8, 1), 4).eval()
    assert find_cut(net, (8, 8, 1), "stage1_1") == ("stage1_1", 16)
    assert find_cut(net, (8, 8, 1), "stage2_1") == ("stage2_1", 16)


def test_looking_moves_no_statistics():
    net = build(resolve(Net(), "resnet8"), (8, 8, 1), 4).eval()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    find_cut(net, (8, 8, 1))
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


@pytest.mark.parametrize(("blocks", "expected"), [(2, "block1"), (3, "block2"), (4, "block3"), (8, "block6")])
def test_where_nothing_shrinks_a_quarter_of_the_blocks_is_left(blocks, expected):
    assert find_cut(tokens(blocks), (4, 4, 1)) == (expected, 6)


def test_there_must_be_a_block_before_the_cut():
    net = build(resolve(Net(), "resnet8"), (8, 8, 1), 4).eval()
    with pytest.raises(BadData, match="no block comes before the cut: the network has stem, stage1_1, stage2_1, stage3_1"):
        find_cut(net, (8, 8, 1), "stem")
    with pytest.raises(BadData, match="has none"):
        find_cut(build(resolve(Net(), "features"), (12,), 4), (12,))
    with pytest.raises(BadData, match="no block comes before"):
        find_cut(tokens(1), (4, 4, 1))
    with pytest.raises(UnknownName, match="no block is called 'stage4_1'"):
        find_cut(net, (8, 8, 1), "stage4_1")


@pytest.mark.parametrize(("shape", "maps"), [((3, 5, 2, 4), (3, 5, 2, 4)), ((3, 7, 5), (3, 5, 7, 1)), ((3, 5), (3, 5, 1, 1))])
def test_tokens_and_vectors_are_maps_and_back(shape, maps):
    x = torch.randn(shape)
    seen = as_maps(x)
    assert seen.shape == maps
    assert torch.equal(like_rows(seen, x), x)
    assert torch.equal(like_rows(seen[1:], x), x[1:])
    assert float(seen[1, 2].flatten()[-1]) == float(x[(1, 2, -1, -1) if len(shape) == 4 else (1, -1, 2) if len(shape) == 3 else (1, 2)])
