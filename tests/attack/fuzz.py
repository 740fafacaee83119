"""First packets with something wrong: in the clear, in the frames, in the ClientHello."""

import random

from tests.attack.attacker import Crowd, crypto_frame


def damage(rng: random.Random, data: bytes, most: int = 8) -> bytes:
    """Change, cut out or repeat some bytes."""
    broken = bytearray(data)
    for _ in range(rng.randrange(1, most)):
        place = rng.randrange(len(broken))
        kind = rng.randrange(4)
        if kind == 0:
            del broken[place : place + rng.randrange(1, 8)]
        elif kind == 1:
            broken[place:place] = rng.randbytes(rng.randrange(1, 8))
        else:
            broken[place] = rng.choice((0, 1, 0x40, 0x7F, 0x80, 0xFF, rng.randrange(256)))
        broken = broken or bytearray(b"\0")
    return bytes(broken)


def mutate(crowd: Crowd, number: int) -> bytes:
    """Build one datagram; the kinds take turns."""
    rng = crowd.rng
    kind = number % 4
    if kind == 0:
        return damage(rng, crowd.initial()[:1200])
    if kind == 1:  # decrypts, and then the frames are noise
        return crowd.initial(rng.randbytes(rng.randrange(1, 1100)))
    if kind == 2:  # decrypts, and is CRYPTO, whose message is broken
        return crowd.initial(crypto_frame(0, damage(rng, crowd.hello)))
    # The tail of a ClientHello here is its transport parameters and ALPN.
    head, tail = crowd.hello[:-120], crowd.hello[-120:]
    return crowd.initial(crypto_frame(0, head + damage(rng, tail)[:120].ljust(120, b"\0")))
