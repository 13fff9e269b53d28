"""timm's models as chains: equal to timm itself, cut at every block, their values left alone by the training loop."""

import pytest
import timm
import torch
from torch import Tensor, nn

from tailwise.errors import BadData
from tailwise.method import Net
from tailwise.models import Branches, build, resolve
from tailwise.models.timm_families import FAMILIES
from tailwise.recipe import Recipe
from tailwise.training.joint import initialise
from toy import toy_recipe

MODELS = {
    "resnet18": 512,
    "seresnext26t_32x4d": 2048,
    "mobilenetv2_100": 1280,
    "mobilenetv3_small_050": 1024,
    "tf_efficientnet_lite0": 1280,
    "vit_tiny_patch16_224": 192,
    "convnext_atto": 320,
}
"""A model of each family, one that attends to pool its tokens, one that stays whole -> width, from their papers and timm's tables."""


@pytest.fixture(autouse=True)
def _seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def images(size: int = 64, channels: int = 3, rows: int = 2) -> Tensor:
    return torch.randn(rows, channels, size, size, generator=torch.Generator().manual_seed(1))


def make(name: str, shape: tuple[int, ...] = (64, 64, 3), seed: int = 0, **net: object) -> nn.Module:
    torch.manual_seed(seed)
    return build(resolve(Net(**net), name), shape, 5).eval()


def timm_itself(name: str, size: int = 64, channels: int = 3) -> nn.Module:
    """The same draws: timm makes its model from the same state of torch's generator."""
    sized = {"img_size": size} if timm.get_pretrained_cfg(name).fixed_input_size else {}
    torch.manual_seed(0)
    return timm.create_model(name, num_classes=0, in_chans=channels, **sized).eval()


def unsettle(net: nn.Module) -> None:
    """Give every normalisation values of its own, by its place in the network, so that a lost or swapped one shows."""
    generator = torch.Generator().manual_seed(2)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d | nn.LayerNorm):
            nn.init.uniform_(module.weight, 0.5, 1.5, generator=generator)
            nn.init.normal_(module.bias, std=0.1, generator=generator)
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1, generator=generator)
            nn.init.uniform_(module.running_var, 0.5, 1.5, generator=generator)


# --- equality with timm -------------------------------------------------------------------------------------------------


@pytest.mark.reference
@pytest.mark.parametrize("name", MODELS)
def test_features_are_timm_s_own(name):
    ours, theirs, x = make(name), timm_itself(name), images()
    unsettle(ours)
    unsettle(theirs)
    with torch.no_grad():
        expected = theirs.forward_head(theirs.forward_features(x), pre_logits=True)
        out = ours(x)
    assert out.features.shape == (2, MODELS[name])
    assert ours.width == MODELS[name]
    torch.testing.assert_close(out.features, expected)
    torch.testing.assert_close(out.logits, expected @ ours.head.weight.T + ours.head.bias)


@pytest.mark.reference
@pytest.mark.parametrize("kind", ["token", "avg", "map"])
def test_every_pooling_of_a_vit_is_timm_s(kind):
    from tailwise.models.timm_families import cut

    torch.manual_seed(0)
    settings = {"img_size": 32, "depth": 2, "global_pool": kind, "class_token": kind == "token", "num_classes": 0, "reg_tokens": 2}
    model = timm.create_model("vit_tiny_patch16_224", **settings).eval()
    unsettle(model)
    with torch.no_grad():
        x = images(32)
        expected = model.forward_head(model.forward_features(x), pre_logits=True)
        blocks, pool = cut(model)
        for block in blocks.values():
            x = block(x)
        torch.testing.assert_close(pool(x), expected)


@pytest.mark.parametrize("name", MODELS)
def test_no_tensor_of_timm_s_is_lost_or_twice(name):
    """The same number of parameters as timm's, under one name each, and a head of ours."""
    ours = make(name)
    sizes = sum(p.numel() for p in ours.parameters()) - 5 * (MODELS[name] + 1)
    assert sizes == sum(p.numel() for p in timm_itself(name).parameters())
    places = [tensor.data_ptr() for tensor in ours.state_dict(keep_vars=True).values()]
    assert len(places) == len(set(places))


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv2_100", "mobilenetv3_small_050", "vit_tiny_patch16_224"])
def test_slices_compose_at_every_block(name):
    net, x = make(name), images()
    with torch.no_grad():
        whole, logits = net.body(x), net(x).logits
        maps = x
        for block in net.names:
            assert torch.equal(net.body(x, stop=block), maps)
            assert torch.equal(net.body(maps, start=block), whole)
            assert torch.equal(net.finish(maps, start=block).logits, logits)
            maps = net.blocks[block](maps)


