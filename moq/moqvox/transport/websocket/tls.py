"""TLS without a socket, so that one TCP port can take it or leave it.

A listener knows only after a connection's first byte whether it is TLS. asyncio can start TLS
on a connection, but not hand it bytes that were read already; `ssl.SSLObject` takes them.
"""

import contextlib
import datetime
import hashlib
import ssl
import tempfile
from pathlib import Path

from cryptography import x509

from moqvox.errors import LocalError
from moqvox.transport.credentials import ServerCertificate, Verify

__all__ = ["Tls", "check_pin", "client_context", "server_context"]

READ_BYTES = 64 * 1024
ALPN = "http/1.1"


class Tls:
    """One side of a TLS connection: bytes in, bytes out."""

    def __init__(self, context: ssl.SSLContext, *, server_name: str | None = None) -> None:
        is_client = context.protocol == ssl.PROTOCOL_TLS_CLIENT
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._object = context.wrap_bio(
            self._incoming,
            self._outgoing,
            server_side=not is_client,
            server_hostname=server_name if is_client else None,
        )
        self._is_ready = False

    @property
    def is_ready(self) -> bool:
        """Whether the handshake is done, so that `send` is possible."""
        return self._is_ready

    @property
    def peer_certificate(self) -> bytes | None:
        """The peer's leaf as DER, once there is one."""
        return self._object.getpeercert(binary_form=True)

    def start(self) -> None:
        """Begin the handshake, as a client does."""
        self._shake_hands()

    def receive(self, data: bytes) -> bytes:
        """Take bytes off the wire; return what they say. There may be an answer in `take`.

        Raises:
            ssl.SSLError: the peer broke TLS, or its certificate is not trusted.
        """
        self._incoming.write(data)
        if not self._is_ready:
            self._shake_hands()
        if not self._is_ready:
            return b""
        parts: list[bytes] = []
        try:
            while part := self._object.read(READ_BYTES):
                parts.append(part)
        except (ssl.SSLWantReadError, ssl.SSLZeroReturnError):
            pass  # no whole record is left, or the peer has said that nothing will follow
        return b"".join(parts)

    def send(self, data: bytes) -> None:
        """Encrypt bytes; they are in `take` then."""
        view = memoryview(data)
        while view:
            view = view[self._object.write(view) :]

    def take(self) -> bytes:
        """Take what is to be put on the wire."""
        return self._outgoing.read()

    def close(self) -> None:
        """Say that nothing will follow."""
        # The peer's own farewell has not come yet, or there was no handshake.
        with contextlib.suppress(ssl.SSLError):
            self._object.unwrap()

    def _shake_hands(self) -> None:
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            return
        self._is_ready = True


def server_context(certificate: ServerCertificate) -> ssl.SSLContext:
    """Build the context of a listener.

    Raises:
        LocalError: the PEM can't be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols([ALPN])
    # The standard library reads keys from files only; this one is readable by us alone.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "identity.pem")
        path.touch(mode=0o600)
        path.write_bytes(certificate.chain_pem.rstrip() + b"\n" + certificate.key_pem)
        try:
            context.load_cert_chain(path)
        except (ssl.SSLError, ValueError) as exc:
            raise LocalError(f"the server's certificate or key can't be used: {exc}") from exc
    return context


def client_context(verify: Verify) -> ssl.SSLContext:
    """Build the context of a client; pinned fingerprints are compared by the caller.

    Raises:
        LocalError: the roots can't be read.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols([ALPN])
    if verify.insecure or verify.fingerprints:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif verify.ca_pem is None:
        context.load_default_certs()
    else:
        try:
            context.load_verify_locations(cadata=verify.ca_pem.decode("ascii"))
        except (ssl.SSLError, ValueError) as exc:
            raise LocalError(f"the roots can't be used: {exc}") from exc
    return context


def check_pin(leaf: bytes | None, pins: frozenset[bytes]) -> None:
    """Compare a server's certificate, as DER, with the pinned ones.

    Raises:
        ValueError: it is another one, or not valid now; the message says which.
    """
    if leaf is None or hashlib.sha256(leaf).digest() not in pins:
        raise ValueError("the certificate's fingerprint is not a pinned one")
    certificate = x509.load_der_x509_certificate(leaf)
    now = datetime.datetime.now(datetime.UTC)
    if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
        raise ValueError("the pinned certificate has expired, or is not valid yet")
