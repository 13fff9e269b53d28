"""Pre-trained weights: equal to what timm loads, found by name or file, described by content, refused in one line."""

import shutil
from pathlib import Path

import huggingface_hub.constants
import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from sklearn.datasets import load_sample_image
from torch import Tensor, nn

from tailwise.errors import BadData, BadValue, TailwiseError, UnknownName
from tailwise.method import Net
from tailwise.models import (
    Branches,
    LinearHead,
    Preprocessing,
    Weights,
    build,
    empty_body,
    frozen_body,
    is_pretrained,
    preprocessing,
    pretrained_name,
    resolve,
)
from tailwise.models.efficientnet_lite import renamed
from tailwise.models.networks import NETWORKS
from tailwise.models.weights import read_tensors, weights_of_file
from tailwise.specification import spec
from tailwise.training.joint import initialise

SMALL = "mobilenetv3_small_050"


@pytest.fixture(autouse=True)
def _seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No network, an empty cache of the hub, a folder of weights of our own."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("TAILWISE_WEIGHTS", str(tmp_path / "weights"))
    (tmp_path / "weights").mkdir()
    return tmp_path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("trained")


def trained(files: Path, name: str, **settings: object) -> Path:
    """Write random weights of a whole timm model, classifier included, as its hub would have them."""
    file = files / f"{name}.safetensors"
    if not file.exists():
        torch.manual_seed(5)
        save_file(unsettled(timm.create_model(name, **settings)).state_dict(), file)
    return file


def unsettled(net: nn.Module) -> nn.Module:
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d | nn.LayerNorm):
            nn.init.uniform_(module.weight, 0.5, 1.5)
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return net


def images(size: int = 64, channels: int = 3, rows: int = 2) -> Tensor:
    return torch.randn(rows, channels, size, size, generator=torch.Generator().manual_seed(1))


def as_timm_loads(name: str, file: Path, x: Tensor) -> Tensor:
    """Let timm load the file by its own machinery, and give its features before the classifier."""
    fixed = timm.get_pretrained_cfg(name).fixed_input_size
    settings = {"in_chans": x.shape[1], "num_classes": 0, **({"img_size": x.shape[-1]} if fixed else {})}
    model = timm.create_model(name, pretrained=True, pretrained_cfg_overlay={"file": str(file)}, **settings).eval()
    with torch.no_grad():
        return model.forward_head(model.forward_features(x), pre_logits=True)


def one_line(error: TailwiseError) -> str:
    said = str(error)
    assert "\n" not in said
    return said


# --- values from files --------------------------------------------------------------------------------------------------


@pytest.mark.reference
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("name", [SMALL, "mobilenetv2_050", "resnet10t", "vit_tiny_patch16_224", "convnext_atto"])
def test_weights_are_adapted_as_timm_adapts_them(files, name, channels):
    """At 64 pixels: a ViT's position embedding, trained at 224, is resized; a first convolution takes 1, 3 or 4 channels."""
    file, x = trained(files, name), images(channels=channels)
    torch.testing.assert_close(frozen_body(f"{name}@{file}", (64, 64, channels))(x), as_timm_loads(name, file, x))


@pytest.mark.limit
@pytest.mark.parametrize("name", [SMALL, "vit_tiny_patch16_224"])
def test_one_channel_equals_three_equal_ones(files, name):
    grey, name = images(channels=1), f"{name}@{trained(files, name)}"
    colour = frozen_body(name, (64, 64, 3))(grey.expand(-1, 3, -1, -1))
    torch.testing.assert_close(frozen_body(name, (64, 64, 1))(grey), colour, rtol=1e-4, atol=1e-4)


def wrapped(kind: str, tensors: dict[str, Tensor]) -> object:
    prefixed = {f"module.{name}": tensor for name, tensor in tensors.items()}
    return {
        "alone": tensors,
        "state_dict": {"epoch": 3, "state_dict": prefixed},
        "model": {"model": tensors, "optimizer": {"state": {}}},
        "model_state": {"model_state": prefixed},
        "twice": {"model": {"state_dict": tensors}},
        "half": {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()},
    }[kind]


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin"])
@pytest.mark.parametrize("kind", ["alone", "state_dict", "model", "model_state", "twice"])
def test_torch_s_files_are_read_however_they_are_wrapped(files, tmp_path, kind, suffix):
    file = trained(files, SMALL)
    tensors = read_tensors(weights_of_file(file, ""))
    torch.save(wrapped(kind, tensors), tmp_path / f"w{suffix}")
    found = read_tensors(weights_of_file(tmp_path / f"w{suffix}", ""))
    assert list(found) == list(tensors)
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)


