"""What the functions on refs refuse; nothing here starts an engine."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest

import millpond
from millpond import ObjectRef
from millpond.owner.objects import PENDING, Entry


@pytest.fixture(autouse=True)
def no_engine_is_started() -> Iterator[None]:
    running = millpond.is_initialized()
    yield
    assert millpond.is_initialized() == running


def a_ref(number: int = 1, state: int = PENDING) -> ObjectRef[Any]:
    entry = Entry(b"driver-1" + number.to_bytes(8, "big"), owned=True)
    entry.state = state
    return ObjectRef(entry)


@pytest.mark.parametrize("function", ["get", "wait"])
@pytest.mark.parametrize(
    ("refs", "text"),
    [
        (5, r"takes an ObjectRef or a list of them, not int: 5"),
        (None, "not NoneType: None"),
        ({1}, r"not set: \{1\}"),
        ("ref", "not str: 'ref'"),
        ([a_ref(), 5], "element 1 is not an ObjectRef but int: 5"),
        ((a_ref(), [a_ref()]), "element 1 is not an ObjectRef but list"),
        ([None], "element 0 is not an ObjectRef but NoneType: None"),
    ],
    ids=lambda value: "" if isinstance(value, str) and len(value) > 5 else repr(value)[:20],
)
def test_what_is_no_ref(function: str, refs: Any, text: str) -> None:
    with pytest.raises(TypeError, match=f"millpond.{function}.*{text}"):
        getattr(millpond, function)(refs)


def test_long_values_are_cut_in_the_text() -> None:
    with pytest.raises(TypeError) as caught:
        millpond.get("x" * 10_000)  # type: ignore[arg-type]
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("function", ["get", "wait"])
@pytest.mark.parametrize(
    ("timeout", "error"),
    [
        ("5", TypeError),
        (True, TypeError),
        ([], TypeError),
        (-1, ValueError),
        (-0.001, ValueError),
        (math.nan, ValueError),
        (-math.inf, ValueError),
    ],
    ids=repr,
)
def test_wrong_timeouts(function: str, timeout: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"timeout must be seconds") as caught:
        getattr(millpond, function)([a_ref()], timeout=timeout)
    assert repr(timeout) in str(caught.value)


def test_waiting_for_a_ref_twice() -> None:
    ref = a_ref()
    with pytest.raises(ValueError, match="the same ref more than once"):
        millpond.wait([ref, a_ref(2), ref])


@pytest.mark.parametrize("number", [0, 3, -1])
def test_waiting_for_more_or_fewer_than_there_are(number: int) -> None:
    with pytest.raises(ValueError, match=f"num_returns is {number}, .* which is 2"):
        millpond.wait([a_ref(1), a_ref(2)], num_returns=number)


def test_waiting_for_nothing() -> None:
    with pytest.raises(ValueError, match=r"num_returns is 1, .* which is 0"):
        millpond.wait([])


def test_a_ref_is_not_put() -> None:
    ref = a_ref()
    with pytest.raises(TypeError, match=rf"{ref.hex()}.* is stored already"):
        millpond.put(ref)


def test_what_cannot_be_cancelled_or_killed() -> None:
    with pytest.raises(TypeError, match=r"millpond\.cancel: element 0 .* int: 5"):
        millpond.cancel(5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"millpond\.kill takes an actor handle, not ObjectRef"):
        millpond.kill(a_ref())  # type: ignore[arg-type]


def test_a_ref_is_no_collection() -> None:
    with pytest.raises(TypeError):
        len(a_ref())  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        list(a_ref())  # type: ignore[call-overload]


def test_wrong_options_are_refused_when_they_are_given() -> None:
    def f() -> None: ...

    with pytest.raises(TypeError, match="unknown option 'cpus'"):
        millpond.remote(cpus=1)(f)
    with pytest.raises(ValueError, match="it is -1"):
        millpond.remote(f).options(num_returns=-1)
