"""From a set as it was read to what is written: exact splits without shared bytes, tails, twins, cards."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tailwise as tw
from tailwise.data import from_arrays, read
from tailwise.data.building import Making, build_set, make_pool
from tailwise.data.manifest import Manifest
from tailwise.data.splits import split
from tailwise.data.tails import thin
from tailwise.errors import BadData, BadValue, OutputExists


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TAILWISE_STORE", str(tmp_path / "store"))
    return tmp_path / "store"


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def with_copies(labels: list[int], pictures: list[int]) -> Manifest:
    """A set whose image n shows picture `pictures[n]`."""
    images = np.zeros((len(labels), 3, 3), np.uint8)
    images[:, 0, 0] = pictures
    return from_arrays(labels, images=images)


def shared(manifest: Manifest) -> int:
    """Contents that are in more than one split."""
    return manifest.with_content().rows.filter(pl.col("split").n_unique().over("content") > 1).height


def test_600_images_a_class_are_cut_480_60_60(make_set):
    pool = make_pool(make_set([600, 600, 19]), Making(split="80/10/10"))
    assert [pool.counts(part) for part in ("train", "val", "test")] == [(480, 480, 15), (60, 60, 2), (60, 60, 2)]


def test_it_is_the_split_that_training_makes_where_no_bytes_are_twice(make_set):
    whole = make_set([30, 20])
    assert make_pool(whole, Making(split="60/20/20", seed=3)).identity == split(whole, "60/20/20", 3).identity


_shown = st.lists(st.integers(0, 12), min_size=2, max_size=30)


@pytest.mark.fuzz
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ants=_shown, bees=_shown, shares=st.sampled_from(["80/10/10", "34/33/33", "90/10", None]), seed=st.integers(0, 99), data=st.data())
def test_no_bytes_are_ever_in_two_splits_and_the_order_of_rows_is_no_matter(store, ants, bees, shares, seed, data):
    pictures = [*ants, *(100 + picture for picture in bees)]
    whole = with_copies([picture // 100 for picture in pictures], pictures)
    pool = make_pool(whole, Making(shares, seed=seed))
    assert shared(pool) == 0
    assert pool.rows.height == len(pictures)
    order = data.draw(st.permutations(range(len(pictures))))
    assert make_pool(whole.replace(rows=whole.rows[list(order)]), Making(shares, seed=seed)).identity == pool.identity


@pytest.mark.parametrize("seed", range(5))
def test_copies_of_one_image_go_together_into_the_first_of_their_splits(seed):
    whole = with_copies([0] * 30 + [1] * 20, [*range(10), *range(10), *range(10), *range(100, 120)])
    cut, pool = split(whole, "60/20/20", seed), make_pool(whole, Making(split="60/20/20", seed=seed))
    assert shared(cut) > 0
    assert shared(pool) == 0
    order = ["train", "val", "test"]
    before = dict(cut.rows.select("id", "split").iter_rows())
    of_content: dict[str, list[str]] = {}
    for id_, content in pool.rows.select("id", "content").iter_rows():
        of_content.setdefault(content, []).append(id_)
    for content, part in pool.rows.select("content", "split").iter_rows():
        assert part == min((before[other] for other in of_content[content]), key=order.index)
    moved = sum(before[id_] != part for id_, part in pool.rows.select("id", "split").iter_rows())
    assert f"moved {moved:,} images into the split of an image of their class with the same bytes" in pool.provenance[-1]
    assert pool.rows.height == 50


def test_one_image_under_two_labels_in_two_splits_is_refused_by_name():
    whole = with_copies([0] * 10 + [1] * 10, [*range(10), *range(9, 19)])
    outcomes = set()
    for seed in range(8):
        cut = split(whole, "50/0/50", seed)
        ids = cut.rows["id"].sort().to_list()
        parts = {cut.rows.filter(pl.col("id") == ids[n])["split"].item() for n in (9, 10)}
        if len(parts) == 1:
            assert shared(make_pool(whole, Making(split="50/0/50", seed=seed))) == 0
        else:
            with pytest.raises(
                BadData, match=rf"1 images come into two splits.*'{ids[9]}'.*'{ids[10]}'.*`tailwise check --fix`"
            ) as refused:
                make_pool(whole, Making(split="50/0/50", seed=seed))
            assert "\n" not in str(refused.value)
        outcomes.add(len(parts))
    assert outcomes == {1, 2}


def test_splits_of_the_source_stay_as_they_are_and_shared_bytes_are_said():
    whole = with_copies([0, 1] * 4, [0, 1, 2, 3, 4, 5, 0, 6])
    own = whole.replace(rows=whole.rows.sort("id").with_columns(split=pl.Series(["train"] * 4 + ["test"] * 4)))
    pool = make_pool(own, Making())
    assert pool.rows["split"].to_list() == own.rows["split"].to_list()
    assert f"1 images are in two splits of the source, and stay there: {own.rows['id'][6]}" in pool.provenance


def test_the_twin_has_the_same_val_and_test_and_as_many_images_evenly(make_set, tmp_path):
    whole = make_set([50, 50, 50])
    made, twin = build_set(whole, tmp_path / "lt", Making("80/10/10", "exponential:10"), twin=tmp_path / "twin")
    assert made.manifest.counts() == (40, 12, 4)
    assert twin.manifest.counts() == (19, 19, 18)
    for part in ("val", "test"):
        assert made.manifest.select(part)["content"].to_list() == twin.manifest.select(part)["content"].to_list()
    for label in range(3):
        one, other = (set(built.manifest.select("train").filter(pl.col("label") == label)["id"]) for built in (made, twin))
        assert one <= other or other <= one  # both keep a beginning of one order
    cards = [json.loads((built.folder / "card.json").read_text()) for built in (made, twin)]
    assert [card["rule"]["tail"] for card in cards] == ["exponential:10", "balanced:56"]
    assert cards[0]["rule"]["split"].startswith("80/10/10: cumulative shares")


def test_a_twin_that_cannot_be_is_refused_before_anything_is_written(make_set, tmp_path):
    with pytest.raises(BadData, match=r"no balanced twin of 105 training images .* class 'class 1' \(label 1\), 5 are present") as refused:
        build_set(make_set([100, 5]), tmp_path / "lt", Making("100/0/0"), twin=tmp_path / "twin")
    assert "\n" not in str(refused.value)
    with pytest.raises(BadValue, match="lie one in the other"):
        build_set(make_set([9, 9]), tmp_path / "lt", twin=tmp_path / "lt" / "twin")
    with pytest.raises(BadValue, match="lie one in the other"):
        tw.build(make_set([9, 9]).save(tmp_path / "saved"), tmp_path / "saved" / "lt")
    (tmp_path / "mine").mkdir()
    with pytest.raises(OutputExists, match="mine exists already"):
        build_set(make_set([9, 9]), tmp_path / "lt", twin=tmp_path / "mine")
    assert not (tmp_path / "lt").exists()


def test_a_random_order_of_classes_has_the_same_counts_under_other_labels(make_set):
    whole = make_set([64] * 7)
    index, drawn = thin(whole, "exponential:64"), thin(whole, "exponential:64", class_order="random")
    assert index.counts() == (64, 32, 16, 8, 4, 2, 1)
    assert sorted(drawn.counts(), reverse=True) == list(index.counts())
    assert drawn.counts() != index.counts()
    assert drawn.counts() != thin(whole, "exponential:64", 1, "random").counts()
    for seed in range(5):
        tail = thin(whole, "exponential:64", seed, "random")
        assert f"classes in random order from 'class {tail.counts().index(64)}' on" in tail.provenance[-1]
    short = thin(whole, "exponential:8", class_order="random")
    assert set(drawn.rows["id"]) <= set(short.rows["id"])  # nested, whatever the order
    for profile in ("uniform:1:9", "balanced:70"):
        with pytest.raises(BadValue, match="no order of classes to be random"):
            thin(whole, profile, class_order="random")
    with pytest.raises(BadValue, match="class order 'rank' is none"):
        thin(whole, "step:2", class_order="rank")


def test_balanced_is_even_and_the_first_classes_have_the_rest(make_set):
    assert thin(make_set([9, 9, 9]), "balanced:17").counts() == (6, 6, 5)
    with pytest.raises(BadData, match=r"wants 10 training images of class 'class 0' \(label 0\), 9 are present"):
        thin(make_set([9, 20]), "balanced:20")
    for wrong in ("balanced:2", "balanced:x", "balanced:", "balanced:1e9"):
        with pytest.raises(BadValue, match="N must be a whole number of images, one or more for each of 3 classes"):
            thin(make_set([9, 9, 9]), wrong)


@pytest.mark.parametrize("layout", ["folder", "mini-imagenet-lt", "parquet", "hub", "coco", "list"])
def test_one_seed_gives_one_set_of_bytes_whatever_the_order_of_the_disk(tmp_path, write_image, layout):
    names = [f"{kind}/{number}.png" for kind in ("ant", "bee", "cow") for number in range(8)]
    for turn in range(2):
        random.Random(turn).shuffle(names)
        for name in names:
            write_image(tmp_path / str(turn) / "photos" / name, value=sum(map(ord, name)) * 7 % 251, size=(5, 4 + int(name[4])))
    making = Making("50/25/25", "exponential:2")
    for turn in range(2):
        build_set(
            read(tmp_path / str(turn) / "photos"), tmp_path / str(turn) / "out", making, layout, link=turn == 0 and layout != "parquet"
        )
    assert everything(tmp_path / "0/out") == everything(tmp_path / "1/out")
    build_set(read(tmp_path / "0/photos"), tmp_path / "other", Making("50/25/25", "exponential:2", seed=1), layout)
    assert everything(tmp_path / "other") != everything(tmp_path / "0/out")
    assert str(tmp_path).encode() not in b"".join(everything(tmp_path / "0/out").values())


def test_the_card_says_source_rule_seed_counts_hashes_and_licence(pets, tmp_path):
    counts = tmp_path / "somewhere" / "counts.json"
    counts.parent.mkdir()
    counts.write_text("[1, 2]")
    build_set(read(pets), tmp_path / "out", Making("100/0", f"counts:{counts}", 7, licence="CC BY 4.0"))
    card = json.loads((tmp_path / "out/card.json").read_text())
    assert card["source"] == {"name": "pets", "format": "folder"}
    assert card["rule"]["tail"] == "counts:counts.json"
    assert (card["seed"], card["licence"], card["layout"]) == (7, "CC BY 4.0", "folder")
    assert card["counts"] == {"train": [1, 2]}
    page = (tmp_path / "out/README.md").read_text()
    assert "- licence: CC BY 4.0" in page
    assert str(tmp_path) not in page + json.dumps(card)
    with pytest.raises(OutputExists, match="states another licence"):
        build_set(read(pets), tmp_path / "out", Making("100/0", f"counts:{counts}", 7))
    build_set(read(pets), tmp_path / "plain", Making("100/0"))
    assert json.loads((tmp_path / "plain/card.json").read_text())["licence"].startswith("none stated")


def test_classes_without_training_images_are_refused_kept_or_dropped(make_set, tmp_path):
    whole = make_set([10, 10, 1])
    with pytest.raises(BadData, match="no training images of class 'class 2'"):
        build_set(whole, tmp_path / "out", Making("20/80"))
    assert build_set(whole, tmp_path / "keep", Making("20/80", empty_classes="keep"))[0].manifest.counts() == (2, 2, 0)
    dropped = build_set(whole, tmp_path / "drop", Making("20/80", "step:2", empty_classes="drop"), twin=tmp_path / "twin")
    assert [built.manifest.counts() for built in dropped] == [(2, 1), (2, 1)]


def test_a_set_that_contradicts_itself_is_not_built(pets, tmp_path):
    from tailwise.data.origin import Finding, Origin

    wrong = read(pets).replace(origin=Origin(findings=(Finding("counts", "error", "the counts say 3, the list has 4"),)))
    for found in (wrong, wrong.replace(root=None)):
        with pytest.raises(BadData, match="the counts say 3"):
            build_set(found, tmp_path / "out", layout="list")
    (pets / "dog" / "a.png").write_bytes(b"no image")
    with pytest.raises(BadData, match=r"a\.png"):
        build_set(read(pets), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_sixty_thousand_rows_thinned_to_the_published_counts(real_data, tmp_path):
    """mini-ImageNet's lists, split within the classes, thinned to mini-ImageNet-LT's counts and written as its lists."""
    whole = read(real_data / "metadata" / "mini-imagenet", format="mini-imagenet")
    assert (whole.rows.height, len(whole.classes), whole.has_files) == (60_000, 100, False)
    table = pl.read_csv(real_data / "metadata" / "mini-imagenet" / "mini_imagenet_lt_label_table.csv")
    published = json.loads((real_data / "mini-imagenet-lt" / "cls_label.json").read_text())
    of_wnid = {wnid: published[str(label)] for label, wnid in table.select("label", "wnid").iter_rows()}
    (tmp_path / "counts.json").write_text(json.dumps({name: of_wnid[name] for name in whole.classes}))
    built = build_set(whole, tmp_path / "out", Making("80/10/10", f"counts:{tmp_path / 'counts.json'}"), "mini-imagenet-lt")[0]
    assert [sum(built.manifest.counts(part)) for part in ("train", "val", "test")] == [23_192, 6_000, 6_000]
    assert set(built.manifest.counts("val")) == set(built.manifest.counts("test")) == {60}
    lines = {name: (tmp_path / "out" / f"{name}.csv").read_bytes().split(b"\r\n") for name in ("train", "val", "test")}
    assert [len(found) - 2 for found in lines.values()] == [23_192, 6_000, 6_000]
    assert json.loads((tmp_path / "out/cls_label.json").read_text()) == {str(c): n for c, n in enumerate(built.manifest.counts())}
    assert [len(group) for group in _groups(built.manifest)] == [79, 17, 4]


def _groups(manifest: Manifest) -> list[tuple[int, ...]]:
    from tailwise.groups import make_groups

    return list(make_groups(manifest.counts()).members.values())
