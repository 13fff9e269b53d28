"""Methods: one file each, with its card, its knobs and its stages. A method's name is its file's name.

Lives here: how parts are put together. Not here: the maths (`losses`, `samplers`, `posthoc`), the loop (`training`). May import the
parts, `models`, `modifiers` and the vocabulary.
"""
