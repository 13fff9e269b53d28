"""Studies: a data set prepared, methods run over seeds, equal parts once, and the folders that they leave.

Lives here: from a manifest to arrays, the run folder, the comparison with its tree and table. Not here: the loop (`training`), words on
the terminal (`cli`). May import everything below it.
"""
