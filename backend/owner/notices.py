"""Warnings that the node has for the user, given by a thread of the user's own."""

from __future__ import annotations

import warnings
from collections import deque

from ..errors import ObjectStoreWarning
from .call_sites import call_site, line_of

__all__ = ["Notices"]


class Notices:
    """Texts that arrived and were not shown yet."""

    def __init__(self) -> None:
        self._texts: deque[str] = deque()

    def add(self, text: str) -> None:
        """Take a text from the node.

        This is the I/O thread, where a warning that was turned into an error must not be raised.
        """
        self._texts.append(text)

    def show(self) -> None:
        """Warn of what arrived, at the user's line that called the engine.

        Raises:
            ObjectStoreWarning: if the program turned warnings into errors.
        """
        while self._texts:
            text = self._texts.popleft()
            site = call_site()
            where = ("<unknown>", 0) if site is None else (site[0].co_filename, line_of(site))
            warnings.warn_explicit(text, ObjectStoreWarning, *where)
