"""Waiting for a program of the lab's: it may be slow, but must live."""

import asyncio

import pytest
from tests import aio

from moqvox_client.errors import Failed
from moqvox_client.lab.network import PATIENCE_S, until


class Program:
    """One that ends by itself after some seconds of the loop's time, if at all."""

    def __init__(self, ends_at: float | None = None) -> None:
        self.ends_at = ends_at

    @property
    def returncode(self) -> int | None:
        is_over = self.ends_at is not None and asyncio.get_running_loop().time() >= self.ends_at
        return 3 if is_over else None

    def poll(self) -> int | None:
        return self.returncode


def wait(tmp_path, program, *, ready_at) -> float:
    """Wait for the program in virtual time; tells for how long."""

    async def main() -> float:
        loop = asyncio.get_running_loop()
        await until(lambda: loop.time() >= ready_at, program, "the server", tmp_path / "log")
        return loop.time()

    return aio.run(main())


def test_a_program_that_a_busy_machine_holds_up_is_waited_for(tmp_path):
    assert wait(tmp_path, Program(), ready_at=90.0) == pytest.approx(90.0, abs=0.1)


def test_a_program_that_ends_is_told_at_once(tmp_path):
    with pytest.raises(Failed, match="the server ended with code 3"):
        wait(tmp_path, Program(ends_at=2.0), ready_at=1e9)


def test_a_program_that_hangs_is_given_up(tmp_path):
    with pytest.raises(Failed, match=f"not ready after {PATIENCE_S:g} s"):
        wait(tmp_path, Program(), ready_at=1e9)
