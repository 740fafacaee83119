"""Who one is and where: Retry, replays, moves, restarts. T4, T10, T18, T19, T21, and T1 again."""

import datetime
import time

import pytest
from aioquic.tls import Epoch
from tests.attack.attacker import (
    Attacker,
    Crowd,
    ack_frame,
    crypto_frame,
    is_readable,
    is_retry,
    udp,
)
from tests.attack.measure import MIB, newcomer
from tests.attack.processes import Victim

from moqvox_certs import generate

pytestmark = pytest.mark.net


@pytest.fixture(scope="module")
def identity(tmp_path_factory):
    """What the workers of one service share, and a server has again after a restart."""
    made = generate(["localhost"], datetime.datetime.now(datetime.UTC))
    file = tmp_path_factory.mktemp("identity") / "server.pem"
    file.write_bytes(made.cert_pem + made.key_pem)
    return str(file)


@pytest.fixture(scope="module")
def workers(identity):
    options = ("--identity", identity, "--retry")
    with Victim("ours", 0, *options) as first, Victim("ours", 0, *options) as second:
        yield first, second


def test_who_proves_an_address_is_let_in(workers):
    with Crowd(workers[0].address) as crowd:
        answer = crowd.prove(crowd.source())
        assert answer
        assert not is_retry(answer)


def test_a_proof_for_one_worker_is_good_for_the_other(workers):
    first, second = workers
    with Crowd(first.address) as crowd:
        answer = crowd.prove(crowd.source(), second.address)
        assert answer
        assert not is_retry(answer)


@pytest.mark.slow
def test_one_address_cannot_take_all_the_places_for_handshakes(fresh):
    source = "127.66.66.66"
    with Crowd(fresh.address) as crowd:
        for _ in range(60):
            for _ in range(25):
                crowd.send(crowd.initial(), source)
            for retry in filter(is_retry, crowd.answers(0.04)):
                crowd.send(crowd.proof(retry), source)
    assert newcomer(fresh) < 1.0


def test_late_handshake_bytes_are_not_kept_half_a_megabyte_ahead(fresh):
    crowd = [Attacker(fresh.address).connect() for _ in range(10)]
    before = fresh.usage().rss_bytes
    for attacker in crowd:
        attacker.forge(crypto_frame(500_000, b"x"))
        attacker.pump(0.02)
    grown = fresh.usage().peak_bytes - before
    for attacker in crowd:
        attacker.close()
    assert grown < 2 * MIB


def test_packet_numbers_are_skipped_so_that_guessed_acks_are_found_out(ours):
    with Attacker(ours.address).connect() as attacker:
        window, seen = attacker.quic._spaces[Epoch.ONE_RTT].received_packets, []
        note = window.add
        window.add = lambda number: (seen.append(number), note(number))
        stream = attacker.open(bytes(500_000))
        attacker.pump(3, lambda: len(attacker.data.get(stream, b"")) == 500_000)
        left_out = set(range(min(seen), max(seen))) - set(seen)
        assert left_out
        attacker.forge(b"".join(map(ack_frame, sorted(left_out))))
        assert attacker.pump(3, lambda: attacker.closed)
        assert attacker.closed.error_code == 0x0A


def tally(victim) -> int:
    with Attacker(victim.address).connect() as asker:
        return int(asker.ask(b"tally"))


def a_ticket(victim):
    with Attacker(victim.address).connect() as client:
        assert client.pump(3, lambda: client.tickets)
        return client.tickets[0]


def vote_early(victim, ticket) -> list[bytes]:
    """Vote in early data, and leave; returns the flight when the victim has forgotten us."""
    voter = Attacker(victim.address, session_ticket=ticket)
    with voter.socket:
        voter.quic.connect(victim.address, time.monotonic())
        stream = voter.open(b"vote", fin=True)
        flight = [data for data, _ in voter.quic.datagrams_to_send(time.monotonic())]
        for data in flight:
            voter.send(data)
        assert voter.pump(3, lambda: voter.data.get(stream) and voter.quic._handshake_confirmed)
        assert voter.quic.tls.early_data_accepted
        token = voter.quic._peer_cid.stateless_reset_token
        voter.quic.close()
        voter.flush()
        deadline = time.monotonic() + 5
        heard = b""
        while heard[-16:] != token:  # the answer to a packet of a connection that is unknown
            assert time.monotonic() < deadline
            voter.forge(b"\x01" + bytes(200))
            if is_readable(voter.socket, 0.02):
                heard = voter.socket.recv(65536)
    return flight


def replay(victim, flight: list[bytes], source: str, *, answers: bool) -> None:
    """Send a flight from elsewhere; the first time it is answered as a new client's."""
    with udp(source) as sock:
        for data in flight:
            sock.sendto(data, victim.address)
        if answers:
            assert is_readable(sock, 3)
            answer = sock.recv(65536)
            assert answer[0] >= 0xC0
            assert not is_retry(answer)


def test_a_flight_that_is_replayed_has_no_effect_twice(ours):
    before = tally(ours)
    flight = vote_early(ours, a_ticket(ours))
    assert tally(ours) == before + 1
    for number in range(2, 7):
        replay(ours, flight, f"127.0.0.{number}", answers=number == 2)
    assert tally(ours) == before + 1
    vote_early(ours, a_ticket(ours))
    assert tally(ours) == before + 2


class Watched(Attacker):
    """Notes the connection IDs that the victim writes to."""

    def connect(self, timeout: float = 5.0) -> "Watched":
        super().connect(timeout)
        self.named = set()
        receive = self.quic.receive_datagram

        def watch(data, address, now):
            if data[0] < 0x80:
                self.named.add(data[1:9])
            receive(data, address, now)

        self.quic.receive_datagram = watch
        return self


def test_after_a_move_nobody_can_tell_that_it_is_the_same_caller(ours):
    with Watched(ours.address).connect() as caller:
        assert caller.ask(b"before") == b"before"
        old, caller.named = caller.named, set()
        caller.socket.close()
        caller.socket = udp("127.0.0.77")
        caller.quic.change_connection_id()
        assert caller.ask(b"after") == b"after"
        assert old
        assert caller.named
        assert not old & caller.named


@pytest.mark.slow
def test_a_restarted_server_tells_its_old_callers_at_once(identity):
    with Victim("ours", 0, "--identity", identity) as victim:
        caller = Attacker(victim.address).connect()
        assert caller.ask(b"hello") == b"hello"
        quic = caller.quic
        tokens = {cid.stateless_reset_token for cid in [quic._peer_cid, *quic._peer_cid_available]}
    with Victim("ours", victim.address[1], "--identity", identity), caller.socket:
        caller.forge(b"\x01" + bytes(200))
        deadline = time.monotonic() + 5
        heard = set()
        while time.monotonic() < deadline and not heard & tokens:
            try:
                heard.add(caller.socket.recv(65536)[-16:])
            except BlockingIOError:
                time.sleep(0.01)
        assert heard & tokens
