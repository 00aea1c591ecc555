from __future__ import annotations

import errno
import subprocess
import sys
import threading
from typing import Any

import pytest

from millpond.errors import ObjectLostError, RemoteTraceback, TaskError
from millpond.serialization.exceptions import (
    deserialize_exception,
    serialize_error,
    serialize_exception,
)


def raised(error: BaseException) -> BaseException:
    """The exception with a traceback."""
    with pytest.raises(type(error)) as caught:
        raise error
    return caught.value


def round_trip(error: BaseException) -> BaseException:
    return deserialize_exception(serialize_exception(raised(error), "(task f)"))


class Payload:
    """Has the default repr, which holds its address."""


class OtherConstructorError(Exception):
    def __init__(self, code: int, *, url: str) -> None:
        super().__init__(f"{code} at {url}")
        self.code = code
        self.url = url


class NoSuperError(Exception):
    def __init__(self, code: int, reason: str) -> None:
        self.code = code
        self.reason = reason


class ChangesItsArgsError(Exception):
    def __init__(self, text: str) -> None:
        super().__init__(f"<{text}>")


class WrongReduceError(Exception):
    def __reduce__(self) -> tuple[Any, ...]:
        return RuntimeError, ("something else",)


class RaisingReduceError(Exception):
    def __reduce__(self) -> tuple[Any, ...]:
        raise RuntimeError("never")


class HasSlotsError(Exception):
    __slots__ = ("extra",)


class GoneError(OSError):
    def __init__(self, path: str) -> None:
        super().__init__(errno.ENOENT, "gone", path)


class MovedError(OSError):
    def __init__(self, source: str, target: str, *, tries: int) -> None:
        super().__init__(errno.EXDEV, "moved", source, None, target)
        self.tries = tries


class BrokenStrError(Exception):
    def __init__(self, part: object) -> None:
        super().__init__(part)

    def __str__(self) -> str:
        raise RuntimeError("no text")


class BrokenReprError(BrokenStrError):
    def __repr__(self) -> str:
        raise RuntimeError("no repr")


@pytest.mark.parametrize(
    "error",
    [
        ValueError(),
        ValueError("text", 5, None, b"x"),
        KeyError("key"),
        ValueError(Payload()),
        OtherConstructorError(404, url="u"),
        NoSuperError(7, "why"),
        ChangesItsArgsError("text"),
        WrongReduceError("kept"),
        RaisingReduceError("kept", 3),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
        subprocess.CalledProcessError(3, ["false"], output="out"),
        ExceptionGroup("several", [ValueError(1), KeyError("k")]),
        ImportError("no module", name="m", path="p"),
        StopIteration(5),
        SystemExit(3),
        KeyboardInterrupt(),
        BrokenStrError("part"),
        BrokenReprError("part"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_type_args_and_attributes_arrive(error: BaseException) -> None:
    back = round_trip(error)
    assert type(back) is type(error)
    assert [type(arg) for arg in back.args] == [type(arg) for arg in error.args]
    if not any(isinstance(arg, (Payload, list)) for arg in error.args):
        assert back.args == error.args
    assert vars(back) == vars(error)
    if not isinstance(error, (BrokenStrError, BaseExceptionGroup)) and "Payload" not in str(error):
        assert str(back) == str(error)


def test_a_number_that_differs_from_itself() -> None:
    back = round_trip(ValueError("not a number", float("nan")))
    assert type(back) is ValueError
    assert repr(back) == "ValueError('not a number', nan)"


def test_attributes_set_later_and_notes_arrive() -> None:
    for error in (ValueError("x"), OtherConstructorError(1, url="u"), RaisingReduceError("x")):
        error.add_note("first")
        error.add_note("second")
        error.job = {"id": 5}  # type: ignore[union-attr]
        back = round_trip(error)
        assert back.__notes__ == ["first", "second"]
        assert back.job == {"id": 5}  # type: ignore[attr-defined]


def test_notes_arrive_where_the_reducer_forgets_them() -> None:
    class ForgetfulError(Exception):
        def __reduce__(self) -> tuple[Any, ...]:
            return ForgetfulError, self.args

    error = ForgetfulError("x")
    error.add_note("a note")
    assert round_trip(error).__notes__ == ["a note"]


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EACCES, "denied"),
        FileNotFoundError(errno.ENOENT, "not there", "/file"),
        OSError(errno.EXDEV, "other device", "/from", None, "/to"),
        OSError("only text"),
        OSError(),
        GoneError("/file"),
        MovedError("/from", "/to", tries=3),
        BlockingIOError(errno.EAGAIN, "later", 5),
    ],
    ids=repr,
)
def test_errors_of_the_system_keep_number_and_files(error: OSError) -> None:
    back = round_trip(error)
    assert type(back) is type(error)
    assert isinstance(back, OSError)
    for name in ("errno", "strerror", "filename", "filename2"):
        assert getattr(back, name) == getattr(error, name)
    assert back.args == error.args
    assert str(back) == str(error)
    assert vars(back) == vars(error)


@pytest.mark.parametrize(
    "error",
    [
        ValueError(threading.Lock()),
        BrokenStrError(threading.Lock()),
        BrokenReprError(threading.Lock()),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_cannot_be_pickled_arrives_as_text(error: Exception) -> None:
    error.add_note("a note")
    back = round_trip(error)
    assert type(back) is TaskError
    assert f"{type(error).__qualname__} (which cannot be pickled)" in str(back)
    assert back.__notes__ == ["a note"]
    assert isinstance(back.__cause__, RemoteTraceback)
    assert type(error).__name__ in back.__cause__.text


def test_the_cause_shows_the_traceback_of_user_code_and_the_place() -> None:
    def fails_inside() -> None:
        raise ValueError("inside")

    with pytest.raises(ValueError) as caught:
        fails_inside()
    back = deserialize_exception(serialize_exception(caught.value, "(task f, pid 5)"))
    assert isinstance(back.__cause__, RemoteTraceback)
    text = str(back.__cause__)
    assert "in fails_inside" in text
    assert "ValueError: inside\n(task f, pid 5)" in text


def test_chained_exceptions_are_in_the_text() -> None:
    error = ValueError("second")
    error.__cause__ = KeyError("first")
    back = round_trip(error)
    assert "KeyError: 'first'" in str(back.__cause__)
    assert "direct cause" in str(back.__cause__)


def test_a_class_that_is_missing_here_is_an_error_with_its_name() -> None:
    name = "a_module_that_is_gone"
    module = type(sys)(name)
    lost = type("Lost", (Exception,), {"__module__": name})
    module.Lost = lost  # type: ignore[attr-defined]
    sys.modules[name] = module
    try:
        data = serialize_exception(raised(lost("x")), "")
    finally:
        del sys.modules[name]
    back = deserialize_exception(data)
    assert type(back) is TaskError
    assert name in str(back)


def test_errors_of_our_own_have_no_remote_traceback() -> None:
    back = deserialize_exception(serialize_error(ObjectLostError("object 12 is lost")))
    assert type(back) is ObjectLostError
    assert str(back) == "object 12 is lost"
    assert back.__cause__ is None


def test_slots_of_exceptions_are_not_promised_but_do_no_harm() -> None:
    error = HasSlotsError("x")
    error.extra = 5  # type: ignore[attr-defined]
    assert type(round_trip(error)) is HasSlotsError
