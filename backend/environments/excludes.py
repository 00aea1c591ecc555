"""Which files of a directory are left out: patterns as in a ``.gitignore``. Pure."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

__all__ = ["ALWAYS", "Excludes"]

#: what is left out unless a pattern such as ``!.git/`` says otherwise
ALWAYS: Final = (".git/", ".venv/", "__pycache__/")

#: matches any number of names, the last of a pattern at least one; see `_fits`
_ANY_NAMES: Final = re.compile("")
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


class _Rule(NamedTuple):
    #: one expression for each name of the path
    names: list[re.Pattern[str]]
    #: what it matches is not left out after all
    keeps: bool
    only_directories: bool


class Excludes:
    """Tells of each path whether it is left out.

    The last pattern that matches decides. As in git, what lies in a directory that is left out is
    left out, whatever later patterns say; it is the caller who does not look there.

    Args:
        patterns: as the lines of a ``.gitignore``.
    """

    def __init__(self, patterns: Iterable[str]) -> None:
        self._rules = [rule for pattern in patterns if (rule := _rule(pattern)) is not None]

    def __call__(self, path: str, *, is_directory: bool) -> bool:
        """Whether a path is left out.

        Args:
            path: relative to the directory, with slashes; the directories above are not left out.
            is_directory: what it names.
        """
        names = path.split("/")
        for rule in reversed(self._rules):
            if (is_directory or not rule.only_directories) and _fits(rule.names, names):
                return not rule.keeps
        return False


def _rule(pattern: str) -> _Rule | None:
    pattern = _without_trailing_spaces(pattern)
    if not pattern or pattern.startswith("#"):
        return None
    keeps = pattern.startswith("!")
    pattern = pattern[keeps:]
    only_directories = pattern.endswith("/")
    pattern = pattern.removesuffix("/")
    anchored = "/" in pattern
    pattern = pattern.removeprefix("/")
    if not pattern:
        return None
    names = [_name(each) for each in pattern.split("/")]
    if not anchored:
        names = [_ANY_NAMES, re.compile(".*", re.DOTALL) if pattern == "**" else names[0]]
    return _Rule(names, keeps, only_directories)


def _without_trailing_spaces(pattern: str) -> str:
    stripped = pattern.rstrip(" ")
    escaped = stripped.endswith("\\") and len(stripped) < len(pattern)
    return f"{stripped} " if escaped else stripped


def _name(pattern: str) -> re.Pattern[str]:
    """Return the pattern of one name as an expression."""
    if pattern == "**":
        return _ANY_NAMES
    in_shell_style = _ESCAPED.sub(r"[\1]", pattern).replace("[^", "[!")
    return re.compile(fnmatch.translate(in_shell_style))


def _fits(rule: Sequence[re.Pattern[str]], names: Sequence[str]) -> bool:
    """Whether all names of a path are matched, in their order."""
    if not rule or not names:
        return not rule and not names
    first, rest = rule[0], rule[1:]
    if first is not _ANY_NAMES:
        return first.match(names[0]) is not None and _fits(rest, names[1:])
    if not rest:
        return True
    return any(_fits(rest, names[skipped:]) for skipped in range(len(names)))
