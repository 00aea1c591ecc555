"""The three calls between nodes, and how refusals travel: over gRPC, with bytes in and bytes out.

Importing this imports grpc: nobody does before a port is opened or a cluster is joined, and no
process that forks ever does.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import grpc.aio

from .. import errors
from ..errors import CertificateError, ClusterError, HeadUnreachableError
from ..wire.messages.cluster import ClusterSettings
from .links import FetchError, HandedOnError

if TYPE_CHECKING:
    from .certificates import Certificates

__all__ = [
    "ACCEPTED",
    "FETCH",
    "JOIN",
    "LINK",
    "NODE_KEY",
    "OPTIONS",
    "SERVICE",
    "TARGET_KEY",
    "channel_credentials",
    "channel_options",
    "explain",
    "explain_fetch",
    "make_certificates",
    "refuse",
    "server_credentials",
]

SERVICE: Final = "millpond.Cluster"
#: unary: a NodeInfo for a Welcome, answered by the head
JOIN: Final = "Join"
#: bidirectional: frames
LINK: Final = "Link"
#: server streaming: a FetchRequest for bytes of an object
FETCH: Final = "Fetch"
#: metadata of a link: the NodeInfo of who opens it
NODE_KEY: Final = "millpond-node-bin"
#: metadata of a link or a fetch: the id, in hexadecimal digits, of the node that is meant
TARGET_KEY: Final = "millpond-target"
#: metadata by which a link is accepted
ACCEPTED: Final = ("millpond-link", "accepted")

#: metadata of a refusal: the name of our error
_ERROR_KEY: Final = "millpond-error"
#: and, in hexadecimal digits, the id of the node that is to be asked for an object
_ELSEWHERE_KEY: Final = "millpond-elsewhere"
#: A message of a stream is at most a piece of an object or a batch of frames.
_MAX_MESSAGE_BYTES: Final = 16 << 20

OPTIONS: Final[Sequence[tuple[str, Any]]] = (
    ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
    ("grpc.so_reuseport", 0),  # a port that is taken is an error
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),
    ("grpc.server_handshake_timeout_ms", 10_000),
    # Large frames and a wide window: a third more bytes per second between two nodes.
    ("grpc.http2.max_frame_size", (1 << 24) - 1),
    ("grpc.http2.lookahead_bytes", _MAX_MESSAGE_BYTES),
)


#: parts of what the library says when a handshake fails
_SIGNS_OF_TLS: Final = ("handshake", "SSL", "CERTIFICATE", "certificate")


async def refuse(context: Any, error: Exception) -> None:
    """End a call with an error of ours, which `explain` raises on the other side."""
    code = grpc.StatusCode.FAILED_PRECONDITION
    if isinstance(error, errors.AuthenticationError):
        code = grpc.StatusCode.UNAUTHENTICATED
    elif isinstance(error, FetchError) and error.gone:
        code = grpc.StatusCode.NOT_FOUND
    metadata = [(_ERROR_KEY, type(error).__name__)]
    if isinstance(error, HandedOnError):
        metadata.append((_ELSEWHERE_KEY, error.node_id.hex()))
    await context.abort(code, str(error), tuple(metadata))


def explain(error: grpc.aio.AioRpcError, address: str) -> ClusterError:
    """Return an error of ours for a call that failed.

    Args:
        error: of the call.
        address: that was called.
    """
    text = " ".join((error.details() or error.code().name).split())
    name = dict(error.trailing_metadata() or ()).get(_ERROR_KEY, "")
    kind = getattr(errors, str(name), None) if name else None
    if isinstance(kind, type) and issubclass(kind, ClusterError):
        return kind(f"the node at {address} refused: {text}")
    if any(sign in text for sign in _SIGNS_OF_TLS):
        return CertificateError(
            f"no trust between this node and the one at {address}: its certificate is not of this "
            f"cluster (is the token the same?), not valid now, or it does not use TLS. {text}"
        )
    hint = " (it may be that one side uses TLS and the other does not)" if "losed" in text else ""
    return HeadUnreachableError(f"no millpond node answers at {address}: {text}{hint}")


def explain_fetch(error: grpc.aio.AioRpcError, filled: int) -> FetchError:
    """Return an error of ours for a fetch that failed.

    Args:
        error: of the call.
        filled: bytes that came before.
    """
    elsewhere = dict(error.trailing_metadata() or ()).get(_ELSEWHERE_KEY, "")
    if elsewhere:
        return HandedOnError(bytes.fromhex(str(elsewhere)))
    gone = error.code() is grpc.StatusCode.NOT_FOUND
    return FetchError(error.details() or error.code().name, filled, gone=gone)


def make_certificates(settings: ClusterSettings) -> Certificates:
    """Return this node's certificates: of the cluster's token, or from files.

    Raises:
        CertificateError: the files, or this machine's clock, are not usable.
    """
    from .certificates import check_clock, derived_certificates, read_certificates

    now = dt.datetime.now(dt.UTC)
    if settings.files is not None:
        return read_certificates(settings.files, now)
    check_clock(now)
    return derived_certificates(settings.token)


def server_credentials(
    certificates: Certificates, begun: Callable[[], None]
) -> grpc.ServerCredentials:
    """Return what a server needs to show its certificate and ask for the client's.

    Args:
        certificates: of this node.
        begun: called in a thread of the library when a handshake begins.
    """
    configuration = grpc.ssl_server_certificate_configuration(
        [(certificates.key, certificates.certificate)], root_certificates=certificates.authority
    )
    # It is asked for another configuration then; None: there is none.
    return grpc.dynamic_ssl_server_credentials(
        configuration,
        begun,  # type: ignore[arg-type]
        require_client_authentication=True,
    )


def channel_credentials(certificates: Certificates) -> grpc.ChannelCredentials:
    """Return what a client needs to show its certificate and check the server's."""
    return grpc.ssl_channel_credentials(
        certificates.authority, certificates.key, certificates.certificate
    )


def channel_options(certificates: Certificates) -> Sequence[tuple[str, Any]]:
    """Return the options of a channel that uses TLS."""
    if certificates.name is None:
        return OPTIONS
    return (*OPTIONS, ("grpc.ssl_target_name_override", certificates.name))
