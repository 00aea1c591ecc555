"""What past runs of a function say about the next one: peak heap memory and output size. Pure.

A group is a function under one name, as everywhere: an adapter that runs everything through one
function names its tasks.
"""

from __future__ import annotations

import math
from collections import deque

__all__ = ["GRAIN", "LearnedMemory", "LearnedOutputs", "coarse"]

Group = tuple[bytes, str]

#: bytes of heap below which a task is not counted at all
GRAIN = 64 << 20
#: peaks that are remembered of a group
_REMEMBERED = 64
#: part of the remembered runs that must have needed no more than is expected
_QUANTILE = 0.9
#: how quickly an expected output follows smaller ones
_FALL = 0.1


def coarse(size: int) -> int:
    """Return bytes of heap rounded up to one of few steps, at most a quarter too large.

    Tasks that are expected to need as much share leases, so there should be few amounts.
    Less than `GRAIN` is nothing.
    """
    if size < GRAIN:
        return 0
    step = 1 << (size.bit_length() - 3)
    return -(-size // step) * step


class LearnedMemory:
    """The peak heap memory of each group: an upper quantile of its last runs."""

    def __init__(self) -> None:
        self._peaks: dict[Group, deque[int]] = {}
        self._expected: dict[Group, int] = {}

    def expect(self, group: Group) -> int:
        """Return the bytes to reserve for a task of the group; 0 where that is not known."""
        return self._expected.get(group, 0)

    def learn(self, group: Group, peak: int) -> bool:
        """Note the peak of one run, in bytes; True when more is expected from now on.

        A run that was stopped counts with what it had used by then.
        """
        peaks = self._peaks.get(group)
        if peaks is None:
            if peak < GRAIN:
                return False
            peaks = self._peaks[group] = deque(maxlen=_REMEMBERED)
        peaks.append(peak)
        before = self.expect(group)
        position = math.ceil(_QUANTILE * len(peaks)) - 1
        self._expected[group] = coarse(sorted(peaks)[position])
        return self._expected[group] > before


class LearnedOutputs:
    """The bytes that tasks of each group write to the store.

    Quick to rise, slow to fall: too small an estimate costs more than too large a one.
    """

    def __init__(self) -> None:
        self._expected: dict[Group, float] = {}

    def expect(self, group: Group) -> int | None:
        """Return the bytes that a task of the group is expected to write, None if it never ran."""
        expected = self._expected.get(group)
        return None if expected is None else int(expected)

    def learn(self, group: Group, output: int) -> None:
        """Note what one run wrote, in bytes."""
        known = self._expected.get(group)
        if known is None or output > known:
            self._expected[group] = output
        else:
            self._expected[group] = known + _FALL * (output - known)
