"""Calls coming in: bounded, each once, passed over when gone, and none harms another."""

import asyncio

import pytest
from tests.aio import run
from tests.unit.driver.sides import driver_on, published
from tests.unit.voice.calls import caller_on, direct, packets, relayed, speak, tone

from moqvox.errors import LocalError
from moqvox.model.origin import Origin
from moqvox.transport.memory import pair
from moqvox.voice import lobby as lobbies
from moqvox.voice.lobby import Lobby


async def host(tasks, lobby, **options):
    client, server = pair()
    local, remote = Origin(), Origin()
    driver = driver_on(server, local.id)
    driver.start(tasks)
    driver.attach(local, remote)
    hosting = tasks.create_task(lobby.host(driver, local, remote, **options))
    return client, driver, hosting


def test_caller_is_one_session_although_found_twice():
    async def main():
        async with direct() as (line, agent):
            await speak(line, 2)
            session = await agent.session()
            await asyncio.sleep(1)
            assert session.id == line.call.id
            return len(agent.lobby._waiting)

    assert run(main()) == 0


def test_silent_caller_is_offered_once_it_is_announced():
    async def main():
        async with direct() as (line, agent):
            return (await agent.session()).id == line.call.id

    assert run(main())


def test_caller_that_left_before_it_was_taken_is_passed_over():
    async def main():
        async with relayed(2) as (lines, agent):
            await asyncio.sleep(1)
            lines[0].driver.close()
            await asyncio.sleep(1)
            session = await agent.session()
            return session.id == lines[1].call.id

    assert run(main())


def test_callers_past_the_bound_are_left_unanswered(monkeypatch):
    async def main():
        lobby = Lobby()
        lobby._waiting = lobbies.Mailbox(2)
        async with asyncio.TaskGroup() as tasks:
            client, driver, _ = await host(tasks, lobby, eager=False)
            callers = Origin()
            mine = driver_on(client, callers.id)
            mine.start(tasks)
            mine.attach(callers, None)
            for number in range(4):
                published(callers, f"{number}/caller")
            await asyncio.sleep(1)
            waiting = len(lobby._waiting)
            served = len(driver._consuming.asking.requests)
            mine.close()
        return waiting, served <= 6

    assert run(main()) == (2, True)


def test_connection_that_is_over_already_is_an_error_of_its_own():
    async def main():
        lobby = Lobby()
        async with asyncio.TaskGroup() as tasks:
            client, server = pair()
            driver = driver_on(server, 1)
            driver.start(tasks)
            client.close()
            await driver.wait_closed()
            with pytest.raises(LocalError, match="over"):
                await lobby.host(driver, Origin(), Origin(), eager=True)
            await lobby.host(driver, Origin(), Origin(), eager=False)

    run(main())


def test_broadcasts_that_are_no_calls_are_left_alone():
    async def main():
        lobby = Lobby()
        async with asyncio.TaskGroup() as tasks:
            client, driver, _ = await host(tasks, lobby, eager=True)
            theirs = Origin()
            mine = driver_on(client, theirs.id)
            mine.start(tasks)
            mine.attach(theirs, None)
            for name in ("caller", "alice.hang", "x/agent", "a/b/caller"):
                published(theirs, name)
            await asyncio.sleep(1)
            session = await anext(lobby.sessions())
            mine.close()
            assert driver is not None
        return session.id, len(lobby._waiting)

    assert run(main()) == ("a/b", 0)


def test_caller_that_hangs_up_and_calls_again_is_a_new_session():
    async def main():
        async with relayed() as ([line], agent):
            first = await agent.session()
            line.call.outbox.finish()
            await asyncio.sleep(1)
            line.call.close()
            await asyncio.sleep(1)
            callers = Origin()
            published(callers, f"{line.call.id}/caller")
            again = agent.hub.join(shared=callers)
            second = await agent.session()
            again.driver.close()
            return first.closed, second is not first, second.id == first.id

    assert run(main()) == (True, True, True)


def test_iteration_ends_when_the_lobby_closes_even_if_it_is_full():
    async def main():
        lobby = Lobby()
        lobby._waiting = lobbies.Mailbox(1)
        async with asyncio.TaskGroup() as tasks:
            client, server = pair()
            line = caller_on(client, tasks, play=False)
            local, remote = Origin(), Origin()
            driver = driver_on(server, local.id)
            driver.start(tasks)
            driver.attach(local, remote)
            tasks.create_task(lobby.host(driver, local, remote, eager=True))
            await asyncio.sleep(1)
            lobby.close()
            taken = [session.id async for session in lobby.sessions()]
            again = [session.id async for session in lobby.sessions()]
            line.driver.close()
        return taken, again

    assert run(main()) == ([], [])


async def all_of(iterator):
    return [each async for each in iterator]


def test_nobody_who_waits_for_a_session_is_left_waiting_when_the_lobby_closes():
    async def main():
        async with direct() as (line, agent), asyncio.TaskGroup() as tasks:
            speech = line.call.speak()
            for packet in packets(10):
                speech.write_packet(packet)
            session = await agent.session()
            utterance = await anext(session.utterances())
            response = session.respond(max_lead=0.1)
            waiting = [
                tasks.create_task(each)
                for each in (
                    all_of(session.utterances()),
                    all_of(utterance.opus()),
                    all_of(session.messages()),
                    response.write(tone(5000)),
                    all_of(agent.lobby.sessions()),
                )
            ]
            await asyncio.sleep(1)
            assert not any(task.done() for task in waiting)
            agent.lobby.close()
            async with asyncio.timeout(1):
                await asyncio.wait(waiting)
            said, heard, messages, wrote, more = (task.result() for task in waiting)
            assert (said, len(heard), messages, wrote, more) == ([], 10, [], False, [])
            with pytest.raises(LocalError, match="over"):
                session.respond()
            assert not (await response.played()).complete
            assert (session.closed, session.connected) == (True, False)
            return utterance.over, speech.receipted.is_set()

    # The caller is told nothing of what it was saying: another agent may hear the rest.
    assert run(main()) == (True, False)


def test_who_waits_for_a_caller_to_show_itself_learns_that_it_will_not():
    async def main():
        lobby = Lobby()
        async with asyncio.TaskGroup() as tasks:
            client, _, hosting = await host(tasks, lobby, eager=True)
            theirs = Origin()
            mine = driver_on(client, theirs.id)
            mine.start(tasks)
            session = lobby.session("somewhere")
            proven = tasks.create_task(session.wait_proven())
            await asyncio.sleep(1)
            lobby.close()
            late = lobby.session("elsewhere")
            found = await proven, await late.wait_proven(), late.closed, lobby.offer(late)
            mine.close()
            await hosting
        return found

    assert run(main()) == (False, False, True, False)


def test_a_host_that_is_told_to_stop_lets_its_callers_come_back():
    async def main():
        async with direct() as (line, agent):
            await speak(line, 2)
            session = await agent.session()
            await asyncio.sleep(1)
            hosting = next(task for task in asyncio.all_tasks() if task.get_name() == "host")
            hosting.cancel()
            await asyncio.sleep(1)
            found = session.connected, session.closed, agent.lobby.find(session.id) is session
        return found, session.closed

    assert run(main()) == ((False, False, True), True)
