"""Several paths to one peer: probed before they are used, measured, left (RFC 9000, section 9).

An endpoint with several sockets makes the socket a part of the peer's address (`ways`), so that
upstream's books on paths, one for each address of the peer, are kept for each pair of addresses.
"""

from typing import Final

from aioquic._buffer import Buffer
from aioquic.quic.connection import QuicConnection, QuicNetworkPath, QuicReceiveContext
from aioquic.quic.packet import pull_quic_transport_parameters
from aioquic.quic.packet_builder import QuicPacketBuilder
from aioquic.tls import Epoch

from moqvox.transport.address import Address, host_of
from moqvox.transport.aioquic.private.compact import Latest
from moqvox.transport.aioquic.private.recovery import Recovery
from moqvox.transport.aioquic.ways import plain

__all__ = ["RovingConnection"]

MAX_TIMED: Final = 16
"""Challenges whose time of sending is remembered; a probe has five, and few paths are probed."""

PROBE_BYTES: Final = 1200


class RovingConnection(QuicConnection):
    """A connection that knows more than one path.

    Attributes:
        answered: address and round trip in seconds of paths on which a challenge of ours was
            answered; whoever looks takes them away.
    """

    recovery: Recovery

    def __init__(self, **options: object) -> None:
        super().__init__(**options)  # type: ignore[arg-type]  # passed on as they are
        self.answered: Latest[tuple[Address, float]] = Latest(MAX_TIMED)
        self._challenged_at: dict[bytes, float] = {}
        self._challenges_active = False
        self._left: Address | None = None
        self._followed: Address | None = None
        self._origin: Address | None = None
        self._sending_at = 0.0

    @property
    def peer(self) -> tuple[Address | None, bool]:
        """The peer's address now, and whether it is validated; None before any packet."""
        active = self._network_paths[0] if self._network_paths else None
        return (active.addr, active.is_validated) if active else (None, False)

    @property
    def may_migrate(self) -> bool:
        """Whether there is a connection ID for another path, and the time for it has come."""
        return self.recovery.handshake_confirmed and bool(self._peer_cid_available)

    @property
    def must_stay(self) -> bool:
        """Whether the server forbids its client to go elsewhere by itself (RFC 9000, section 9).

        At the address of the handshake only; where it asked the client to go, it may.
        """
        if self._origin is None or not self._network_paths:
            return False
        return plain(self._network_paths[0].addr) == self._origin

    def _parse_transport_parameters(self, data: bytes, from_session_ticket: bool = False) -> None:
        """Take a peer's word; upstream reads `disable_active_migration` and forgets it."""
        super()._parse_transport_parameters(data, from_session_ticket=from_session_ticket)
        if self._is_client and not from_session_ticket and self._network_paths:
            said = pull_quic_transport_parameters(Buffer(data=data))
            if said.disable_active_migration:
                self._origin = plain(self._network_paths[0].addr)

    def probe(self, address: Address) -> bool:
        """Ask the peer on a path that is not used, under a connection ID of its own.

        Returns:
            False when there is no connection ID to spare.
        """
        path = self._path(address)
        if path is None:
            if not self.may_migrate:
                return False
            path = QuicNetworkPath(address)
            self._add_network_path(path)
        path.is_validated = path.local_challenge_sent = False
        return path.peer_cid is not None or bool(self._peer_cid_available)

    def move(self, now: float, address: Address, rtt: float | None = None) -> None:
        """Go on from another address of ours, under another connection ID if there is one.

        Unless the path was probed, the first packet carries PATH_CHALLENGE, so that it is large
        and the peer may answer with more than a few bytes before it has validated the path
        (RFC 9000, section 8).

        Args:
            now: seconds, on the engine's clock.
            address: the peer's, with the way there.
            rtt: round trip of the path, if it was probed.
        """
        path = self._path(address)
        if path is None:
            path = QuicNetworkPath(address)
            self._add_network_path(path)
        self._network_paths.remove(path)
        self._network_paths.insert(0, path)
        if path.peer_cid is not None:
            self._use_reserved_peer_cid(path)
        else:
            self.change_connection_id()
        path.is_validated = True
        self._followed = address
        self._challenges_active = rtt is None
        self.restart_path(now, same_host=False)
        if rtt is not None:
            self.recovery.suppose(rtt)
        self.send_ping(0)

    def forget_path(self, address: Address) -> None:
        """Give up a path that is not the active one, and its connection ID."""
        path = self._path(address)
        if path is not None and path is not self._network_paths[0]:
            self._network_paths.remove(path)
            if path.peer_cid is not None:
                self._retire_peer_cid(path.peer_cid)

    def restart_path(self, now: float, *, same_host: bool) -> None:
        """Forget what was measured on the old path, and send again what is under way there."""
        algorithm = None if same_host else self._configuration.congestion_control_algorithm
        self.recovery.restart(algorithm, self._max_datagram_size, now)

    def follow_path(self, now: float) -> bool:
        """Start over when the peer's address is another than at the last call; whether it is.

        A path counts from the peer's first packet on it: what is due again may go as far as
        three times what came (RFC 9000, section 8), the rest follows when it is validated. The
        old path is asked whether the peer is still there (RFC 9000, section 9.3.3).
        """
        address = self.peer[0]
        before, self._followed = self._followed, address
        if before is None or address is None or before == address:
            return False
        if not self._is_client:  # a client has left for the server's preferred address, for good
            self._left = before
        self.restart_path(now, same_host=host_of(before) == host_of(address))
        return True

    def datagrams_to_send(self, now: float) -> list[tuple[bytes, Address]]:
        """Build what is due, and with it the question on the path that the peer left."""
        self._sending_at = now
        datagrams = super().datagrams_to_send(now)
        left = self._path(self._left) if self._left is not None else None
        self._left = None
        if left is not None and left is not self._network_paths[0] and left.is_validated:
            datagrams += self._ask_again(left, now)
        return datagrams

    @property
    def _has_silent_paths(self) -> bool:
        """Whether nothing is to be said on any path but the active one."""
        return self._left is None and not any(
            path.remote_challenges or not (path.is_validated or path.local_challenge_sent)
            for path in self._network_paths[1:]
        )

    def _ask_again(self, path: QuicNetworkPath, now: float) -> list[tuple[bytes, Address]]:
        """Send PATH_CHALLENGE on a path that is validated, which stays so meanwhile."""
        if path.peer_cid is None:
            if not self._peer_cid_available:
                return []
            path.peer_cid = self._peer_cid_available.pop(0)
        path.is_validated = path.local_challenge_sent = False
        path.bytes_sent, path.bytes_received = 0, PROBE_BYTES
        try:
            return self._send_probing_frames(path, now)
        finally:
            path.is_validated = True

    def _path(self, address: Address) -> QuicNetworkPath | None:
        return next((path for path in self._network_paths if path.addr == address), None)

    def _send_probing_frames(
        self, network_path: QuicNetworkPath, now: float
    ) -> list[tuple[bytes, Address]]:
        """Probe; the fate of the packet says nothing about the path that is used."""
        first = self._packet_number
        datagrams = super()._send_probing_frames(network_path, now)
        self.recovery.disregard(self._spaces[Epoch.ONE_RTT], first)
        return datagrams

    def _write_path_challenge_frame(
        self, builder: QuicPacketBuilder, network_path: QuicNetworkPath
    ) -> None:
        super()._write_path_challenge_frame(builder, network_path)
        while len(self._challenged_at) >= MAX_TIMED:
            del self._challenged_at[next(iter(self._challenged_at))]
        self._challenged_at[network_path.local_challenges[-1]] = self._sending_at

    def _challenge_active_path(self, builder: QuicPacketBuilder) -> None:
        """Write the challenge that is due on a path that was not probed."""
        if self._challenges_active:
            self._challenges_active = False
            self._write_path_challenge_frame(builder, self._network_paths[0])

    def _handle_path_response_frame(
        self, context: QuicReceiveContext, frame_type: int, buf: Buffer
    ) -> None:
        """Take an answer; of several ways to one address, whoever probed them chooses."""
        start = buf.tell()
        data = buf.pull_bytes(8)
        buf.seek(start)
        path = next((path for path in self._network_paths if data in path.local_challenges), None)
        kept = None
        if path is not None and plain(path.addr) == plain(self._network_paths[0].addr):
            # Else upstream takes it for the server's preferred address, and goes there.
            kept, path.peer_cid = path.peer_cid, None
        super()._handle_path_response_frame(context, frame_type, buf)
        if path is None:
            return
        if kept is not None:
            path.peer_cid = kept
        asked_at = self._challenged_at.pop(data, None)
        if asked_at is not None:
            self.answered.append((path.addr, context.time - asked_at))
