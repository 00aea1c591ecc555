"""How large a value may be to live in its owner's heap, outside of the object store.

Small values travel inside messages: that takes a tenth of the time that a trip through the store
takes. But many of them together would be a second store, without a limit and without a disk to
spill to. So when those of a process take more than their budget, new ones go to the store, all but
the tiniest.
"""

from __future__ import annotations

__all__ = ["INLINE_LIMIT", "InlineBudget"]

#: bytes; smaller values travel inside messages, others through the store
INLINE_LIMIT = 64 * 1024
#: the same when the budget is used up: what the store would need for its books is no less
_TINY = 1024
#: part of the store's capacity that small values may take in one process's heap, and at most
_SHARE = 1 / 16
_LARGEST = 256 << 20


class InlineBudget:
    """The bytes of all values and arguments in this process's heap.

    Args:
        capacity: bytes of the object store.
    """

    def __init__(self, capacity: int) -> None:
        self.budget = min(int(capacity * _SHARE), _LARGEST)
        #: bytes that are kept now
        self.used = 0

    @property
    def limit(self) -> int:
        """Bytes below which a new value is kept inline."""
        return INLINE_LIMIT if self.used < self.budget else _TINY
