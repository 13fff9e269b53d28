"""Randomness as a function: every draw is named by what it is for, never by what was drawn before."""

from __future__ import annotations

import hashlib

import numpy as np

Word = str | int


def draw_key(seed: int, *purpose: Word) -> int:
    """Hash a seed and the words that name a draw into 128 bits."""
    named = "\x1f".join(f"{type(word).__name__}:{word}" for word in map(_plain, (seed, *purpose)))
    return int.from_bytes(hashlib.blake2b(named.encode(), digest_size=16).digest(), "little")


def _plain(word: Word) -> Word:
    """Make NumPy's whole numbers Python's: they name the same draw."""
    return word if isinstance(word, str) else int(word)


def generator(seed: int, *purpose: Word) -> np.random.Generator:
    """Make the generator of one draw: NumPy's Philox, a 128-bit counter generator, keyed by `draw_key`.

    Two generators with the same words give the same numbers whatever ran before; other words give independent ones.

    >>> bool(generator(0, "order", 3).random() == generator(0, "order", 3).random())
    True
    """
    return np.random.Generator(np.random.Philox(key=draw_key(seed, *purpose)))


def torch_seed(seed: int, *purpose: Word) -> int:
    """Give 32 bits for torch's CPU generator, which uses no more of a seed than these."""
    return draw_key(seed, *purpose) & 0xFFFFFFFF
