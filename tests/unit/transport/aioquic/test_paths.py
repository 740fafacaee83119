"""A change of path: what is under way goes out again at once, estimates start over."""

import inspect
import random
import statistics
from types import SimpleNamespace

import pytest
from aioquic.buffer import Buffer
from aioquic.quic.connection import QuicConnection, QuicNetworkPath, QuicReceiveContext
from aioquic.quic.packet import pull_quic_transport_parameters
from tests.unit.transport.aioquic.rebindings import pauses
from tests.unit.transport.aioquic.speech import INTERVAL, Talk
from tests.unit.transport.aioquic.wires import CLIENT, SERVER, Wire

from moqvox.transport.address import Address
from moqvox.transport.aioquic import Limits
from moqvox.transport.aioquic.private import Engine
from moqvox.transport.aioquic.redundancy import HOPELESS_AFTER, MAX_TURN_BYTES, PROBE_EVERY

OTHER = ("192.0.2.7", 7)
DEAD = 0.5


def break_before_make(talk: Talk, *, by_client: bool) -> float:
    """Let the path die while someone speaks, and move the client; returns the longest gap."""
    speaker = talk.client if by_client else talk.server
    talk.speak(50, by=speaker)
    died_at = talk.now
    talk.lose = lambda: True
    talk.speak(round(DEAD / INTERVAL), by=speaker)
    talk.lose = lambda: False
    talk.client.move(talk.now, talk.open_way(OTHER))
    talk.speak(50, by=speaker)
    talk.run(2.0)
    assert len(talk.heard_at) == len(talk.spoken_at)
    return talk.gap(died_at - 0.1)


@pytest.mark.parametrize("rtt", [0.05, 0.1])
@pytest.mark.parametrize("redundancy", [0.0, 1.4])
def test_a_speaker_that_moves_is_heard_half_a_round_trip_later(rtt, redundancy):
    talk = Talk(limits=Limits(redundancy=redundancy), delay=rtt / 2)
    assert break_before_make(talk, by_client=True) <= DEAD + rtt / 2 + 0.04


@pytest.mark.parametrize("rtt", [0.05, 0.1])
def test_a_listener_that_moves_hears_on_as_soon_as_its_peer_can_know(rtt):
    talk = Talk(delay=rtt / 2)
    assert break_before_make(talk, by_client=False) <= DEAD + rtt / 2 + 0.04


def test_the_new_path_has_a_fresh_estimate_and_another_connection_id():
    talk = Talk()
    talk.speak(20)
    before = talk.client._peer_cid.cid
    talk.delay = 0.01
    talk.client.move(talk.now, talk.open_way(OTHER))
    assert talk.client.recovery.rtt == 0.0
    assert talk.client.recovery.bytes_in_flight == 0
    talk.speak(20)
    assert talk.client._peer_cid.cid != before
    assert talk.client.recovery.rtt == pytest.approx(0.02, abs=0.005)
    assert talk.server.peer == (OTHER, True)
    talk.server.send_ping(0)
    talk.run(0.1)
    assert talk.server.recovery.rtt == pytest.approx(0.02, abs=0.005)


def test_a_move_is_no_loss():
    talk = Talk()
    talk.speak(20)
    talk.client.move(talk.now, talk.open_way(OTHER))
    talk.speak(20)
    assert talk.client.recovery.lost_packets == 0


def probed(talk: Talk) -> Address:
    """Let the client ask on another way, and go there as soon as it is answered."""
    address = talk.open_way(OTHER)
    assert talk.client.probe(address)
    while not talk.client.answered:
        talk.speak(1)
    found, rtt = talk.client.answered.popleft()
    assert found == address
    talk.client.move(talk.now, address, rtt)
    return address


