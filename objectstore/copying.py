"""Copying between buffers and addresses without the GIL, by several threads where that is faster.

A `memoryview` assignment copies with the GIL held, and `ctypes` alone cannot tell where a read-only
buffer lies.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class _PyBuffer(ctypes.Structure):
    """CPython's `Py_buffer`, part of the stable ABI since 3.11."""

    _fields_ = (
        ("buf", ctypes.c_void_p),
        ("obj", ctypes.py_object),
        ("len", ctypes.c_ssize_t),
        ("itemsize", ctypes.c_ssize_t),
        ("readonly", ctypes.c_int),
        ("ndim", ctypes.c_int),
        ("format", ctypes.c_char_p),
        ("shape", ctypes.POINTER(ctypes.c_ssize_t)),
        ("strides", ctypes.POINTER(ctypes.c_ssize_t)),
        ("suboffsets", ctypes.POINTER(ctypes.c_ssize_t)),
        ("internal", ctypes.c_void_p),
    )


_get_buffer = ctypes.pythonapi.PyObject_GetBuffer
_get_buffer.argtypes = (ctypes.py_object, ctypes.POINTER(_PyBuffer), ctypes.c_int)
_get_buffer.restype = ctypes.c_int
_release_buffer = ctypes.pythonapi.PyBuffer_Release
_release_buffer.argtypes = (ctypes.POINTER(_PyBuffer),)
_release_buffer.restype = None

_SIMPLE = 0  # PyBUF_SIMPLE: contiguous bytes, read-only or not


@contextlib.contextmanager
def address_of(buffer: ReadableBuffer) -> Iterator[int]:
    """The address of a contiguous buffer's first byte, which stays valid inside the `with` block.

    Raises:
        BufferError: it is not contiguous.
        TypeError: it is not a buffer.
    """
    found = _PyBuffer()
    _get_buffer(buffer, found, _SIMPLE)  # a failure raises here: `pythonapi` checks for errors
    try:
        yield found.buf or 0
    finally:
        _release_buffer(found)
