"""Recipes: one file each; every value has its source. A recipe's name is its file's name.

May import `optim`, `pixels` and the vocabulary.
"""
