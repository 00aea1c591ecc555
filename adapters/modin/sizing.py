"""How many partitions a frame gets, so that it can be worked on in the memory that there is.

Modin cuts every frame into ``NPartitions`` rows of blocks, by default one for each CPU. That is
too coarse for frames that do not fit into the object store: a task needs its blocks in memory as a
whole. So the number grows, for the whole process, when a larger frame comes into sight. A number
that the user set stays.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from modin.config import CpuCount, NPartitions, ValueSource

import millpond

#: Blocks that one running task may need at once: inputs, output, and what is being written.
_BLOCKS_PER_TASK = 3

#: Beyond this many the bookkeeping costs more than the memory is worth.
_MOST_PARTITIONS = 1024

#: What a short string takes beside the pointer to it.
_BYTES_PER_OBJECT = 40


class _Adopted:
    """A setting of Modin that follows the engine until the user sets it.

    Args:
        parameter: One of the classes in ``modin.config``.
    """

    def __init__(self, parameter: Any) -> None:
        self._parameter = parameter
        #: What was put here last. To Modin it looks as if the user had put it.
        self._own: int | None = None

    def by_user(self) -> int | None:
        """Return the value if the user chose it, else None."""
        value: int = self._parameter.get()
        is_default = self._parameter.get_value_source() == ValueSource.DEFAULT
        return None if is_default or value == self._own else value

    def follow(self, value: int) -> None:
        """Set ``value``, unless the user chose one."""
        if self.by_user() is None:
            self._parameter.put(value)
            self._own = value


_cpus = _Adopted(CpuCount)
_partitions = _Adopted(NPartitions)


def cpus_by_user() -> int | None:
    """Return ``CpuCount`` if the user chose it (``MODIN_CPUS``), else None."""
    return _cpus.by_user()


def partitions_by_user() -> int | None:
    """Return ``NPartitions`` if the user chose it, else None."""
    return _partitions.by_user()


def follow_cpus(cpus: int) -> None:
    """Tell Modin how many CPUs the engine has; a frame gets as many partitions."""
    _cpus.follow(cpus)
    _partitions.follow(cpus)


def partitions_for(nbytes: float, capacity: int, cpus: int) -> int:
    """Return into how many rows of blocks to cut a frame of ``nbytes`` bytes.

    Args:
        nbytes: Size of the frame in memory.
        capacity: Bytes of the object store.
        cpus: Tasks that run side by side.
    """
    block = capacity / (_BLOCKS_PER_TASK * cpus)
    return min(_MOST_PARTITIONS, max(cpus, math.ceil(nbytes / block)))


def bytes_of(frame: pd.DataFrame) -> int:
    """Return about how many bytes a pandas frame takes, without looking at every object."""
    shallow = int(frame.memory_usage(deep=False).sum())
    objects = sum(isinstance(dtype, np.dtype) and dtype.hasobject for dtype in frame.dtypes)
    return shallow + objects * len(frame) * _BYTES_PER_OBJECT


def expect(nbytes: float) -> None:
    """Prepare for a frame of about ``nbytes`` bytes in memory."""
    session = millpond.context()
    if session is None:
        return
    number = partitions_for(nbytes, session.object_store_memory, CpuCount.get())
    if number > NPartitions.get():
        _partitions.follow(number)
