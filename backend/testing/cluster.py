"""A cluster of several nodes on this machine, each with workers and a store of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Final, Self

from ..api.joining import head_settings, join_settings, new_token
from ..api.node_process import NodeProcess
from ..api.session import init, shutdown
from ..api.settings import Settings
from ..wire.messages.cluster import ClusterSettings

__all__ = ["Cluster", "ClusterNode"]

#: seconds that a node gets to end
_PATIENCE: Final = 5.0
_STORE: Final = 128 << 20


class ClusterNode:
    """A node of a `Cluster`.

    Attributes:
        node_id: its id, as in `millpond.nodes`.
        address: host:port where the other nodes reach it.
        pid: its process id.
    """

    def __init__(self, process: NodeProcess) -> None:
        self._process = process
        self.node_id = process.node_id.hex()
        self.address = process.address
        self.pid = process.pid

    def __repr__(self) -> str:
        return f"ClusterNode({self.node_id} at {self.address})"


class Cluster:
    """Several nodes on this machine; a context manager that ends them.

    The nodes are started; to use them, connect a driver::

        with Cluster(num_nodes=3, num_cpus=2) as cluster:
            cluster.connect()
            ...

    Args:
        num_nodes: how many. The first is the head.
        num_cpus: tasks that run side by side on each.
        object_store_memory: bytes of the object store of each.
        resources: custom resources of each, name -> amount.
        preload: modules that workers have imported beforehand.
        patience: seconds of silence after which a node is taken for dead.
        tls: have the nodes talk over TLS.
        settings: more settings for each node, as for `millpond.init`.

    Attributes:
        nodes: those that were started and not ended, the head first.
    """

    def __init__(
        self,
        num_nodes: int = 2,
        *,
        num_cpus: float = 1,
        object_store_memory: int = _STORE,
        resources: Mapping[str, float] | None = None,
        preload: Iterable[str] | None = (),
        patience: float = 10.0,
        tls: bool = False,
        **settings: Any,
    ) -> None:
        self.nodes: list[ClusterNode] = []
        self.address = ""
        self._token = new_token()
        self._patience = patience
        self._tls = tls
        self._defaults = {
            "num_cpus": num_cpus,
            "resources": resources,
            "object_store_memory": object_store_memory,
            "spill": None,
            "preload": preload,
            "log_to_driver": True,
            **settings,
        }
        try:
            for _ in range(num_nodes):
                self.add_node()
        except BaseException:
            self.shutdown()
            raise

    def add_node(self, **settings: Any) -> ClusterNode:
        """Start one more node, with other settings than the rest if you like."""
        checked = Settings.checked(**{**self._defaults, **settings})
        process = NodeProcess(checked, [], has_driver=False, cluster=self._cluster_settings())
        process.close_arena()
        node = ClusterNode(process)
        self.address = self.address or node.address
        self.nodes.append(node)
        return node

    def _cluster_settings(self) -> ClusterSettings:
        if self.address:
            found = join_settings(self.address, token=self._token)
        else:
            found = head_settings(token=self._token, tls=self._tls)
        found.patience = self._patience
        return found

    def connect(self, **settings: Any) -> Any:
        """Connect this process as a driver: `millpond.init`, with a small node of its own.

        Returns:
            What `millpond.init` returns.
        """
        return init(
            **{
                "address": self.address,
                "num_cpus": 1,
                "object_store_memory": self._defaults["object_store_memory"],
                "preload": self._defaults["preload"],
                **settings,
            }
        )

    def kill(self, node: ClusterNode) -> None:
        """Kill a node with all its workers, as if its machine had lost its power."""
        self.nodes.remove(node)
        node._process.kill()
        node._process.wait()
        node._process.connection.close()

    def stop(self, node: ClusterNode) -> None:
        """Have a node leave the cluster and end."""
        self.nodes.remove(node)
        node._process.terminate()
        node._process.wait(_PATIENCE)
        node._process.connection.close()

    def shutdown(self) -> None:
        """Disconnect the driver and end all nodes, the head last."""
        shutdown()
        for node in reversed(self.nodes.copy()):
            self.stop(node)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.shutdown()
