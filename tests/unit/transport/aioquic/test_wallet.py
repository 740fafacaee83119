"""What a client keeps: bounds, order, age."""

import datetime

from aioquic.tls import CipherSuite, SessionTicket

from moqvox.transport.aioquic.wallet import (
    MAX_NOTES,
    MAX_OF_EACH,
    MAX_SERVERS,
    MAX_TICKET_BYTES,
    Wallet,
)

NOW = 1_800_000_000.0


def session(name: bytes, issued: float = NOW) -> SessionTicket:
    moment = datetime.datetime.fromtimestamp(issued, datetime.UTC)
    return SessionTicket(
        age_add=7,
        cipher_suite=CipherSuite.AES_128_GCM_SHA256,
        not_valid_before=moment,
        not_valid_after=moment + datetime.timedelta(hours=1),
        resumption_secret=b"secret",
        server_name="localhost",
        ticket=name,
        max_early_data_size=0xFFFFFFFF,
        other_extensions=[(57, b"parameters")],
    )


def wallet(now: float = NOW) -> Wallet:
    return Wallet(wall_clock=lambda: now)


def test_a_ticket_comes_back_as_it_was_once():
    kept = wallet()
    kept.keep("s", session(b"t"), "x", "192.0.2.1")
    assert kept.take("s", ["y", "x"]).session() == session(b"t")
    assert kept.take("s", ["x"]) is None


def test_the_newest_goes_first_and_old_ones_make_room():
    kept = wallet()
    for number in range(MAX_OF_EACH + 3):
        kept.keep("s", session(b"%d" % number), "x", "")
        kept.keep_token("s", b"%d" % number)
    names = []
    while (taken := kept.take("s", ["x"])) is not None:
        names.append(taken.ticket)
    assert names == [b"6", b"5", b"4", b"3"]
    assert [kept.take_token("s") for _ in range(5)] == [b"6", b"5", b"4", b"3", b""]


def test_a_ticket_that_expired_or_is_for_another_protocol_is_dropped():
    kept = wallet(NOW + 3601)
    kept.keep("s", session(b"old"), "x", "")
    kept.keep("s", session(b"other", NOW + 3600), "y", "")
    assert kept.take("s", ["x"]) is None


def test_servers_and_sizes_are_bounded():
    kept = wallet()
    for number in range(MAX_SERVERS + 10):
        kept.keep_token(str(number), b"t")
    assert len(kept._pockets) == MAX_SERVERS
    assert kept.take_token("0") == b""
    kept.keep_token("s", bytes(MAX_TICKET_BYTES + 1))
    kept.keep("s", session(bytes(MAX_TICKET_BYTES + 1)), "x", "")
    assert kept.take_token("s") == b""
    assert kept.take("s", ["x"]) is None


def test_notes_are_taken_once_few_and_outlive_the_program(tmp_path):
    kept = Wallet(tmp_path / "w")
    for number in range(MAX_NOTES + 1):
        kept.note("s", str(number))
        kept.note("s", str(number))
    assert not kept.take_note("s", "0")
    assert not kept.take_note("other", "1")
    kept = Wallet(tmp_path / "w")
    assert kept.take_note("s", "1")
    assert not kept.take_note("s", "1")
    assert not Wallet(tmp_path / "w").take_note("s", "1")
    assert Wallet(tmp_path / "w").take_note("s", "2")
