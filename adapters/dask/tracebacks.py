"""What an error that somebody keeps must not keep with it: the results of its computation.

A traceback holds the frames that the error went through, and these their variables: refs, values
that had arrived, whole graphs. An interactive session keeps its last error until there is another.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import FrameType
from typing import ParamSpec, TypeVar

__all__ = ["keeping_nothing"]

_PACKAGE = __name__.partition(".")[0]

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def keeping_nothing(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Have the errors that leave ``function`` keep no variables of this package's frames.

    Those of other frames stay, for debuggers: of tasks that ran in this process, for example.
    """

    @functools.wraps(function)
    def call(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        try:
            return function(*args, **kwargs)
        except BaseException as error:
            for frame in _frames(error):
                if frame.f_globals.get("__name__", "").partition(".")[0] == _PACKAGE:
                    with suppress(RuntimeError):  # it is still running
                        frame.clear()
            raise

    return call


def _frames(error: BaseException | None) -> Iterator[FrameType]:
    """Yield the frames of an error, and of those that it was raised for."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        traceback = error.__traceback__
        while traceback is not None:
            yield traceback.tb_frame
            traceback = traceback.tb_next
        error = error.__cause__ or error.__context__
