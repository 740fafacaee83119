"""`moqvox serve --journal`, killed with SIGKILL in mid-answer: real processes, real sockets."""

import asyncio
import hashlib
from pathlib import Path

import msgspec
import pytest
from bench.resume import Process, Stage, free_port
from tests import aio
from tests.loopback.journalled import ANSWER

from moqvox import voice
from moqvox.media.container import encode_legacy
from moqvox_client.fate import Impairment
from moqvox_client.link import Link, Settings

pytestmark = [pytest.mark.net, pytest.mark.slow, pytest.mark.timeout(60)]

FLIGHT_MS = 200


async def serve(stage: Stage, port: int, journal: Path) -> Process:
    return await stage._started(
        *("moqvox_client", "serve", "--json", "--no-websocket", "--no-page"),
        *("--agent", "tests.loopback.journalled:agent", "--bind", f"127.0.0.1:{port}"),
        *("--tls-cert", str(stage.cert), "--tls-key", str(stage.key)),
        *("--secret-file", str(stage.secret), "--journal", str(journal)),
    )


async def half_an_answer(call: voice.Call) -> voice.Utterance:
    """Wait for the first flight of the answer; the rest waits for its acknowledgement."""
    speech = call.speak()
    speech.write_packet(ANSWER[0])
    speech.finish()
    response = await anext(call.responses())
    assert 0 < len(response.packets) < len(ANSWER)
    return response


def digest(response: voice.Utterance) -> str:
    start_us = response.packets[0].timestamp_us
    said = hashlib.sha256()
    for index, packet in enumerate(ANSWER):
        frame = encode_legacy(start_us + 20_000 * index, packet)
        said.update(len(frame).to_bytes(4, "big") + frame)
    return said.hexdigest()


def test_an_answer_is_whole_whose_server_was_killed_in_it(tmp_path):
    async def main():
        async with asyncio.TaskGroup() as tasks:
            stage, port = Stage(tmp_path, tasks), free_port()
            first = await serve(stage, port, tmp_path / "journal")
            link = Link(("127.0.0.1", port), Settings.both(Impairment(delay_ms=FLIGHT_MS / 2)))
            async with (
                link,
                voice.call(f"moqt://localhost:{link.address[1]}", verify=stage.verify) as call,
            ):
                response = await half_an_answer(call)
                first.kill()
                second = await serve(stage, port, tmp_path / "journal")
                await response.wait_over()
                assert [packet.opus for packet in response.packets] == list(ANSWER)
                assert response.is_whole
                assert response.tally.digest == digest(response)
                call.report(response.number, 4_000_000, "ended")
                told = await anext(call.messages())
                assert msgspec.json.decode(told.data) == [response.number, 4000.0, True]
                assert len([line for line in second.lines if line["event"] == "call"]) == 1
            for process in stage.processes:
                await process.end()

    aio.run(main(), sockets=True)
