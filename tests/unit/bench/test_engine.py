import asyncio
from pathlib import Path

from bench.engine import Bare, Carried, measure, server_configuration


def test_both_sides_of_the_engine_bench_deliver_and_are_acknowledged(tmp_path: Path):
    async def run():
        server = server_configuration(tmp_path)
        return [measure(kind, server, connections=2, rounds=6) for kind in (Bare, Carried)]

    for found in asyncio.run(run()):
        assert len(found.writes) == len(found.acks) == 6
        assert all(us > 0 for us in found.writes)
        assert sum(us > 0 for us in found.acks) >= 3
