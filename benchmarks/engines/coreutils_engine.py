"""No engine: GNU sort, which users of large files have at hand."""

# ruff: noqa: D102 - the interface documents the methods

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from .. import sorting
from .interface import Engine, Settings


class CoreutilsEngine(Engine):
    """``sort`` with the same memory and threads as the engines."""

    def start(self, settings: Settings) -> None:
        """Do nothing: every sort is a process of its own."""

    def stop(self) -> None:
        """Do nothing."""

    def sort(self, work: sorting.Work) -> list[Path]:
        target = work.directory / "sorted"
        subprocess.run(
            [  # noqa: S607 - the user's own
                "sort",
                f"--buffer-size={work.memory}b",
                f"--parallel={work.cpus}",
                f"--temporary-directory={work.directory}",
                f"--output={target}",
                str(work.source),
            ],
            env={**os.environ, "LC_ALL": "C"},
            check=True,
        )
        return [target]
