"""Which heavy modules the code of a session imports: workers are forked with these, and no others.

A module in the process that forks costs every worker its page tables and page faults; with pandas,
a worker that needs none of it takes half as long again to start. One that is not there costs the
worker that needs it up to a second, once.
"""

from __future__ import annotations

import sys
from typing import Final

__all__ = ["HeavyImports"]

#: Module -> what workers get once somebody has imported it. All of them bear being forked; arrays
#: come from the object store through pyarrow.
_WANTED_WITH: Final = {
    "numpy": ("numpy", "pyarrow"),
    "pandas": ("numpy", "pandas", "pyarrow"),
    "pyarrow": ("pyarrow",),
}


class HeavyImports:
    """Notices what this process has imported.

    Args:
        follow: false to notice nothing, as somebody has said which modules workers need.
    """

    def __init__(self, *, follow: bool) -> None:
        self._unmet = set(_WANTED_WITH) if follow else set()

    def ignore(self) -> None:
        """Notice nothing from now on: what this process imports helps no other."""
        self._unmet.clear()

    def met(self) -> list[str]:
        """Return what workers should have for the sake of modules new since the last call."""
        # This runs after each task.
        met = [name for name in self._unmet if name in sys.modules] if self._unmet else []
        if not met:
            return met
        self._unmet.difference_update(met)
        return sorted({module for name in met for module in _WANTED_WITH[name]})
