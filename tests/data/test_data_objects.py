from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from torch.utils.data import ConcatDataset, Subset, TensorDataset, random_split
from torchvision.datasets import MNIST, ImageFolder
from torchvision.transforms import ToTensor

from tailwise.data import read
from tailwise.data.images import read_pixels
from tailwise.errors import BadData, BadValue


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TAILWISE_STORE", str(tmp_path / "store"))
    return tmp_path / "store"


class Pairs:
    """The smallest map-style data set."""

    def __init__(self, pairs: Sequence[Any]) -> None:
        self.pairs = pairs

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Any:
        return self.pairs[index]


class Arrays(Pairs):
    """A data set that keeps its pixels as CIFAR10 and SVHN do; asking for an item is a mistake."""

    def __init__(self, data: Any, **fields: Any) -> None:
        self.data = data
        self.__dict__.update(fields)

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> Any:
        raise AssertionError("no item need be asked for")


def pixels_of(manifest, id_: str) -> np.ndarray:
    (row,) = manifest.rows.filter(manifest.rows["id"] == id_).iter_rows(named=True)
    if row["path"] is not None:
        return read_pixels(manifest.root / row["path"])
    return manifest.arrays[row["container"]][row["row"]]


def test_an_image_folder_is_read_by_its_paths_without_opening_one(pets):
    (pets / "cat" / "a.png").write_text("no image at all")
    found = read(ImageFolder(str(pets), transform=ToTensor()))
    assert found.classes == ("cat", "dog")
    assert found.rows["path"].to_list() == ["cat/a.png", "cat/b.png", "dog/a.png", "dog/deep/er/c.JPG"]
    assert (found.root, found.counts()) == (pets, (2, 2))
    assert any("transforms are not applied" in line for line in found.provenance)


def test_an_image_folder_and_its_folder_are_the_same_set(pets):
    assert read(ImageFolder(str(pets))).identity == read(pets).identity


def test_splits_of_image_folders_are_the_folder_of_splits(tmp_path, write_image):
    for value, name in enumerate(("train/cat/a.png", "train/dog/a.png", "val/cat/a.png", "val/dog/b.png")):
        write_image(tmp_path / "set" / name, value * 50)
    both = {split: ImageFolder(str(tmp_path / "set" / split)) for split in ("train", "val")}
    assert read(both).identity == read(tmp_path / "set").identity


def test_subsets_keep_their_images_alone_also_inside_one_another(pets):
    whole = ImageFolder(str(pets))
    found = read(Subset(Subset(whole, [3, 1, 0]), [0, 2]))
    assert found.rows["path"].to_list() == ["dog/deep/er/c.JPG", "cat/a.png"]
    assert found.classes == ("cat", "dog")
    train, test = random_split(whole, [3, 1], torch.Generator().manual_seed(0))
    found = read({"train": train, "test": test})
    assert sorted(found.rows["path"]) == sorted(read(pets).rows["path"])
    assert set(found.select("test")["path"]) == {str(Path(whole.samples[i][0]).relative_to(pets)) for i in test.indices}


def test_mnist_of_torchvision_is_read_by_its_array(tmp_path):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    images = np.arange(3 * 28 * 28, dtype=np.int64).astype(np.uint8).reshape(3, 28, 28)
    for stem in ("train", "t10k"):
        (raw / f"{stem}-images-idx3-ubyte").write_bytes(struct.pack(">iiii", 2051, 3, 28, 28) + images.tobytes())
        (raw / f"{stem}-labels-idx1-ubyte").write_bytes(struct.pack(">ii", 2049, 3) + bytes([7, 0, 9]))
    found = read({"train": MNIST(str(tmp_path)), "test": MNIST(str(tmp_path), train=False)})
    assert found.classes[7] == "7 - seven"
    assert found.counts() == (1, 0, 0, 0, 0, 0, 0, 1, 0, 1)
    np.testing.assert_array_equal(pixels_of(found, "test/00002"), images[2])


def test_planar_arrays_are_turned_and_subsets_keep_numbers(tmp_path):
    data = np.random.default_rng(0).integers(0, 256, (5, 3, 8, 6), dtype=np.uint8)
    found = read(Subset(Arrays(data, labels=np.array([2, 0, 1, 1, 0])), [4, 2]))
    assert found.classes == ("0", "1")
    np.testing.assert_array_equal(pixels_of(found, "train/00004"), data[4].transpose(1, 2, 0))
    assert dict(found.rows.select("id", "label").iter_rows()) == {"train/00004": 0, "train/00002": 1}
    assert read(found.save(tmp_path / "saved")).identity == found.identity


