"""Randomness as a function: every draw is named by what it is for, never by what was drawn before."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

import numpy as np

Word = str | int


def draw_key(seed: int, *purpose: Word) -> int:
    """Hash a seed and the words that name a draw into 128 bits."""
    return int.from_bytes(_hashed(seed, *purpose).digest(), "little")


def _hashed(*words: Word) -> hashlib.blake2b:
    named = "\x1f".join(f"{type(word).__name__}:{word}" for word in map(_plain, words))
    return hashlib.blake2b(named.encode(), digest_size=16)


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


def generators(seed: int, *purpose: Word, names: Iterable[str]) -> Iterator[np.random.Generator]:
    """Yield `generator(seed, *purpose, name)` for each name, at a tenth of its time.

    It is one generator that is keyed anew each time: draw from it before the next is asked for.

    >>> [int(one.integers(100)) for one in generators(0, "split", names=["ant", "bee"])]
    [62, 7]
    >>> int(generator(0, "split", "bee").integers(100))
    7
    """
    begun, digests = _hashed(seed, *purpose), []
    for name in names:
        digest = begun.copy()
        digest.update(f"\x1fstr:{name}".encode())
        digests.append(digest.digest())
    philox, zeros = np.random.Philox(key=0), np.zeros(4, dtype=np.uint64)
    made = np.random.Generator(philox)
    state = philox.state  # at its start; only the key is another's
    for key in np.frombuffer(b"".join(digests), dtype="<u8").astype(np.uint64).reshape(-1, 2):
        philox.state = {**state, "state": {"counter": zeros, "key": key}}
        yield made


def torch_seed(seed: int, *purpose: Word) -> int:
    """Give 32 bits for torch's CPU generator, which uses no more of a seed than these."""
    return draw_key(seed, *purpose) & 0xFFFFFFFF
