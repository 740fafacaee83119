"""A process shakes hands with itself once, so that its first real handshake is not the slow one."""

import gc

from moqvox.transport.aioquic import warmup
from moqvox.transport.aioquic.private import Engine


def test_a_handshake_in_memory_gets_through_with_bytes_of_a_stream(monkeypatch):
    made = []

    class Watched(Engine):
        def __init__(self, *arguments, **options) -> None:
            super().__init__(*arguments, **options)
            made.append(self)

    monkeypatch.setattr(warmup, "Engine", Watched)
    warmup.warm_up.__wrapped__()
    client, server = made
    assert client.ending() is None
    assert server.ending() is None
    assert client.recovery.handshake_confirmed
    assert server.table[0].receiver.highest_offset == 4


def test_it_is_done_once():
    warmup.warm_up()
    before = warmup.warm_up.cache_info().misses
    warmup.warm_up()
    assert warmup.warm_up.cache_info().misses == before


def test_what_a_server_has_loaded_is_spared_the_collector():
    try:
        warmup.set_aside.__wrapped__()
        assert gc.get_freeze_count() > 10 * len(gc.get_objects(generation=2))
    finally:
        gc.unfreeze()
