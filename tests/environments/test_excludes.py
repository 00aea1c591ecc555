from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from millpond.environments.excludes import Excludes


def left_out(patterns: list[str], path: str) -> bool:
    """Whether a path is left out, looking at the directories above it first, as a walk does."""
    excludes = Excludes(patterns)
    *above, last = path.rstrip("/").split("/")
    directories = ["/".join(above[: end + 1]) for end in range(len(above))]
    return any(excludes(each, is_directory=True) for each in directories) or excludes(
        "/".join([*above, last]), is_directory=path.endswith("/")
    )


@pytest.mark.parametrize(
    ("patterns", "out", "kept"),
    [
        (["*.csv"], ["a.csv", "x/y/a.csv"], ["a.csvx", "acsv"]),
        (["data/"], ["data/", "data/a", "x/data/a"], ["data", "x/data", "datas/a"]),
        (["/data"], ["data", "data/a"], ["x/data"]),
        (["x/data"], ["x/data"], ["y/x/data"]),
        (["**/data"], ["data", "x/y/data"], ["x/datas"]),
        (["x/**"], ["x/a", "x/y/a"], ["x", "y/x/a"]),
        (["x/**/a"], ["x/a", "x/y/z/a"], ["x/ya"]),
        (["a?[0-9]", "[!b]c"], ["ab7", "ac"], ["ab", "a/7", "bc", "/c"]),
        (["*", "!*.py"], ["a.csv", "b"], ["a.py"]),
        (["x/", "!x/a.py"], ["x/a.py"], []),
        (["!a", "a"], ["a"], []),
        (["# a", "", "\\#b", "c  ", "d\\ "], ["#b", "c", "d "], ["# a", "a", "c  ", "d"]),
        (["a.b", "c+"], ["a.b", "c+"], ["axb", "cc"]),
    ],
    ids=repr,
)
def test_patterns_mean_what_they_do_in_a_gitignore(
    patterns: list[str], out: list[str], kept: list[str]
) -> None:
    assert {path: left_out(patterns, path) for path in [*out, *kept]} == {
        **dict.fromkeys(out, True),
        **dict.fromkeys(kept, False),
    }


parts = st.sampled_from(["a", "b", ".", "-", "!", "*", "?", "[ab]", "[!a]", "[^b-]", "\\a"])
segment = st.lists(parts, min_size=1, max_size=3).map("".join) | st.just("**")
pattern = st.tuples(
    st.sampled_from(["", "!", "/", "!/"]),
    st.lists(segment, min_size=1, max_size=3).map("/".join),
    st.sampled_from(["", "/"]),
).map("".join)
paths = st.lists(st.text("ab.-", min_size=1, max_size=3), min_size=1, max_size=3).filter(
    lambda names: not {".", ".."} & set(names)
)


@pytest.mark.skipif(shutil.which("git") is None, reason="compares with git")
@settings(
    max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(st.lists(pattern, max_size=3), paths, st.booleans())
def test_git_leaves_out_the_same(
    tmp_path: Path, patterns: list[str], names: list[str], is_directory: bool
) -> None:
    shutil.rmtree(tmp_path / "r", ignore_errors=True)
    (tmp_path / "r" / ".git").mkdir(parents=True)
    repository = tmp_path / "r"
    for name in ("objects", "refs"):
        (repository / ".git" / name).mkdir()
    (repository / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
    (repository / ".git" / "config").write_text("[core]\n\trepositoryformatversion = 0\n")
    (repository / ".gitignore").write_text("\n".join(patterns) + "\n")
    path = repository.joinpath(*names)
    path.parent.mkdir(parents=True, exist_ok=True)
    if is_directory:
        path.mkdir(exist_ok=True)
    else:
        path.touch()
    asked = subprocess.run(
        ["git", "-C", str(repository), "check-ignore", "-q", "--no-index", "--", "/".join(names)],
        check=False,
        capture_output=True,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "GIT_CONFIG_NOSYSTEM": "1"},
    )
    assert asked.returncode in (0, 1), asked.stderr
    written = "/".join(names) + ("/" if is_directory else "")
    assert left_out(patterns, written) is (asked.returncode == 0)
