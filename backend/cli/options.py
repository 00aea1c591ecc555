"""What several commands have in common: options, output, and how they fail."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

__all__ = ["Failure", "json_option", "print_json", "session_options"]


class Failure(click.ClickException):
    """What went wrong, on stderr; the exit code is 1."""

    def show(self, file: Any = None) -> None:
        """Print it."""
        click.echo(f"millpond: {self.format_message()}", err=True)


def session_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that choose a session."""
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


def json_option(command: Callable[..., None]) -> Callable[..., None]:
    """Add the option for output that programs read."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, sizes in bytes.")(
        command
    )


def print_json(report: Any) -> None:
    """Print a dataclass as JSON."""
    click.echo(json.dumps(dataclasses.asdict(report), indent=2))
