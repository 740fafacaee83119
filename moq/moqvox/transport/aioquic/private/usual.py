"""Whether anything is due that upstream alone knows of, looked for once and then taken as known.

What was found holds until upstream has had a hand in anything, or keys, paths or connection IDs
changed.
"""

from aioquic.quic.connection import QuicNetworkPath
from aioquic.quic.recovery import QuicPacketSpace
from aioquic.tls import Epoch

from moqvox.transport.address import Address
from moqvox.transport.aioquic.private.compact import hook
from moqvox.transport.aioquic.private.packets import Shield
from moqvox.transport.aioquic.private.paths import RovingConnection
from moqvox.transport.aioquic.private.ranges import Ranges

__all__ = ["Usual", "UsualConnection"]


class Usual:
    """What packets of the usual kind need, while nothing else is due."""

    __slots__ = ("address", "host_cid", "path", "peer_cid", "shield", "space")

    def __init__(
        self,
        path: QuicNetworkPath,
        space: QuicPacketSpace,
        shield: Shield,
        cids: tuple[bytes, bytes],
    ) -> None:
        self.path = path
        self.address: Address = path.addr
        self.space = space
        self.shield = shield
        self.host_cid, self.peer_cid = cids


class UsualConnection(RovingConnection):
    """A connection that knows whether all is as usual."""

    _usual: Usual | None = None

    @property
    def is_usual(self) -> bool:
        """Whether upstream alone has nothing to say or do; so the end has not come."""
        return self._usual is not None

    def _survey(self) -> Usual | None:
        """Look whether there is nothing due that upstream alone knows of."""
        self._usual = None
        if not self._handshake_confirmed:
            return None
        path, pair = self._network_paths[0], self._cryptos[Epoch.ONE_RTT]
        bidi, uni = self._local_max_streams_bidi, self._local_max_streams_uni
        if (
            path.is_validated
            and (len(self._network_paths) == 1 or self._has_silent_paths)
            and not path.remote_challenges
            and not self._handshake_done_pending
            and self._quic_logger is None
            and self._remote_preferred_address is None
            and not pair._update_key_requested  # noqa: SLF001  # upstream's connection asks for it
            and not self._cryptos[Epoch.ZERO_RTT].recv.is_valid()
            # Upstream announces streams once the peer may open fewer than it would be told of.
            and bidi.sent - bidi.used >= bidi.value - bidi.sent
            and uni.sent - uni.used >= uni.value - uni.sent
            and self._crypto_streams[Epoch.ONE_RTT].sender.buffer_is_empty
            and False not in [connection_id.was_sent for connection_id in self._host_cids]
        ):
            cids = self.host_cid, self._peer_cid.cid
            self._usual = Usual(path, self._spaces[Epoch.ONE_RTT], Shield(pair), cids)
        return self._usual

    # When the usual may be over.

    def receive_datagram(self, data: bytes, addr: Address, now: float) -> None:
        """Take a datagram of any kind."""
        self._usual = None
        super().receive_datagram(data, addr, now)

    def probe(self, address: Address) -> bool:
        """Ask the peer on a path that is not used."""
        self._usual = None
        return super().probe(address)

    def move(self, now: float, address: Address, rtt: float | None = None) -> None:
        """Go on from another address of ours."""
        self._usual = None
        super().move(now, address, rtt)

    def forget_path(self, address: Address) -> None:
        """Give up a path that is not the active one."""
        self._usual = None
        super().forget_path(address)

    def restart_path(self, now: float, *, same_host: bool) -> None:
        """Forget what was measured on the old path."""
        self._usual = None
        super().restart_path(now, same_host=same_host)

    def change_connection_id(self) -> None:
        """Go on under another ID of the peer's."""
        self._usual = None
        super().change_connection_id()

    def request_key_update(self) -> None:
        """Go on with other keys from the next packet."""
        self._usual = None
        super().request_key_update()

    def _replenish_connection_ids(self) -> None:
        self._usual = None
        super()._replenish_connection_ids()

    def _log_key_updated(self, key_type: str, trigger: str) -> None:
        """Learn of new keys when upstream logs them."""
        self._usual = None
        super()._log_key_updated(key_type, trigger)

    def _on_keys(self, _trigger: str) -> None:
        """Learn of new keys."""
        self._usual = None

    def _close_begin(self, is_initiator: bool, now: float) -> None:
        self._usual = None
        super()._close_begin(is_initiator, now)

    def _initialize(self, peer_cid: bytes) -> None:
        super()._initialize(peer_cid)
        if self._quic_logger is None:
            for epoch in (Epoch.ZERO_RTT, Epoch.HANDSHAKE, Epoch.ONE_RTT):
                hook(self._cryptos[epoch], self._on_keys)
        self._spaces[Epoch.ONE_RTT].ack_queue = Ranges()  # type: ignore[assignment]  # its place
