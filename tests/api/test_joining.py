from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from millpond.api.joining import head_settings, join_settings, new_token
from millpond.cluster.cluster_file import KnownCluster, write_cluster_file
from millpond.errors import ConfigurationError

TOKEN = "t" * 32


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither a token in the environment nor a cluster on this machine."""
    for name in ("TOKEN", "TLS_CA", "TLS_CERT", "TLS_KEY"):
        monkeypatch.delenv(f"MILLPOND_{name}", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def runs_here(parent: Path, address: str, *, tls: bool) -> str:
    token = new_token()
    directory = parent / f"millpond-{token[:8]}"
    directory.mkdir()
    write_cluster_file(str(directory), KnownCluster(address, token, tls, is_head=True))
    return token


def test_a_head_listens_on_loopback_without_tls() -> None:
    settings = head_settings()
    assert (settings.head, settings.host, settings.port, settings.tls) == (
        "",
        "127.0.0.1",
        0,
        False,
    )
    assert len(settings.token) == 64
    assert head_settings().token != settings.token
    assert head_settings(tls=True).tls


@pytest.mark.parametrize("host", ["0.0.0.0", "10.0.0.5", "::"])
def test_a_head_on_a_network_uses_tls(host: str) -> None:
    assert head_settings(host=host).tls


def test_the_token_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLPOND_TOKEN", TOKEN)
    assert head_settings().token == TOKEN
    assert join_settings("127.0.0.1:7600").token == TOKEN


@pytest.mark.parametrize("token", ["short", "t" * 31, "t" * 32 + "\n", "ť" * 32])
def test_a_token_that_is_none(monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    monkeypatch.setenv("MILLPOND_TOKEN", token)
    with pytest.raises(ConfigurationError, match="at least 32 ASCII") as caught:
        head_settings()
    assert token not in str(caught.value)


def test_without_a_token_nobody_joins() -> None:
    with pytest.raises(ConfigurationError, match="set MILLPOND_TOKEN"):
        join_settings("127.0.0.1:7600")


def test_on_a_network_a_node_uses_tls_and_listens_towards_the_head() -> None:
    near = join_settings("127.0.0.1:7600", token=TOKEN)
    assert (near.host, near.tls) == ("127.0.0.1", False)
    with pytest.raises(ConfigurationError, match="must use TLS"):
        join_settings("127.0.0.1:7600", token=TOKEN, host="10.0.0.6")
    far = join_settings("10.0.0.5:7600", token=TOKEN, host="10.0.0.6")
    assert (far.head, far.host, far.tls) == ("10.0.0.5:7600", "10.0.0.6", True)


def test_a_cluster_that_runs_here_is_joined_as_it_is(tmp_path: Path) -> None:
    token = runs_here(tmp_path, "127.0.0.1:7600", tls=True)
    settings = join_settings("127.0.0.1:7600")
    assert (settings.token, settings.tls) == (token, True)


def test_loopback_is_no_address_for_other_machines(tmp_path: Path) -> None:
    """The head that is reached over loopback from here listens on the network as well."""
    runs_here(tmp_path, "10.0.0.5:7600", tls=True)
    settings = join_settings("127.0.0.1:7600", host="10.0.0.5")
    assert settings.head == "10.0.0.5:7600"


def test_auto_is_the_only_cluster(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="found: none"):
        join_settings("auto")
    runs_here(tmp_path, "127.0.0.1:7600", tls=False)
    runs_here(tmp_path, "127.0.0.1:7600", tls=False)
    assert join_settings("auto").head == "127.0.0.1:7600"
    runs_here(tmp_path, "127.0.0.1:7601", tls=False)
    with pytest.raises(ConfigurationError, match=r"found: 127\.0\.0\.1:7600, 127\.0\.0\.1:7601"):
        join_settings("auto")


def test_certificates_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLPOND_TLS_CA", "ca.pem")
    with pytest.raises(ConfigurationError, match="MILLPOND_TLS_CERT"):
        head_settings()
    monkeypatch.setenv("MILLPOND_TLS_CERT", "cert.pem")
    monkeypatch.setenv("MILLPOND_TLS_KEY", "key.pem")
    for settings in (head_settings(), join_settings("127.0.0.1:7600", token=TOKEN)):
        assert settings.tls
        assert settings.files is not None
        assert Path(settings.files.key) == Path.cwd() / "key.pem"


def test_the_token_is_not_shown() -> None:
    assert TOKEN not in repr(head_settings(token=TOKEN))
