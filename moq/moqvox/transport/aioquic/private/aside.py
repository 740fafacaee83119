"""Half-open connections put aside: written down in few bytes, and taken up if the client goes on.

A client that sends one packet and never comes back leaves a server with a whole connection until
its time is over. What is kept of it here is all that makes it go on as if nothing had happened,
packet numbers and books included, and the keys that tell its client's words from anybody else's.

Whoever touches a connection that is put aside takes it up by that: there is no way to see one
half there. Who does not want to asks `is_aside` first, and then its record.
"""

from typing import Final

import msgspec
from aioquic._buffer import Buffer
from aioquic._crypto import CryptoError
from aioquic.quic.connection import QuicConnectionState
from aioquic.quic.crypto import CryptoContext
from aioquic.quic.packet import QuicPacketType, pull_quic_header
from aioquic.tls import CipherSuite, Epoch

from moqvox.transport.address import Address
from moqvox.transport.aioquic.headers import MIN_INITIAL_BYTES
from moqvox.transport.aioquic.private.engine import Engine
from moqvox.transport.aioquic.private.written import Written, read, write

__all__ = [
    "MAX_REPEATS",
    "Record",
    "hears",
    "is_aside",
    "is_unheard",
    "put_aside",
    "record_of",
    "take_up",
]

MAX_REPEATS: Final = 4
"""First packets for which one connection is taken up; then only what later keys protect counts.

Clients repeat theirs with growing pauses, seldom more often than that in ten seconds.
"""

MAX_COALESCED: Final = 4
"""Packets of one datagram that are looked at (RFC 9000, section 12.2); honest ones have two."""


KINDS: Final = {Epoch.INITIAL: QuicPacketType.INITIAL, Epoch.HANDSHAKE: QuicPacketType.HANDSHAKE}


class Door(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Keys that the client's packets may be protected with.

    Attributes:
        kind: which packets.
        expected: the packet number that comes next, as they are sent truncated.
    """

    kind: QuicPacketType
    version: int
    cipher_suite: CipherSuite
    secret: bytes
    expected: int

    @property
    def is_initial(self) -> bool:
        """Whether whoever has seen the client's first packet has them."""
        return self.kind is QuicPacketType.INITIAL

    def opens(self, packet: bytes, offset: int) -> bool:
        """Whether a packet whose number begins at `offset` is protected with them."""
        keys = CryptoContext()
        keys.setup(cipher_suite=self.cipher_suite, secret=self.secret, version=self.version)
        try:
            keys.decrypt_packet(packet, offset, self.expected)
        except CryptoError:
            return False
        return True


class Record(msgspec.Struct, frozen=True):
    """What is left of a connection.

    Attributes:
        written: the engine.
        doors: what tells the words of its client.
        repeats: first packets that it was taken up for.
        until: when it is idle for too long.
        peer: the client's address.
        host_cid_bytes: length of our connection ID.
    """

    written: Written
    doors: tuple[Door, ...]
    repeats: int
    until: float
    peer: Address | None
    host_cid_bytes: int
    sent_packets: int
    unsent_bytes: int
    unacked_bytes: int

    def door_of(self, data: bytes) -> Door | None:
        """Find the keys of a datagram's packets, the latest, if it is the client's."""
        buf, found = Buffer(data=data), None
        for _ in range(MAX_COALESCED):
            start = buf.tell()
            if buf.eof():
                break
            try:
                header = pull_quic_header(buf, host_cid_length=self.host_cid_bytes)
            except ValueError:
                break
            offset, stop = buf.tell() - start, start + header.packet_length
            if header.packet_type is QuicPacketType.INITIAL and len(data) < MIN_INITIAL_BYTES:
                break  # RFC 9000, section 14.1
            for door in self.doors:
                is_meant = (door.kind, door.version) == (header.packet_type, header.version)
                if is_meant and door.opens(data[start:stop], offset):
                    found = door
            buf.seek(stop)
            if found is not None and not found.is_initial:
                break
        return found


class Aside(Engine):
    """A connection of which there is no more than a record, until anybody touches it."""

    def __getattribute__(self, name: str) -> object:
        take_up(self)
        return getattr(self, name)

    def __setattr__(self, name: str, value: object) -> None:
        take_up(self)
        setattr(self, name, value)


def is_unheard(engine: Engine) -> bool:
    """Whether a server has heard nothing yet that shows that its answer was understood.

    Early data shows as much: whoever sends it is known.
    """
    spaces = engine._spaces  # noqa: SLF001  # no public way
    return (
        not engine.is_client
        and engine._state is QuicConnectionState.CONNECTED  # noqa: SLF001  # no public way
        and engine._quic_logger is None  # noqa: SLF001  # no public way
        and engine.ending() is None
        and not engine.has_events
        and spaces[Epoch.HANDSHAKE].largest_received_packet < 0
        and spaces[Epoch.ONE_RTT].largest_received_packet < 0
    )


def is_aside(engine: Engine) -> bool:
    """Whether a connection is put aside; that takes nothing up."""
    return type(engine) is Aside


def record_of(engine: Engine) -> Record:
    """Return what is left of a connection that is put aside."""
    record: Record = object.__getattribute__(engine, "__dict__")["record"]
    return record


def put_aside(engine: Engine) -> None:
    """Write a connection down, and keep nothing else of it. It must have heard something."""
    until = engine._close_at  # noqa: SLF001  # no public way
    assert until is not None  # noqa: S101  # set by the first datagram
    engine._usual = None  # noqa: SLF001  # made again when it is asked for
    record = Record(
        written=write(engine),
        doors=_doors(engine),
        repeats=engine.repeats,
        until=until,
        peer=engine.peer[0],
        host_cid_bytes=len(engine.host_cid),
        sent_packets=engine.next_packet_number,
        unsent_bytes=engine.unsent_bytes,
        unacked_bytes=engine.recovery.bytes_in_flight,
    )
    engine.__dict__ = {"record": record}
    engine.__class__ = Aside


def take_up(engine: Engine) -> None:
    """Make a connection of what was written down, in its place."""
    record = record_of(engine)
    object.__setattr__(engine, "__class__", Engine)
    engine.__dict__ = {}
    engine.__dict__ = read(record.written, engine)


def hears(engine: Engine, data: bytes) -> bool:
    """Take a connection up if a datagram is its client's; whether it is."""
    record = record_of(engine)
    door = record.door_of(data)
    if door is None or (door.is_initial and record.repeats >= MAX_REPEATS):
        return False
    take_up(engine)
    engine.repeats += door.is_initial
    return True


def _doors(engine: Engine) -> tuple[Door, ...]:
    """Note the keys of what a client may say before its part of the handshake is complete."""
    pairs = [(Epoch.INITIAL, pair) for pair in engine._cryptos_initial.values()]  # noqa: SLF001  # no public way
    pairs.append((Epoch.HANDSHAKE, engine._cryptos[Epoch.HANDSHAKE]))  # noqa: SLF001  # as above
    doors = []
    for epoch, pair in pairs:
        keys, expected = pair.recv, engine._spaces[epoch].expected_packet_number  # noqa: SLF001  # as above
        suite, secret, version = keys.cipher_suite, keys.secret, keys.version
        if suite is not None and secret is not None and version is not None:
            doors.append(Door(KINDS[epoch], version, suite, secret, expected))
    return tuple(doors)
