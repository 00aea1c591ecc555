"""The commands, their options, and what they print."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .. import __version__
from ..errors import MillpondError
from ..report.memory import GROUPS, build_report
from ..report.status import build_status
from ..wire import messages as m
from . import sessions

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["main"]


class _Failure(click.ClickException):
    """What went wrong, on stderr; the exit code is 1."""

    def show(self, file: Any = None) -> None:
        click.echo(f"millpond: {self.format_message()}", err=True)


def _session_options(command: Callable[..., None]) -> Callable[..., None]:
    for option in (
        click.option(
            "--directory",
            type=click.Path(exists=True, file_okay=False, path_type=Path),
            default=tempfile.gettempdir,
            help="Where to look for sessions: the temporary directory of the driver.",
        ),
        click.option("--pid", type=int, help="Process id of the session's driver (or node)."),
        click.option("--session", help="Name of the session, when several run."),
    ):
        command = option(command)
    return command


def _json_option(command: Callable[..., None]) -> Callable[..., None]:
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, sizes in bytes.")(
        command
    )


def _print_json(report: Any) -> None:
    click.echo(json.dumps(dataclasses.asdict(report), indent=2))


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="millpond")
def main() -> None:
    """Look at the millpond sessions that run on this machine.

    Sessions of other users cannot be seen.
    """


@main.command()
@_session_options
@click.option(
    "--limit", type=click.IntRange(min=0), default=30, show_default=True, help="Rows; 0 for all."
)
@click.option("--sort", type=click.Choice(["size", "age"]), default="size", show_default=True)
@click.option("--group-by", type=click.Choice(GROUPS), help="Sum up what has this in common.")
@_json_option
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

    Every object of the store with its size, state, pins, owner, and origin; totals at the end.
    """
    try:
        found = sessions.choose(sessions.find_sessions(directory), session, pid)
        rows = 0 if group_by is not None else limit
        state = sessions.ask(found, m.GetMemory(1, rows, oldest_first=sort == "age"))
    except MillpondError as error:
        raise _Failure(str(error)) from None
    report = build_report(state, limit=limit, group_by=group_by)
    if as_json:
        _print_json(report)
    else:
        click.echo(str(report))


@main.command()
@_session_options
@_json_option
def status(*, session: str | None, pid: int | None, directory: Path, as_json: bool) -> None:
    """Show what a session has and uses: resources, workers, object store."""
    try:
        found = sessions.choose(sessions.find_sessions(directory), session, pid)
        report = build_status(sessions.ask(found, m.GetSessionState(1)))
    except MillpondError as error:
        raise _Failure(str(error)) from None
    if as_json:
        _print_json(report)
    else:
        click.echo(f"{sessions.session_table([found])}\n\n{report}")