def test_halves_become_floats(files, tmp_path):
    torch.save(wrapped("half", read_tensors(weights_of_file(trained(files, SMALL), ""))), tmp_path / "half.pth")
    body = frozen_body(f"{SMALL}@{tmp_path / 'half.pth'}", (32, 32, 3))
    assert {p.dtype for p in body.parameters()} == {torch.float32}


def test_training_keeps_pre_trained_values_and_draws_a_head(files):
    net = resolve(Net(), f"{SMALL}@{trained(files, SMALL)}")
    made = build(net, (32, 32, 3), 4)
    initialise(made, seed=1, step=0)
    file = read_tensors(net.weights)
    assert torch.equal(made.blocks["stem"].conv.weight, file["conv_stem.weight"])
    assert torch.equal(made.blocks["stage1_1"].bn1.running_var, file["blocks.0.0.bn1.running_var"])
    assert torch.equal(made.pool.conv.bias, file["conv_head.bias"])
    assert made.head.weight.std() > 0


def test_twins_of_a_pre_trained_body_begin_from_its_weights(files):
    made = build(resolve(Net(branches=Branches(2, 1)), f"{SMALL}@{trained(files, SMALL)}"), (32, 32, 3), 4)
    first, second = (branch.blocks["stage6_1"].conv.weight for branch in made.branches)
    assert torch.equal(first, second)
    assert first.data_ptr() != second.data_ptr()


# --- descriptions -------------------------------------------------------------------------------------------------------


def test_a_description_goes_by_content_not_by_place(files, tmp_path):
    file = trained(files, SMALL)
    moved, other = tmp_path / "moved.safetensors", tmp_path / "other.safetensors"
    shutil.copy(file, moved)
    save_file({**read_tensors(weights_of_file(file, "")), "conv_stem.weight": torch.zeros(16, 3, 3, 3)}, other)
    here, there, changed = (resolve(Net(), f"{SMALL}@{place}") for place in (file, moved, other))
    assert here == there
    assert spec(here) == spec(there)
    assert here.weights.path != there.weights.path
    assert here != changed
    assert spec(here) != spec(changed)
    assert spec(here) != spec(resolve(Net(), SMALL))
    assert str(tmp_path) not in str(spec(there))


def test_resolving_splits_the_name_and_is_done_once(files):
    named = f"{SMALL}@{trained(files, SMALL)}"
    net = resolve(Net(), named)
    assert net.backbone == SMALL
    assert len(net.weights.sha256) == 64
    assert resolve(net, "resnet8") == resolve(net, named) == net
    bare = resolve(Net(backbone=SMALL), named)
    assert bare.weights is None
    assert resolve(bare, named) == bare


def test_the_hash_is_the_file_s_own(tmp_path):
    """SHA-256 of the three bytes `abc`, from FIPS 180-2."""
    (tmp_path / "abc.pth").write_bytes(b"abc")
    assert weights_of_file(tmp_path / "abc.pth", "").sha256 == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_file_that_changes_after_planning_is_refused(files, tmp_path):
    shutil.copy(trained(files, SMALL), tmp_path / "w.safetensors")
    net = resolve(Net(), f"{SMALL}@{tmp_path / 'w.safetensors'}")
    (tmp_path / "w.safetensors").write_bytes(b"something else")
    with pytest.raises(BadData, match="have changed") as refused:
        build(net, (32, 32, 3), 4)
    one_line(refused.value)


# --- weights by name ----------------------------------------------------------------------------------------------------


