"""The layouts that a set is written in: their names and homes. A layout is a module of two functions, and knows no file system."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Literal, Protocol, cast

import polars as pl

from tailwise.data.manifest import Manifest
from tailwise.errors import BadData, UnknownName

LayoutName = Literal["folder", "mini-imagenet-lt", "parquet", "hub", "coco", "list"]


class Placing(Protocol):
    """What the module of a layout that keeps image files has."""

    def paths(self, manifest: Manifest) -> pl.Series:
        """Say where each row's image goes, relative to the folder: (N,) String, in row order, unique."""
        ...

    def lists(self, written: Manifest) -> Mapping[str, bytes]:
        """Give the files that are written beside the images, name -> bytes; images lie at `written.root` by then."""
        ...


@dataclass(frozen=True)
class Layout:
    """One layout.

    Attributes:
        name: what `--layout` takes.
        title: what it is, in words.
        home: module below `tailwise.data.writers`; a `Placing`, or one with `shards` where images lie in the tables.
        is_packed: whether images lie in the tables: no files to link to, and no manifest beside.
        is_by_class: whether an image's folder is named for its class.
        is_of_lists: whether it has lists, which can be written of a set whose images are not there.
        is_multi_label: whether an image may have several labels.
    """

    name: str
    title: str
    home: str
    is_packed: bool = False
    is_by_class: bool = False
    is_of_lists: bool = False
    is_multi_label: bool = False

    @property
    def placing(self) -> Placing:
        """The two functions of a layout that keeps image files."""
        return cast(Placing, import_module(f"tailwise.data.writers.{self.home}"))

    def check_holds(self, manifest: Manifest) -> None:
        """Refuse a set that cannot be written in this layout.

        Raises:
            BadData: features or videos, several labels an image, numbers, generated images, or images that are not there.
        """
        if manifest.kind != "images":
            raise BadData(f"manifest {manifest.name!r} holds {manifest.kind}, expected images; there is nothing to write as {self.title}")
        if manifest.task == "multi-label" and not self.is_multi_label:
            able = ", ".join(layout.name for layout in LAYOUTS if layout.is_multi_label)
            raise BadData(f"manifest {manifest.name!r} has several labels an image, which {self.title} cannot hold; write it as {able}")
        if manifest.task == "regression" and self.name != "folder":
            raise BadData(f"manifest {manifest.name!r} has numbers for labels, which {self.title} cannot hold; write folder")
        if manifest.has_generated and self.is_packed:
            raise BadData(f"manifest {manifest.name!r} holds generated images, which {self.title} cannot tell from real ones")
        if not manifest.has_files and not self.is_of_lists:
            able = ", ".join(layout.name for layout in LAYOUTS if layout.is_of_lists)
            raise BadData(
                f"the images of {manifest.name!r} are not where its list says; pass --root with the folder that its paths start from, "
                f"or write the list alone as {able}"
            )


LAYOUTS = (
    Layout("folder", "an image folder", "folder", is_by_class=True),
    Layout("mini-imagenet-lt", "mini-ImageNet-LT's own files", "mini_imagenet_lt", is_of_lists=True),
    Layout("parquet", "Parquet with the images inside", "parquet", is_packed=True),
    Layout("hub", "an image folder of the Hub with metadata.csv", "hub_folder", is_by_class=True),
    Layout("coco", "COCO-style JSON", "coco", is_by_class=True, is_of_lists=True, is_multi_label=True),
    Layout("list", "`path label` lists", "path_list", is_by_class=True, is_of_lists=True),
)


def find_layout(name: str) -> Layout:
    """Look a layout up.

    Raises:
        UnknownName: with the nearest names.
    """
    for layout in LAYOUTS:
        if layout.name == name:
            return layout
    raise UnknownName("layout", name, [layout.name for layout in LAYOUTS])
