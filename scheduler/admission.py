"""Admission: which tasks may have their stored arguments in memory at the same time. Pure.

The arguments of all admitted tasks, each object counted once, plus the outputs they are
expected to write, must fit in the store; so nothing that a running task needs is ever pushed
out by another one. A task that does not fit beside others is admitted when it is alone.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping

__all__ = ["Admission"]


class _Admitted:
    __slots__ = ("arguments", "output")

    def __init__(self, arguments: Mapping[bytes, int], output: int) -> None:
        self.arguments = arguments
        self.output = output


class Admission:
    """Bytes promised to admitted tasks.

    Args:
        capacity: bytes of the store.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        #: bytes of arguments (each object once) and expected outputs
        self.promised = 0
        self._admitted: dict[Hashable, _Admitted] = {}
        #: object -> admitted tasks that need it
        self._needed: dict[bytes, int] = {}

    def fits(self, arguments: Mapping[bytes, int], output: int) -> bool:
        """Whether a task with these arguments may be admitted now."""
        if not self._admitted:
            return True
        extra = output + sum(
            size for object_id, size in arguments.items() if object_id not in self._needed
        )
        return self.promised + extra <= self.capacity

    def admit(self, key: Hashable, arguments: Mapping[bytes, int], output: int) -> None:
        """Promise a task its arguments and output."""
        assert key not in self._admitted, key
        self._admitted[key] = _Admitted(arguments, output)
        self.promised += output
        for object_id, size in arguments.items():
            count = self._needed.get(object_id, 0)
            if count == 0:
                self.promised += size
            self._needed[object_id] = count + 1

    def __contains__(self, object_id: object) -> bool:
        """Whether an admitted task needs an object."""
        return object_id in self._needed

    def end(self, key: Hashable) -> None:
        """A task needs its arguments no more (finished, or waits and lends its place)."""
        admitted = self._admitted.pop(key, None)
        if admitted is None:
            return
        self.promised -= admitted.output
        for object_id, size in admitted.arguments.items():
            count = self._needed[object_id] - 1
            if count:
                self._needed[object_id] = count
            else:
                del self._needed[object_id]
                self.promised -= size

    def validate(self) -> None:
        """Raise AssertionError where the sums are wrong."""
        needed: dict[bytes, int] = {}
        sizes: dict[bytes, int] = {}
        for admitted in self._admitted.values():
            for object_id, size in admitted.arguments.items():
                needed[object_id] = needed.get(object_id, 0) + 1
                sizes[object_id] = size
        assert needed == self._needed
        outputs = sum(admitted.output for admitted in self._admitted.values())
        assert self.promised == outputs + sum(sizes.values()), self.promised
