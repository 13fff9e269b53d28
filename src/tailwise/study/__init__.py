"""Studies: a data set prepared, methods run over seeds, equal parts once, and the folders that they leave.

Lives here: from a manifest to arrays or frozen features, the run folder and what it predicts, the comparison with its tree, estimate,
table and recommendation. Not here: the loop (`training`), words on
the terminal (`cli`). May import everything below it.
"""
