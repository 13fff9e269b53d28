"""Modifiers: what maps any method's stages to other stages, as in `--with sam`. One file each, its name is the file's name.

May import the parts and the vocabulary.
"""