def test_class_names_of_cifar_are_kept():
    data = np.zeros((3, 4, 4, 3), np.uint8)
    found = read(Arrays(data, targets=[2, 0, 0], classes=["plane", "car/truck", "鳥"]))
    assert (found.classes, found.counts()) == (("plane", "car/truck", "鳥"), (2, 0, 1))
    with pytest.raises(BadData, match=r"data set Arrays: label 2 in row 0 has no name, expected 0\.\.1"):
        read(Arrays(data, targets=[2, 0, 0], classes=["plane", "car"]))


@pytest.mark.parametrize(
    "image",
    [
        np.full((4, 6), 7, np.uint8),
        np.full((4, 6, 1), 7, np.uint8),
        torch.full((1, 4, 6), 7, dtype=torch.uint8),
        Pillow.new("L", (6, 4), 7),
    ],
)
def test_items_of_one_size_become_an_array(image):
    found = read(Pairs([(image, 1), (image, torch.tensor(0)), (image, np.int64(1))]))
    assert found.arrays["images"].shape == (3, 4, 6, 1)
    assert (found.arrays["images"] == 7).all()
    assert found.rows["label"].to_list() == [1, 0, 1]


def test_items_of_several_sizes_become_lossless_files_in_the_store(store):
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (5 + n, 7, 3), dtype=np.uint8) for n in range(3)] + [rng.integers(0, 256, (5, 7), dtype=np.uint8)]
    dataset = ConcatDataset([Pairs([(image, n % 2)]) for n, image in enumerate(images)])
    found = read({"train": Subset(dataset, [0, 2, 3]), "validation": Subset(dataset, [1])})
    assert set(found.rows["container"]) == {None, "val-images"}  # one image alone has one size
    for split, index in (("train", 0), ("val", 1), ("train", 2), ("train", 3)):
        seen = pixels_of(found, f"{split}/{index:05d}")
        np.testing.assert_array_equal(seen, np.broadcast_to(images[index].reshape(*images[index].shape[:2], -1), seen.shape))
    assert found.replace(rows=found.rows.drop("content")).identity == found.identity


def test_classes_are_the_union_over_the_splits():
    grey = np.zeros((4, 4), np.uint8)
    found = read({"train": Pairs([(grey, 10), (grey, 9)]), "test": Pairs([(grey, 10), (grey, 2)])})
    assert found.classes == ("2", "9", "10")
    assert {split: found.counts(split) for split in found.splits} == {"train": (0, 1, 1), "test": (1, 0, 1)}
    named = {"train": Arrays(grey[None], targets=[0], classes=["b"]), "val": Arrays(grey[None], targets=[1], classes=["b", "a"])}
    assert read(named).classes == ("b", "a")  # the order of the one that has all


def test_items_have_their_target_transform_behind_them():
    grey = np.zeros((4, 4), np.uint8)
    dataset = Pairs([(grey, 3), (grey, 4)])
    dataset.target_transform = lambda target: target  # as in torchvision, applied by the item itself
    dataset.samples = ["neither", "paths"]
    assert read(dataset).classes == ("3", "4")


def test_an_item_that_changes_each_time_is_refused():
    class Restless(Pairs):
        def __getitem__(self, index: int) -> Any:
            return np.random.default_rng().integers(0, 256, (4 + index, 4), dtype=np.uint8), index

    with pytest.raises(BadData, match="item 0 is another image each time; leave its random transforms out"):
        read(Restless([0, 1]))


GREY = np.zeros((4, 4), np.uint8)


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (Pairs([]), "no items; give at least one image"),
        (Pairs([(GREY, 0), GREY]), "item 1 is a ndarray, expected a pair"),
        (Pairs([(torch.zeros(3, 4, 4), 0)]), "item 0 has float32 pixels, expected uint8 .* leave ToTensor and the like out"),
        (Pairs([(np.zeros((4, 4, 2), np.uint8), 0)]), r"item 0 has the shape \(4, 4, 2\)"),
        (Pairs([("a.png", 0)]), "item 0 has a str for an image"),
        (Pairs([(Pillow.new("F", (2, 2)), 0)]), "item 0 has floating-point pixels"),
        (Pairs([(GREY, 0), (GREY, "cat")]), "label 'cat' of item 1 is no whole number"),
        (Pairs([(GREY, 0), (GREY, 0.5)]), "label 0.5 of item 1"),
        (Pairs([(GREY, -1)]), "label -1 in row 0"),
        (TensorDataset(torch.zeros(2, 3, 4, 4), torch.zeros(2)), "has float32 pixels"),
        (Subset(Pairs([(GREY, 0)]), [0, 0]), "a subset holds the same index twice"),
        (Arrays(GREY[None], targets=[0], target_transform=lambda target: 1), "has a target_transform"),
        ({"train": Pairs([(GREY, 0)]), "extra": Pairs([(GREY, 0)])}, "key 'extra' is no split of its own; use train, val and test"),
        ({"val": Pairs([(GREY, 0)]), "valid": Pairs([(GREY, 0)])}, "key 'valid' is no split of its own"),
    ],
)
def test_data_sets_that_do_not_fit_are_refused(dataset, message):
    with pytest.raises(BadData, match=message):
        read(dataset)


