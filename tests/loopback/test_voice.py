"""Voice over real sockets, as the README shows it, and the errors its users meet."""

import asyncio
import contextlib
import socket

import pytest
from tests import aio
from tests.loopback.relays import running, trust, until, url
from tests.unit.voice.calls import packets, tone

from moqvox import voice
from moqvox.connect import connect
from moqvox.errors import LocalError, MoqError, SessionClosed
from moqvox.transport.aioquic import dialling
from moqvox.transport.aioquic.endpoint import Endpoint
from moqvox.transport.credentials import Verify
from moqvox.voice import calling
from moqvox.voice.call import Call
from moqvox.wire.version import LITE_ALPNS

pytestmark = pytest.mark.net


async def answer(desk, heard):
    """Answer each utterance with its own length of tone."""
    async with asyncio.TaskGroup() as tasks:
        async for session in desk:
            tasks.create_task(_one(session, heard))


async def _one(session, heard):
    async for utterance in session.utterances():
        pcm = b"".join([chunk async for chunk in utterance.pcm(16_000)])
        response = session.respond()
        await response.write(tone(len(pcm) // 32))
        heard.append((len(pcm), await response.played()))


async def converse(address, verify, **options):
    async with voice.call(address, verify=verify, **options) as call:
        playback = voice.Playback(call)
        async with asyncio.TaskGroup() as tasks:
            playing = tasks.create_task(playback.run())
            speech = call.speak()
            for packet in packets(15):
                speech.write_packet(packet)
            speech.finish()
            receipt = await speech.receipt()
            account = await playback.wait_account(0)
            await account.over.wait()
            await asyncio.sleep(0.05)
            playing.cancel()
    return speech.intact(receipt), account.totals.heard_us, call


@pytest.mark.parametrize("version", LITE_ALPNS)
@pytest.mark.parametrize("scheme", ["moqt", "https"])
def test_caller_and_agent_on_one_port(scheme, version):
    async def main():
        heard = []
        async with (
            voice.serve("127.0.0.1:0", versions=(version,)) as desk,
            asyncio.TaskGroup() as tasks,
        ):
            answering = tasks.create_task(answer(desk, heard))
            address = f"{scheme}://127.0.0.1:{desk.addresses[0][1]}/"
            intact, heard_us, call = await converse(
                address, Verify.pinned([desk.fingerprint]), versions=(version,)
            )
            await until(lambda: heard)
            answering.cancel()
        return intact, heard_us, heard, call.marks

    intact, heard_us, heard, marks = aio.run(main(), sockets=True)
    assert intact
    ((pcm_bytes, played),) = heard
    assert pcm_bytes == 15 * 640
    assert played.complete
    assert played.ms == heard_us / 1000 >= 300
    assert list(marks) == ["connected", "agent", "response"]


@pytest.mark.parametrize(("version", "times"), [(LITE_ALPNS[0], 1), (LITE_ALPNS[-1], 0)])
def test_session_that_was_built_before_the_answer_begins_with_it(monkeypatch, version, times):
    """Unless the server chooses another version than the one that was presumed."""
    begun = []

    def begin(call, driver):
        begun.append(driver)
        call_begin(call, driver)

    call_begin = Call.begin
    monkeypatch.setattr(Call, "begin", begin)
    monkeypatch.setattr(dialling, "IDLE_AFTER", 0.0)

    async def main():
        heard = []
        async with (
            voice.serve("127.0.0.1:0", versions=(version,), prepares=False) as desk,
            asyncio.TaskGroup() as tasks,
        ):
            answering = tasks.create_task(answer(desk, heard))
            address = f"moqt://127.0.0.1:{desk.addresses[0][1]}/"
            intact, _, call = await converse(address, Verify.pinned([desk.fingerprint]))
            await until(lambda: heard)
            answering.cancel()
        return intact, call

    intact, call = aio.run(main(), sockets=True)
    assert intact
    assert len(begun) == times
    assert (call.resumptions, call._legs) == (0, 1)


def test_agent_behind_two_relays():
    from moqvox_relay.config import Upstream

    async def main():
        heard = []
        async with running() as origin:
            upstream = Upstream(url(origin), fingerprints=(origin.where.fingerprint,))
            async with (
                running(upstream=upstream) as edge,
                voice.attend(url(origin, "/room"), verify=trust(origin)) as desk,
                asyncio.TaskGroup() as tasks,
            ):
                answering = tasks.create_task(answer(desk, heard))
                intact, heard_us, call = await converse(url(edge, "/room", "https"), trust(edge))
                await until(lambda: heard)
                answering.cancel()
        return intact, heard_us, heard[0][1].ms, call

    intact, heard_us, told_ms, call = aio.run(main(), sockets=True)
    assert intact
    assert told_ms == heard_us / 1000
    # The agent is as young as the call, and yet takes it for what it is: a new one.
    assert (call.resumptions, call._legs, call.resumed_at) == (0, 1, [])


def test_server_that_is_not_there_is_one_plain_error():
    async def main():
        with pytest.raises(MoqError) as failed:
            async with voice.call("moqt://127.0.0.1:1", timeout=0.2) as call:
                await call.speak().receipt()
        return failed.value

    error = aio.run(main(), sockets=True)
    assert not isinstance(error, BaseExceptionGroup)
    assert "127.0.0.1" in str(error)


def test_error_of_the_callers_own_comes_out_bare():
    async def main():
        async with voice.serve("127.0.0.1:0") as desk:
            address = f"moqt://127.0.0.1:{desk.addresses[0][1]}"
            with pytest.raises(ZeroDivisionError):
                await _fail_in_a_call(address, Verify.pinned([desk.fingerprint]))

    aio.run(main(), sockets=True)


async def _fail_in_a_call(address, verify):
    async with voice.call(address, verify=verify) as call:
        await call.connected()
        raise ZeroDivisionError


def test_refused_caller_learns_why():
    async def main():
        async with (
            running(public=("open",)) as relay,
            voice.call(url(relay, "/shut"), verify=trust(relay)) as call,
        ):
            speech = call.speak()
            speech.write_packet(packets(1)[0])
            speech.finish()
            with pytest.raises(SessionClosed) as closed:
                await speech.receipt()
            left = [response async for response in call.responses()]
            with pytest.raises(LocalError, match="a token is needed here"):
                call.speak()
            return str(closed.value), left

    message, left = aio.run(main(), sockets=True)
    assert message == "the call ended before the receipt came: a token is needed here"
    assert left == []


def test_caller_that_leaves_while_connecting_leaves_at_once():
    async def main():
        loop = asyncio.get_running_loop()
        begun = loop.time()
        async with voice.call("moqt://127.0.0.1:1", timeout=5.0) as call:
            call.speak().write_packet(packets(1)[0])
        return loop.time() - begun, str(call.ended)

    took, reason = aio.run(main(), sockets=True)
    assert took < 1
    assert reason == "hung up"


def test_handlers_of_a_desk_that_closes_come_to_their_ends():
    async def main():
        heard, ends = [], []

        async def handle(session):
            async for utterance in session.utterances():
                async for packet in utterance.opus():
                    heard.append(packet.opus)  # noqa: PERF401  # what came before the end
            ends.append(session.closed)

        async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
            async with voice.serve("127.0.0.1:0") as desk:

                async def take():
                    async for session in desk:
                        tasks.create_task(handle(session))

                taking = tasks.create_task(take())
                address = f"moqt://127.0.0.1:{desk.addresses[0][1]}"
                verify = Verify.pinned([desk.fingerprint])
                stack = voice.call(address, verify=verify, patience=0)
                call = await stack.__aenter__()
                speech = call.speak()
                for packet in packets(5):
                    speech.write_packet(packet)
                await until(lambda: speech.acked_frames)
            why = await call.wait_over()
            await taking
            await stack.__aexit__(None, None, None)
        return heard != [], ends, str(desk.ended), str(why)

    closed = "the agent takes no more calls"
    assert aio.run(main(), sockets=True) == (True, [True], closed, closed)


def test_what_is_being_said_when_a_desk_closes_is_heard_whole_by_the_next():
    async def main():
        whole = []

        async def hear(desk):
            async for session in desk:
                async for utterance in session.utterances():
                    count = len([packet async for packet in utterance.opus()])
                    whole.append((count, utterance.receipt().complete))

        async with (
            asyncio.timeout(20),
            voice.serve("127.0.0.1:0", websocket=False) as second,
            asyncio.TaskGroup() as tasks,
            contextlib.AsyncExitStack() as stack,
        ):
            first = await stack.enter_async_context(voice.serve("127.0.0.1:0", websocket=False))
            hearing = [tasks.create_task(hear(desk)) for desk in (first, second)]
            urls = [f"moqt://127.0.0.1:{desk.addresses[0][1]}" for desk in (first, second)]
            verify = Verify.pinned([first.fingerprint, second.fingerprint])
            async with voice.call(urls, verify=verify) as call:
                speech = call.speak()
                for packet in packets(15):
                    speech.write_packet(packet)
                await until(lambda: speech.acked_frames)
                await tasks.create_task(stack.aclose())
                await until(lambda: call.resumptions)
                for packet in packets(15):
                    speech.write_packet(packet)
                speech.finish()
                receipt = await speech.receipt()
                await until(lambda: len(whole) == 2)
            hearing[1].cancel()
        return receipt.frames, receipt.complete, whole

    frames, complete, whole = aio.run(main(), sockets=True)
    assert (frames, complete) == (30, True)
    assert [told for _, told in whole] == [False, True]
    assert whole[1][0] == 30


@pytest.mark.parametrize("patience", [0.0, 0.5])
def test_agent_that_closes_its_port_ends_its_calls_once_they_have_lost_patience(patience):
    async def main():
        async with voice.serve("127.0.0.1:0") as desk:
            address = f"moqt://127.0.0.1:{desk.addresses[0][1]}"
            verify = Verify.pinned([desk.fingerprint])
            stack = voice.call(address, verify=verify, patience=patience)
            call = await stack.__aenter__()
            await call.connected()
        async with asyncio.timeout(5):
            ended = await call.wait_over()
            await stack.__aexit__(None, None, None)
        return type(ended).__name__

    assert aio.run(main(), sockets=True) == "SessionClosed"


def test_relay_that_goes_for_good_ends_the_agents_iteration_with_the_reason():
    async def main():
        async with (
            running() as relay,
            voice.attend(url(relay), verify=trust(relay), patience=0) as desk,
        ):
            async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
                tasks.create_task(answer(desk, []))
                await until(lambda: relay.served)
                await asyncio.sleep(0.05)
                for task in asyncio.all_tasks():
                    if task.get_coro().__qualname__ == "Driver._run":
                        driver = task.get_coro().cr_frame.f_locals["self"]
                        if not driver.connection.is_client:
                            driver.close(0x77, "moving house")
            return str(desk.ended), desk.ended.code

    assert aio.run(main(), sockets=True) == ("moving house", 0x77)


def test_burst_of_connections_past_the_backlog_is_refused_not_crashed(monkeypatch):
    from tests.loopback.pairs import certificate

    from moqvox import listen as listening
    from moqvox.transport.credentials import ServerCertificate

    monkeypatch.setattr(listening, "BACKLOG", 2)

    async def main():
        made = certificate()
        tls = ServerCertificate(made.cert_pem, made.key_pem)
        verify = Verify.authority(made.ca_pem)
        reasons = []

        async def one(address):
            async with connect(address, verify=verify) as session:
                async with asyncio.timeout(5):
                    reasons.append((await session.wait_closed()).reason)

        async with listening.listen("127.0.0.1:0", tls=tls) as server:
            address = f"moqt://127.0.0.1:{server.addresses[0][1]}"
            async with asyncio.TaskGroup() as tasks:
                for _ in range(6):
                    tasks.create_task(one(address))
                await until(lambda: len(reasons) == 4)
                await server.close(0, "done")
        return sorted(reasons)

    assert aio.run(main(), sockets=True) == ["done"] * 2 + ["too many sessions wait"] * 4


def test_agent_that_drains_hands_its_callers_to_the_next_one_when_nothing_is_said():
    async def main():
        heard = []
        async with (
            voice.serve("127.0.0.1:0", websocket=False) as second,
            asyncio.TaskGroup() as tasks,
        ):
            answering = [tasks.create_task(answer(second, heard))]
            async with contextlib.AsyncExitStack() as stack:
                first = await stack.enter_async_context(
                    voice.serve("127.0.0.1:0", websocket=False, drain=10)
                )
                answering.append(tasks.create_task(answer(first, heard)))
                urls = [f"moqt://127.0.0.1:{desk.addresses[0][1]}" for desk in (first, second)]
                verify = Verify.pinned([first.fingerprint, second.fingerprint])
                async with voice.call(urls, verify=verify) as call:
                    playback = voice.Playback(call)
                    playing = tasks.create_task(playback.run())
                    began = asyncio.get_running_loop().time()
                    for number in range(2):
                        speech = call.speak()
                        for packet in packets(15):
                            speech.write_packet(packet)
                        speech.finish()
                        intact = speech.intact(await speech.receipt())
                        await until(lambda wanted=number + 1: len(heard) == wanted)
                        if not number:
                            leaving = tasks.create_task(stack.aclose())
                            await leaving
                    took = asyncio.get_running_loop().time() - began
                    playing.cancel()
            for task in answering:
                task.cancel()
        return intact, [played.complete for _, played in heard], call.redial.moves, took

    intact, complete, moves, took = aio.run(main(), sockets=True)
    assert intact
    assert complete == [True, True]
    assert moves == 1
    assert took < 9


def test_a_calls_first_packet_is_on_its_way_before_the_call_is_built(monkeypatch):
    order = []

    class Built(Call):
        def __init__(self, **options):
            order.append("built")
            super().__init__(**options)

    send = Endpoint.send

    def note(self, link, data, address):
        order.append("sent")
        send(self, link, data, address)

    monkeypatch.setattr(calling, "Call", Built)
    monkeypatch.setattr(Endpoint, "send", note)

    async def main():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
            silent.bind(("127.0.0.1", 0))
            async with voice.call(f"moqt://127.0.0.1:{silent.getsockname()[1]}/"):
                assert order == ["sent", "built"]

    aio.run(main(), sockets=True)
