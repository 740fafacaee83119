import asyncio
import json
from pathlib import Path

import pytest
from bench.engine import Bare, Carried, server_configuration
from bench.handshakes import half_open_bytes, handshakes_per_s, idle_bytes, main


def test_handshakes_are_counted_and_weighed(tmp_path: Path):
    async def run():
        server = server_configuration(tmp_path)
        for kind in (Bare, Carried):
            assert handshakes_per_s(kind, server, 2) > 1
            heap, _ = half_open_bytes(kind, server, 3)
            assert 1024 < heap < 1024 * 1024
            assert 1024 < idle_bytes(kind, server, 2) < 1024 * 1024

    asyncio.run(run())


@pytest.mark.slow
def test_json_and_a_table_tell_what_a_flood_leaves(capsys):
    async def run():
        assert main(["--connections", "1", "--turns", "1", "--flood", "3"]) == 0

    asyncio.run(run())
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert set(found) == {"bare", "link", "link, put aside"}
    for kind in ("bare", "link"):
        assert 1024 < found[kind]["flood_bytes"]["3"] < 1024 * 1024
    assert min(found["link, put aside"]["rates"]) > 1
    assert "KiB each in a flood of 3" in said.err
