"""Warnings that tasks give, brought to the driver.

A warning is for whoever computes, under the filters of that process: shown once, ignored, or made
an error. So a worker records what a unit warns of and returns it with the result. Wherever a
result is unpickled, its warnings are set aside: a worker passes them on with what it makes of the
result, and the driver gives them at the end of the computation. Equal warnings are one.
"""

from __future__ import annotations

import pickle
import threading
import warnings
from types import TracebackType
from typing import Any, Self

import cloudpickle

__all__ = ["Recording", "TaskWarnings"]

#: distinct warnings that one result carries
_MOST = 100

#: what tells warnings apart: category, text, file, line
_Place = tuple[str, str, str, int]


class _SetAside(threading.local):
    """The pickled warnings that came with the results unpickled by this thread."""

    def __init__(self) -> None:
        self.given: dict[_Place, bytes] = {}


_set_aside = _SetAside()


class _Warned:
    """A result with warnings: it is unpickled as the result itself."""

    __slots__ = ("_given", "_value")

    def __init__(self, value: Any, given: dict[_Place, bytes]) -> None:
        self._value = value
        self._given = given

    def __reduce__(self) -> tuple[Any, ...]:
        return _arrived, (self._value, self._given)


def _arrived(value: Any, given: dict[_Place, bytes]) -> Any:
    for place, pickled in given.items():
        if len(_set_aside.given) >= _MOST:
            break
        _set_aside.given[place] = pickled
    return value


class Recording:
    """In a worker: records the warnings that are given in the block, instead of printing them."""

    def __init__(self) -> None:
        self._catching = warnings.catch_warnings(record=True)
        self._records: list[warnings.WarningMessage] = []

    def attach_to(self, result: Any, *, pieces: bool) -> Any:
        """Return what to return: the result with its warnings, and with those of its inputs.

        Args:
            result: what the unit made.
            pieces: whether it is a list of objects to return, and not one.
        """
        given, _set_aside.given = _set_aside.given, {}
        for record in self._records:
            category = record.category.__qualname__
            place = (category, str(record.message), record.filename, record.lineno)
            if place not in given and len(given) < _MOST:
                given[place] = _pickled(record.message)
        if not given:
            return result
        return [_Warned(piece, given) for piece in result] if pieces else _Warned(result, given)

    def __enter__(self) -> Self:
        records = self._catching.__enter__()
        assert records is not None
        self._records = records
        warnings.simplefilter("always")  # the driver's filters decide
        # Given when some object is collected, whose task may be any.
        warnings.simplefilter("ignore", ResourceWarning)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._catching.__exit__(exc_type, exc, traceback)
        if exc is not None:
            _set_aside.given = {}


def _pickled(message: Warning | str) -> bytes:
    try:
        return bytes(cloudpickle.dumps(message))
    except Exception:  # noqa: BLE001 - a user's own class; the driver makes do with the text
        return b""


class TaskWarnings:
    """In the driver: gives, at the end of the block, the warnings of the results read in it.

    They pass this process's filters, which may make one an error: that is raised then.
    """

    #: which warnings the "default" and "once" filters have let pass, as modules keep it in Python
    _shown: dict[Any, Any] = {}  # noqa: RUF012 - one for the process

    def __init__(self) -> None:
        self._outer: dict[_Place, bytes] = {}

    def __enter__(self) -> Self:
        self._outer, _set_aside.given = _set_aside.given, {}
        return self

    def __exit__(self, failure: type[BaseException] | None, *_: object) -> None:
        given, _set_aside.given = _set_aside.given, self._outer
        if failure is not None:
            return
        for (category, text, filename, line), pickled in given.items():
            try:
                message = pickle.loads(pickled)
            except Exception:  # noqa: BLE001 - a user's own class; its text is what matters
                message = UserWarning(f"{category}: {text}")
            warnings.warn_explicit(message, None, filename, line, registry=self._shown)
