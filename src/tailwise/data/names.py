"""What can be read: data sets by name, without a path, and the kinds of files, in words."""

NAMES = ("digits", "cifar10", "cifar100")
"""They win over a file or folder of the same name (write `./digits` for that)."""

ACCEPTED = (
    "a folder with one folder a class, a table or list of paths and labels, COCO-style JSON, Parquet, CIFAR or IDX files, WebDataset "
    "tars, an .npz file, or a folder with manifest.parquet"
)
"""What a path may lead to."""
