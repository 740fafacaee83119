import asyncio
from pathlib import Path

from bench.engine import Bare, Carried, server_configuration
from bench.handshakes import half_open_bytes, handshakes_per_s, idle_bytes


def test_handshakes_are_counted_and_weighed(tmp_path: Path):
    async def run():
        server = server_configuration(tmp_path)
        for kind in (Bare, Carried):
            assert handshakes_per_s(kind, server, 2) > 1
            heap, _ = half_open_bytes(kind, server, 3)
            assert 1024 < heap < 1024 * 1024
            assert 1024 < idle_bytes(kind, server, 2) < 1024 * 1024

    asyncio.run(run())
