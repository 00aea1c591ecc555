"""A shuffle of numpy arrays by tasks, whose answer is known."""

from __future__ import annotations

import numpy as np

import millpond

#: partitions before and after, and numbers in each piece
PARTS = 12
NUMBERS = 100_000


@millpond.remote(num_returns=PARTS)
def split(seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 1 << 30, NUMBERS) for _ in range(PARTS)]


@millpond.remote
def merge(*pieces: np.ndarray) -> int:
    return int(sum(int(piece.sum()) for piece in pieces))


def shuffle() -> tuple[list[list[millpond.ObjectRef]], list[millpond.ObjectRef]]:
    """Begin a shuffle of 115 MB; return the pieces of each part, and the sums of the new parts."""
    maps = [split.remote(seed) for seed in range(PARTS)]
    return maps, [merge.remote(*[row[column] for row in maps]) for column in range(PARTS)]


def expected_sum() -> int:
    """Return the sum of all numbers, computed here."""
    return sum(
        int(np.random.default_rng(seed).integers(0, 1 << 30, (PARTS, NUMBERS)).sum())
        for seed in range(PARTS)
    )
