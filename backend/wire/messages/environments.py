"""Between a worker and its node: which packages of runtime environments are unpacked here."""

from __future__ import annotations

import msgspec

__all__ = ["EnvironmentMessage", "PackageState", "PackageUnpacked", "UsePackage"]


class UsePackage(msgspec.Struct, array_like=True, tag=130):
    """Worker to node: I need this package, until I end; answered by `PackageState`."""

    request: int
    digest: bytes
    #: the process that made it
    maker: bytes


class PackageState(msgspec.Struct, array_like=True, tag=131):
    """Answers UsePackage, once the package is there, or is to be unpacked by who asked."""

    request: int
    #: where it is, or is to be
    directory: str
    #: unpack it, and say so with `PackageUnpacked`
    unpack: bool


class PackageUnpacked(msgspec.Struct, array_like=True, tag=132):
    """Worker to node: the package is there, or I could not unpack it."""

    digest: bytes
    done: bool


EnvironmentMessage = UsePackage | PackageState | PackageUnpacked
