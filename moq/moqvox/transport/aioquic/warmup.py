"""The first handshake of a process is slow: libraries look up and load what they need then.

So a process shakes hands with itself once, a listener before it listens, a client while it waits
for its first answer.
"""

import datetime
import functools
import gc

from aioquic.quic.configuration import QuicConfiguration
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from moqvox.transport.aioquic.limits import Limits
from moqvox.transport.aioquic.private import Engine
from moqvox.transport.aioquic.roots import Roots

__all__ = ["set_aside", "warm_up"]

NAME = "localhost"
ROUNDS = 4
ADDRESS = ("192.0.2.1", 443)


@functools.cache
def warm_up() -> None:
    """Shake hands in memory, and say something. Does nothing the second time."""
    certificate, key = _identity()
    client = Engine(
        QuicConfiguration(
            is_client=True,
            alpn_protocols=["warm"],
            server_name=NAME,
        ),
        Limits(),
        roots=Roots(certificate.public_bytes(serialization.Encoding.PEM)),
    )
    server = Engine(
        QuicConfiguration(
            is_client=False, alpn_protocols=["warm"], certificate=certificate, private_key=key
        ),
        Limits(),
        original_destination_connection_id=client.original_destination_connection_id,
    )
    client.connect(ADDRESS, 0.0)
    for turn in range(ROUNDS):
        for sender, receiver in ((client, server), (server, client)):
            for data, _ in sender.datagrams_to_send(float(turn)):
                receiver.receive_datagram(data, ADDRESS, float(turn))
        if turn == 1:
            stream = client.open_stream(bidirectional=True, priority=0)
            client.table.feed(stream, b"warm", fin=True)


@functools.cache
def set_aside() -> None:
    """Spare the collector what a process has loaded, and its callers the time that takes.

    A full collection goes through every object there is; those of the libraries alone take it
    20 to 40 ms, and new connections bring one about. They stay till the end anyway.
    """
    gc.collect()
    gc.freeze()


def _identity() -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, NAME)])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - datetime.timedelta(minutes=1))
    builder = builder.not_valid_after(now + datetime.timedelta(minutes=1))
    names = x509.SubjectAlternativeName([x509.DNSName(NAME)])
    return builder.add_extension(names, critical=False).sign(key, hashes.SHA256()), key
