"""The formats that are read: their names, in the order in which a path is asked whether it is one of them. Nothing is imported."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from tailwise.errors import BadData, UnknownName

if TYPE_CHECKING:
    from tailwise.data.manifest import Manifest
    from tailwise.data.place import Place


@dataclass(frozen=True)
class Format:
    """One format.

    Attributes:
        name: what `--format` takes.
        title: what it is, in words.
        reader: `module:function` below `tailwise.data.readers`; the module also has `recognises(place)`.
        takes: words that its reader takes beyond the path: `root`, `columns`.
    """

    name: str
    title: str
    reader: str
    takes: tuple[str, ...] = ()

    def recognises(self, place: Place) -> bool:
        """Tell whether a place is of this format, by its names or content."""
        return bool(self._module.recognises(place))

    def read(self, path: Path, **words: object) -> Manifest:
        """Read a path as this format, and say so in the manifest's origin."""
        found: Manifest = getattr(self._module, self.reader.partition(":")[2])(path, **words)
        return found.replace(origin=replace(found.origin, format=self.name))

    @property
    def _module(self) -> ModuleType:
        return import_module(f"tailwise.data.readers.{self.reader.partition(':')[0]}")


_LISTS = ("root",)
_TABLES = ("root", "columns")

FORMATS = (
    # The particular before the general: the first that recognises a place reads it.
    Format("mini-imagenet-lt", "mini-ImageNet-LT's own files", "mini_imagenet_lt:read_mini_imagenet_lt", _LISTS),
    Format("mini-imagenet", "mini-ImageNet's split lists", "mini_imagenet:read_mini_imagenet", _LISTS),
    Format("mini-imagenet-cache", "mini-ImageNet's pickled caches", "mini_imagenet_cache:read_mini_imagenet_cache"),
    Format("cifar", "CIFAR-10 or CIFAR-100 as published: Python or binary files, or their .tar.gz", "cifar:read_cifar"),
    Format("label-matrix", "VOC-LT's or COCO-LT's pickles, or an .npz of a label matrix", "label_matrix:read_label_matrix", _LISTS),
    Format("idx", "IDX files (train-images-idx3-ubyte)", "idx:read_idx"),
    Format("coco", "COCO-style JSON: iNaturalist, Herbarium, LVIS", "coco:read_coco", _LISTS),
    Format(
        "imagefolder", "a folder with metadata.csv, .jsonl or .parquet, as on the Hugging Face Hub", "hub_folder:read_hub_folder", _TABLES
    ),
    Format("parquet", "Parquet, as on the Hub", "parquet:read_parquet", _TABLES),
    Format("webdataset", "WebDataset tars", "webdataset:read_webdataset"),
    Format("videolt", "VideoLT's lists", "videolt:read_videolt", _LISTS),
    Format("domains", "lists of (domain, class), as of PACS", "domains:read_domains", _LISTS),
    Format("regression", "a table with a real target, as of AgeDB", "regression:read_regression", _TABLES),
    Format("multilabel", "a table with several labels an image", "multilabel:read_multilabel", _TABLES),
    Format("list", "`path label` lists, as of ImageNet-LT", "path_list:read_path_list", _LISTS),
    Format("table", "a .csv or .tsv table of paths and labels", "delimited:read_delimited", _TABLES),
    Format("npz", "an .npz file of images or features with labels", "arrays:read_npz"),
    Format("folder", "a folder with one folder a class", "folder:read_folder"),
)

NAMES_OF_FORMATS = tuple(form.name for form in FORMATS)


def find_format(name: str) -> Format:
    """Look a format up.

    Raises:
        UnknownName: with the nearest names.
    """
    for form in FORMATS:
        if form.name == name:
            return form
    raise UnknownName("format", name, NAMES_OF_FORMATS)


_ENDINGS = {".json": "coco", ".txt": "list", ".lst": "list", ".list": "list", ".csv": "table", ".tsv": "table"}


def _claimed(place: Place) -> Format | None:
    """Take a file in which nothing can be read, as it is empty, cut off or no UTF-8, for what its ending says: that reader says why."""
    if place.is_folder or place.lines:
        return None
    name = _ENDINGS.get(Path(place.plain_name).suffix)
    return find_format(name) if name else None


def detect(path: Path) -> Format:
    """Tell the format of a path that exists, by what is in it.

    Raises:
        BadData: none recognises it, or it cannot be opened.
    """
    from tailwise.data.place import Place

    place = Place(path)
    found = next((form for form in FORMATS if form.recognises(place)), None) or _claimed(place)
    if found is None:
        raise BadData(f"{path}: not recognised as any format that is read here; name one with --format ({', '.join(NAMES_OF_FORMATS)})")
    return found
