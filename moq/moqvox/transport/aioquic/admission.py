"""Which new connections a server lets in, and what becomes of them."""

import logging
from collections.abc import Callable, Sequence
from typing import Final

from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.packet import encode_quic_retry, encode_quic_version_negotiation

from moqvox.transport.address import Address
from moqvox.transport.aioquic.bucket import Bucket
from moqvox.transport.aioquic.endpoint import Endpoint
from moqvox.transport.aioquic.greeting import Greeting
from moqvox.transport.aioquic.headers import (
    LONG_HEADER,
    MIN_INITIAL_BYTES,
    LongHeader,
    parse_long_header,
)
from moqvox.transport.aioquic.limits import Limits
from moqvox.transport.aioquic.link import Link
from moqvox.transport.aioquic.prefixes import Prefixes, prefix_of
from moqvox.transport.aioquic.private import Engine
from moqvox.transport.aioquic.raw import RawConnection
from moqvox.transport.aioquic.resets import Resets
from moqvox.transport.aioquic.tickets import Tickets
from moqvox.transport.aioquic.tokens import Proof, Tokens
from moqvox.transport.arrivals import Arrivals
from moqvox.transport.quic.connection_ids import Issuer

__all__ = ["Admission"]

logger = logging.getLogger("moqvox.transport.aioquic")

MAX_MAKING_WAY: Final = 8
"""Half-open connections that wait for a pause in which they are put aside; more are at once."""


