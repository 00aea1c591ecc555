"""Where in the user's program an object came from, at a cost that every call can bear.

A site is a code object and a position in it: recording one follows the stack out of the engine and
of the libraries that call it, and makes no text. Code objects keep no frame alive.
"""

from __future__ import annotations

import sys
from types import CodeType, FrameType

__all__ = ["Site", "call_site", "describe_site", "line_of"]

Site = tuple[CodeType, int]

#: Packages whose own lines tell a user nothing: the engine, its front ends, and what they call
#: back through.
_LIBRARIES = frozenset(
    [
        "millpond",
        "dask",
        "dask_expr",
        "distributed",
        "modin",
        "pandas",
        "joblib",
        "toolz",
        "tlz",
        "concurrent",
        "contextlib",
        "functools",
        "threading",
        "asyncio",
    ]
)
#: parts of a function's name that a reader can do without
_SCOPES = frozenset(["<module>", "<locals>", "<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>"])
#: file of a code object -> whether it belongs to a library
_known: dict[str, bool] = {}


def call_site() -> Site | None:
    """Return the innermost place on the stack that is the user's, if there is one."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        code = frame.f_code
        library = _known.get(code.co_filename)
        if library is None:
            library = _is_library(frame)
        if not library:
            # Not the line: finding that takes a walk through the table of lines.
            return code, frame.f_lasti
        frame = frame.f_back
    return None


def _is_library(frame: FrameType) -> bool:
    name = frame.f_globals.get("__name__")
    library = isinstance(name, str) and name.partition(".")[0] in _LIBRARIES
    filename = frame.f_code.co_filename
    if not filename.startswith("<"):  # "<string>" and its like are many files
        _known[filename] = library
    return library


def line_of(site: Site) -> int:
    """Return the line number of a site."""
    code, position = site
    for start, end, line in code.co_lines():
        if start <= position < end and line is not None:
            return line
    return code.co_firstlineno


def describe_site(site: Site) -> str:
    """Return a site as ``file:line in function``."""
    code, _ = site
    where = f"{code.co_filename}:{line_of(site)}"
    function = ".".join(part for part in code.co_qualname.split(".") if part not in _SCOPES)
    return f"{where} in {function}" if function else where
