"""`tailwise networks` and `tailwise show` of networks: what can be named, and what is said of it."""

import json

import pytest
import timm

from tailwise.cli import run
from tailwise.cli.networks import EXAMPLES
from tailwise.models import NETWORKS, describe
from tailwise.models.timm_families import FAMILIES


def said_by(capsys, *words: str) -> str:
    assert run(list(words)) == 0
    return capsys.readouterr().out


def refused(capsys, *words: str) -> str:
    assert run(list(words)) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    return said


def test_networks_lists_ours_and_how_timm_s_are_named(capsys):
    said = said_by(capsys, "networks")
    assert all(name in said for name in NETWORKS)
    assert "resnet50@FILE" in said
    found = json.loads(said_by(capsys, "networks", "--json"))
    assert [network["name"] for network in found["networks"]] == list(NETWORKS)
    assert {n["name"] for n in found["networks"] if n["pretrained"]} == {"efficientnet-lite0"}
    assert found["timm"]["models"] == len(timm.list_models())


@pytest.mark.parametrize("name", [name for examples in EXAMPLES.values() for name in examples])
def test_examples_are_models_that_are_cut(name):
    assert len(describe(name)["blocks"]) > 5
    assert len(FAMILIES) == len(EXAMPLES)


def test_networks_like_lists_names_with_their_weights(capsys):
    said = said_by(capsys, "networks", "--like", "ResNet10t")
    assert said.split()[:2] == ["resnet10t", "resnet10t.c3_in1k"]
    found = json.loads(said_by(capsys, "networks", "--like", "mobilenetv2_1", "--json"))
    assert {n["name"]: n["weights"] for n in found["networks"]}["mobilenetv2_100"] == ["mobilenetv2_100.ra_in1k"]
    assert all("mobilenetv2_1" in n["name"] for n in found["networks"])


def test_networks_like_nothing_is_refused(capsys):
    assert "resnet" in refused(capsys, "networks", "--like", "resnnet50")


def test_show_describes_timm_s_without_their_weights(capsys, monkeypatch, tmp_path):
    """25,557,032 parameters are published for ResNet-50; its 1000 classes of 2049 are ten here."""
    monkeypatch.setenv("TAILWISE_WEIGHTS", str(tmp_path))
    for name in ("resnet50", "resnet50.a1_in1k", "resnet50@/no/where.safetensors"):
        found = json.loads(said_by(capsys, "show", name, "--json"))
        assert (found["kind"], found["name"], found["width"]) == ("network", name, 2048)
        assert found["parameters"] == 25_557_032 - 990 * 2049
        assert found["weights"][0] == "resnet50.a1_in1k"
        assert len(found["blocks"]) == 1 + 3 + 4 + 6 + 3
    assert "224 x 224, bicubic" in said_by(capsys, "show", "vit_tiny_patch16_224")
    assert "stage7_1" in said_by(capsys, "show", "efficientnet-lite0")


@pytest.mark.parametrize(
    ("name", "nearest"), [("resnet33", "resnet32"), ("resnte50", "resnet50"), ("ldma", "ldam"), ("resnet50.a1_in1", "resnet50.a1_in1k")]
)
def test_show_refuses_wrong_names_with_the_nearest(capsys, name, nearest):
    assert nearest in refused(capsys, "show", name)
