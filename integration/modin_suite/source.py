"""A tree of Modin's sources with its tests, patched to know our engine.

Covers: where the tests come from, and the patch. The tests run from that tree: they read files by
paths relative to it, and import the Modin that lies in it, so an installed one stays as it is.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
from importlib.metadata import version
from pathlib import Path
from urllib.error import URLError

__all__ = ["prepare"]

_PATCH = Path(__file__).with_name("modin-0.37.patch")
_ARCHIVE = "https://github.com/modin-project/modin/archive/refs/tags/{version}.tar.gz"
#: seconds for a server to answer
_PATIENCE = 20.0
#: names the source of a tree, and is written last: a tree without it is not complete
_MARK = "source.txt"


def prepare(tree: Path, checkout: Path | None = None) -> str:
    """Make a patched tree of the installed release of Modin, unless it is there.

    Args:
        tree: Folder to make.
        checkout: Folder that has ``modin/tests``; by default the archive of the release is
            fetched, or the source distribution, or else the installed package is taken.

    Returns:
        Where the tests come from, for the reader of a report.
    """
    mark = tree / _MARK
    if mark.exists():
        return mark.read_text()
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as scratch:
        package, name = _package(Path(scratch), checkout)
        shutil.copytree(package, tree / "modin", ignore=shutil.ignore_patterns("__pycache__"))
    _patch(tree)
    mark.write_text(name)
    return name


def _package(scratch: Path, checkout: Path | None) -> tuple[Path, str]:
    """Return the folder of the package ``modin`` with its tests, and what to call it."""
    release = version("modin")
    if checkout is not None:
        return checkout / "modin", f"a checkout of Modin, for release {release}"
    try:
        return _archive(scratch, release), f"the archive of Modin {release}"
    except (URLError, TimeoutError):
        pass
    try:
        return _distribution(scratch, release), f"the source distribution of Modin {release}"
    except subprocess.CalledProcessError:
        pass
    spec = importlib.util.find_spec("modin")
    if spec is None or spec.origin is None:
        sys.exit("Modin is not installed: pip install 'millpond[modin]'")
    return Path(spec.origin).parent, f"the wheel of Modin {release}"


def _archive(scratch: Path, release: str) -> Path:
    with urllib.request.urlopen(_ARCHIVE.format(version=release), timeout=_PATIENCE) as answer:
        archive = scratch / "archive.tar.gz"
        archive.write_bytes(answer.read())
    return _unpacked(archive)


def _distribution(scratch: Path, release: str) -> Path:
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary=modin"]
    subprocess.run([*pip, "--dest", scratch, f"modin=={release}"], check=True)
    (archive,) = scratch.glob("modin-*.tar.gz")
    return _unpacked(archive)


def _unpacked(archive: Path) -> Path:
    with tarfile.open(archive) as file:
        file.extractall(archive.parent, filter="data")
    (package,) = archive.parent.glob("*/modin")
    return package


def _patch(tree: Path) -> None:
    """Apply our patch, but for files that this source of the tests lacks."""
    # A list of what it changes: "added<TAB>removed<TAB>path" lines.
    listing = _git(tree, "apply", "--numstat", str(_PATCH))
    paths = [line.split("\t")[2] for line in listing.splitlines()]
    absent = [f"--exclude={path}" for path in paths if not (tree / path).exists()]
    _git(tree, "apply", *absent, str(_PATCH))


def _git(tree: Path, *arguments: str) -> str:
    # The tree may lie below a repository, which is not meant.
    command = ["git", f"--git-dir={tree / 'none'}", *arguments]
    return subprocess.run(command, cwd=tree, check=True, capture_output=True, text=True).stdout
