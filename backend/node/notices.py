"""What the node tells its user of the store without being asked: seldom, and in plain words."""

from __future__ import annotations

import logging
from collections.abc import Callable

from millpond.objectstore.statistics import StoreStatistics

from ..report.memory_text import format_bytes

__all__ = ["Notices"]

_log = logging.getLogger("millpond.store")


class Notices:
    """Remembers what was said already.

    Args:
        statistics: of the store.
        capacity: its bytes.
    """

    def __init__(self, statistics: Callable[[], StoreStatistics], capacity: int) -> None:
        self._statistics = statistics
        self._capacity = capacity
        #: takes a text for the driver to warn of
        self.warn: Callable[[str], None] = _log.warning
        self._warned_of_size = False
        self._spilling_fails = False

    def spill_failed(self, error: Exception) -> None:
        """A spill failed; values stay in memory until it can be done again."""
        if self._spilling_fails:
            return
        self._spilling_fails = True
        store = self._statistics()
        _log.error(
            "spilling is not possible now: %s. Nothing is lost: values stay in memory, where %s of "
            "%s are taken, and what needs more room waits. It is tried again every second; free "
            "space there, or drop refs",
            error,
            format_bytes(store.used),
            format_bytes(store.capacity),
        )

    def spill_worked(self) -> None:
        """A spill succeeded."""
        if self._spilling_fails:
            self._spilling_fails = False
            _log.warning("spilling works again")

    def large_object(self, size: int) -> None:
        """A new object is larger than the whole store, and is written to a file."""
        self._warn_of_size(f"a value of {format_bytes(size)} was stored", size)

    def large_inputs(self, name: str, size: int) -> None:
        """The stored arguments of one task are larger than the whole store."""
        self._warn_of_size(f"task {name} has stored arguments of {format_bytes(size)}", size)

    def _warn_of_size(self, what: str, size: int) -> None:
        if self._warned_of_size or size <= self._capacity:
            return
        self._warned_of_size = True
        self.warn(
            f"{what}, but the whole object store has {format_bytes(self._capacity)}: what does not "
            "fit is used from files, which works and is slower than memory. Give millpond.init an "
            f"object_store_memory of more than {size} bytes, or make the parts smaller. (Further "
            "cases are not reported.)"
        )
