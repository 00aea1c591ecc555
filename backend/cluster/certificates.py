"""The certificates by which nodes know each other, where they talk over a network.

Every node makes its own: the key of the cluster's certificate authority is derived from the token,
so whoever has the token can, and nothing has to be copied between machines. Or they are given as
files of an authority of the user's own.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ..errors import CertificateError
from ..wire.messages.cluster import TlsFiles

__all__ = [
    "NODE_NAME",
    "Certificates",
    "check_clock",
    "derived_certificates",
    "read_certificates",
]

#: The name in every certificate that a node makes; addresses do not matter where the authority is
#: the cluster's own.
NODE_NAME: Final = "node.millpond"
#: The same for all, so that it does not matter whose clock is wrong: only the token lets nodes in.
_VALIDITY: Final = (
    dt.datetime(2020, 1, 1, tzinfo=dt.UTC),
    dt.datetime(9999, 12, 31, 23, 59, 59, tzinfo=dt.UTC),
)
_ORDER_OF_P256: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


@dataclass(frozen=True, slots=True)
class Certificates:
    """What one node shows others, and what it checks theirs by; all in PEM.

    Attributes:
        authority: certificate of the authority.
        certificate: of the node, with those between it and the authority.
        key: of the node.
        name: that others' certificates must have; None for their host.
    """

    authority: bytes
    certificate: bytes
    key: bytes = field(repr=False)
    name: str | None


def derived_certificates(
    token: str, validity: tuple[dt.datetime, dt.datetime] = _VALIDITY
) -> Certificates:
    """Make certificates for one node of the cluster of this token.

    Args:
        token: of the cluster.
        validity: when they begin and end to be valid.
    """
    authority_key = _authority_key(token)
    authority_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "millpond cluster")])
    authority = (
        _builder(authority_name, authority_name, authority_key.public_key(), validity)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NODE_NAME)])
    both_ways = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    certificate = (
        _builder(name, authority_name, key.public_key(), validity)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(both_ways), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NODE_NAME)]), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    return Certificates(
        authority.public_bytes(serialization.Encoding.PEM),
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
        NODE_NAME,
    )


def check_clock(now: dt.datetime) -> None:
    """Refuse a clock by which no certificate of a cluster is valid.

    Raises:
        CertificateError: it is one that was never set.
    """
    if now < _VALIDITY[0]:
        raise CertificateError(
            f"by the clock of this machine it is {now:%Y-%m-%d %H:%M} UTC, and no certificate of a "
            f"cluster is valid before {_VALIDITY[0]:%Y}: set the clock"
        )


def _authority_key(token: str) -> ec.EllipticCurvePrivateKey:
    # 16 bytes more than the order has, so that the remainder is as good as uniform.
    derived = HKDF(
        algorithm=hashes.SHA256(), length=48, salt=b"millpond", info=b"certificate authority"
    ).derive(token.encode())
    number = int.from_bytes(derived, "big") % (_ORDER_OF_P256 - 1) + 1
    return ec.derive_private_key(number, ec.SECP256R1())


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    validity: tuple[dt.datetime, dt.datetime],
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(validity[0])
        .not_valid_after(validity[1])
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def read_certificates(files: TlsFiles, now: dt.datetime) -> Certificates:
    """Read certificates of the user's own.

    Raises:
        CertificateError: a file cannot be read, is not valid now, or does not fit the others.
    """
    found = Certificates(_read(files.authority), _read(files.certificate), _read(files.key), None)
    authority = _parse(found.authority, files.authority)
    certificate = _parse(found.certificate, files.certificate)
    _check_dates(authority, files.authority, now)
    _check_dates(certificate, files.certificate, now)
    try:
        key = serialization.load_pem_private_key(found.key, None)
    except (ValueError, TypeError) as error:
        raise CertificateError(f"{files.key} is no private key without password: {error}") from None
    if key.public_key() != certificate.public_key():
        raise CertificateError(f"the key in {files.key} is not that of {files.certificate}")
    if certificate.issuer == authority.subject:  # else there are others between them
        try:
            certificate.verify_directly_issued_by(authority)
        except (InvalidSignature, ValueError, TypeError):
            raise CertificateError(
                f"the certificate in {files.certificate} was not signed by {files.authority}"
            ) from None
    return found


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise CertificateError(f"cannot read {path}: {error.strerror}") from None


def _check_dates(certificate: x509.Certificate, path: str, now: dt.datetime) -> None:
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if not begins <= now < ends:
        raise CertificateError(
            f"the certificate in {path} is valid from {begins:%Y-%m-%d %H:%M} to "
            f"{ends:%Y-%m-%d %H:%M} UTC, and by the clock of this machine it is "
            f"{now:%Y-%m-%d %H:%M}"
        )


def _parse(pem: bytes, path: str) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError as error:
        raise CertificateError(f"{path} is no certificate in PEM: {error}") from None
