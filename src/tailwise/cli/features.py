"""`tailwise features`: frozen features, once."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Literal

from tailwise.cli.options import check_data


def features(
    data: str,
    /,
    *,
    net: str = "efficientnet-lite0",
    size: int | None = None,
    root: Path | None = None,
    columns: str | None = None,
    format: str | None = None,
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto",
    engine: Literal["auto", "eager", "compiled", "onnx"] = "auto",
    out: Path | None = None,
    force: bool = False,
    json: bool = False,
) -> None:
    """Write the features that a pre-trained network gives of every image, as a data set of feature vectors.

    Parameters
    ----------
    data
        A folder of class folders, a table, a file of arrays, or a name (digits).
    net
        Network with pre-trained weights: efficientnet-lite0, or a timm model as NAME, NAME.TAG or NAME@FILE.
    size
        Side of the images in pixels. Default: the one that the weights were trained at.
    root
        Folder that a table's paths are relative to, or where the images of a saved manifest are now.
    columns
        Names of a table's columns where they are not recognised, as in path=file,label=species.
    format
        What DATA is, where it is not to be recognised: coco, list, table, ... (an unknown name lists all).
    device
        Where to compute.
    engine
        What runs the network on a CPU: ONNX Runtime (of the extra `fast`), torch compiled, or torch as it is. Default: the fastest for so
        many images of those that are there.
    out
        Folder of the features. Default: tailwise-out/<data>-features-<key>.
    force
        Replace other features that stand there, or damaged ones; nothing else is ever replaced.
    json
        Print the record as JSON.
    """
    check_data(data)

    from tailwise.cli.progress import image_progress
    from tailwise.cli.tables import print_json, say
    from tailwise.study.features import write_features

    bar, seen = image_progress("features of images")
    with bar:
        made = write_features(data, net, size, root, columns, format, device, engine, out, seen, force)
    if json:
        print_json({**made.record, "folder": str(made.folder)})
        return
    say("already done:" if made.stood else "written:")
    for line in made.manifest.provenance:
        say(f"  {line}")
    say(f"features: {made.folder} (manifest.parquet, card.json, features.npy, features.json)")
    say(f"next: tailwise compare {quote(str(made.folder))}")
