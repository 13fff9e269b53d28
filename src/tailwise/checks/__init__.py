"""The checks room: what is wrong or odd about a set, found before anything trains.

One pass over the images gives a table of measures, a row an image (`measures`); every check is one file in `findings/` that asks this
table and the manifest (`check` has their form); `run` runs them, `repair` leaves out what a check says. Checks of one's own have the same
form, in a file or in another package's entry points (`tailwise.checks`).

Not here: what only the source of a set shows, which its reader finds (`tailwise.data.origin`).

May import: the data room, the registry and the vocabulary, NumPy, polars, Pillow. Never torch.
"""