def test_a_way_is_probed_under_a_connection_id_of_its_own_and_changes_nothing_yet():
    talk = Talk()
    talk.speak(10)
    before, rtt = talk.client._peer_cid.cid, talk.client.recovery.rtt
    flight = talk.client.recovery.bytes_in_flight
    sent = []
    talk.lose = lambda: sent.append(talk.client._network_paths[-1]) and False
    assert talk.client.probe(talk.open_way(OTHER))
    talk.run(0.001)
    assert talk.client.recovery.bytes_in_flight == flight
    path = talk.client._network_paths[1]
    assert path.peer_cid.cid != before
    talk.speak(10)
    assert (talk.client._peer_cid.cid, talk.client.peer) == (before, (SERVER, True))
    assert talk.server.peer == (CLIENT, True)
    assert talk.client.recovery.rtt == pytest.approx(rtt, abs=0.002)
    ((_, answered_rtt),) = talk.client.answered
    assert answered_rtt == pytest.approx(2 * talk.delay, abs=0.005)


def test_a_probed_way_is_used_without_a_gap_and_with_its_own_estimate():
    talk = Talk()
    talk.speak(30)
    address = probed(talk)
    assert talk.client.recovery.rtt == pytest.approx(2 * talk.delay, abs=0.005)
    talk.speak(30)
    talk.run(1.0)
    assert talk.client.peer == (address, True)
    assert talk.server.peer == (OTHER, True)
    assert len(talk.heard_at) == len(talk.spoken_at)
    assert talk.gap(0.0) <= INTERVAL + 0.005


def test_a_probe_that_is_lost_is_no_loss_of_the_path_in_use():
    talk = Talk()
    talk.speak(10)
    address = talk.open_way(OTHER)
    talk.dead.add(1)
    talk.client.probe(address)
    talk.speak(50)
    assert talk.client.recovery.lost_packets == 0
    assert not talk.client.answered
    talk.dead.clear()
    talk.client.probe(address)
    talk.speak(10)
    assert talk.client.answered


def test_a_way_given_up_returns_its_connection_id():
    talk = Talk()
    talk.speak(5)
    spare = len(talk.client._peer_cid_available)
    address = talk.open_way(OTHER)
    talk.client.probe(address)
    talk.speak(10)
    talk.client.forget_path(address)
    talk.speak(10)
    assert len(talk.client._network_paths) == 1
    assert len(talk.client._peer_cid_available) == spare


def test_without_a_spare_connection_id_there_is_no_probe():
    talk = Talk()
    talk.client._peer_cid_available.clear()
    assert not talk.client.probe(talk.open_way(OTHER))
    assert len(talk.client._network_paths) == 1


def test_a_server_asks_on_the_path_that_its_client_seems_to_have_left():
    talk = Talk()
    talk.speak(10)
    cid = talk.server._peer_cid.cid
    challenged = []
    upstream = talk.client._handle_path_challenge_frame

    def handle(context: QuicReceiveContext, *rest: object) -> None:
        challenged.append((context.network_path.addr, context.host_cid))
        upstream(context, *rest)

    talk.client._handle_path_challenge_frame = handle
    probed(talk)
    talk.speak(20)
    talk.run(0.5)
    asked_by = [address for address, _ in challenged]
    assert SERVER in asked_by
    (asked_under,) = {used for address, used in challenged if address == SERVER}
    assert asked_under != cid
    old = [path for path in talk.server._network_paths if path.addr == CLIENT]
    assert old[0].is_validated


def test_a_rebinding_is_followed_and_the_old_path_is_asked():
    talk = Talk()
    talk.speak(20)
    talk.client_address = OTHER
    talk.speak(30)
    talk.run(1.0)
    assert talk.server.peer == (OTHER, True)
    assert len(talk.heard_at) == len(talk.spoken_at)
    (left,) = [path for path in talk.server._network_paths if path.addr == CLIENT]
    assert left.local_challenges


def roam(talk: Talk, *, times: int, frames_between: int) -> None:
    """Change address again and again, each time after the new path answered."""
    for number in range(times):
        address = talk.open_way(("192.0.2.7", 1000 + number))
        for _ in range(20):
            assert talk.client.probe(address)
            talk.speak(2 + round(talk.delay * 2 / INTERVAL))
            if talk.client.answered:
                break
        left = talk.client.peer[0]
        talk.client.move(talk.now, *talk.client.answered.popleft())
        talk.client.answered.clear()
        talk.speak(frames_between)
        talk.client.forget_path(left)
    talk.run(2.0)


