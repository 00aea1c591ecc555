from __future__ import annotations

import pytest

from millpond.cluster import security
from millpond.cluster.security import check_caller, credentials
from millpond.errors import AuthenticationError, VersionMismatchError

TOKEN = "t" * 32


def test_the_right_token_and_version_pass() -> None:
    check_caller(credentials(TOKEN), TOKEN)


@pytest.mark.parametrize("given", ["", "t" * 31, "t" * 33, "u" * 32, "ü"])
def test_a_wrong_token_does_not(given: str) -> None:
    with pytest.raises(AuthenticationError, match="MILLPOND_TOKEN") as caught:
        check_caller(credentials(given), TOKEN)
    assert TOKEN not in str(caught.value)


def test_neither_does_none() -> None:
    with pytest.raises(AuthenticationError, match="no token"):
        check_caller([], TOKEN)


def test_another_version_is_refused_with_both_named(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = dict(credentials(TOKEN))
    monkeypatch.setattr(security, "PROTOCOL", 99)
    with pytest.raises(VersionMismatchError, match=r"protocol \d, Python .*protocol 99, Python"):
        check_caller(theirs.items(), TOKEN)


def test_the_token_is_checked_before_the_version() -> None:
    with pytest.raises(AuthenticationError):
        check_caller([("millpond-version", "nonsense")], TOKEN)
    with pytest.raises(VersionMismatchError, match="an unknown version"):
        check_caller([("millpond-token", TOKEN)], TOKEN)
