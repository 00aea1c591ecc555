"""Which packages of environments are unpacked on a node, by whom, and for whom. Pure.

A package is unpacked by the first worker that needs it, while the others wait. It stays until the
process that made it is gone, and so are the workers that use it.

    ABSENT --use--> UNPACKING --done--> PRESENT
       ^                |                  |
       +-- failed, died + <- nobody left --+
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

__all__ = ["Answer", "Command", "Remove", "UnpackedPackages"]


@dataclass(frozen=True, slots=True)
class Answer:
    """Tell a worker that a package is there, or that it is to unpack it.

    Attributes:
        worker: id of its process.
        request: number of its question.
        digest: of the package.
        unpack: it is not there.
    """

    worker: bytes
    request: int
    digest: bytes
    unpack: bool


@dataclass(frozen=True, slots=True)
class Remove:
    """Remove a package's directory; none is there to be used until it is unpacked again."""

    digest: bytes


Command = Answer | Remove


class _Package:
    def __init__(self) -> None:
        self.present = False
        #: who unpacks it
        self.unpacking = b""
        self.users: set[bytes] = set()
        #: those who made it and live
        self.makers: set[bytes] = set()
        #: workers that wait for it, with the number of their question
        self.waiting: deque[tuple[bytes, int]] = deque()


class UnpackedPackages:
    """All packages of one node."""

    def __init__(self) -> None:
        self._packages: dict[bytes, _Package] = {}

    def use(self, digest: bytes, maker: bytes, worker: bytes, request: int) -> list[Command]:
        """A worker needs a package until it ends.

        Args:
            digest: of the package.
            maker: the process that made it.
            worker: its process.
            request: number of its question.
        """
        package = self._packages.setdefault(digest, _Package())
        package.makers.add(maker)
        package.users.add(worker)
        package.waiting.append((worker, request))
        return self._serve(digest, package)

    def unpacked(self, digest: bytes, worker: bytes, *, done: bool) -> list[Command]:
        """A worker has unpacked a package, or could not; then the next one tries."""
        package = self._packages.get(digest)
        if package is None or package.unpacking != worker:
            return []
        package.unpacking = b""
        package.present = done
        return self._serve(digest, package)

    def gone(self, any_id: bytes) -> list[Command]:
        """A process is gone, or a node with all its processes."""
        commands: list[Command] = []
        for digest, package in list(self._packages.items()):
            package.users = {each for each in package.users if not each.startswith(any_id)}
            package.makers = {each for each in package.makers if not each.startswith(any_id)}
            package.waiting = deque(
                (worker, request)
                for worker, request in package.waiting
                if not worker.startswith(any_id)
            )
            if package.unpacking.startswith(any_id):
                package.unpacking = b""
            if package.users or package.makers:
                commands += self._serve(digest, package)
            else:
                del self._packages[digest]
                commands.append(Remove(digest))
        return commands

    @staticmethod
    def _serve(digest: bytes, package: _Package) -> list[Command]:
        commands: list[Command] = []
        while package.waiting and not package.unpacking:
            worker, request = package.waiting.popleft()
            if not package.present:
                package.unpacking = worker
            commands.append(Answer(worker, request, digest, unpack=not package.present))
        return commands

    def validate(self) -> None:
        """Raise AssertionError where the books do not agree."""
        for package in self._packages.values():
            assert package.users or package.makers
            assert not (package.present and package.unpacking)
            assert not package.waiting or package.unpacking
            assert {worker for worker, _ in package.waiting} <= package.users
            assert not package.unpacking or package.unpacking in package.users
