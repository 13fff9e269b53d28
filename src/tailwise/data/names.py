"""What can be read: data sets by name, without a path, and the kinds of files, in words."""

NAMES = ("digits",)
"""They win over a file or folder of the same name (write `./digits` for that)."""

ACCEPTED = (
    "a folder with one folder a class, a .csv or .tsv table of paths and labels, Parquet of the Hugging Face Hub, "
    "IDX files (train-images-idx3-ubyte), an .npz file, or a folder with manifest.parquet"
)
"""What a path may lead to."""
