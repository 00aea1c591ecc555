"""Exceptions to bytes and back, whatever their constructors look like.

The original object is re-raised, of the original type, with the worker's traceback as its
``__cause__``. Exceptions that pickle wrongly (a constructor with other arguments than
``args``) are rebuilt from class, args and attributes; those that cannot be pickled at all
become a `TaskError` with their text.
"""

from __future__ import annotations

import pickle
import traceback
from typing import Any

import cloudpickle

from ..errors import RemoteTraceback, TaskError
from .diagnose import short

_COMPARABLE = frozenset({str, bytes, int, float, bool, type(None)})

__all__ = ["deserialize_exception", "serialize_error", "serialize_exception"]


def serialize_exception(error: BaseException, where: str) -> bytes:
    """Return the bytes of an exception that was raised by user code.

    Args:
        error: the exception, with its traceback.
        where: names the task and process, put after the traceback.
    """
    text = _format(error) + where
    acceptable: bytes | None = None
    for state in (error, _by_parts(error)):
        try:
            data = bytes(cloudpickle.dumps((state, text, _notes(error)), 5))
            copy = _restore(pickle.loads(data)[0])
            if _same(error, copy):
                if _reads_same(error, copy):
                    return data
                acceptable = acceptable or data
        except Exception:  # noqa: BLE001, S112 - user-defined reducers may raise anything
            continue
    if acceptable is not None:
        return acceptable
    stand_in = TaskError(f"{type(error).__qualname__} (which cannot be pickled): {short(error)}")
    return bytes(cloudpickle.dumps((stand_in, text, _notes(error)), 5))


def serialize_error(error: Exception) -> bytes:
    """Return the bytes of an exception of our own, which has no remote traceback."""
    return bytes(cloudpickle.dumps((error, "", []), 5))


def deserialize_exception(data: bytes) -> BaseException:
    """Return the exception, ready to be raised."""
    try:
        state, text, notes = pickle.loads(data)
        error = _restore(state)
        if notes and not hasattr(error, "__notes__"):  # many a __reduce__ forgets them
            error.__notes__ = notes
    except Exception as failure:  # noqa: BLE001 - for example a class missing in this process
        return TaskError(f"the exception of the task cannot be unpickled here: {failure!r}")
    if text:
        error.__cause__ = RemoteTraceback(text)
    return error


class _Parts:
    """What an exception consists of."""

    def __init__(
        self, cls: type[BaseException], args: tuple[Any, ...], state: dict[str, Any]
    ) -> None:
        self.cls = cls
        self.args = args
        self.state = state


def _by_parts(error: BaseException) -> _Parts:
    args = error.args
    if isinstance(error, OSError) and error.filename is not None and len(args) == 2:
        args = (*args, error.filename, None, error.filename2)  # not in args, but set from them
    return _Parts(type(error), args, dict(vars(error)))


def _restore(state: BaseException | _Parts) -> BaseException:
    if isinstance(state, BaseException):
        return state
    error = state.cls.__new__(state.cls, *state.args)
    # What a built-in exception keeps beside args (errno, position, code) its constructor sets.
    builtin: Any = next(cls for cls in state.cls.__mro__ if cls.__module__ == "builtins")
    builtin.__init__(error, *state.args)
    error.args = state.args[:2] if isinstance(error, OSError) else state.args
    vars(error).update(state.state)
    return error


def _same(error: BaseException, copy: BaseException) -> bool:
    """Whether a copy came out right, as far as can be told without trusting user's code."""
    if type(copy) is not type(error) or len(copy.args) != len(error.args):
        return False
    if isinstance(error, OSError) and error.errno != copy.errno:  # type: ignore[attr-defined]
        return False
    return all(
        type(ours) is type(theirs)
        and (type(ours) not in _COMPARABLE or ours == theirs or ours != ours)  # noqa: PLR0124 - NaN
        for ours, theirs in zip(error.args, copy.args, strict=True)
    )


def _notes(error: BaseException) -> list[str]:
    return [note for note in getattr(error, "__notes__", ()) if isinstance(note, str)]


def _reads_same(error: BaseException, copy: BaseException) -> bool:
    """Whether the texts are equal: pickling support of other libraries loses built-in fields."""
    try:
        return str(error) == str(copy)
    except Exception:  # noqa: BLE001 - the user's __str__ may raise; then there is no text to lose
        return True


def _format(error: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(type(error), error, _user_frames(error)))
    except Exception as failure:  # noqa: BLE001 - the exception's own __str__ may raise
        return f"{type(error).__qualname__} (showing it failed: {failure!r})\n"


def _user_frames(error: BaseException) -> Any:
    """Return the traceback from the first frame of user code on."""
    frames = error.__traceback__
    while frames is not None and "millpond" in frames.tb_frame.f_globals.get("__name__", ""):
        if frames.tb_next is None:
            return error.__traceback__
        frames = frames.tb_next
    return frames
