"""Nodes without a driver: ``millpond start``, ``stop``, and the ``token`` that others join with."""

from __future__ import annotations

import shlex
import shutil
import signal
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
import psutil
from click.core import ParameterSource

from ..cluster.cluster_file import known_clusters
from ..errors import MillpondError
from ..wire.messages.cluster import ClusterSettings, GetCluster
from . import sessions
from .options import Failure

if TYPE_CHECKING:
    from ..api.node_process import NodeProcess

__all__ = ["start", "stop", "token"]

#: seconds that nodes get to end
_PATIENCE: Final = 20.0


@click.command()
@click.option("--head", is_flag=True, help="Start a new cluster; this node is its head.")
@click.option("--address", envvar="MILLPOND_ADDRESS", help="Join the cluster at HOST:PORT.")
@click.option("--host", help="Where to listen; other hosts than loopback mean TLS.")
@click.option("--port", type=click.IntRange(0, 65535), help="Where to listen; 0: any free one.")
@click.option("--tls", is_flag=True, help="Of a head: use TLS on the loopback host too.")
@click.option("--num-cpus", type=float, help="Tasks that run side by side.")
@click.option("--object-store-memory", type=int, help="Bytes of the object store.")
@click.option("--memory", type=int, help="Bytes of heap of all tasks together.")
@click.option("--resource", "resources", multiple=True, metavar="NAME=AMOUNT", help="A custom one.")
@click.option("--spill", multiple=True, help="Directory or URI for what does not fit.")
@click.option("--block", is_flag=True, help="Stay in the foreground, and end the node at the end.")
def start(
    *,
    head: bool,
    address: str | None,
    host: str | None,
    port: int | None,
    tls: bool,
    num_cpus: float | None,
    object_store_memory: int | None,
    memory: int | None,
    resources: Sequence[str],
    spill: Sequence[str],
    block: bool,
) -> None:
    """Start a node of a cluster on this machine.

    The cluster's token is read from MILLPOND_TOKEN; a head makes one where there is none. Nodes
    that listen on other hosts than loopback use TLS, with certificates that follow from the token,
    or those of MILLPOND_TLS_CA, MILLPOND_TLS_CERT and MILLPOND_TLS_KEY.
    """
    from ..api.joining import DEFAULT_PORT, head_settings, join_settings
    from ..api.node_process import NodeProcess
    from ..api.settings import Settings

    source = click.get_current_context().get_parameter_source("address")
    if source is ParameterSource.COMMANDLINE if head else not address:
        raise click.UsageError("give either --head or --address")
    try:
        if head:
            cluster = head_settings(host=host, port=DEFAULT_PORT if port is None else port, tls=tls)
        else:
            cluster = join_settings(str(address), host=host, port=port or 0)
        settings = Settings.checked(
            num_cpus,
            _amounts(resources),
            object_store_memory,
            _spill(spill),
            None,
            log_to_driver=True,
            memory=memory,
        )
        node = NodeProcess(settings, [], has_driver=False, lifeline=block, cluster=cluster)
    except MillpondError as error:
        raise Failure(str(error)) from None
    node.close_arena()
    _remove_dead()
    if block:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: node.terminate())
    click.echo(_started(node, cluster))
    if block:
        node.wait()


def _remove_dead() -> None:
    """Remove what killed nodes have left behind: their files of spilled objects, and tokens."""
    for session in sessions.find_sessions(Path(tempfile.gettempdir())):
        if not session.node_pid:
            shutil.rmtree(session.directory, ignore_errors=True)


def _amounts(resources: Sequence[str]) -> dict[str, float]:
    amounts = {}
    for text in resources:
        name, _, amount = text.partition("=")
        try:
            amounts[name] = float(amount)
        except ValueError:
            raise click.BadParameter(f"--resource is NAME=AMOUNT, it is {text!r}") from None
    return amounts


def _spill(places: Sequence[str]) -> str | list[str] | None:
    if len(places) == 1:
        return places[0]
    return list(places) or None


def _started(node: NodeProcess, cluster: ClusterSettings) -> str:
    """Return what the user wants to know now; the token is shown only by `token`."""
    encrypted = ", with TLS" if cluster.tls else ""
    if cluster.head:
        return f"Node {node.node_id.hex()} at {node.address} joined {cluster.head}{encrypted}."
    return (
        f"The head of a new cluster listens on {node.address}{encrypted}.\n\n"
        "More nodes:  on their machines, run what `millpond token` prints here\n"
        f'Programs:    millpond.init(address="{node.address}"), with MILLPOND_TOKEN set elsewhere\n'
        "The end:     millpond stop"
    )


@click.command()
@click.option(
    "--directory",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=tempfile.gettempdir,
    help="Where to look for nodes: the temporary directory of who started them.",
)
@click.option("--pid", type=int, help="Process id of the only node to stop.")
def stop(*, directory: Path, pid: int | None) -> None:
    """Stop the nodes that `millpond start` started on this machine."""
    stopped = []
    for session in sessions.find_sessions(directory):
        if session.node_pid and pid in (None, session.node_pid) and _has_no_driver(session):
            process = psutil.Process(session.node_pid)
            process.terminate()
            stopped.append(process)
    if not stopped:
        which = "" if pid is None else f" with the process id {pid}"
        raise Failure(f"no node{which} to stop: those of drivers end with their drivers")
    _, alive = psutil.wait_procs(stopped, timeout=_PATIENCE)
    if alive:
        pids = ", ".join(str(process.pid) for process in alive)
        raise Failure(f"still running after {_PATIENCE:g} s: {pids}")
    click.echo(f"Stopped {len(stopped)} node{'s' * (len(stopped) > 1)}.")


def _has_no_driver(session: sessions.FoundSession) -> bool:
    try:
        state = sessions.ask(session, GetCluster(1))
    except MillpondError:  # it ends just now
        return False
    (here,) = (node for node in state.nodes if node.node_id == state.here)
    return not here.has_driver


@click.command()
@click.option(
    "--directory",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=tempfile.gettempdir,
    help="Where to look for nodes: the temporary directory of who started them.",
)
@click.option("--address", help="HOST:PORT of the head, when this machine is in several clusters.")
def token(*, directory: Path, address: str | None) -> None:
    """Print the command by which another machine joins the cluster; it holds the token."""
    found = {
        known.address: known
        for known in reversed(known_clusters(directory))
        if address in (None, known.address)
    }
    if not found:
        raise Failure("no node of a cluster runs here" + (f" at {address}" if address else ""))
    if len(found) > 1:
        raise Failure(f"choose a cluster with --address: {', '.join(sorted(found))}")
    (known,) = found.values()
    click.echo(
        f"MILLPOND_TOKEN={shlex.quote(known.token)} millpond start --address {known.address}"
    )
