"""The packages of environments that are unpacked in a node's directory. See ``unpacked``."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..wire import messages as m
from .unpacked import Answer, Command, UnpackedPackages

if TYPE_CHECKING:
    from .far_peers import AnyPeer

__all__ = ["PackageService"]


class PackageService:
    """Tells workers where packages are, and removes those that nobody needs.

    Args:
        session_dir: of the node.
        peer: finds the connection of a process.
        loop: the node's event loop.
    """

    def __init__(
        self,
        session_dir: str,
        peer: Callable[[bytes], AnyPeer | None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._root = Path(session_dir) / "environments"
        self._peer = peer
        self._loop = loop
        self._packages = UnpackedPackages()
        self._removed = itertools.count()
        self.handlers: dict[type, Callable[[AnyPeer, Any], None]] = {
            m.UsePackage: self._on_use,
            m.PackageUnpacked: self._on_unpacked,
        }

    def gone(self, any_id: bytes) -> None:
        """A process is gone, or a node with all its processes."""
        self._carry_out(self._packages.gone(any_id))

    def _on_use(self, peer: AnyPeer, message: m.UsePackage) -> None:
        self._root.mkdir(exist_ok=True)
        self._carry_out(
            self._packages.use(message.digest, message.maker, peer.process_id, message.request)
        )

    def _on_unpacked(self, peer: AnyPeer, message: m.PackageUnpacked) -> None:
        self._carry_out(self._packages.unpacked(message.digest, peer.process_id, done=message.done))

    def _carry_out(self, commands: list[Command]) -> None:
        for command in commands:
            directory = self._root / command.digest.hex()
            if not isinstance(command, Answer):
                self._remove(directory)
            elif (worker := self._peer(command.worker)) is not None:
                worker.send(m.PackageState(command.request, str(directory), command.unpack))

    def _remove(self, directory: Path) -> None:
        # Under another name it is gone at once, and may come again while its files are removed.
        trash = directory.with_suffix(f".{next(self._removed)}")
        with contextlib.suppress(OSError):  # nothing was unpacked
            directory.rename(trash)
            self._loop.run_in_executor(None, lambda: shutil.rmtree(trash, ignore_errors=True))
