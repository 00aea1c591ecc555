"""Hosts of a network, each with a network stack of its own: namespaces of Linux on a bridge."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

#: the addresses are of this network, which documentation is the only other user of
_NETWORK = "198.51.100"


class Host:
    """A host, in whose network commands can be run.

    Attributes:
        address: its IPv4 address.
        directory: its temporary directory; what others write into theirs it does not see.
    """

    def __init__(self, name: str, address: str, directory: Path) -> None:
        self.address = address
        self.directory = directory
        self._name = name

    def popen(self, command: Sequence[str], **environment: str) -> subprocess.Popen[str]:
        """Start a command on this host; its output can be read."""
        return subprocess.Popen(
            ["ip", "netns", "exec", self._name, *command],
            env={**os.environ, "TMPDIR": str(self.directory), **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def limit(self, *discipline: str) -> bool:
        """Send by a queueing discipline of ``tc``; False when this kernel does not have it."""
        command = ["tc", "-n", self._name, "qdisc", "replace", "dev", "eth0", "root", *discipline]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    def unplug(self) -> None:
        """Lose the connection with all others, without a word to anybody."""
        _ip("-n", self._name, "link", "set", "eth0", "down")


@functools.cache
def why_not() -> str:
    """Say why there can be no hosts here; "" when there can."""
    if not (shutil.which("ip") and shutil.which("tc")):
        return "needs ip and tc, of Debian's iproute2"
    if os.geteuid() != 0:
        return "needs root, for network namespaces"
    try:
        with network(1):
            return ""
    except subprocess.CalledProcessError as error:
        return f"network namespaces are not permitted: {error.stderr.decode().strip()}"


@contextmanager
def network(count: int) -> Iterator[list[Host]]:
    """Make so many hosts that reach each other, and remove them at the end."""
    mark = f"mp{os.getpid() % 100_000}"
    with ExitStack() as stack:
        _ip("link", "add", mark, "type", "bridge")
        stack.callback(_ip, "link", "delete", mark)
        _ip("link", "set", mark, "up")
        hosts = []
        for number in range(1, count + 1):
            name, port = f"{mark}-{number}", f"{mark}p{number}"
            _ip("netns", "add", name)
            stack.callback(_ip, "netns", "delete", name)
            _ip("link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", name)
            stack.callback(_ip, "link", "delete", port)
            _ip("link", "set", port, "master", mark, "up")
            _ip("-n", name, "address", "add", f"{_NETWORK}.{number}/24", "dev", "eth0")
            _ip("-n", name, "link", "set", "eth0", "up")
            _ip("-n", name, "link", "set", "lo", "up")
            directory = stack.enter_context(tempfile.TemporaryDirectory(prefix=f"h{number}"))
            hosts.append(Host(name, f"{_NETWORK}.{number}", Path(directory)))
        yield hosts


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)
