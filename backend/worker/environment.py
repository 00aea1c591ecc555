"""A worker takes on the runtime environment of its tasks, before the first of them."""

from __future__ import annotations

import importlib
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..environments.description import Environment, Package
from ..environments.packages import unpack
from ..errors import MillpondError, RuntimeEnvSetupError
from ..wire.ids import owner_of
from ..wire.messages import PackageState, PackageUnpacked, UsePackage

if TYPE_CHECKING:
    from ..owner.runtime import Runtime

__all__ = ["EnvironmentSetup"]


class EnvironmentSetup:
    """Makes this process one of the environment that its tasks name; all name the same.

    Args:
        runtime: of this process.
        fetch: asks the owner of a task for the pickle of an environment.
    """

    def __init__(self, runtime: Runtime, fetch: Callable[[bytes, bytes], bytes]) -> None:
        self._runtime = runtime
        self._fetch = fetch
        self._entered = b""

    def enter(self, environment_id: bytes, owner: bytes) -> None:
        """Have an environment from now on.

        Raises:
            RuntimeEnvSetupError: its files cannot be had, or not be written. The next task tries
                again.
        """
        if environment_id == self._entered:
            return
        assert not self._entered, "a worker has one environment"
        where = f"of this task cannot be set up on {os.uname().nodename}"
        try:
            pickled = self._fetch(environment_id, owner)
            environment = self._runtime.environments.adopt(pickled)
            directories = [self._unpacked(package) for package in environment.packages()]
        except (MillpondError, OSError) as error:
            raise RuntimeEnvSetupError(f"the runtime_env {where}: {error}") from error
        _apply(environment, directories)
        self._entered = environment_id
        self._runtime.environments.become(environment, pickled)

    def _unpacked(self, package: Package) -> str:
        """Return the directory of a package, which is unpacked once on each node."""
        runtime = self._runtime
        question = UsePackage(0, package.digest, owner_of(package.ref.id))
        state: PackageState = runtime.requests.ask(runtime.node, question)
        if state.unpack:
            done = False
            try:
                ((entries, data),) = runtime.access.get([package.ref], None)
                unpack(Path(state.directory), entries, memoryview(data))
                done = True
            except MillpondError as error:
                raise RuntimeEnvSetupError(
                    f"the files of {package.source} cannot be had: {error}"
                ) from error
            finally:
                runtime.node.send(PackageUnpacked(package.digest, done))
        return state.directory


def _apply(environment: Environment, directories: Sequence[str]) -> None:
    os.environ.update(environment.env_vars)
    if "TZ" in environment.env_vars:
        time.tzset()
    further = environment.env_vars.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:0] = [*directories, *filter(None, further)]
    importlib.invalidate_caches()
    if environment.working_dir is not None:
        os.chdir(directories[0])