def test_what_is_no_data_set_is_refused_and_words_of_tables_too():
    for thing in ({}, {"train": 5}, object()):
        with pytest.raises(BadValue, match="is no data set; give a name"):
            read(thing)
    with pytest.raises(BadValue, match="leave columns out"):
        read(Pairs([(GREY, 0)]), columns="label=y")
    with pytest.raises(BadValue, match="leave root out"):
        read(Pairs([(GREY, 0)]), root="x")


# A stand-in for Hugging Face's `datasets`, with what its documentation promises: features by name, columns by name, rows by number,
# images that are decoded unless the column is cast to `Image(decode=False)`.


class Image:
    def __init__(self, decode: bool = True) -> None:
        self.decode = decode


class ClassLabel:
    def __init__(self, names: list[str]) -> None:
        self.names = names


class Value:
    pass


class HubSet:
    def __init__(self, columns: dict[str, list], features: dict[str, Any]) -> None:
        self.columns, self.features = columns, features

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def __getitem__(self, key: str | int) -> Any:
        if isinstance(key, str):
            return [self._value(key, row) for row in range(len(self))]
        return {column: self._value(column, key) for column in self.columns}

    def _value(self, column: str, row: int) -> Any:
        value, feature = self.columns[column][row], self.features[column]
        if isinstance(feature, Image) and feature.decode:
            return Pillow.open(io.BytesIO(value["bytes"]) if value["bytes"] else value["path"])
        return value

    def cast_column(self, column: str, feature: Any) -> HubSet:
        return HubSet(self.columns, {**self.features, column: feature})


def png(value: int) -> bytes:
    file = io.BytesIO()
    Pillow.new("L", (5, 3), value).save(file, "PNG")
    return file.getvalue()


def hub_set(values: list[int], labels: list[int], names: list[str], image: str = "img") -> HubSet:
    images = [{"bytes": png(value), "path": f"{value}.png"} for value in values]
    return HubSet({image: images, "fine_label": labels}, {image: Image(), "fine_label": ClassLabel(names)})


def test_a_hub_dictionary_of_splits_is_read_with_its_class_names():
    names = ["bee/wasp", "ant", "čmelák"]
    splits = {"train": hub_set([10, 20, 30], [2, 0, -1], names), "validation": hub_set([40], [1], names)}
    found = read(splits, columns="label=fine_label")
    assert found.classes == tuple(names)
    assert {id_: label is not None and found.classes[label] for id_, label in found.rows.select("id", "label").iter_rows()} == {
        "train/00000": "čmelák",
        "train/00001": "bee/wasp",
        "train/00002": False,
        "val/00000": "ant",
    }
    assert pixels_of(found, "val/00000")[0, 0, 0] == 40
    assert "1 images have no label (-1)" in found.provenance


def test_a_hub_set_of_files_leaves_them_where_they_are(pets):
    paths = [str(pets / name) for name in ("cat/a.png", "dog/a.png")]
    features = {"image": Image(), "label": Value()}
    found = read(HubSet({"image": [{"bytes": None, "path": path} for path in paths], "label": ["cat", "dog"]}, features))
    assert (found.root, found.rows["id"].to_list(), found.classes) == (pets, ["cat/a.png", "dog/a.png"], ("cat", "dog"))


def test_hub_sets_without_images_or_rows_are_refused():
    features = {"image": Image(), "label": Value()}
    with pytest.raises(BadData, match="row 1 has neither bytes nor path"):
        read(HubSet({"image": [{"bytes": png(1), "path": None}, {"bytes": None, "path": None}], "label": ["a", "b"]}, features))
    with pytest.raises(BadData, match="no rows"):
        read(HubSet({"image": [], "label": []}, features))
    with pytest.raises(BadData, match="holds int objects, expected encoded images"):
        read(HubSet({"image": [1], "label": ["a"]}, {"image": Value(), "label": Value()}))
