"""The memory that imports take, which is no task's: the next one in this worker finds it there.

A finder before all others notices when the main thread begins to import something, and when that is
done with everything it imports in turn. It finds nothing itself, and changes nothing but who calls
the loader.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from importlib.abc import Loader  # a costly import

__all__ = ["ImportFinder"]


class ImportFinder:
    """A meta-path finder that tells of imports by the thread that makes it.

    Args:
        begun: called when an import begins that is not part of another one.
        ended: called when it has ended, successfully or not.
    """

    def __init__(self, begun: Callable[[], None], ended: Callable[[], None]) -> None:
        self._begun = begun
        self._ended = ended
        self._thread = threading.get_ident()
        #: an import is under way, or its module is being looked for
        self._busy = False

    def install(self) -> None:
        """Notice imports from now on."""
        sys.meta_path.insert(0, self)

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return what the other finders find, with a loader that tells when it is used."""
        if self._busy or threading.get_ident() != self._thread:
            return None
        self._busy = True  # another finder may ask all finders, too
        try:
            spec = self._found_by_others(name, path, target)
        finally:
            self._busy = False
        if spec is not None and hasattr(spec.loader, "exec_module"):
            spec.loader = cast("Loader", _TellingLoader(spec.loader, self))
        return spec

    def _found_by_others(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None
    ) -> ModuleSpec | None:
        for finder in list(sys.meta_path):
            find = getattr(finder, "find_spec", None)
            if finder is not self and find is not None:
                spec: ModuleSpec | None = find(name, path, target)
                if spec is not None:
                    return spec
        return None

    def reset(self) -> None:
        """No import is under way: a loader may have been asked for a module and never been run."""
        self._busy = False

    def begin(self) -> None:
        """A module is about to be loaded."""
        if not self._busy:
            self._busy = True
            self._begun()

    def end(self) -> None:
        """It is loaded, or that failed."""
        self._busy = False
        self._ended()


class _TellingLoader:
    """The loader that was found; tells a finder when it begins and ends."""

    def __init__(self, loader: object, finder: ImportFinder) -> None:
        self._loader = loader
        self._finder = finder

    def __getattr__(self, name: str) -> object:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        create = getattr(self._loader, "create_module", None)
        self._finder.begin()  # an extension module is read here
        try:
            return create(spec) if create is not None else None
        except BaseException:
            self._finder.end()
            raise

    def exec_module(self, module: ModuleType) -> None:
        # From here on the module is an ordinary one: reload and pickling see the real loader.
        module.__loader__ = self._loader  # type: ignore[assignment]
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader  # type: ignore[assignment]
        self._finder.begin()  # a reload makes no module
        try:
            self._loader.exec_module(module)  # type: ignore[attr-defined]
        finally:
            self._finder.end()
