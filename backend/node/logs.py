"""Worker output: read from pipes, cut into lines, sent to the driver with the task's name.

A worker announces the name of its task, when something is printed, by a line that starts with
`MARK`; such lines are not shown.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

__all__ = ["MARK", "LogPipe"]

MARK = b"\0millpond-task "
_READ_BYTES = 1 << 16
#: bytes of a line that are kept to wait for its end
_LONGEST_LINE = 1 << 18


class LogPipe:
    """The read end of one worker's stdout or stderr.

    Args:
        fd: read end of the pipe; closed at its end.
        loop: the node's event loop.
        emit: called with (task name, text of complete lines).
        ended: called once after the last `emit`.
    """

    def __init__(
        self,
        fd: int,
        loop: asyncio.AbstractEventLoop,
        emit: Callable[[str, str], None],
        ended: Callable[[], None],
    ) -> None:
        os.set_blocking(fd, False)
        self._fd = fd
        self._loop = loop
        self._emit = emit
        self._ended = ended
        #: the beginning of a line, in pieces
        self._rest: list[bytes] = []
        self._name = ""
        loop.add_reader(fd, self._on_readable)

    def _on_readable(self) -> None:
        try:
            data = os.read(self._fd, _READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._end_line()
            self._ended()
            return
        *lines, rest = data.split(b"\n")
        if lines:
            self._rest.append(lines[0])
            lines[0] = b"".join(self._rest)
            self._rest = []
            self._lines(lines)
        self._rest.append(rest)
        if sum(map(len, self._rest)) > _LONGEST_LINE:  # a progress bar, or binary data
            self._end_line()

    def _end_line(self) -> None:
        line = b"".join(self._rest)
        self._rest = []
        if line:
            self._lines([line])

    def _lines(self, lines: list[bytes]) -> None:
        text: list[str] = []
        for line in lines:
            if line.startswith(MARK):
                self._flush(text)
                self._name = line[len(MARK) :].decode("utf-8", "replace")
            else:
                text.append(line.decode("utf-8", "replace"))
        self._flush(text)

    def _flush(self, text: list[str]) -> None:
        if text:
            self._emit(self._name, "\n".join(text))
            text.clear()
