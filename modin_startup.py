"""Build step: ship ``millpond-modin.pth``, so that ``MODIN_ENGINE=millpond`` needs no import.

Python runs that file when it starts. It does nothing unless that variable, or ``MODIN_BACKEND``,
names our engine; then it imports millpond, which waits for Modin to be imported. It must lie in
the top folder of the installation, where no setting of setuptools puts a file, hence this class.
"""

from __future__ import annotations

from pathlib import Path

from setuptools.command.build_py import build_py

HOOK = "millpond-modin.pth"


class BuildPy(build_py):
    """The usual build, plus the start-up hook."""

    def run(self) -> None:
        """Build, then copy the hook next to the package."""
        super().run()
        self.copy_file(HOOK, self._target())

    def get_source_files(self) -> list[str]:
        """Return what a source distribution must contain."""
        return [*super().get_source_files(), HOOK, Path(__file__).name]

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        """Return what the build makes."""
        return [*super().get_outputs(include_bytecode), self._target()]

    def _target(self) -> str:
        return str(Path(self.build_lib, HOOK))