@pytest.mark.slow
@pytest.mark.parametrize("rtt", [0.05, 0.1])
def test_a_hundred_moves_of_one_connection_are_not_heard(rtt):
    talk = Talk(delay=rtt / 2)
    talk.speak(20)
    roam(talk, times=100, frames_between=15)
    assert talk.server.peer == (("192.0.2.7", 1099), True)
    assert len(talk.heard_at) == len(talk.spoken_at)
    assert talk.gap(0.0) <= INTERVAL + 0.005
    assert talk.client.recovery.lost_packets == 0


@pytest.mark.slow
def test_twenty_moves_with_losses_lose_nothing():
    rng = random.Random(5)
    talk = Talk(delay=0.025, lose=lambda *_: rng.random() < 0.03)
    talk.speak(20)
    roam(talk, times=20, frames_between=15)
    assert len(talk.heard_at) == len(talk.spoken_at)
    assert talk.gap(0.0) <= 0.1


@pytest.mark.slow
def test_a_rebinding_adds_nothing_to_the_pauses_of_the_same_bursts_of_loss():
    more = [pauses(n, rebinds=True)[0] - pauses(n, rebinds=False)[0] for n in range(12)]
    assert statistics.median(more) <= 0.02
    assert statistics.mean(more) <= 0.1


def lie_dead(
    talk: Talk, seconds: float, *, by: Engine | None = None, moves_to: Address | None = None
) -> None:
    """Let no packet through, while one, or the client, speaks on and knows nothing of it."""
    died_at = talk.now
    talk.lose = lambda: talk.now < died_at + seconds
    talk.speak(int(seconds / INTERVAL), by=by)
    if moves_to is not None:
        talk.client_address = moves_to
    talk.speak(50, by=by)


@pytest.mark.parametrize("rtt", [0.05, 0.1])
@pytest.mark.parametrize("dead", [DEAD, 2.013, 5.007])
@pytest.mark.parametrize("moves_to", [None, OTHER], ids=["same", "rebound"])
def test_a_client_that_does_nothing_is_heard_on_as_soon_as_its_path_is_back(rtt, dead, moves_to):
    talk = Talk(delay=rtt / 2)
    talk.speak(50)
    died_at = talk.now
    lie_dead(talk, dead, moves_to=moves_to)
    talk.run(2.0)
    assert len(talk.heard_at) == len(talk.spoken_at)
    assert talk.gap(died_at - 0.1) <= dead + rtt / 2 + 0.04


@pytest.mark.parametrize("rtt", [0.05, 0.1])
@pytest.mark.parametrize("dead", [DEAD, 2.013, 5.007])
def test_a_silent_client_that_does_nothing_hears_on_as_soon_as_its_path_is_back(rtt, dead):
    talk = Talk(delay=rtt / 2)
    talk.speak(50, by=talk.server)
    died_at = talk.now
    lie_dead(talk, dead, by=talk.server)
    talk.run(2.0)
    assert len(talk.heard_at) == len(talk.spoken_at)
    assert talk.gap(died_at - 0.1) <= dead + rtt / 2 + 0.04


def test_the_last_words_before_a_silence_are_heard_as_soon_as_the_path_is_back():
    talk = Talk(delay=0.025)
    talk.speak(20)
    talk.lose = lambda: True
    talk.speak(5)
    talk.run(1.0)
    talk.lose = lambda: False
    back_at = talk.now
    talk.run(0.06)
    assert talk.heard_at[-1] <= back_at + 0.06
    assert len(talk.heard_at) == len(talk.spoken_at)


def test_a_path_that_stays_dead_is_not_asked_often_for_ever():
    talk = Talk(delay=0.025)
    talk.speak(20)
    talk.lose = lambda: True
    talk.speak(1)
    talk.run(HOPELESS_AFTER)
    sent_bytes, sent = talk.sent_bytes, talk.sent_datagrams
    assert sent < 1.2 * HOPELESS_AFTER / PROBE_EVERY
    assert sent_bytes < sent * MAX_TURN_BYTES
    talk.run(10.0)
    assert talk.sent_datagrams - sent <= 10