TAGGED = "mobilenetv3_small_050.lamb_in1k"


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_weights_by_name_are_found_in_their_folder(files, places, suffix):
    file = trained(files, SMALL)
    place = places / "weights" / f"{TAGGED}{suffix}"
    shutil.copy(file, place) if suffix == ".safetensors" else torch.save(read_tensors(weights_of_file(file, "")), place)
    net = resolve(Net(), TAGGED)
    assert net.backbone == SMALL
    assert (net.weights.name, net.weights.path) == (TAGGED, place)
    torch.testing.assert_close(frozen_body(TAGGED, (32, 32, 3))(images(32)), as_timm_loads(SMALL, file, images(32)))


def test_weights_by_name_are_found_in_the_hub_s_cache(files, places):
    """The layout that huggingface_hub documents: a reference to a commit, and a folder of that commit."""
    repository = places / "hub" / f"models--timm--{TAGGED}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    snapshot = repository / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    shutil.copy(trained(files, SMALL), snapshot / "model.safetensors")
    net = resolve(Net(), TAGGED)
    assert net.weights.path == snapshot / "model.safetensors"
    assert net == resolve(Net(), f"{SMALL}@{trained(files, SMALL)}")


def test_missing_weights_say_what_to_fetch_and_where_to_put_it(places):
    with pytest.raises(BadData) as refused:
        resolve(Net(), TAGGED)
    said = one_line(refused.value)
    assert f"model.safetensors of https://huggingface.co/timm/{TAGGED}" in said
    assert str(places / "weights" / f"{TAGGED}.safetensors") in said
    assert f"--net {TAGGED}@FILE" in said


def test_weights_without_a_hub_are_named_by_their_address(places):
    with pytest.raises(BadData, match=r"https://github.com/\S+\.pth") as refused:
        resolve(Net(), "legacy_xception.tf_in1k")
    assert str(places / "weights" / "legacy_xception.tf_in1k.pth") in one_line(refused.value)


# --- refusals -----------------------------------------------------------------------------------------------------------


class Planted:
    """An object that unpickling would run code for."""

    ran = False

    def __reduce__(self):
        return (setattr, (Planted, "ran", True))


def test_bad_files_are_refused_in_one_line(tmp_path):
    cases = {
        "absent.safetensors": (None, "cannot be read"),
        "junk.safetensors": (b"no weights here", "no safetensors file"),
        "junk.pth": (b"no weights here", "unpickling runs code"),
        "empty.pth": (b"", "cannot be read by torch"),
        "folder.pth": ("folder", "cannot be read"),
    }
    for name, (content, said) in cases.items():
        place = tmp_path / name
        place.mkdir() if content == "folder" else content is not None and place.write_bytes(content)
        with pytest.raises(BadData, match=said) as refused:
            frozen_body(f"{SMALL}@{place}", (32, 32, 3))
        assert str(place) in one_line(refused.value)


def test_objects_are_not_unpickled(tmp_path):
    torch.save({"state_dict": Planted()}, tmp_path / "planted.pth")
    with pytest.raises(BadData, match="unpickling runs code") as refused:
        frozen_body(f"{SMALL}@{tmp_path / 'planted.pth'}", (32, 32, 3))
    one_line(refused.value)
    assert not Planted.ran


@pytest.mark.parametrize("content", [{}, {"epoch": 3}, [1, 2], {"state_dict": {"a": 1}}, torch.zeros(3)])
def test_files_without_weights_are_refused(tmp_path, content):
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(BadData, match="holds no weights") as refused:
        frozen_body(f"{SMALL}@{tmp_path / 'w.pth'}", (32, 32, 3))
    one_line(refused.value)


def test_weights_of_another_architecture_say_how_many_tensors_fit(files, tmp_path):
    """By hand: two of the small network's tensors are taken away, one has another shape, one is too many."""
    tensors = read_tensors(weights_of_file(trained(files, SMALL), ""))
    whole = len(timm.create_model(SMALL, num_classes=0).state_dict())
    for change, fit, said in (
        ({"conv_stem.weight": None, "bn1.weight": None}, whole - 2, "conv_stem.weight is missing there and (16, 3, 3, 3) here"),
        ({"bn1.bias": torch.zeros(7)}, whole - 1, r"bn1.bias is (7,) there and (16,) here"),
        ({"blocks.9.weight": torch.zeros(7)}, whole, r"blocks.9.weight is (7,) there and unknown here"),
    ):
        changed = {name: tensor for name, tensor in (tensors | change).items() if tensor is not None}
        save_file(changed, tmp_path / "w.safetensors")
        with pytest.raises(BadData, match="do not fit") as refused:
            frozen_body(f"{SMALL}@{tmp_path / 'w.safetensors'}", (32, 32, 3))
        assert f"{fit} of its {whole} tensors fit" in one_line(refused.value)
        assert said in str(refused.value)


