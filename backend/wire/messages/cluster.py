"""Between nodes, and between a node and whoever starts it or asks about the cluster."""

from __future__ import annotations

import msgspec

from millpond.scheduler.placement import Load
from millpond.scheduler.resources import EXPECTED_MEMORY, quantity, unpack_shape

__all__ = [
    "Alone",
    "ClusterMessage",
    "ClusterSettings",
    "ClusterState",
    "GetCluster",
    "Heartbeat",
    "Joined",
    "Leave",
    "Loads",
    "NodeInfo",
    "NodeLeft",
    "NodeLost",
    "NodeUnreachable",
    "OpenPort",
    "PortOpened",
    "Removed",
    "ReportLoad",
    "Routed",
    "TlsFiles",
    "Welcome",
]


class NodeInfo(msgspec.Struct, array_like=True, frozen=True):
    """What is known of a node for as long as it is a member."""

    node_id: bytes
    #: host:port where other nodes reach it; empty while it has no port open
    address: str
    #: name of its machine
    host: str
    #: process id of the node on that machine
    pid: int
    #: everything tasks can ask for there, in counted units
    resources: dict[str, int]
    #: bytes of its object store
    store: int
    #: a driver started it and runs beside it
    has_driver: bool


class TlsFiles(msgspec.Struct, array_like=True, frozen=True):
    """Paths of PEM files."""

    authority: str
    certificate: str
    key: str


class ClusterSettings(msgspec.Struct, array_like=True):
    """How a node opens its port and which cluster it joins. Never printed: it holds the token."""

    #: host:port of the head to join; empty: this node is the head
    head: str
    #: where to listen; port 0: any that is free
    host: str
    port: int
    token: str
    #: talk over TLS, with certificates of the token's, or those of the files
    tls: bool = False
    files: TlsFiles | None = None
    #: seconds of silence after which a node is taken for dead
    patience: float = 10.0

    def __repr__(self) -> str:
        return f"ClusterSettings(head={self.head!r}, host={self.host!r}, port={self.port})"


# --- between a node and whoever starts it ----------------------------------------------------


class Joined(msgspec.Struct, array_like=True, tag=110):
    """Node to starter: it is a member of its cluster now, or why it is not."""

    #: host:port of this node
    address: str
    #: name of a class of `millpond.errors`, empty when all is well, and its text
    error: str = ""
    text: str = ""


class OpenPort(msgspec.Struct, array_like=True, tag=122):
    """Driver to node: let others join you; answered by `PortOpened`."""

    request: int
    settings: ClusterSettings


class PortOpened(msgspec.Struct, array_like=True, tag=123):
    """Node to driver: others can join it, or why they cannot."""

    request: int
    outcome: Joined


# --- between nodes: membership ---------------------------------------------------------------


class Welcome(msgspec.Struct, array_like=True, tag=111):
    """Head to a node that asked to join: those to connect to, the head first."""

    members: list[NodeInfo]


class Heartbeat(msgspec.Struct, array_like=True, tag=112):
    """Between a node and the head, when nothing else was said for a while."""


class ReportLoad(msgspec.Struct, array_like=True, tag=113):
    """Node to head: how busy it is."""

    load: Load


class Loads(msgspec.Struct, array_like=True, tag=114):
    """Head to node: what others reported."""

    loads: list[tuple[bytes, Load]]


class NodeUnreachable(msgspec.Struct, array_like=True, tag=115):
    """Node to head: the link with this other node broke, or cannot be made."""

    node_id: bytes
    reason: str


class NodeLeft(msgspec.Struct, array_like=True, tag=116):
    """Head to node: this other one is no member any more."""

    node_id: bytes
    reason: str


class Leave(msgspec.Struct, array_like=True, tag=117):
    """Node to head: goodbye."""


class Removed(msgspec.Struct, array_like=True, tag=118):
    """Head to node: you are no member any more."""

    reason: str


# --- between a process and its node ----------------------------------------------------------


class GetCluster(msgspec.Struct, array_like=True, tag=120):
    """Asks a node who is in its cluster; answered by `ClusterState`."""

    request: int


class ClusterState(msgspec.Struct, array_like=True, tag=121):
    """Answers GetCluster: the members that this node knows, itself included."""

    request: int
    nodes: list[NodeInfo]
    head_id: bytes
    #: the node that answers
    here: bytes
    #: how busy each is, as far as it has said so
    loads: list[tuple[bytes, Load]] = []


# --- to and from other nodes -----------------------------------------------------------------


class Routed(msgspec.Struct, array_like=True, gc=False, tag=80):
    """A message for a process of another node, or for that node itself, on its way."""

    #: the process, or, with 4 bytes, the node
    target: bytes
    #: the same of whoever gets the answers
    sender: bytes
    #: the message
    body: bytes


class NodeLost(msgspec.Struct, array_like=True, tag=81):
    """Node to its processes: another node is gone, with everything that it had and ran."""

    node_id: bytes
    reason: str


class Alone(msgspec.Struct, array_like=True, tag=84):
    """Node to its processes: it has lost its cluster, and no other node will ever join it."""

    #: of the node, in counted units
    resources: dict[str, int]
    #: why it is alone
    reason: str

    def forbids(self, shape: bytes) -> str:
        """Return why something of a packed shape can never run; empty if it can."""
        for name, needed in unpack_shape(shape).items():
            total = self.resources.get(name, 0)
            if needed > total and name != EXPECTED_MEMORY:
                return (
                    f"it needs {quantity(needed):g} of resource {name!r}, this node has "
                    f"{quantity(total):g}, and it is on its own: {self.reason}"
                )
        return ""


ClusterMessage = (
    Routed
    | Alone
    | NodeLost
    | Joined
    | OpenPort
    | PortOpened
    | Welcome
    | Heartbeat
    | ReportLoad
    | Loads
    | NodeUnreachable
    | NodeLeft
    | Leave
    | Removed
    | GetCluster
    | ClusterState
)
