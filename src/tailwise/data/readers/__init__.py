"""Readers: one file a format, each a function that gives a `Manifest`.

A reader says in the manifest's provenance what it skipped, and refuses what it cannot be sure about. It trains nothing, decodes no
more than it must, and never imports torch. May import: the data room above it, and the vocabulary.
"""