@pytest.mark.parametrize(("name", "into"), [("resnet10t", SMALL), (SMALL, "vit_tiny_patch16_224"), ("resnet10t", "convnext_atto")])
def test_a_file_of_another_network_is_refused(files, name, into):
    with pytest.raises(BadData, match=f"do not fit {into}") as refused:
        frozen_body(f"{into}@{trained(files, name)}", (32, 32, 3))
    one_line(refused.value)


def test_old_files_may_be_without_counters(files, tmp_path):
    tensors = read_tensors(weights_of_file(trained(files, SMALL), ""))
    save_file({n: t for n, t in tensors.items() if not n.endswith("num_batches_tracked")}, tmp_path / "old.safetensors")
    old, new = (frozen_body(f"{SMALL}@{file}", (32, 32, 3)) for file in (tmp_path / "old.safetensors", trained(files, SMALL)))
    assert torch.equal(old(images(32)), new(images(32)))


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("resnte50", "resnet50"),
        ("resnet50.a1_in1", "resnet50.a1_in1k"),
        ("mobilenetv2_10", "mobilenetv2_100"),
        ("efficientnet-lite", "-lite0"),
    ],
)
def test_unknown_names_and_tags_get_the_nearest(name, nearest):
    for ask in (pretrained_name, is_pretrained, preprocessing, lambda name: resolve(Net(), name)):
        with pytest.raises(UnknownName, match=nearest) as refused:
            ask(name)
        one_line(refused.value)


def test_an_unknown_tag_shows_all_tags():
    with pytest.raises(UnknownName, match="has lamb_in1k") as refused:
        resolve(Net(), f"{SMALL}.nosuch")
    one_line(refused.value)


@pytest.mark.parametrize("name", ["resnet32@w.pth", "resnet32.a1_in1k", "efficientnet-lite0@w.pth", "resnet18@"])
def test_names_that_cannot_be_are_refused(name):
    with pytest.raises(BadValue) as refused:
        resolve(Net(), name)
    assert "--net" in one_line(refused.value)


# --- what is known of names ---------------------------------------------------------------------------------------------


def test_pre_trained_names():
    assert pretrained_name("mobilenetv2_100") == "mobilenetv2_100.ra_in1k"
    assert pretrained_name("vit_tiny_patch16_224").startswith("vit_tiny_patch16_224.augreg_in21k_ft")
    for name in ("efficientnet-lite0", "resnet50.tv_in1k", "resnet50@/no/where.pth"):
        assert pretrained_name(name) == name
        assert is_pretrained(name)
    for name in ("resnet32", "features", "resnet50"):
        assert not is_pretrained(name)
    for name in ("resnet32", "features", "maxvit_tiny_rw_256"):
        with pytest.raises(BadValue, match="no pre-trained weights") as refused:
            pretrained_name(name)
        one_line(refused.value)


def test_pixels_are_those_of_the_weights():
    """From the networks' own cards: ImageNet's mean and deviation, 0.5 for Google's ViT and Lite0, 160 pixels for resnet50.a3."""
    imagenet = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    half = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert preprocessing("mobilenetv2_100") == Preprocessing(224, *imagenet, "bicubic")
    assert preprocessing("resnet50.a3_in1k") == Preprocessing(160, *imagenet, "bicubic")
    assert preprocessing("resnet50.tv_in1k") == Preprocessing(224, *imagenet, "bilinear")
    assert preprocessing("resnet50.a3_in1k@own.pth").size == 160
    assert preprocessing("vit_tiny_patch16_384") == Preprocessing(384, *half, "bicubic")
    assert preprocessing("efficientnet-lite0") == Preprocessing(224, *half, "bicubic")
    assert preprocessing("resnet32") is None
    assert preprocessing("features") is None


