"""The wheel holds every package, its type marker and its licence, nothing else, and is small."""

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())
STARTUP_HOOK = "millpond-modin.pth"
FOLDERS: dict[str, str] = SETTINGS["tool"]["setuptools"]["package-dir"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # Built from a copy: setuptools leaves its build folder beside the sources.
    work = tmp_path_factory.mktemp("wheel")
    source = work / "source"
    source.mkdir()
    build_files = ("pyproject.toml", "README.md", "LICENSE", "modin_startup.py", STARTUP_HOOK)
    for entry in (*build_files, *FOLDERS.values()):
        (source / entry).symlink_to(ROOT / entry)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
    command += ["--no-build-isolation", "--wheel-dir", str(work), str(source)]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    return next(work.glob("*.whl"))


def _packages_in_the_tree() -> set[str]:
    return {
        ".".join([name, *init.parent.relative_to(ROOT / folder).parts])
        for name, folder in FOLDERS.items()
        for init in (ROOT / folder).rglob("__init__.py")
    }


def test_every_package_is_listed() -> None:
    assert set(SETTINGS["tool"]["setuptools"]["packages"]) == _packages_in_the_tree()


def test_the_wheel_is_small_and_whole(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())

    assert wheel.stat().st_size < 1_000_000
    assert "millpond/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    for package in _packages_in_the_tree():
        assert f"{package.replace('.', '/')}/__init__.py" in names
    others = {name for name in names if not name.startswith(("millpond/", "millpond-0"))}
    assert others == {STARTUP_HOOK}
