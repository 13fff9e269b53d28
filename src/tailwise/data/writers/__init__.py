"""Writers: one file a format, each a function that writes a `Manifest` out and gives the manifest of what it wrote.

A writer writes whole or not at all, changes no pixel, and says in the provenance which names it changed. May import: the data room
above it, and the vocabulary.
"""
