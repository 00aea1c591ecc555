"""The commands, their options, and what they print."""

from __future__ import annotations

from pathlib import Path

import click

from .. import __version__
from ..errors import MillpondError
from ..report.memory import GROUPS, build_report
from ..report.status import build_status
from ..wire import messages as m
from ..wire.messages.cluster import GetCluster
from . import sessions
from .nodes import start, stop, token
from .options import Failure, json_option, print_json, session_options

__all__ = ["main"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="millpond")
def main() -> None:
    """Look at the millpond sessions that run on this machine, and start nodes of clusters.

    Sessions of other users cannot be seen.
    """


for command in (start, stop, token):
    main.add_command(command)


@main.command()
@session_options
@click.option(
    "--limit", type=click.IntRange(min=0), default=30, show_default=True, help="Rows; 0 for all."
)
@click.option("--sort", type=click.Choice(["size", "age"]), default="size", show_default=True)
@click.option("--group-by", type=click.Choice(GROUPS), help="Sum up what has this in common.")
@json_option
def memory(
    *,
    session: str | None,
    pid: int | None,
    directory: Path,
    limit: int,
    sort: str,
    group_by: str | None,
    as_json: bool,
) -> None:
    """Show who holds which memory, and which line made it.

    Every object of the store with its size, state, pins, owner, and origin; totals at the end. Of a
    cluster all nodes are asked.
    """
    try:
        found = sessions.choose(sessions.find_sessions(directory), session, pid)
        rows = 0 if group_by is not None else limit
        question = m.GetMemory(1, rows, oldest_first=sort == "age", cluster=True)
        state = sessions.ask(found, question)
    except MillpondError as error:
        raise Failure(str(error)) from None
    report = build_report(state, limit=limit, group_by=group_by, oldest_first=sort == "age")
    if as_json:
        print_json(report)
    else:
        click.echo(str(report))


@main.command()
@session_options
@json_option
def status(*, session: str | None, pid: int | None, directory: Path, as_json: bool) -> None:
    """Show what a session has and uses: resources, workers, object store, nodes.

    Where a node is part of a cluster, the first part is about this node, and the last about all.
    """
    try:
        found = sessions.choose(sessions.find_sessions(directory), session, pid)
        state = sessions.ask(found, m.GetSessionState(1))
        report = build_status(state, sessions.ask(found, GetCluster(1)))
    except MillpondError as error:
        raise Failure(str(error)) from None
    if as_json:
        print_json(report)
    else:
        click.echo(f"{sessions.session_table([found])}\n\n{report}")
