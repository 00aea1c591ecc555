"""No engine: one `memcpy` into shared memory, the least that a `put` of a large array can cost.

It runs through the same cases as the engines, so the first `put` measures untouched memory and
later ones, which find the released space again, measure warm memory.
"""

# ruff: noqa: D102 - the interface documents the methods

from __future__ import annotations

import mmap
import os
import weakref
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .interface import Engine, Settings


class Copy:
    """The only ref to a copied array; its space is free again when it dies."""

    __slots__ = ("__weakref__", "array")

    def __init__(self, array: NDArray[Any]) -> None:
        self.array = array


class MemcpyEngine(Engine):
    """Arrays in one memfd, handed out first fit."""

    def __init__(self) -> None:
        self._arena: mmap.mmap | None = None
        self._used: list[tuple[int, int]] = []

    def start(self, settings: Settings) -> None:
        size = settings.store_bytes or 1 << 30
        fd = os.memfd_create("memcpy")
        os.ftruncate(fd, size)
        self._arena = mmap.mmap(fd, size)
        os.close(fd)

    def stop(self) -> None:
        self._arena = None

    def put(self, value: Any) -> Copy:
        if self._arena is None:
            raise RuntimeError("not started")
        array: NDArray[Any] = np.ascontiguousarray(value)
        block = self._allocate(array.nbytes)
        target = np.frombuffer(self._arena, np.uint8, array.nbytes, block[0])
        np.copyto(target, array.view(np.uint8).reshape(-1))
        copy = Copy(target.view(array.dtype).reshape(array.shape))
        weakref.finalize(copy, self._used.remove, block)
        return copy

    def get(self, ref: Copy) -> NDArray[Any]:
        return ref.array

    def _allocate(self, size: int) -> tuple[int, int]:
        offset = 0
        for start, end in sorted(self._used):
            if start - offset >= size:
                break
            offset = end
        block = (offset, offset + -(-size // mmap.PAGESIZE) * mmap.PAGESIZE)
        self._used.append(block)
        return block
