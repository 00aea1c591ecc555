"""A shuffle: what its tasks do, the graph of tasks that most engines run it as, and its check.

Every one of `parts` map tasks makes a partition with random numbers of its own and returns it in
`parts` pieces; every one of `parts` reduce tasks takes one piece of each. The numbers are random so
that nothing can be compressed. Workers import this module, so it imports numpy only when used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .engines import Engine


@dataclass(frozen=True, slots=True)
class Work:
    """The size of a shuffle."""

    #: Map tasks, reduce tasks, and pieces of each.
    parts: int
    #: 64-bit numbers in a piece.
    numbers: int

    @classmethod
    def of_size(cls, parts: int, size: int) -> Work:
        """Return a shuffle of about `size` bytes in `parts` times `parts` pieces."""
        return cls(parts, max(1, size // (8 * parts * parts)))


def by_tasks(engine: Engine, work: Work) -> NDArray[np.uint64]:
    """Run the shuffle as tasks with several results; return the sums by map and reduce task."""
    import numpy as np

    split = engine.remote(split_partition, returns=work.parts)
    merge = engine.remote(sum_pieces)
    rows = [split(seed, work) for seed in range(work.parts)]
    sums = [merge(work, *column) for column in zip(*rows, strict=True)]
    # The pieces belong to the tasks that read them: each can go when its task has ended.
    del rows
    return np.stack(engine.get(sums), axis=1)


def expected_sums(work: Work) -> NDArray[np.uint64]:
    """Return what the shuffle must return, from partitions that are made once more, here."""
    import numpy as np

    return np.stack([make_partition(seed, work).sum(axis=1) for seed in range(work.parts)])


def make_partition(seed: int, work: Work) -> NDArray[np.uint64]:
    """Return one partition: a row of numbers for each reduce task."""
    import numpy as np

    random = np.random.Generator(np.random.SFC64(seed))
    return random.integers(0, 1 << 64, (work.parts, work.numbers), dtype=np.uint64)


def split_partition(seed: int, work: Work) -> list[NDArray[np.uint64]]:
    """Make one partition; return its pieces."""
    return list(make_partition(seed, work))


def sum_pieces(work: Work, *pieces: NDArray[Any]) -> NDArray[np.uint64]:
    """Check the pieces of one reduce task; return the sum of each, modulo 2**64.

    Raises:
        AssertionError: there are too many or too few pieces or numbers.
    """
    import numpy as np

    sizes = [piece.size for piece in pieces]
    if sizes != [work.numbers] * work.parts:
        raise AssertionError(f"expected {work.parts} pieces of {work.numbers} numbers, got {sizes}")
    return np.array([piece.sum() for piece in pieces], dtype=np.uint64)
