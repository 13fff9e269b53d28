"""Networks: the field's sizes, slices that compose, shortcuts against a loop, heads, branches."""

import math
from fnmatch import fnmatchcase

import pytest
import torch
from torch import Tensor, nn

from tailwise.errors import BadData, BadValue, UnknownName
from tailwise.method import Net
from tailwise.models import HEADS, NETWORKS, Branched, Branches, Chain, CosineHead, NormalisedHead, build, describe, resolve
from tailwise.models.cifar_resnet import cifar_resnet
from tailwise.models.heads import linear_weights


@pytest.fixture(autouse=True)
def _seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def make(backbone: str = "resnet8", classes: int = 5, shape: tuple[int, ...] = (8, 8, 3), seed: int = 0, **net) -> Chain | Branched:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build(resolve(Net(**net), backbone), shape, classes).eval()


def images(rows: int = 4, size: int = 8, channels: int = 3) -> Tensor:
    return torch.randn(rows, channels, size, size, generator=torch.Generator().manual_seed(1))


def size_of(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


# --- sizes --------------------------------------------------------------------------------------------------------------


@pytest.mark.reference
@pytest.mark.parametrize(("classes", "parameters"), [(10, 464_154), (100, 470_004)])
def test_resnet32_has_the_published_size(classes, parameters):
    """He et al. and the LDAM-DRW code: 0.46 M; a class more is 65 parameters."""
    assert size_of(make("resnet32", classes, (32, 32, 3))) == parameters


@pytest.mark.reference
@pytest.mark.parametrize(
    ("name", "depth", "widths"),
    [*((f"resnet{depth}", depth, (16, 32, 64)) for depth in (8, 20, 32, 44, 56)), ("resnet20-half", 20, (8, 16, 32))],
)
def test_sizes_add_up_by_hand(name, depth, widths):
    """3x3 convolutions without bias, two numbers a channel of BatchNorm, shortcuts without parameters, a linear head with bias."""
    inputs, *_, features = widths
    expected = 9 * 3 * inputs + 2 * inputs
    for width in widths:
        for _ in range((depth - 2) // 6):
            expected += 9 * inputs * width + 9 * width * width + 4 * width
            inputs = width
    assert size_of(make(name, 10)) == expected + features * 10 + 10


def test_maps_shrink_at_the_second_and_third_stage():
    net = make("resnet20", shape=(32, 32, 3))
    maps = images(1, 32)
    shapes = {}
    for name in net.names:
        maps = net.blocks[name](maps)
        shapes[name] = tuple(maps.shape[1:])
    assert shapes["stem"] == shapes["stage1_3"] == (16, 32, 32)
    assert shapes["stage2_1"] == shapes["stage2_3"] == (32, 16, 16)
    assert shapes["stage3_1"] == shapes["stage3_3"] == (64, 8, 8)
    assert net.names == ("stem", *(f"stage{s}_{b}" for s in (1, 2, 3) for b in (1, 2, 3)))


def test_half_width_halves_the_maps():
    net = make("resnet20-half", shape=(32, 32, 3))
    x = images(1, 32)
    shapes = [tuple(net.body(x, stop=stop).shape[1:]) for stop in ("stage1_1", "stage2_1", "stage3_1", None)]
    assert shapes == [(8, 32, 32), (8, 32, 32), (16, 16, 16), (32, 8, 8)]
    assert net(x).features.shape == (1, 32)


@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize("size", [7, 8, 13])
def test_any_size_and_number_of_channels(channels, size):
    out = make(shape=(size, size, channels))(images(2, size, channels))
    assert out.logits.shape == (2, 5)
    assert out.features.shape == (2, 64)


def test_convolutions_start_kaiming_normal():
    """Deviation sqrt(2 / fan_in), fan_in = 9 x 64: over 36,864 draws the estimate is within two per cent."""
    blocks, _, _ = cifar_resnet(20, 3)
    assert blocks["stage3_3"].conv2.weight.std().item() == pytest.approx(math.sqrt(2 / (9 * 64)), rel=0.02)


# --- slices -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backbone", ["resnet8", "resnet20"])
def test_slices_compose_at_every_block(backbone):
    net, x = make(backbone), images()
    whole = net.body(x)
    for block in net.names:
        assert torch.equal(net.body(net.body(x, stop=block), start=block), whole)
        assert torch.equal(net.finish(net.body(x, stop=block), start=block).logits, net(x).logits)


def test_a_slice_stops_before_its_block():
    net, x = make(), images()
    assert torch.equal(net.body(x, stop="stem"), x)
    assert torch.equal(net.body(x, stop="stage1_1"), net.blocks["stem"](x))
    assert torch.equal(net.body(x, start="stem", stop="stage1_1"), net.blocks["stem"](x))


def test_the_network_is_body_pool_head():
    net, x = make(), images()
    out = net(x)
    maps = net.body(x)
    torch.testing.assert_close(out.features, maps.flatten(2).mean(2))
    torch.testing.assert_close(out.logits, out.features @ net.head.weight.T + net.head.bias)
    assert torch.equal(net.finish(maps).logits, out.logits)


@pytest.mark.parametrize("argument", ["start", "stop"])
def test_an_unknown_block_gets_the_nearest(argument):
    with pytest.raises(UnknownName, match="stage1_1") as refused:
        make().body(images(), **{argument: "stage1-1"})
    assert "\n" not in str(refused.value)


# --- the block ----------------------------------------------------------------------------------------------------------


def slow_shortcut(x: Tensor, width: int) -> Tensor:
    """Option A: every second pixel, the old channels in the middle of the new ones, zeros around them."""
    rows, inputs, height, across = x.shape
    made = torch.zeros(rows, width, (height + 1) // 2, (across + 1) // 2)
    for n in range(rows):
        for c in range(inputs):
            for i in range(0, height, 2):
                for j in range(0, across, 2):
                    made[n, c + width // 4, i // 2, j // 2] = x[n, c, i, j]
    return made


@pytest.mark.reference
@pytest.mark.parametrize("size", [6, 7])
@pytest.mark.parametrize(("block", "inputs"), [("stage2_1", 16), ("stage3_1", 32)])
def test_shortcut_equals_a_loop(size, block, inputs):
    """With the inner branch silenced a block is the rectified shortcut."""
    blocks, _, _ = cifar_resnet(8, 3)
    made = blocks[block].eval()
    nn.init.zeros_(made.norm2.weight)
    nn.init.zeros_(made.norm2.bias)
    x = images(2, size, inputs)
    torch.testing.assert_close(made(x), slow_shortcut(x, 2 * inputs).relu())


@pytest.mark.reference
def test_a_block_is_two_convolutions_and_its_shortcut():
    blocks, _, _ = cifar_resnet(8, 3)
    block = blocks["stage2_1"].eval()
    for norm in (block.norm1, block.norm2):
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias)
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)

    def normalised(maps: Tensor, norm: nn.BatchNorm2d) -> Tensor:
        view = (1, -1, 1, 1)
        scale = norm.weight.view(view) / torch.sqrt(norm.running_var.view(view) + 1e-5)
        return (maps - norm.running_mean.view(view)) * scale + norm.bias.view(view)

    x = images(2, 6, 16)
    inner = normalised(nn.functional.conv2d(x, block.conv1.weight, stride=2, padding=1), block.norm1).clamp(min=0)
    inner = normalised(nn.functional.conv2d(inner, block.conv2.weight, padding=1), block.norm2)
    torch.testing.assert_close(block(x), (inner + slow_shortcut(x, 32)).clamp(min=0), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("train", [False, True])
def test_channels_last_gives_equal_results(train):
    """The same sums in another order of memory: float32 rounding apart."""
    net, x = make("resnet20").train(train), images(8, 16)
    plain = net(x).logits
    last = net.to(memory_format=torch.channels_last)(x.contiguous(memory_format=torch.channels_last)).logits
    torch.testing.assert_close(last, plain, rtol=1e-4, atol=1e-5)


# --- heads --------------------------------------------------------------------------------------------------------------


@pytest.mark.reference
def test_the_normalised_head_gives_cosines():
    head = NormalisedHead().build(6, 4)
    nn.init.normal_(head.weight, std=3)
    features = 100 * torch.randn(20, 6)
    cosines = head(features).detach()
    for i in range(20):
        for k in range(4):
            h, w = features[i].double(), head.weight[k].detach().double()
            assert cosines[i, k].item() == pytest.approx((h @ w / (h.norm() * w.norm())).item(), abs=1e-6)
    assert float(cosines.abs().max()) <= 1 + 1e-6


def test_cosines_reach_one_at_their_own_weights():
    head = NormalisedHead().build(6, 4)
    cosines = head(5 * head.weight.detach()).detach()
    torch.testing.assert_close(cosines.diagonal(), torch.ones(4))
    assert float(cosines.abs().max()) <= 1 + 1e-6


def test_rows_of_a_cosine_head_start_at_unit_length():
    torch.testing.assert_close(NormalisedHead().build(6, 4).weight.norm(dim=1), torch.ones(4))


def test_a_feature_of_zero_has_finite_cosines():
    head = NormalisedHead().build(6, 4)
    features = torch.zeros(1, 6, requires_grad=True)
    head(features).sum().backward()
    assert bool(torch.isfinite(features.grad).all())


@pytest.mark.limit
def test_the_cosine_head_is_a_scaled_normalised_one():
    plain, scaled = NormalisedHead().build(6, 4), CosineHead(16.0).build(6, 4)
    scaled.load_state_dict(plain.state_dict())
    features = torch.randn(3, 6)
    torch.testing.assert_close(scaled(features), 16 * plain(features))


@pytest.mark.parametrize("name", HEADS)
def test_every_head_is_named_and_has_a_row_a_class(name):
    net = make(head=name)
    assert net.head.weight.shape == (5, 64)
    assert (linear_weights(net.head) is not None) == (name == "linear")


def test_a_head_s_own_fields_count():
    assert make(head=CosineHead(3.0)).head.scale == 3.0
    assert make(head="cosine").head.scale == 16.0


# --- branches -----------------------------------------------------------------------------------------------------------


def test_branches_give_an_axis_more():
    net, x = make(branches=Branches(3, 1)), images()
    out = net(x)
    assert out.logits.shape == (4, 3, 5)
    assert out.features.shape == (4, 3, 64)
    maps = net.body(x)
    for which in range(3):
        alone = net.branch(which, maps)
        assert torch.equal(out.logits[:, which], alone.logits)
        assert torch.equal(out.features[:, which], alone.features)


def test_branches_share_no_tensor():
    net = make(branches=Branches(3, 2))
    tensors = (*net.named_parameters(remove_duplicate=False), *net.named_buffers(remove_duplicate=False))
    places = [tensor.data_ptr() for _, tensor in tensors]
    assert len(places) == len(set(places))
    assert [tuple(branch.names) for branch in net.branches] == [("stage2_1", "stage3_1")] * 3
    assert list(net.trunk) == ["stem", "stage1_1"]


def test_training_one_branch_leaves_the_other():
    net, x = make(branches=Branches(2, 1)).train(), images()
    before = {n: t.clone() for n, t in net.branches[1].state_dict().items()}
    net.branch(0, net.body(x)).logits.sum().backward()
    assert all(p.grad is None for p in net.branches[1].parameters())
    assert all(p.grad is not None for p in net.branches[0].parameters())
    assert all(torch.equal(t, before[n]) for n, t in net.branches[1].state_dict().items())


@pytest.mark.limit
def test_one_branch_is_the_plain_chain():
    plain, branched = make(), make(branches=Branches(1, 2))
    names = {**{f"trunk.{b}": f"blocks.{b}" for b in ("stem", "stage1_1")}}
    state = {}
    for name in branched.state_dict():
        source = name.replace("branches.0.", "")
        for ours, theirs in names.items():
            source = source.replace(ours, theirs)
        state[name] = plain.state_dict()[source]
    branched.load_state_dict(state)
    x = images()
    torch.testing.assert_close(branched(x).logits[:, 0], plain(x).logits)


@pytest.mark.reference
def test_one_head_over_branches_is_the_sum_of_a_piece_for_each():
    net, x = make(branches=Branches(3, 1, joined=True)), images()
    out = net(x)
    maps = net.body(x)
    pieces = [net.branch(k, maps) @ net.head.weight[:, 64 * k : 64 * (k + 1)].T for k in range(3)]
    assert out.features.shape == (4, 3 * 64)
    assert net.width == 3 * 64
    torch.testing.assert_close(out.logits, sum(pieces) + net.head.bias)


@pytest.mark.parametrize("head", HEADS)
def test_one_head_over_branches_is_any_head(head):
    assert make(branches=Branches(2, 1, joined=True), head=head).head.weight.shape == (5, 128)


@pytest.mark.parametrize("branches", [None, Branches(2, 1), Branches(3, 1, joined=True)])
def test_a_description_names_the_tensors_of_its_heads(branches):
    described = Net(branches=branches)
    made = make(branches=branches)
    named = {n for n in made.state_dict() if any(fnmatchcase(f"net.{n}", head) for head in described.heads)}
    heads = [made.head] if described.has_one_head else [branch.head for branch in made.branches]
    places = {p.data_ptr() for head in heads for p in head.parameters()}
    assert named == {n for n, tensor in made.state_dict().items() if tensor.data_ptr() in places}


@pytest.mark.parametrize("joined", [False, True])
def test_branches_leave_a_trunk(joined):
    with pytest.raises(BadData, match="leave no trunk"):
        make(branches=Branches(2, 4, joined))


@pytest.mark.parametrize(("count", "blocks"), [(0, 1), (2, 0)])
def test_branches_are_at_least_one(count, blocks):
    with pytest.raises(BadValue, match="from 1"):
        Branches(count, blocks)


# --- names --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("net", "nearest"), [(Net(backbone="resnet33"), "resnet32"), (Net(head="normalized"), "normalised")])
def test_unknown_names_get_the_nearest(net, nearest):
    with pytest.raises(UnknownName, match=nearest) as refused:
        resolve(net, "resnet8")
    assert "\n" not in str(refused.value)
    assert nearest in refused.value.suggestions


def test_the_run_s_backbone_fills_an_empty_description():
    assert resolve(Net(), "resnet20").backbone == "resnet20"
    assert resolve(Net(backbone="resnet8"), "resnet20").backbone == "resnet8"
    assert resolve(Net(), "resnet8").head == HEADS["linear"]()


def test_features_need_no_backbone():
    net = make("features", shape=(12,))
    assert isinstance(net, Chain)
    x = torch.randn(3, 12)
    out = net(x)
    assert torch.equal(out.features, x)
    torch.testing.assert_close(out.logits, x @ net.head.weight.T + net.head.bias)
    assert size_of(net) == 12 * 5 + 5


@pytest.mark.parametrize(("backbone", "shape", "fitting"), [("features", (8, 8, 3), "resnet8"), ("resnet8", (12,), "features")])
def test_data_of_the_other_kind_are_refused(backbone, shape, fitting):
    with pytest.raises(BadData, match=f"--net one of .*{fitting}"):
        make(backbone, shape=shape)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_describes_itself(name):
    said = describe(name)
    assert said["name"] == name
    assert said["parameters"] > 0
    assert said["title"]


def test_an_unknown_network_is_not_described():
    with pytest.raises(UnknownName, match="resnet32"):
        describe("resnet33")


# --- narrower branches, by stages -----------------------------------------------------------------------------------------


def test_branches_by_stages_begin_where_maps_shrink():
    net = make("resnet20", branches=Branches(3, stages=2))
    assert list(net.trunk) == ["stem", "stage1_1", "stage1_2", "stage1_3"]
    assert net.branches[2].names == ("stage2_1", "stage2_2", "stage2_3", "stage3_1", "stage3_2", "stage3_3")
    assert list(make("resnet20", branches=Branches(2, stages=1)).trunk)[-1] == "stage2_3"


def test_branches_by_stages_leave_the_network_as_it_was():
    """A blank row finds the stages, and must move no statistics nor leave a block in eval mode."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = build(resolve(Net(branches=Branches(2, stages=1)), "resnet8"), (8, 8, 3), 5)
    assert all(module.training for module in net.modules())
    assert all(int(t) == 0 for name, t in net.named_buffers() if name.endswith("num_batches_tracked"))


def test_narrower_branches_have_a_share_of_the_channels_and_the_trunk_all():
    net, whole = make("resnet20", branches=Branches(3, stages=2, width=0.75)), make("resnet20")
    shapes = {name: tuple(p.shape) for name, p in net.branches[1].named_parameters() if "conv1" in name}
    assert shapes["blocks.stage2_1.conv1.weight"] == (24, 16, 3, 3)
    assert shapes["blocks.stage3_1.conv1.weight"] == (48, 24, 3, 3)
    assert net.trunk["stage1_3"].conv2.weight.shape == whole.blocks["stage1_3"].conv2.weight.shape
    out = net(images())
    assert out.logits.shape == (4, 3, 5)
    assert out.features.shape == (4, 3, 48)
    assert not torch.equal(net.branches[0].head.weight, net.branches[1].head.weight)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.6, 0.99])
def test_any_share_of_the_channels_fits_the_shortcuts(share):
    assert make("resnet8", branches=Branches(2, stages=2, width=share))(images()).logits.isfinite().all()


def test_branches_that_cannot_be_are_refused():
    with pytest.raises(BadData, match="3 stages a branch leave no trunk of 'resnet8'"):
        make("resnet8", branches=Branches(2, stages=3))
    with pytest.raises(BadData, match=r"CIFAR ResNets alone, not of 'efficientnet-lite0'"):
        make("efficientnet-lite0", shape=(32, 32, 3), branches=Branches(2, width=0.5))
    for wrong in ({"width": 0.0}, {"width": 1.5}, {"stages": -1}):
        with pytest.raises(BadValue, match="branches"):
            Branches(2, **wrong)