class Admission:
    """The door of one listener: caps, Retry, version negotiation, the queue of arrivals."""

    def __init__(
        self,
        configuration: QuicConfiguration,
        protocols: Sequence[str],
        limits: Limits,
        *,
        webtransport: bool,
        issuer: Issuer,
        wall_clock: Callable[[], float],
    ) -> None:
        keys = self.keys = issuer.keys
        self.resets = Resets(issuer, per_second=limits.max_resets)
        self.tokens = Tokens(keys, wall_clock)
        self._issuer = issuer
        self.protocols: Sequence[str] = tuple(protocols)
        self.webtransport = webtransport
        self._limits = limits
        self._configuration = configuration
        # Never for WebTransport: its openings are a page's business, and browsers send none.
        self._tickets = Tickets(keys, limits, early_for=frozenset(protocols), wall_clock=wall_clock)
        self._arrivals: Arrivals[RawConnection] = Arrivals()
        self._half_open: set[Greeting] = set()
        self._awake: dict[Greeting, None] = {}
        self._making_way: dict[Greeting, None] = {}
        self._prefixes = Prefixes(limits)
        self._unproven = Bucket.full(limits.unproven_per_second, limits.unproven_burst, 0.0)
        self._is_refusing = False

    def counters(self) -> dict[str, int]:
        """Take what was counted of datagrams that belong to no connection."""
        return {
            "misdirected_packets": self.resets.misdirected,
            "unknown_packets": self.resets.unknown,
            "half_open": len(self._half_open),
            "half_open_aside": sum(greeting.is_aside for greeting in self._half_open),
        }

    # The endpoint's questions.

    def on_refused(self, error: OSError) -> None:
        """Nothing: a peer that went away is found out by its connection."""

    def on_stranger(self, data: bytes, address: Address, endpoint: Endpoint) -> Link | None:
        """Open a connection for a client's first packet, or answer it, or drop it."""
        if not data[0] & LONG_HEADER:
            self._reset(data, address, endpoint)
            return None
        if len(data) < MIN_INITIAL_BYTES or self._arrivals.is_closed:
            return None
        header = parse_long_header(data)
        if header is None:
            return None
        if header.version not in self._configuration.supported_versions:
            self._negotiate_version(header, address, endpoint)
            return None
        if not header.is_initial or not self._has_room(endpoint):
            return None
        now, prefix = endpoint.now(), prefix_of(address)
        if header.token:
            proof = self.tokens.check(header.token, address, header.destination)
            if proof is not None:
                if not self._prefixes.admits(prefix, now, is_proven=True):
                    return None
                return self._open(endpoint, address, header, proof)
        if self._is_calm(now) and self._prefixes.admits(prefix, now, is_proven=False):
            return self._open(endpoint, address, header, None)
        self._ask_to_retry(header, address, endpoint)
        return None

    def _reset(self, data: bytes, address: Address, endpoint: Endpoint) -> None:
        """Tell whoever goes on with a connection that is gone."""
        answer = self.resets.answer(data, endpoint.now())
        if answer is not None:
            endpoint.send(None, answer, address)

    def _has_room(self, endpoint: Endpoint) -> bool:
        limits = self._limits
        return (
            len(endpoint) < limits.max_connections and len(self._half_open) < limits.max_half_open
        )

    def _is_calm(self, now: float) -> bool:
        """Whether a client may begin without proof: few handshakes are open, and few failed."""
        return len(self._half_open) < self._limits.retry_above_half_open and self._unproven.take(
            now
        )

    def _negotiate_version(self, header: LongHeader, address: Address, endpoint: Endpoint) -> None:
        if header.version == 0:  # an answer to that would be answered in turn
            return
        answer = encode_quic_version_negotiation(
            source_cid=header.destination,
            destination_cid=header.source,
            supported_versions=self._configuration.supported_versions,
        )
        endpoint.send(None, answer, address)

    def _ask_to_retry(self, header: LongHeader, address: Address, endpoint: Endpoint) -> None:
        """Make the client prove its address before it costs us anything."""
        connection_id = self._issuer.make()
        token = self.tokens.for_retry(address, header.destination, connection_id)
        answer = encode_quic_retry(
            version=header.version,
            source_cid=connection_id,
            destination_cid=header.source,
            original_destination_cid=header.destination,
            retry_token=token,
        )
        endpoint.send(None, answer, address)

    def _open(
        self, endpoint: Endpoint, address: Address, header: LongHeader, proof: Proof | None
    ) -> Link:
        original = proof.original if proof is not None else None
        engine = Engine(
            self._configuration,
            self._limits,
            original_destination_connection_id=original or header.destination,
            retry_source_connection_id=header.destination if original is not None else None,
            issuer=self._issuer,
            tickets=self._tickets,
            is_proven=proof is not None,
        )
        link = Link(engine, self._limits, endpoint)
        link.is_newcomer = True
        endpoint.add(link, header.destination, engine.host_cid)
        greeting = Greeting(self, link, address, is_proven=proof is not None)
        link.observer = greeting
        self._half_open.add(greeting)
        self.wake(greeting)
        return link

    # The greetings' questions and answers.

    @property
    def is_crowded(self) -> bool:
        """Whether so many handshakes are open that only who is through gets a session."""
        return len(self._half_open) > self._limits.max_early_sessions

    def wake(self, greeting: Greeting) -> None:
        """Count a handshake among those of which all is kept, as the latest.

        The oldest make way, who have waited for their clients longest: a crowd that answers as
        fast as its handshakes can be made finds all of them awake. They do so in a pause of
        their own, as that takes half as long as the handshake for which they make way.
        """
        self._making_way.pop(greeting, None)
        self._awake[greeting] = None
        for _ in range(len(self._awake) - self._limits.max_awake):
            oldest = next(iter(self._awake))
            del self._awake[oldest]
            if not oldest.make_way():
                self._awake[oldest] = None
            elif oldest.makes_way:
                self._making_way[oldest] = None
        if len(self._making_way) > MAX_MAKING_WAY:
            self._hurry()

    def _hurry(self) -> None:
        """Put those aside at once who have waited longest for a pause, if too many still do."""
        waiting = [greeting for greeting in self._making_way if greeting.makes_way]
        self._making_way = dict.fromkeys(waiting)
        for greeting in waiting[: len(waiting) - MAX_MAKING_WAY]:
            self._making_way.pop(greeting, None)
            greeting.step_aside()

    def admit(self, connection: RawConnection) -> None:
        """Queue a connection for `accept`; refuse it when nobody has accepted for long."""
        if self._is_refusing:
            logger.info("refusing %s: going away", connection.remote_address)
            connection.refuse("going away")
            return
        if len(self._arrivals) >= self._limits.max_unaccepted:
            logger.warning("refusing %s: too many wait for accept", connection.remote_address)
            connection.refuse()
            return
        logger.info(
            "accepted %s: %s over %s",
            connection.remote_address,
            connection.protocol,
            connection.kind.value,
        )
        self._arrivals.add(connection)

    def dismiss(self, greeting: Greeting, now: float, *, is_complete: bool) -> None:
        """Count a handshake no longer as half open."""
        if greeting in self._half_open:
            self._half_open.discard(greeting)
            self._awake.pop(greeting, None)
            self._making_way.pop(greeting, None)
            self._prefixes.release(
                greeting.prefix, now, is_proven=greeting.is_proven, is_complete=is_complete
            )

    # The listener.

    async def accept(self) -> RawConnection:
        """Wait for the next connection.

        Raises:
            SessionClosed: the listener is closed.
        """
        return await self._arrivals.next()

    def refuse(self) -> None:
        """Turn away who comes from now on; whoever has begun a handshake, too."""
        self._is_refusing = True

    def close(self, code: int, reason: str) -> None:
        """Let nobody in any more, and wake those who wait in `accept`."""
        self._arrivals.close(code, reason)
