"""The registry of formats: every one has its reader, a page that names it, and real files that are recognised as what they are."""

from __future__ import annotations

import inspect
import re
import shutil
from importlib import import_module
from pathlib import Path

import pytest

from tailwise.data import read
from tailwise.data.formats import FORMATS, detect, find_format
from tailwise.errors import BadData, BadValue, UnknownName

PAGE = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)
def test_a_format_has_a_reader_that_takes_what_it_says_and_a_line_on_the_page(form):
    module, _, function = form.reader.partition(":")
    reader = getattr(import_module(f"tailwise.data.readers.{module}"), function)
    assert tuple(inspect.signature(reader).parameters)[1:] == form.takes
    assert re.search(rf"^\| `{form.name}` \|", PAGE, flags=re.M)
    assert find_format(form.name) is form


def test_a_wrong_format_gets_the_nearest_and_what_is_not_recognised_gets_all(tmp_path):
    (tmp_path / "x.bin").write_bytes(b"nothing")
    with pytest.raises(UnknownName, match=r"'cocoa'.*Did you mean 'coco'"):
        read(tmp_path / "x.bin", format="cocoa")
    with pytest.raises(BadData, match=r"name one with --format \(mini-imagenet-lt, .*folder\)"):
        read(tmp_path / "x.bin")


def test_what_was_read_says_as_which_format(pets):
    assert read(pets).origin.format == read(pets, format="folder").origin.format == "folder"
    assert read("digits").origin.format == ""


def test_words_that_a_source_has_no_use_for_are_refused(pets):
    for words, said in (({"columns": "path=a"}, "columns is for tables"), ({"root": pets}, "root is for lists of paths")):
        with pytest.raises(BadValue, match=said):
            read(pets, **words)
    with pytest.raises(BadValue, match="format is for paths"):
        read("digits", format="folder")


REAL = [
    ("mini-imagenet-lt", "", "mini-imagenet-lt"),
    ("mini-imagenet-lt/train.csv.gz", "", "mini-imagenet-lt"),
    ("metadata/mini-imagenet/ravi_larochelle_train.csv.gz", "train.csv.gz", "mini-imagenet"),
    ("metadata/mini-imagenet/vinyals_val.csv.excerpt", "val.csv", "mini-imagenet"),
    ("metadata/imagenet-lt/val.txt.excerpt", "ImageNet_LT_val.txt", "list"),
    ("metadata/imagenet-lt/train_90class_subset.txt.gz", "train.txt.gz", "list"),
    ("metadata/places-lt/train.txt.gz", "Places_LT_train.txt.gz", "list"),
    ("metadata/inaturalist2018/val.txt.excerpt", "iNaturalist18_val.txt", "list"),
    ("metadata/places-lt/ncl_val.json.excerpt.json", "Places_LT_val.json", "coco"),
    ("metadata/lvis/v0.5_val_100.trimmed.json.gz", "lvis_v0.5_val.json.gz", "coco"),
    ("metadata/voc-lt/train_labels.csv", "train_labels.csv", "multilabel"),
    ("metadata/coco-lt/train_labels.csv", "train_labels.csv", "multilabel"),
    ("metadata/voc-lt", "", "label-matrix"),
    ("metadata/coco-lt", "", "label-matrix"),
    ("metadata/videolt/train.lst.excerpt", "train.lst", "videolt"),
    ("metadata/videolt/val_videofolder.txt.excerpt", "val_videofolder.txt", "videolt"),
    ("metadata/regression/agedb.csv.excerpt", "agedb.csv", "regression"),
    ("metadata/domains/PACS.csv.gz", "PACS.csv.gz", "domains"),
    ("metadata/domains/OfficeHome.csv.excerpt", "OfficeHome.csv", "domains"),
    ("fashion-mnist", "", "idx"),
    ("cifar-100-lt/cifar100_lt100.npz", "", "npz"),
]


@pytest.mark.real
@pytest.mark.parametrize(("place", "called", "expected"), REAL, ids=[place for place, _, _ in REAL])
def test_real_files_are_recognised_as_what_they_are(real_data, tmp_path, place, called, expected):
    path = real_data / place
    assert path.exists(), f"{path} is absent: it was not recognised"
    if called:
        path = Path(shutil.copy(path, tmp_path / called))
    assert detect(path).name == expected
