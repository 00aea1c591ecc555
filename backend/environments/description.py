"""What users say of the environment of their tasks: checked, merged, and named. Pure.

Not covered: what directories contain (``packages``).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from types import ModuleType
from typing import Any, Final

import msgspec

from ..errors import RuntimeEnvError

__all__ = ["Environment", "Package", "RuntimeEnv", "has_variables"]

_KEYS: Final = ("env_vars", "working_dir", "excludes", "py_modules")
_DIGEST_BYTES: Final = 15
#: first byte of an id
_WITHOUT_VARIABLES, _WITH_VARIABLES = b"\0", b"\1"


@dataclass(frozen=True, slots=True)
class RuntimeEnv:
    """What a ``runtime_env`` says. Paths are absolute, and not looked at yet.

    Attributes:
        env_vars: environment variables.
        working_dir: the directory that tasks run in a copy of.
        excludes: patterns of what is left out of it.
        py_modules: packages and modules to be importable; None: not said.
    """

    env_vars: Mapping[str, str] = field(default_factory=dict, repr=False)  # they may be secrets
    working_dir: str | None = None
    excludes: tuple[str, ...] = ()
    py_modules: tuple[str, ...] | None = None

    @classmethod
    def checked(cls, given: object) -> RuntimeEnv | None:
        """Check what a user gave.

        Raises:
            RuntimeEnvError: there is no such key, or its value is not what it should be.
        """
        if given is None or isinstance(given, cls):
            return given
        if not isinstance(given, Mapping):
            raise RuntimeEnvError(f"runtime_env must be a dict, it is {given!r}")
        for key in given:
            if key not in _KEYS:
                raise RuntimeEnvError(
                    f"runtime_env has no key {key!r}; its keys are {', '.join(_KEYS)}. Libraries "
                    "are not installed for tasks: install them on every machine of the cluster, or "
                    "bring those that are pure Python with py_modules"
                )
        directory = given.get("working_dir")
        excludes = _strings("excludes", given.get("excludes") or ())
        if excludes and directory is None:
            raise RuntimeEnvError(
                "excludes of a runtime_env are about its working_dir, and it has none: give both"
            )
        modules = given.get("py_modules")
        return cls(
            _variables(given.get("env_vars") or {}),
            None if directory is None else _path("working_dir", directory),
            excludes,
            None if modules is None else _modules(modules),
        )


@dataclass(frozen=True, slots=True)
class Package:
    """The files of a directory or a module, as they travel.

    Attributes:
        digest: of the contents.
        ref: of the object that has them.
        source: where it was made, for errors.
    """

    digest: bytes
    ref: Any
    source: str


@dataclass(frozen=True, slots=True)
class Environment:
    """What a process that runs tasks has to be like.

    Attributes:
        env_vars: environment variables to be set.
        working_dir: the files that it runs in.
        py_modules: what can be imported besides.
    """

    env_vars: Mapping[str, str] = field(default_factory=dict, repr=False)
    working_dir: Package | None = None
    py_modules: tuple[Package, ...] = ()

    @property
    def id(self) -> bytes:
        """Names it by its contents; empty if there is nothing in it."""
        if not (self.env_vars or self.working_dir or self.py_modules):
            return b""
        contents = (
            sorted(self.env_vars.items()),
            self.working_dir and self.working_dir.digest,
            [package.digest for package in self.py_modules],
        )
        digest = blake2b(msgspec.msgpack.encode(contents), digest_size=_DIGEST_BYTES).digest()
        return (_WITH_VARIABLES if self.env_vars else _WITHOUT_VARIABLES) + digest

    def packages(self) -> list[Package]:
        """Return all that has to be unpacked, in the order in which modules are looked for."""
        first = [] if self.working_dir is None else [self.working_dir]
        return [*first, *self.py_modules]

    def merged(
        self,
        own: RuntimeEnv,
        pack_directory: Callable[[str, tuple[str, ...]], Package],
        pack_module: Callable[[str], Package],
    ) -> Environment:
        """Return the environment of a task that is submitted in this one.

        Variables are added, and win; anything else replaces what there was.

        Args:
            own: what the task says.
            pack_directory: makes a package of a directory, without what is excluded.
            pack_module: the same of a package or a module.
        """
        directory, modules = self.working_dir, self.py_modules
        if own.working_dir is not None:
            directory = pack_directory(own.working_dir, own.excludes)
        if own.py_modules is not None:
            modules = tuple(pack_module(path) for path in own.py_modules)
        return Environment({**self.env_vars, **own.env_vars}, directory, modules)


def has_variables(environment_id: bytes) -> bool:
    """Whether an environment has variables, which libraries may read when they are imported."""
    return environment_id[:1] == _WITH_VARIABLES


def _variables(given: object) -> dict[str, str]:
    if not isinstance(given, Mapping):
        raise RuntimeEnvError(f"env_vars of a runtime_env must be a dict, it is {_kind(given)}")
    for name, value in given.items():
        if not isinstance(name, str) or not name or "=" in name or "\0" in name:
            raise RuntimeEnvError(
                f"{name!r} is no name of an environment variable: that is a string without '='"
            )
        if not isinstance(value, str):
            raise RuntimeEnvError(f"env_vars[{name!r}] must be a string, it is {_kind(value)}")
        if "\0" in value:
            raise RuntimeEnvError(f"env_vars[{name!r}] has a NUL character, which no variable can")
    return dict(given)


def _strings(key: str, given: object) -> tuple[str, ...]:
    if isinstance(given, Iterable) and not isinstance(given, (str, bytes)):
        strings = tuple(given)
        if all(isinstance(each, str) for each in strings):
            return strings
    raise RuntimeEnvError(f"{key} of a runtime_env must be a list of strings, it is {given!r}")


def _path(key: str, given: object) -> str:
    if not isinstance(given, (str, os.PathLike)) or not isinstance(os.fspath(given), str):
        raise RuntimeEnvError(f"{key} of a runtime_env must be a path, it is {given!r}")
    path = os.fspath(given)
    if "://" in path:
        raise RuntimeEnvError(
            f"{key} of a runtime_env must be on this machine, it is {path!r}: fetch it first"
        )
    if not path or "\0" in path:
        raise RuntimeEnvError(f"{key} of a runtime_env must be a path, it is {path!r}")
    return os.path.abspath(os.path.expanduser(path))  # noqa: PTH100, PTH111 - no pathlib for this


def _modules(given: object) -> tuple[str, ...]:
    if not isinstance(given, Iterable) or isinstance(given, (str, bytes, os.PathLike)):
        raise RuntimeEnvError(
            "py_modules of a runtime_env must be a list of paths and modules, it is " + repr(given)
        )
    paths = [
        _file_of(each) if isinstance(each, ModuleType) else _path("py_modules", each)
        for each in given
    ]
    for path in paths:
        name, suffix = os.path.splitext(os.path.basename(path))  # noqa: PTH119, PTH122
        if suffix in (".whl", ".zip", ".egg"):
            raise RuntimeEnvError(f"py_modules: {path} is an archive: unpack it first")
        if not name.split(".")[0].isidentifier():
            raise RuntimeEnvError(
                f"py_modules: {path} cannot be imported, as {name!r} is no name of a module"
            )
    return tuple(paths)


def _file_of(module: ModuleType) -> str:
    """Return the directory of a package, or the file of a module."""
    if "." in module.__name__:
        top = module.__name__.partition(".")[0]
        raise RuntimeEnvError(f"py_modules: {module.__name__} is a part of {top}: give that")
    folders = list(getattr(module, "__path__", []))
    file = getattr(module, "__file__", None)
    if len(folders) == 1:
        return str(folders[0])
    if folders or file is None:
        raise RuntimeEnvError(
            f"py_modules: module {module.__name__} is in no single directory or file of its own: "
            "give paths"
        )
    return str(file)


def _kind(given: object) -> str:
    """Return what an object is, without its value, which may be a secret."""
    return f"a {type(given).__qualname__}"
