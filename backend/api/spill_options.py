"""What a user can say about spilling, and the checks of it."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

from millpond.objectstore.spill.storage import COMPRESSIONS
from millpond.objectstore.spill.uri import without_secrets

from ..errors import ConfigurationError
from ..wire.messages import SpillSettings

__all__ = ["SpillOptions", "checked_spill", "spill_settings"]


@dataclass(frozen=True)
class SpillOptions:
    """Where and how objects that do not fit into memory are kept, for `millpond.init(spill=...)`.

    Attributes:
        locations: a directory, several (used in turns), or one URI of a bucket with a prefix, such
            as ``s3://bucket/prefix``; None for the session's own temporary directory.
        compression: ``"lz4"`` (fast) or ``"zstd"`` (smaller); None for neither.
        quota: the most bytes to take there, in all locations together; None for no limit.
        free_space_floor: bytes to leave free on each local disk; None for 1 % of it, at most
            100 MB.
        disk_full_timeout: seconds to wait for space when everything is full, before that is an
            error.
        read_timeout: seconds for which reading from a bucket is tried again while it does not
            answer, before that is an error.
        page_cache: bytes at most that spill files on local disks leave in the kernel's page cache
            while the disk is busy; None for a tenth of the memory that is available at the start.

    Raises:
        ConfigurationError: one of them is wrong.
    """

    locations: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] | None = None
    compression: Literal["lz4", "zstd"] | None = None
    quota: int | None = None
    free_space_floor: int | None = None
    disk_full_timeout: float = 30.0
    read_timeout: float = 120.0
    page_cache: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "locations", _checked_locations(self.locations))
        if self.compression not in (None, *COMPRESSIONS):
            raise ConfigurationError(
                f"compression must be one of {', '.join(COMPRESSIONS)}, or None, "
                f"it is {self.compression!r}"
            )
        for name, least in (("quota", 1), ("free_space_floor", 0), ("page_cache", 0)):
            value = getattr(self, name)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ConfigurationError(
                    f"{name} must be bytes as an int of at least {least}, it is {value!r}"
                )
        for name in ("disk_full_timeout", "read_timeout"):
            patience = getattr(self, name)
            wrong = isinstance(patience, bool) or not isinstance(patience, int | float)
            if wrong or not 0 <= patience < math.inf:
                raise ConfigurationError(f"{name} must be seconds, 0 or more, it is {patience!r}")

    def __repr__(self) -> str:
        locations = [without_secrets(each) if "://" in each else each for each in self._paths()]
        return (
            f"SpillOptions(locations={locations}, compression={self.compression!r}, "
            f"quota={self.quota}, free_space_floor={self.free_space_floor}, "
            f"disk_full_timeout={self.disk_full_timeout}, read_timeout={self.read_timeout}, "
            f"page_cache={self.page_cache})"
        )

    @property
    def uri(self) -> str:
        """The URI that objects go to; empty when they go to directories."""
        return next((each for each in self._paths() if "://" in each), "")

    def _paths(self) -> tuple[str, ...]:
        paths: Any = self.locations
        return tuple(paths)


def checked_spill(spill: object) -> SpillOptions | Literal[False]:
    """Turn the argument of `millpond.init` into options; False: nothing is ever spilled.

    Raises:
        ConfigurationError: it is neither.
    """
    if spill is False:
        return False
    if isinstance(spill, SpillOptions):
        return spill
    locations: Any = spill
    return SpillOptions(locations)


def spill_settings(spill: SpillOptions | Literal[False]) -> SpillSettings | None:
    """What the node is told."""
    if spill is False:
        return None
    uri = spill.uri
    return SpillSettings(
        directories=[] if uri else list(spill._paths()),
        uri=uri,
        compression=spill.compression,
        quota=spill.quota,
        free_space_floor=spill.free_space_floor,
        disk_full_timeout=float(spill.disk_full_timeout),
        read_timeout=float(spill.read_timeout),
        page_cache=spill.page_cache,
    )


def _checked_locations(locations: object) -> tuple[str, ...]:
    if locations is None:
        return ()
    single = isinstance(locations, (str, os.PathLike))
    if not single and (not isinstance(locations, Iterable) or isinstance(locations, bytes)):
        raise _wrong(locations)
    given: list[object] = [locations] if single else list(locations)  # type: ignore[call-overload]
    paths = [_checked_location(each, locations) for each in given]
    if not paths:
        raise _wrong(locations)
    uris = [path for path in paths if "://" in path]
    if uris and len(paths) > 1:
        raise ConfigurationError(
            "spill takes several directories, or one URI, but not both: "
            f"it has {[without_secrets(path) for path in uris]} among {len(paths)} locations"
        )
    twice = {path for path in paths if paths.count(path) > 1}
    if twice:
        raise ConfigurationError(f"spill names a directory twice: {sorted(twice)}")
    return tuple(paths)


def _checked_location(location: object, given: object) -> str:
    path = os.fspath(location) if isinstance(location, (str, os.PathLike)) else None
    if not path or not isinstance(path, str):
        raise _wrong(given)
    if path.startswith("file://"):
        parts = urlsplit(path)
        if parts.netloc not in ("", "localhost") or not parts.path:
            raise ConfigurationError(f"a file URI is file:///path, it is {path!r}")
        return unquote(parts.path)
    return path


def _wrong(given: object) -> ConfigurationError:
    shown = repr(given)
    if "://" in shown:  # it may hold a password
        shown = type(given).__name__
    return ConfigurationError(
        "spill must be a directory, a list of directories, a URI, SpillOptions, False, or None, "
        f"it is {shown}"
    )
