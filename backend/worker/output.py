"""A worker's stdout and stderr: pipes to the node, announced with the name of the task."""

from __future__ import annotations

import io
import logging
import sys

from ..node.logs import MARK

__all__ = ["TaskOutput", "redirect_output"]


class TaskOutput(io.TextIOWrapper):
    """A line-buffered text stream that tells which task prints."""

    #: name of the task that runs, set by the executor
    task_name = ""
    _announced = ""
    _line_open = False

    def write(self, text: str, /) -> int:
        """Write text, after the name of the task if that is a new one."""
        if self.task_name != self._announced:
            self._announced = self.task_name
            end = "\n" if self._line_open else ""
            name = " ".join(self.task_name.splitlines())
            super().write(f"{end}{MARK.decode()}{name}\n")
        if text:
            self._line_open = not text.endswith("\n")
        return super().write(text)


def redirect_output() -> tuple[TaskOutput, TaskOutput]:
    """Replace ``sys.stdout`` and ``sys.stderr`` by streams on descriptors 1 and 2; log there too.

    Done once, before workers are forked: what a process makes after the fork costs it copies of
    the pages it writes to.
    """
    streams = []
    for fd in (1, 2):
        raw = io.FileIO(fd, "w", closefd=False)
        streams.append(
            TaskOutput(
                io.BufferedWriter(raw), encoding="utf-8", errors="replace", line_buffering=True
            )
        )
    sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__ = streams  # type: ignore[misc]
    logging.basicConfig(stream=streams[1], level=logging.WARNING, force=True)
    return streams[0], streams[1]
