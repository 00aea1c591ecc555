"""Shows in the driver what tasks print, each line with its task and process."""

from __future__ import annotations

import sys
import threading
from queue import SimpleQueue
from typing import Any

from ..wire.messages import LogLines

__all__ = ["LogPrinter"]


class LogPrinter:
    """A thread that prints, so that a blocked terminal blocks nothing else.

    Args:
        enabled: False to drop everything.
    """

    def __init__(self, *, enabled: bool) -> None:
        self._lines: SimpleQueue[LogLines | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        if enabled:
            self._thread = threading.Thread(target=self._run, name="millpond-log", daemon=True)
            self._thread.start()

    def on_lines(self, connection: Any, message: LogLines) -> None:
        """Take lines to print. On the thread that polls."""
        if self._thread is not None:
            self._lines.put(message)

    def close(self) -> None:
        """Print what is left, and end."""
        if self._thread is not None:
            self._lines.put(None)
            self._thread.join()

    def _run(self) -> None:
        while (message := self._lines.get()) is not None:
            stream = sys.stdout if message.stream == 1 else sys.stderr
            node = f" node={message.node}" if message.node else ""
            prefix = f"({message.name or 'worker'} pid={message.pid}{node}) "
            text = "".join(f"{prefix}{line}\n" for line in message.text.split("\n"))
            try:
                stream.write(text)
                stream.flush()
            except (OSError, ValueError):  # the driver closed its output; nobody reads it
                continue
