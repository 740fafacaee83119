"""A process that is prepared has nothing left to load, and shows no trace of the rehearsal."""

import asyncio
import logging
import subprocess
import sys
from contextlib import asynccontextmanager

import pytest

from moqvox import voice
from moqvox.errors import LocalError
from moqvox.voice import rehearsal

pytestmark = pytest.mark.net


class Stages(list):
    def __init__(self):
        super().__init__()
        self.up = asyncio.Event()


@pytest.fixture
def unprepared(monkeypatch):
    monkeypatch.setattr(rehearsal, "_begun", False)


@pytest.fixture
def stages(monkeypatch):
    """What a rehearsal listened with, and whether it has begun to."""
    servers, listen = Stages(), rehearsal.listen

    @asynccontextmanager
    async def noted(*args, **options):
        async with listen(*args, **options) as server:
            servers.append(server)
            servers.up.set()
            yield server

    monkeypatch.setattr(rehearsal, "listen", noted)
    return servers


def everyone():
    return [logging.getLogger(name) for name in rehearsal.LOGGERS]


def test_a_rehearsal_is_heard_by_nobody_and_leaves_nothing_behind(
    unprepared, stages, caplog, monkeypatch
):
    made, call = [], rehearsal.call

    def noted(*args, **options):
        made.append(args[0].partition(":")[0])
        return call(*args, **options)

    monkeypatch.setattr(rehearsal, "call", noted)
    caplog.set_level(logging.INFO)

    async def prepare_twice():
        await voice.prepare()
        await voice.prepare()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(prepare_twice())
    assert made == ["moqt", "https", "moqt"]
    assert [server.sessions for server in stages] == [0]
    assert {record.name for record in caplog.records} <= {"asyncio"}
    assert not any(logger.filters for logger in everyone())


def test_what_others_say_during_a_rehearsal_is_logged(unprepared, stages, caplog):
    caplog.set_level(logging.DEBUG)

    async def speak_up():
        async with asyncio.TaskGroup() as tasks:
            preparing = tasks.create_task(voice.prepare())
            await stages.up.wait()
            logging.getLogger("moqvox.voice").info("a caller")
            preparing.cancel()

    asyncio.run(speak_up())
    assert "a caller" in caplog.messages
    assert not any(logger.filters for logger in everyone())


def test_where_there_is_no_loopback_one_does_without(unprepared, monkeypatch, caplog):
    @asynccontextmanager
    async def nowhere(*_args, **_options):
        raise LocalError("no such address")
        yield

    monkeypatch.setattr(rehearsal, "listen", nowhere)
    caplog.set_level(logging.INFO)
    asyncio.run(voice.prepare())
    assert not caplog.messages


def test_a_server_prepares_when_nobody_is_there(monkeypatch):
    sessions, prepared = [2, 1, 0], []

    async def prepare():
        prepared.append(list(sessions))

    monkeypatch.setattr(rehearsal, "prepare", prepare)
    monkeypatch.setattr(rehearsal, "IDLE", 0.0)
    asyncio.run(rehearsal.prepare_when_idle(lambda: sessions.pop(0) > 0))
    assert prepared == [[]]


FIRST_CALL = """
import asyncio, sys
from moqvox import voice
from moqvox.transport.credentials import Verify

async def answer(session):
    async for utterance in session.utterances():
        response = session.respond()
        async for pcm in utterance.pcm(16_000):
            await response.write(pcm)
        response.finish()

async def take(desk):
    async for session in desk:
        await answer(session)

async def main():
    if "prepared" in sys.argv:
        await voice.prepare()
    async with voice.serve("127.0.0.1:0", prepares=False) as desk, asyncio.TaskGroup() as tasks:
        taking = tasks.create_task(take(desk))
        url = f"moqt://127.0.0.1:{desk.addresses[0][1]}/"
        before = set(sys.modules)
        async with voice.call(url, verify=Verify.pinned([desk.fingerprint])) as call:
            speech = call.speak()
            speech.write(bytes(5760))
            speech.finish()
            await speech.receipt()
        print(*sorted(set(sys.modules) - before))
        taking.cancel()

asyncio.run(main())
"""


@pytest.mark.slow
def test_the_first_call_of_a_prepared_process_loads_nothing():
    def loaded(*how):
        argv = [sys.executable, "-c", FIRST_CALL, *how]
        return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split()

    assert "opuslib_next" in loaded()
    assert loaded("prepared") == []
