"""Connection IDs with meaning, and stateless resets. Upstream draws both at random.

RFC 9000, sections 5.1 and 10.3.
"""

import hmac
from typing import Final

from aioquic._buffer import Buffer
from aioquic.quic.connection import QuicConnection, QuicConnectionId
from aioquic.quic.events import ConnectionIdIssued, ConnectionTerminated
from aioquic.quic.packet import (
    QuicErrorCode,
    QuicFrameType,
    QuicPreferredAddress,
    push_quic_preferred_address,
)

from moqvox.transport.address import Address
from moqvox.transport.quic.connection_ids import Issuer
from moqvox.transport.quic.keys import MIN_RESET_BYTES, RESET_TOKEN_BYTES

__all__ = ["IdentifiedConnection"]

PREFERRED_ADDRESS: Final = 0x0D
"""Of the transport parameters (RFC 9000, section 18.2); shorter than 64 bytes, so is its length."""

MAX_PREFERRED_BYTES: Final = 63

MAX_ISSUED: Final = 8
"""Of our IDs that one peer may hold at once."""

FORGOTTEN: Final = "the server does not know this connection any more (stateless reset)"


class IdentifiedConnection(QuicConnection):
    """A connection whose IDs come from an issuer, if it has one.

    Attributes:
        was_reset: the peer said that it does not know the connection any more.
    """

    was_reset = False
    _issuer: Issuer | None = None

    def _take_issuer(self, issuer: Issuer) -> None:
        """Replace the one ID that upstream has made by now."""
        self._issuer = issuer
        first = self._host_cids[0] = self._identify(issuer, 0)
        first.was_sent = True
        self.host_cid = self._local_initial_source_connection_id = first.cid
        if issuer.preferred is not None:
            # In the parameters, so as the second ID (RFC 9000, section 5.1.1).
            second = self._identify(issuer, self._host_cid_seq)
            second.was_sent = True
            self._host_cids.append(second)
            self._host_cid_seq += 1
            self._events.append(ConnectionIdIssued(connection_id=second.cid))

    def _serialize_transport_parameters(self) -> bytes:
        """Add the preferred address; upstream only reads it."""
        parameters = super()._serialize_transport_parameters()
        issuer = self._issuer
        if issuer is None or issuer.preferred is None:
            return parameters
        second = self._host_cids[1]
        value = Buffer(capacity=MAX_PREFERRED_BYTES)
        push_quic_preferred_address(
            value,
            QuicPreferredAddress(
                ipv4_address=issuer.preferred.ipv4,
                ipv6_address=issuer.preferred.ipv6,
                connection_id=second.cid,
                stateless_reset_token=second.stateless_reset_token,
            ),
        )
        return parameters + bytes((PREFERRED_ADDRESS, len(value.data))) + value.data

    def _identify(self, issuer: Issuer, number: int) -> QuicConnectionId:
        """Make the ID with this sequence number."""
        cid = issuer.make()
        return QuicConnectionId(
            cid=cid, sequence_number=number, stateless_reset_token=issuer.reset_token(cid)
        )

    def _replenish_connection_ids(self) -> None:
        """Issue IDs until the peer has as many as it takes, or as we give."""
        if self._issuer is None:
            super()._replenish_connection_ids()
            return
        while len(self._host_cids) < min(MAX_ISSUED, self._remote_active_connection_id_limit):
            self._host_cids.append(self._identify(self._issuer, self._host_cid_seq))
            self._host_cid_seq += 1

    def is_reset(self, data: bytes, address: Address) -> bool:
        """Tell whether a datagram that is no packet of this connection is the peer's reset.

        Only tokens of IDs that we send to count, and only from where we send them to.
        """
        if len(data) < MIN_RESET_BYTES:
            return False
        token = data[-RESET_TOKEN_BYTES:]
        found = False
        for path in self._network_paths:
            used = path.peer_cid or (self._peer_cid if path is self._network_paths[0] else None)
            if used is not None and path.addr == address and used.stateless_reset_token:
                found |= hmac.compare_digest(token, used.stateless_reset_token)
        return found

    def on_reset(self, now: float) -> None:
        """End: the peer will take nothing any more (RFC 9000, section 10.3.1)."""
        self.was_reset = True
        self._close_event = ConnectionTerminated(
            error_code=QuicErrorCode.NO_ERROR,
            frame_type=QuicFrameType.PADDING,
            reason_phrase=FORGOTTEN,
        )
        self._close_pending = False
        self._close_begin(is_initiator=False, now=now)