def test_blocks_are_named_by_family():
    assert make("resnet18").names == ("stem", *(f"stage{s}_{b}" for s in (1, 2, 3, 4) for b in (1, 2)))
    assert make("vit_tiny_patch16_224").names == ("embed", *(f"block{b}" for b in range(1, 13)), "norm")
    assert make("mobilenetv2_100").names[-2:] == ("stage7_1", "top")
    assert make("convnext_atto").names == ("body",)
    assert {kind.__name__ for kind in FAMILIES} == {"ResNet", "EfficientNet", "MobileNetV3", "VisionTransformer"}


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv3_small_050"])
@pytest.mark.parametrize(("size", "channels"), [(28, 1), (33, 5)])
def test_convolutions_take_any_size_and_channels(name, size, channels):
    assert make(name, (size, size, channels))(images(size, channels)).logits.shape == (2, 5)


@pytest.mark.parametrize(("shape", "said"), [((30, 32, 3), "patches of 16 x 16"), ((8, 8, 3), "patches of 16 x 16")])
def test_images_that_a_vit_cannot_take_are_refused(shape, said):
    with pytest.raises(BadData, match=said) as refused:
        make("vit_tiny_patch16_224", shape)
    assert "recipe.image_size=224" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_images_that_timm_refuses_are_refused_in_one_line():
    with pytest.raises(BadData, match=r"recipe\.image_size=224") as refused:
        make("swin_tiny_patch4_window7_224", (2, 2, 3))
    assert "\n" not in str(refused.value)


# --- values -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["resnet18", "vit_tiny_patch16_224", "convnext_atto"])
def test_the_loop_draws_the_head_and_leaves_timm_s_values(name):
    net = make(name, (32, 32, 3))
    before = {n: t.clone() for n, t in net.state_dict().items()}
    initialise(net, seed=7, step=0)
    changed = {n for n, t in net.state_dict().items() if not torch.equal(t, before[n])}
    assert changed == {"head.weight", "head.bias"}


def test_values_are_drawn_by_the_caller_s_generator():
    first, same, other = (make("mobilenetv3_small_050", seed=seed) for seed in (3, 3, 4))
    assert torch.equal(first(images()).logits, same(images()).logits)
    assert not torch.equal(first.blocks["stage2_1"].conv_pw.weight, other.blocks["stage2_1"].conv_pw.weight)


def test_random_twins_differ_and_share_no_tensor():
    net = make("mobilenetv3_small_050", branches=Branches(2, 2))
    first, second = net.branches
    assert list(first.names) == ["stage5_3", "stage6_1"]
    for ours, theirs in ((first.blocks["stage6_1"].conv, second.blocks["stage6_1"].conv), (first.pool.conv, second.pool.conv)):
        assert not torch.equal(ours.weight, theirs.weight)
    places = [tensor.data_ptr() for tensor in net.state_dict(keep_vars=True).values()]
    assert len(places) == len(set(places))
    assert net(images()).logits.shape == (2, 2, 5)


def test_a_model_that_stays_whole_has_no_branches():
    with pytest.raises(BadData, match="leave no trunk"):
        make("convnext_atto", branches=Branches(2, 1))


def on(net: str) -> Recipe:
    return toy_recipe(net=net, epochs=1)


def test_a_seed_repeats_in_training_and_another_differs(run):
    _, first = run("ce", store="a", recipe=on("mobilenetv3_small_050"))
    _, same = run("ce", store="b", recipe=on("mobilenetv3_small_050"))
    _, other = run("ce", store="c", recipe=on("mobilenetv3_small_050"), seed=1)
    assert (first == same).all()
    assert (first != other).any()


def test_two_stages_carry_a_timm_body(run):
    """cRT's second stage builds the network anew, takes the body from the first and begins with a head of its own."""
    outcome, logits = run("crt", recipe=on("mobilenetv3_small_050"))
    assert logits.shape == (20, 4)
    assert outcome.leg.net.backbone == "mobilenetv3_small_050"


@pytest.mark.parametrize("name", ["convnext_atto", "ghostnet_100", "mobilenetv3_small_050", "vit_tiny_patch16_224", "resnet18"])
def test_only_the_head_is_called_head(name):
    """What cRT begins anew, and fine-tuning trains faster, is our head and nothing of the body."""
    from fnmatch import fnmatchcase

    size = 224 if name.startswith("vit") else 64
    made = build(resolve(Net(), name), (size, size, 3), 3)
    assert [n for n in made.state_dict() if any(fnmatchcase(f"net.{n}", head) for head in Net().heads)] == ["head.weight", "head.bias"]