@pytest.mark.parametrize("seed", range(12))
def test_whatever_happens_to_the_paths_every_byte_arrives_once_and_the_books_are_even(seed):
    rng = random.Random(f"paths/{seed}")
    loss = rng.choice([0.0, 0.05, 0.2])
    talk = Talk(delay=rng.choice([0.01, 0.05]), lose=lambda *_: rng.random() < loss)
    for _ in range(12):
        deed = rng.choice(["speak", "outage", "rebind", "leap", "probe"])
        if deed == "outage":
            talk.dead.update(talk.addresses)
            talk.speak(rng.randrange(1, 30))
            talk.dead.clear()
        elif deed == "rebind":
            talk.client_address = ("192.0.2.9", rng.randrange(1, 60000))
        elif deed == "leap":
            talk.client.move(talk.now, talk.open_way(("192.0.2.8", len(talk.addresses))))
        elif deed == "probe" and talk.client.probe(
            talk.open_way(("192.0.2.7", len(talk.addresses)))
        ):
            talk.speak(rng.randrange(1, 10))
            for address, rtt in list(talk.client.answered)[-1:]:
                talk.client.move(talk.now, address, rtt)
        talk.speak(rng.randrange(1, 10))
    loss = 0.0
    talk.run(30.0)
    assert len(talk.heard_at) == len(talk.spoken_at)
    sender = talk.client.table[talk.stream].sender
    assert sender.released_offset == sender.end_offset
    assert (talk.client.unsent_bytes, talk.client.recovery.bytes_in_flight) == (0, 0)
    assert len(talk.client._network_paths) <= 8
    assert talk.client.ending() is None


def probe_as_upstream(talk: Talk) -> QuicNetworkPath:
    """Have upstream's own code probe a path that nobody answers yet."""
    path = QuicNetworkPath(talk.open_way(OTHER))
    path.peer_cid = talk.client._peer_cid_available.pop(0)
    talk.client._add_network_path(path)
    return path


def test_upstream_books_probes_on_the_path_in_use():
    talk = Talk()
    talk.speak(5)
    talk.run(0.5)
    assert talk.client.recovery.bytes_in_flight == 0
    path = probe_as_upstream(talk)
    ((data, address),) = QuicConnection._send_probing_frames(talk.client, path, talk.now)
    assert (len(data), address) == (1200, path.addr)
    assert path.local_challenge_sent
    assert talk.client.recovery.bytes_in_flight == 1200


def test_upstream_takes_an_answered_path_for_the_preferred_address():
    talk = Talk()
    talk.speak(5)
    path = probe_as_upstream(talk)
    path.local_challenges.append(bytes(8))
    before = talk.client._peer_cid
    context = SimpleNamespace(quic_logger_frames=None, time=talk.now, network_path=path)
    QuicConnection._handle_path_response_frame(talk.client, context, 0x1B, Buffer(data=bytes(8)))
    assert talk.client._network_paths[0] is path
    assert talk.client._peer_cid is not before


def forbidding(**options: object) -> Wire:
    """Shake hands with a server that says `disable_active_migration`."""
    wire = Wire(**options)
    say = wire.server._serialize_transport_parameters
    wire.server._serialize_transport_parameters = lambda: say() + bytes((0x0C, 0))
    return wire.handshake()


def test_a_server_that_forbids_migration_is_understood_and_another_is_not():
    assert forbidding().client.must_stay
    assert not Wire().handshake().client.must_stay


def test_where_the_server_asked_its_client_to_go_it_may_move_about():
    wire = forbidding()
    wire.client._network_paths.insert(0, QuicNetworkPath(OTHER, is_validated=True))
    assert not wire.client.must_stay


def test_upstream_still_reads_the_parameter_and_keeps_it_to_itself():
    assert "disable_active_migration" not in inspect.getsource(QuicConnection)
    said = pull_quic_transport_parameters(Buffer(data=bytes((0x0C, 0))))
    assert said.disable_active_migration
    parameters = inspect.signature(QuicConnection._parse_transport_parameters).parameters
    assert list(parameters) == ["self", "data", "from_session_ticket"]
