"""The runtime environments that this process gives to tasks, and the one that it has itself.

They travel the way functions do: who submits a task is asked for its environment, by id. The files
of an environment are objects, which their readers fetch from wherever they are.
"""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any

from ..environments.description import Environment, Package, RuntimeEnv
from ..environments.packages import Listed, list_directory, list_module, read_package
from ..serialization.values import deserialize, serialize

if TYPE_CHECKING:
    from .runtime import Runtime

__all__ = ["Environments"]


class Environments:
    """All environments that a process knows. Thread-safe.

    Attributes:
        own: of this process, which its tasks inherit.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self.own = Environment()
        self._own_id = b""
        #: what was packed -> its files then, and the package
        self._packages: dict[Hashable, tuple[list[Listed], Package]] = {}
        self._lock = threading.Lock()

    def export(self, described: Any) -> bytes:
        """Return the id of a task's environment, by which workers can ask for it.

        Args:
            described: what the task's options say, checked; None: nothing.

        Raises:
            RuntimeEnvError: files cannot be read, or are too large.
            ObjectStoreFullError: they find no room in the object store.
        """
        if described is None:
            return self._own_id
        return self._publish(self._merged(described))

    def inherit(self, described: RuntimeEnv) -> None:
        """Have all tasks of this process inherit an environment; raises as `export` does."""
        self.own = self._merged(described)
        self._own_id = self._publish(self.own)

    def adopt(self, pickled: bytes) -> Environment:
        """Return the environment that a worker is to have, from what its owner gave out."""
        environment, refs = deserialize(pickled)
        # Until their owner knows of us, they are held by who gave them to us.
        self._runtime.register_borrowed(refs)
        return environment  # type: ignore[no-any-return]

    def become(self, environment: Environment, pickled: bytes) -> None:
        """This process has an environment from now on, and gives it to its tasks."""
        refs = [package.ref for package in environment.packages()]
        self.own, self._own_id = environment, environment.id
        if environment.env_vars:
            self._runtime.heavy_imports.ignore()  # workers like it are forked without libraries
        self._runtime.functions.publish(self._own_id, pickled, refs)

    def _merged(self, described: RuntimeEnv) -> Environment:
        return self.own.merged(described, self._pack_directory, self._pack_module)

    def _publish(self, environment: Environment) -> bytes:
        environment_id = environment.id
        if environment_id and self._runtime.functions.blob(environment_id) is None:
            value = serialize(environment, "the runtime_env")
            self._runtime.functions.publish(environment_id, value.to_bytes(), value.contained)
        return environment_id

    def _pack_directory(self, path: str, excludes: tuple[str, ...]) -> Package:
        return self._packed((path, excludes), path, lambda: list_directory(path, excludes))

    def _pack_module(self, path: str) -> Package:
        return self._packed(path, path, lambda: list_module(path))

    def _packed(self, key: Hashable, source: str, listing: Callable[[], list[Listed]]) -> Package:
        """Return the package of some files, which are read only if they changed."""
        with self._lock:
            listed = listing()
            known = self._packages.get(key)
            if known is not None and known[0] == listed:
                return known[1]
            contents = read_package(listed, self._runtime.session_dir)
            value = (contents.entries, pickle.PickleBuffer(contents.data))
            serialized = serialize(value, f"the files of {source}")
            ref = self._runtime.access.put_serialized(serialized, "runtime_env")
            package = Package(contents.digest, ref, source)
            self._packages[key] = (listed, package)
            return package
