"""Whether the driver has memory for the results that it asked for, asked before they are copied.

Intermediate results spill; a final one is to be an object of the user's program, whose memory no
store can extend. Without this the kernel would kill the program while the last bytes arrive.
"""

from __future__ import annotations

from dask.typing import Key

import millpond

__all__ = ["Room"]

#: what is smaller is not worth a look at the machine's memory
_SMALLEST = 1 << 20
_MEGABYTE = 1e6


class Room:
    """The memory that the results of one computation take in this process.

    Args:
        joined: keys whose values are put together in the end, and so are needed twice.
    """

    def __init__(self, joined: set[Key]) -> None:
        self._joined = joined
        #: bytes of values that are still to be put together
        self._to_join = 0
        self._taken = 0

    def take(self, key: Key, size: int) -> None:
        """Note that so many bytes are going to be copied to this process: the value of a key.

        Raises:
            millpond.errors.OutOfMemoryError: it does not fit, or what is made of it would not.
        """
        if size < _SMALLEST:
            return
        self._taken += size
        if key in self._joined:
            self._to_join += size
        free = millpond.available_memory()
        if size + self._to_join <= free:
            return
        joining = f" and {_text(self._to_join)} more to put them together" if self._to_join else ""
        raise millpond.OutOfMemoryError(
            f"the results do not fit into the memory of this process: up to {key!r} they have "
            f"{_text(self._taken)}, which needs {_text(size)}{joining}, and {_text(free)} are "
            "free. Reduce them before compute(), write them to files (to_parquet, to_zarr), or "
            "keep them in the store with persist()"
        )


def _text(size: int) -> str:
    return f"{size / _MEGABYTE:,.0f} MB"