# --- EfficientNet-Lite0, with real weights ------------------------------------------------------------------------------


def lite0_of_timm() -> nn.Module:
    """Load the package's file into timm's whole model, every tensor, none left over."""
    model = timm.create_model("tf_efficientnet_lite0").eval()
    tensors = read_tensors(resolve(Net(), "efficientnet-lite0").weights)
    assert set(renamed(tensors, [1, 2, 2, 3, 3, 4, 1])) == set(model.state_dict())
    model.load_state_dict(renamed(tensors, [1, 2, 2, 3, 3, 4, 1]), strict=True)
    return model


@pytest.mark.reference
def test_lite0_gives_the_pooled_maps_of_its_last_block():
    model, x = lite0_of_timm(), images()
    body = frozen_body("efficientnet-lite0", (64, 64, 3))
    with torch.no_grad():
        expected = model.blocks(model.bn1(model.conv_stem(x))).mean((2, 3))
    assert body.width == expected.shape[1] == 320
    torch.testing.assert_close(body(x), expected)


@pytest.mark.real
def test_lite0_knows_a_flower():
    """scikit-learn's photograph of a dahlia: ImageNet's nearest class is daisy, 985. Pixels as `preprocessing` says."""
    said = preprocessing("efficientnet-lite0")
    photo = Image.fromarray(load_sample_image("flower.jpg")).crop((100, 0, 527, 427))
    pixels = np.asarray(photo.resize((said.size, said.size), Image.Resampling.BICUBIC), np.float32) / 255
    x = torch.from_numpy((pixels - np.float32(said.mean)) / np.float32(said.std)).permute(2, 0, 1)[None]
    model = lite0_of_timm()
    with torch.no_grad():
        top = model.bn2(model.conv_head(frozen_body("efficientnet-lite0", (224, 224, 3)).body(x)))
        assert int(model.classifier(model.global_pool(top)).argmax()) == 985


def test_lite0_always_begins_from_its_weights():
    net = resolve(Net(), "efficientnet-lite0")
    assert net.backbone == "efficientnet-lite0"
    assert net.weights.path == NETWORKS["efficientnet-lite0"].weights()
    assert resolve(net, "resnet8") == net
    made = build(net, (32, 32, 1), 3)
    assert made.names[-1] == "stage7_1"
    assert made(images(32, 1)).features.shape == (2, 320)


# --- frozen bodies ------------------------------------------------------------------------------------------------------


def test_a_frozen_body_never_learns(files):
    body = frozen_body(f"{SMALL}@{trained(files, SMALL)}", (32, 32, 3))
    x = images(32)
    before = body(x)
    body.train()
    assert not any(module.training for module in body.modules())
    assert not any(p.requires_grad for p in body.parameters())
    assert torch.equal(body(x), before)
    assert not before.requires_grad
    assert before.shape == (2, body.width) == (2, 1024)
    assert body.weights == Weights(weights_of_file(trained(files, SMALL), "").sha256)


def test_a_stored_frozen_body_needs_no_file(files):
    named = f"{SMALL}@{trained(files, SMALL)}"
    body, again = frozen_body(named, (32, 32, 3)), empty_body(f"{SMALL}@/gone.pth", (32, 32, 3))
    again.load_state_dict(body.state_dict(), strict=True)
    assert torch.equal(again(images(32)), body(images(32)))


def test_a_frozen_body_needs_weights():
    with pytest.raises(BadValue, match=r"resnet8.*no pre-trained weights"):
        frozen_body("resnet8", (8, 8, 3))


def test_a_resolved_network_without_weights_can_be_built_to_be_filled(files):
    """As a run is rebuilt from its folder: the architecture's name alone, then its own tensors."""
    trained_net = build(resolve(Net(), f"{SMALL}@{trained(files, SMALL)}"), (32, 32, 3), 4).eval()
    again = build(Net(SMALL, LinearHead()), (32, 32, 3), 4).eval()
    again.load_state_dict(trained_net.state_dict())
    assert torch.equal(again(images(32)).logits, trained_net(images(32)).logits)
