"""What a dial was asked for."""

import hashlib
from collections.abc import Sequence
from typing import Final

import msgspec
from aioquic.quic.configuration import QuicConfiguration

from moqvox.transport.address import show
from moqvox.transport.aioquic.endpoint import CONNECTION_ID_BYTES
from moqvox.transport.aioquic.greeting import H3
from moqvox.transport.aioquic.identity import trust
from moqvox.transport.aioquic.limits import Limits
from moqvox.transport.aioquic.roots import Roots
from moqvox.transport.aioquic.wallet import Kept, Wallet
from moqvox.transport.credentials import Verify
from moqvox.transport.foresight import Foresee
from moqvox.transport.urge import Urge

__all__ = ["Order"]

MAX_DATAGRAM_FRAME_BYTES: Final = 65536


class Order(msgspec.Struct, frozen=True):
    """What `connect` was asked for, the same for every address."""

    host: str
    port: int
    protocols: tuple[str, ...]
    webtransport: bool
    path: str
    server_name: str
    verify: Verify
    idle_timeout: float
    local: tuple[str, int] | None
    roams: bool
    limits: Limits
    timeout: float
    wallet: Wallet | None
    early: bool
    urge: Urge | None
    foresee: Foresee | None

    @property
    def offers(self) -> Sequence[str]:
        """ALPNs."""
        return (H3,) if self.webtransport else self.protocols

    @property
    def server(self) -> str:
        """Name the server, and how it is made sure of, for the wallet."""
        trust = hashlib.sha256(msgspec.msgpack.encode(self.verify, order="sorted")).hexdigest()
        kind = H3 if self.webtransport else "quic"
        return f"{self.server_name} {self.host} {self.port} {kind} {trust[:16]}"

    @property
    def where(self) -> str:
        """Name the server in messages."""
        return show((self.host, self.port))

    def roots(self) -> Roots | None:
        """Make what checks the server's certificate; None where none of its issuers is asked.

        Raises:
            LocalError: the roots to trust can't be read.
        """
        verify = self.verify
        return None if verify.insecure or verify.fingerprints else Roots(verify.ca_pem)

    def configuration(self, kept: Kept | None, token: bytes) -> QuicConfiguration:
        """Build the engine's configuration."""
        configuration = QuicConfiguration(
            is_client=True,
            alpn_protocols=list(self.offers),
            connection_id_length=CONNECTION_ID_BYTES,
            idle_timeout=self.idle_timeout,
            max_data=self.limits.connection_window(0),
            max_stream_data=self.limits.stream_window(0),
            max_datagram_frame_size=MAX_DATAGRAM_FRAME_BYTES,
            server_name=self.server_name,
            session_ticket=kept.session() if kept is not None else None,
            token=token,
        )
        trust(configuration, self.verify)
        return configuration
