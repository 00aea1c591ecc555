from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from millpond.errors import CertificateError
from millpond.wire.messages.cluster import TlsFiles

pytest.importorskip("cryptography")

from cryptography import x509

from millpond.cluster.certificates import (
    Certificates,
    check_clock,
    derived_certificates,
    read_certificates,
)

TOKEN = "t" * 32
NOW = dt.datetime(2030, 1, 1, tzinfo=dt.UTC)


def issued_by(certificate: bytes, authority: bytes) -> bool:
    try:
        x509.load_pem_x509_certificate(certificate).verify_directly_issued_by(
            x509.load_pem_x509_certificate(authority)
        )
    except Exception:  # noqa: BLE001 - whatever the library raises, it is no proof
        return False
    return True


def test_nodes_with_the_same_token_trust_each_other_and_no_others() -> None:
    one, two = derived_certificates(TOKEN), derived_certificates(TOKEN)
    stranger = derived_certificates(TOKEN + "x")
    assert one.key != two.key
    assert issued_by(one.certificate, two.authority)
    assert issued_by(two.certificate, one.authority)
    assert not issued_by(stranger.certificate, one.authority)
    assert not issued_by(one.certificate, stranger.authority)


def test_a_node_is_no_authority() -> None:
    found = x509.load_pem_x509_certificate(derived_certificates(TOKEN).certificate)
    assert not found.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


@pytest.mark.parametrize("year", [2020, 2026, 9999])
def test_it_does_not_matter_how_far_clocks_are_apart(year: int) -> None:
    clock = dt.datetime(year, 6, 1, tzinfo=dt.UTC)
    check_clock(clock)
    made = derived_certificates(TOKEN)
    for pem in (made.authority, made.certificate):
        found = x509.load_pem_x509_certificate(pem)
        assert found.not_valid_before_utc < clock < found.not_valid_after_utc


def test_a_clock_that_was_never_set_is_named() -> None:
    with pytest.raises(CertificateError, match=r"it is 1970-01-01 00:00 UTC.*set the clock"):
        check_clock(dt.datetime(1970, 1, 1, tzinfo=dt.UTC))


def test_keys_are_not_shown() -> None:
    found = derived_certificates(TOKEN)
    assert "PRIVATE" not in repr(found)


def write(directory: Path, found: Certificates) -> TlsFiles:
    paths = [directory / name for name in ("ca.pem", "cert.pem", "key.pem")]
    for path, content in zip(paths, (found.authority, found.certificate, found.key), strict=True):
        path.write_bytes(content)
    return TlsFiles(*map(str, paths))


def test_certificates_are_read_from_files(tmp_path: Path) -> None:
    made = derived_certificates(TOKEN)
    read = read_certificates(write(tmp_path, made), NOW)
    assert (read.authority, read.certificate, read.key) == (
        made.authority,
        made.certificate,
        made.key,
    )
    assert read.name is None  # they name their hosts


@pytest.mark.parametrize("days", [-2, 4000])
def test_certificates_that_are_not_valid_now(tmp_path: Path, days: int) -> None:
    validity = (NOW - dt.timedelta(days=1), NOW + dt.timedelta(days=3650))
    files = write(tmp_path, derived_certificates(TOKEN, validity))
    with pytest.raises(CertificateError, match=r"ca\.pem is valid from 2029-12-31 .* it is 20"):
        read_certificates(files, NOW + dt.timedelta(days=days))


def test_files_that_do_not_fit_each_other(tmp_path: Path) -> None:
    made, other = derived_certificates(TOKEN), derived_certificates(TOKEN + "x")
    key = derived_certificates(TOKEN).key
    wrong_key = Certificates(made.authority, made.certificate, key, None)
    with pytest.raises(CertificateError, match=r"key\.pem is not that of .*cert\.pem"):
        read_certificates(write(tmp_path, wrong_key), NOW)
    wrong_authority = Certificates(other.authority, made.certificate, made.key, None)
    with pytest.raises(CertificateError, match=r"cert\.pem was not signed by .*ca\.pem"):
        read_certificates(write(tmp_path, wrong_authority), NOW)


def test_files_that_are_something_else(tmp_path: Path) -> None:
    made = derived_certificates(TOKEN)
    files = write(tmp_path, Certificates(b"no certificate", made.certificate, made.key, None))
    with pytest.raises(CertificateError, match=r"ca\.pem is no certificate in PEM"):
        read_certificates(files, NOW)
    files = write(tmp_path, Certificates(made.authority, made.certificate, b"no key", None))
    with pytest.raises(CertificateError, match=r"key\.pem is no private key"):
        read_certificates(files, NOW)
    Path(files.key).unlink()
    with pytest.raises(CertificateError, match=r"cannot read .*key\.pem: No such file"):
        read_certificates(files, NOW)
