"""Between a process and its node: the objects of the store."""

from __future__ import annotations

import msgspec

from .values import Copies, Location

__all__ = [
    "AbortObjects",
    "CopiesGone",
    "CopiesMade",
    "CreateObjects",
    "DeleteObjects",
    "KeepObjects",
    "Locations",
    "ObjectMessage",
    "PinObjects",
    "SealObjects",
    "UnpinObjects",
]


class CreateObjects(msgspec.Struct, array_like=True, tag=30):
    """Asks for room to write objects into; answered by `Locations`."""

    request: int
    object_ids: list[bytes]
    sizes: list[int]
    #: objects that can be read are to be left as they are
    rebuild: bool = False


class Locations(msgspec.Struct, array_like=True, tag=31):
    """Answers CreateObjects and PinObjects, in their order."""

    request: int
    locations: list[Location]


class SealObjects(msgspec.Struct, array_like=True, tag=32):
    """These objects are written."""

    object_ids: list[bytes]


class AbortObjects(msgspec.Struct, array_like=True, tag=33):
    """These objects will not be written: give their room back."""

    object_ids: list[bytes]


class PinObjects(msgspec.Struct, array_like=True, omit_defaults=True, tag=34):
    """Asks to keep objects in memory and where they are; answered by `Locations`."""

    request: int
    object_ids: list[bytes]
    #: of those that may be on other nodes only
    copies: list[Copies] = []


class UnpinObjects(msgspec.Struct, array_like=True, tag=35):
    """These objects are not read any more."""

    object_ids: list[bytes]


class DeleteObjects(msgspec.Struct, array_like=True, tag=36):
    """Owner to node: nobody can ask for these objects any more."""

    object_ids: list[bytes]


class CopiesMade(msgspec.Struct, array_like=True, tag=59):
    """Node to owner: these objects can be read on this node as well."""

    node_id: bytes
    object_ids: list[bytes]


class CopiesGone(msgspec.Struct, array_like=True, tag=82):
    """Node to owner: this node needed the room of its secondary copies of these objects."""

    node_id: bytes
    object_ids: list[bytes]


class KeepObjects(msgspec.Struct, array_like=True, tag=83):
    """Owner to node: the node that kept these objects is gone, so do not drop them."""

    object_ids: list[bytes]


ObjectMessage = (
    CreateObjects
    | Locations
    | SealObjects
    | AbortObjects
    | PinObjects
    | UnpinObjects
    | DeleteObjects
    | CopiesMade
    | CopiesGone
    | KeepObjects
)
