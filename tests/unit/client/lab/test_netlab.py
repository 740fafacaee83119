"""Netlabs that do not behave: what they made is removed all the same."""

import asyncio
import threading

import pytest

from moqvox_client.errors import Failed
from moqvox_client.lab import netlab
from moqvox_client.lab.netlab import Netlab
from moqvox_client.lab.scenario import Scenario


class Emulator:
    def __init__(self):
        self.ended = None

    def poll(self):
        return self.ended

    def kill(self):
        self.ended = -9

    def wait(self):
        return self.ended


class Lab:
    """A netlab of which nothing is real; `slow` holds it up while it is being made."""

    CLIENT_IP = {"wifi": "10.77.1.2"}  # noqa: RUF012 - as netlab.py has it
    SERVER_IP = "10.77.0.1"

    def __init__(self):
        self.emu = Emulator()
        self.ns = {}
        self.ctl_path = "nowhere"
        self.closed = False
        self.slow = threading.Event()
        self.entered = threading.Event()
        self.mute = False

    def Lab(self, **_):  # noqa: N802 - the module's class
        return self

    def __enter__(self):
        self.entered.set()
        self.slow.wait(5)
        self.ns = {"client": "c", "server": "s"}

    def stats(self):
        if self.mute:
            raise TimeoutError("timed out")
        return {"tun_drops": {}}

    def close(self):
        self.stats()
        self.closed = True
        self.ns = {}


@pytest.fixture
def removed(monkeypatch):
    names = []
    monkeypatch.setattr(netlab, "_remove", names.append)
    monkeypatch.setattr(netlab, "_route_by_source", lambda *_: None)
    return names


def test_an_emulator_that_does_not_answer_is_killed_and_its_namespaces_go(removed, tmp_path):
    lab = Lab()
    lab.slow.set()

    async def use():
        async with Netlab(lab).stand_up(Scenario(name="a"), 1, tmp_path) as place:
            lab.mute = True
            with pytest.raises(Failed, match="does not say what it did"):
                place.stats()

    asyncio.run(use())
    assert lab.emu.ended == -9
    assert removed == ["c", "s"]


def test_what_is_being_made_when_all_is_interrupted_is_removed_once_it_is_there(removed, tmp_path):
    lab = Lab()

    async def use():
        async with Netlab(lab).stand_up(Scenario(name="a"), 1, tmp_path):
            pytest.fail("it went on")

    async def interrupt():
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(use())
            await asyncio.to_thread(lab.entered.wait)
            task.cancel()
            await asyncio.sleep(0)
            lab.slow.set()

    asyncio.run(interrupt())
    assert lab.closed
    assert removed == []
