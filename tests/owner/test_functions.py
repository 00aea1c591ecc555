from __future__ import annotations

import functools
import gc
import threading
import weakref
from collections.abc import Callable

import pytest

from millpond.errors import SerializationError
from millpond.owner.functions import ExportedFunctions, LoadedFunctions, describe_callable


def add(a: int, b: int) -> int:
    return a + b


class Adder:
    """A callable that is neither hashable nor weakly referable."""

    __slots__ = ("n",)
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, n: int) -> None:
        self.n = n

    def __eq__(self, other: object) -> bool:
        return False

    def __call__(self, value: int) -> int:
        return value + self.n


def adding(n: int) -> Callable[[int], int]:
    return lambda value: value + n


def test_a_function_is_shipped_once_and_fetched_once() -> None:
    exported = ExportedFunctions()
    fetched: list[bytes] = []

    def fetch(function_id: bytes, owner: bytes) -> bytes:
        fetched.append(owner)
        blob = exported.blob(function_id)
        assert blob is not None
        return blob

    loaded = LoadedFunctions(fetch)
    function_id = exported.export(add)
    assert exported.export(add) == function_id
    assert loaded.load(function_id, b"driver-1")(2, 3) == 5
    assert loaded.load(function_id, b"driver-1")(3, 4) == 7
    assert fetched == [b"driver-1"]


def test_a_function_that_was_brought_is_not_asked_for() -> None:
    exported = ExportedFunctions()
    function_id = exported.export(add)
    loaded = LoadedFunctions(lambda *_: pytest.fail("it was asked for"))
    loaded.bring(function_id, exported.blob(function_id) or b"")
    assert loaded.load(function_id, b"driver-1")(2, 3) == 5
    assert loaded.load(function_id, b"driver-1")(3, 4) == 7


def test_functions_that_differ_only_in_their_closure_are_told_apart() -> None:
    exported = ExportedFunctions()
    loaded = LoadedFunctions(lambda function_id, _: exported.blob(function_id) or b"")
    one, two = exported.export(adding(1)), exported.export(adding(2))
    assert one != two
    assert loaded.load(one, b"")(10) == 11
    assert loaded.load(two, b"")(10) == 12


def test_callables_that_can_be_neither_hashed_nor_weakly_referred_to() -> None:
    exported = ExportedFunctions()
    assert exported.export(Adder(1)) == exported.export(Adder(1))
    assert exported.export(Adder(1)) != exported.export(Adder(2))


def test_a_function_is_not_kept_alive() -> None:
    exported = ExportedFunctions()
    function = adding(3)
    function_id = exported.export(function)
    alive = weakref.ref(function)
    del function
    gc.collect()
    assert alive() is None
    assert exported.blob(function_id) is not None


def test_an_unknown_function_has_no_blob() -> None:
    assert ExportedFunctions().blob(b"?") is None


def test_a_function_that_cannot_be_pickled_is_named() -> None:
    lock = threading.Lock()

    def locked() -> None:
        with lock:
            pass

    with pytest.raises(SerializationError, match=r"function .*locked .*<variable lock>"):
        ExportedFunctions().export(locked)


def test_every_callable_has_a_name() -> None:
    assert describe_callable(add) == "add"
    assert describe_callable(Adder) == "Adder"
    assert describe_callable(Adder(1)) == "Adder"
    assert describe_callable(functools.partial(add, 1)) == "partial"
