"""Who may talk to a node: the token and the versions that come with every call. Pure.

They are checked before anything else that the caller sent is looked at.
"""

from __future__ import annotations

import hmac
import sys
from collections.abc import Iterable, Mapping
from typing import Final

from .. import __version__
from ..errors import AuthenticationError, VersionMismatchError
from ..wire.messages import PROTOCOL

__all__ = ["check_caller", "credentials"]

_TOKEN: Final = "millpond-token"  # noqa: S105 - the name of the header
_VERSION: Final = "millpond-version"

Metadata = tuple[tuple[str, str], ...]


def _own_version() -> str:
    # Pickles of functions hold bytecode, which only the same minor version of Python runs.
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    return f"millpond {__version__}, protocol {PROTOCOL}, Python {python}"


def credentials(token: str) -> Metadata:
    """Return the metadata that every call carries."""
    return ((_TOKEN, token), (_VERSION, _own_version()))


def check_caller(metadata: Iterable[tuple[str, str | bytes]], token: str) -> None:
    """Check the metadata of a call.

    Raises:
        AuthenticationError: the token is missing or wrong.
        VersionMismatchError: the caller runs another version.
    """
    given: Mapping[str, str | bytes] = dict(metadata)
    presented = str(given.get(_TOKEN, ""))
    if not hmac.compare_digest(presented.encode(), token.encode()):
        what = "a wrong token" if presented else "no token"
        raise AuthenticationError(
            f"{what} was given. The cluster's token is what `millpond token` prints on its head; "
            "it is read from MILLPOND_TOKEN"
        )
    theirs, ours = given.get(_VERSION, "an unknown version"), _own_version()
    if theirs != ours:
        raise VersionMismatchError(f"the node that joins runs {theirs!s}, the cluster runs {ours}")
