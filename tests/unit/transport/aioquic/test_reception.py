"""Who goes first when much arrives at once: real sockets, a clock that only work moves."""

import asyncio
import gc
import random
import socket

import pytest

from moqvox.transport.aioquic import reception
from moqvox.transport.aioquic.asked import Asked
from moqvox.transport.aioquic.knocks import MAX_FOLLOWERS
from moqvox.transport.aioquic.pauses import Pauses
from moqvox.transport.aioquic.reception import PATIENCE_SECONDS, UNREAD_SECONDS, Reception
from moqvox.transport.aioquic.resting import TURNS
from moqvox.transport.aioquic.shares import (
    SLICE_SECONDS,
    TURN_SECONDS,
    WAKING_SECONDS,
)

OLD, NEW, BUSY = b"old-----", b"new-----", b"busy----"
STEP = 0.001
CRUMB = 0.0001
EVERY = 0.02


class Clock:
    """Stands in for the loop's time; the rest is the loop itself."""

    def __init__(self):
        self.now = 100.0
        self.loop = asyncio.get_running_loop()

    def time(self):
        return self.now

    def __getattr__(self, name):
        return getattr(self.loop, name)


class Peer:
    """A link as far as a reception knows it; everything that it gets costs time."""

    def __init__(self, name, cost, host, *, is_newcomer=False):
        self.name, self.cost, self.host = name, cost, host
        self.is_newcomer = is_newcomer
        self.is_recent = True
        self.asked = self.rhythm = None

    def spoke_since(self, _when):
        return self.is_recent

    def receive(self, data, _address, _now):
        self.host.work(self.name, data[9:], self.cost)
        return True

    def on_timer(self, _now):
        self.host.work(self.name, b"timer", self.cost)


class Host:
    def __init__(self, clock):
        self.clock, self.done, self.at_work = clock, [], []
        self.links = {
            OLD: Peer("old", CRUMB, self),
            NEW: Peer("new", STEP, self, is_newcomer=True),
            BUSY: Peer("busy", SLICE_SECONDS * 0.6, self),
        }

    def work(self, name, data, cost):
        self.clock.now += cost
        self.done.append(name)
        for act in self.at_work:
            act(name, data)

    def welcome(self, data, _address):
        self.work("stranger", data, STEP)

    def is_alive(self, _link):
        return True

    def on_error(self, exc, _address):
        raise exc


class Scene:
    def __init__(self):
        self.clock = Clock()
        self.host = Host(self.clock)
        self.reception = Reception(self.host, self.clock, len(OLD))
        self.inside = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.inside.bind(("127.0.0.1", 0))
        self.inside.setblocking(False)
        self.outside = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.outside.connect(self.inside.getsockname())

    def crowd(self, count, cost=CRUMB):
        """Let there be links that were silent for long; each says something now."""
        for number in range(count):
            name = b"idle%04d" % number
            peer = self.host.links[name] = Peer("idle", cost, self.host)
            peer.is_recent = False
            self.send(name)

    def send(self, connection_id, count=1):
        for number in range(count):
            self.outside.send(b"\x40" + connection_id + bytes([number]))

    async def until_done(self, count):
        async with asyncio.timeout(10):
            while len(self.host.done) < count:  # noqa: ASYNC110  # turns are what it is about
                await asyncio.sleep(0)
        return self.host.done

    def __enter__(self):
        self.reception.open(self.inside, 0, None)
        return self

    def __exit__(self, *_):
        self.reception.close(self.inside)
        self.inside.close()
        self.outside.close()


def run(play):
    async def main():
        with Scene() as scene:
            await play(scene)

    asyncio.run(main())


def test_who_is_there_already_goes_before_strangers_and_handshakes_that_came_first():
    async def play(scene):
        scene.send(b"nobody--", 5)
        scene.send(NEW, 5)
        scene.send(OLD, 2)
        assert (await scene.until_done(12))[:2] == ["old", "old"]

    run(play)


def test_between_two_costly_steps_the_socket_is_looked_at():
    """Each step lets a word of the caller's arrive; none waits for more than that step."""

    async def play(scene):
        def speak(name, _data):
            if name == "stranger":
                scene.send(OLD)

        scene.host.at_work.append(speak)
        scene.send(b"nobody--", 6)
        done = await scene.until_done(12)
        assert done == ["stranger", "old"] * 6

    run(play)


def test_an_answer_waits_for_no_step_that_could_come_after_it():
    """An application has its turns to answer before strangers' work goes on."""

    async def play(scene):
        order = []

        def answer(name, _data):
            if name == "old":
                asyncio.get_running_loop().call_soon(order.append, "answer")
            else:
                order.append(name)

        scene.host.at_work.append(answer)
        scene.send(b"nobody--")
        await scene.until_done(1)
        scene.send(b"nobody--", 2)
        scene.send(OLD)
        await scene.until_done(4)
        assert order[:2] == ["stranger", "answer"]

    run(play)


def test_one_connection_gets_no_more_than_its_share_of_a_turn():
    async def play(scene):
        scene.send(BUSY, 50)
        scene.send(OLD)
        done = await scene.until_done(51)
        assert done.index("old") == 2  # two of them are more than a slice
        assert done.count("busy") == 50

    run(play)


def test_what_one_connection_sent_is_kept_in_order():
    async def play(scene):
        seen = []
        scene.host.at_work.append(lambda name, data: seen.append(data) if name == "busy" else None)
        for number in range(40):
            scene.outside.send(b"\x40" + BUSY + bytes([number]))
            if number % 5 == 4:
                await asyncio.sleep(0)
        await scene.until_done(40)
        assert seen == [bytes([number]) for number in range(40)]

    run(play)


def test_strangers_are_served_although_there_is_always_somebody_who_talks():
    async def play(scene):
        scene.send(b"nobody--", 3)
        scene.send(OLD)
        scene.host.at_work.append(lambda name, _: scene.send(OLD) if name == "old" else None)
        async with asyncio.timeout(10):
            while scene.host.done.count("stranger") < 3:
                await asyncio.sleep(0)
                scene.clock.now += CRUMB / 10  # turns without any work take time, too
        strangers, total = 3 * STEP, scene.clock.now - 100.0
        assert strangers / total < 0.5

    run(play)


def test_a_newcomers_timer_waits_among_the_handshakes():
    async def play(scene):
        assert scene.reception.defer(scene.host.links[NEW])
        scene.send(OLD)
        assert await scene.until_done(2) == ["old", "new"]

    run(play)


def test_what_waited_of_a_handshake_goes_first_once_it_is_complete():
    async def play(scene):
        newcomer = scene.host.links[NEW]

        def complete(name, _data):
            if name == "new":
                newcomer.is_newcomer = False

        scene.host.at_work.append(complete)
        scene.send(NEW, 3)
        scene.send(b"nobody--", 3)
        done = await scene.until_done(6)
        assert done.index("new") <= 1
        assert done[-2:] == ["stranger", "stranger"]

    run(play)


def test_strangers_that_wait_are_bounded(monkeypatch):
    most = 4
    monkeypatch.setattr(reception, "MAX_STRANGERS", most)

    async def play(scene):
        scene.send(b"nobody--", 20)
        scene.send(OLD)
        await scene.until_done(most + 1)
        await asyncio.sleep(0.01)
        assert scene.host.done.count("stranger") == most

    run(play)


def test_a_short_long_header_of_nobodys_is_dropped_unread():
    async def play(scene):
        scene.outside.send(b"\xc0\0\0\0\1\x08" + b"nobody--" + bytes(100))
        scene.send(OLD)
        assert await scene.until_done(1) == ["old"]
        await asyncio.sleep(0.01)
        assert scene.host.done == ["old"]

    run(play)


def long_header(connection_id, kind, size):
    """Begin as a datagram with a long header does, and fill it up."""
    head = bytes([0xC0 | kind << 4]) + b"\0\0\0\1" + bytes([len(connection_id)]) + connection_id
    return head + bytes(size - len(head))


INITIAL, EARLY = 0, 1


def test_early_data_right_behind_a_first_packet_waits_for_its_connection():
    async def play(scene):
        def welcome(_data, _address):
            scene.host.links[b"fresh---"] = Peer("fresh", STEP, scene.host, is_newcomer=True)
            return scene.host.links[b"fresh---"]

        scene.host.welcome = welcome
        scene.outside.send(long_header(b"fresh---", INITIAL, 1200))
        scene.outside.send(long_header(b"fresh---", EARLY, 60))
        assert await scene.until_done(2) == ["fresh", "fresh"]

    run(play)


def test_early_data_of_nobody_is_dropped_and_that_of_one_is_bounded():
    async def play(scene):
        for _ in range(40):
            scene.outside.send(long_header(b"nobody--", EARLY, 60))
        scene.outside.send(long_header(b"fresh---", INITIAL, 1200))
        for _ in range(40):
            scene.outside.send(long_header(b"fresh---", EARLY, 60))
        scene.send(b"last----")
        await scene.until_done(1 + MAX_FOLLOWERS + 1)
        assert not scene.reception._knocks
        assert not scene.reception._door
        assert len(scene.host.done) == 1 + MAX_FOLLOWERS + 1

    run(play)


def test_who_is_in_a_conversation_goes_before_a_crowd_that_was_silent_and_came_first():
    async def play(scene):
        scene.crowd(100)
        scene.send(OLD)
        done = await scene.until_done(101)
        assert done.index("old") <= WAKING_SECONDS / CRUMB + 1
        assert done.count("idle") == 100

    run(play)


def test_a_crowd_is_looked_away_from_between_pieces_of_its_share():
    async def play(scene):
        scene.crowd(100)
        speaks = iter(range(5))

        def speak(name, _data):
            if name == "idle" and len(scene.host.done) % 10 == 0 and next(speaks, None) is not None:
                spoke_at.append(len(scene.host.done))
                scene.send(OLD)

        spoke_at = []
        scene.host.at_work.append(speak)
        done = await scene.until_done(105)
        heard_at = [place for place, name in enumerate(done) if name == "old"]
        assert len(heard_at) == len(spoke_at) == 5
        waits = [heard - spoke for spoke, heard in zip(spoke_at, heard_at, strict=True)]
        assert max(waits) <= 2 * WAKING_SECONDS / CRUMB

    run(play)


def test_behind_a_crowd_that_the_kernel_holds_a_word_waits_for_its_reading_alone(monkeypatch):
    """So many came before the word that they are read in several turns."""
    monkeypatch.setattr(reception, "MAX_DATAGRAMS_PER_TURN", 10)

    async def play(scene):
        scene.crowd(100)
        scene.send(OLD)
        done = await scene.until_done(101)
        assert done.index("old") <= WAKING_SECONDS / CRUMB + 1
        assert done.count("idle") == 100

    run(play)


@pytest.mark.parametrize("everywhere", [False, True])
def test_of_a_crowd_that_waits_the_collector_has_nothing_to_look_at(everywhere):
    """Else it runs while the crowd is read, and the longer the larger that is."""

    async def play(scene):
        if everywhere:
            scene.reception.close(scene.inside)
            scene.reception.open(scene.inside, 0, Asked(scene.inside, lambda _source: 1))
        read = scene.reception._readers[scene.inside]
        scene.crowd(100)
        gc.collect()
        before = len(gc.get_objects())
        read()
        waiting = len(scene.reception._waking)
        assert waiting > 90
        assert len(gc.get_objects()) - before < waiting / 5
        assert scene.reception.has_unheard(scene.host.links[b"idle0099"])

    run(play)


def keep_time(scene):
    """Let the caller speak regularly for more than a second."""
    return Conversation(scene).go_on(55, lambda: None)


def acquaint(scene, count, cost=CRUMB):
    """Let there be many who are in a conversation; each says something now."""
    for number in range(count):
        name = b"mate%04d" % number
        scene.host.links[name] = Peer("mate", cost, scene.host)
        scene.send(name)


def test_who_keeps_time_goes_before_all_who_are_more_than_a_turn_takes():
    async def play(scene):
        await keep_time(scene)
        scene.host.done.clear()
        acquaint(scene, 100)
        scene.send(OLD)
        done = await scene.until_done(101)
        assert done.index("old") <= TURN_SECONDS / CRUMB + 1
        assert done.count("mate") == 100

    run(play)


def test_while_who_keeps_time_is_answered_little_is_read_of_a_crowd(monkeypatch):
    """Each of the turns that his answer takes would else be as long as that reading."""
    most, few = 40, 5
    monkeypatch.setattr(reception, "MAX_DATAGRAMS_PER_TURN", most)
    monkeypatch.setattr(reception, "MAX_BESIDE_ANSWERS", few)

    async def play(scene):
        await keep_time(scene)
        loop, read_at = asyncio.get_running_loop(), []

        def note(turns_left):
            read_at.append(scene.host.done.count("idle") + len(scene.reception._waking))
            if turns_left:
                loop.call_soon(note, turns_left - 1)

        scene.host.at_work.append(lambda name, _data: note(TURNS - 1) if name == "old" else None)
        scene.crowd(100)
        scene.send(OLD)
        scene.crowd(100)
        await scene.until_done(len(scene.host.done) + 201)
        assert len(read_at) == TURNS
        assert read_at[-1] - read_at[0] <= TURNS * few

    run(play)


def test_of_a_crowd_in_conversation_that_the_kernel_holds_a_turns_share_goes_before_who_keeps_time(
    monkeypatch,
):
    monkeypatch.setattr(reception, "MAX_DATAGRAMS_PER_TURN", 25)

    async def play(scene):
        await keep_time(scene)
        scene.host.done.clear()
        acquaint(scene, 100)
        scene.send(OLD)
        done = await scene.until_done(101)
        assert done.index("old") <= TURN_SECONDS / CRUMB
        assert done.count("mate") == 100

    run(play)


def test_those_who_keep_time_have_a_bound_in_a_turn_too(monkeypatch):
    async def play(scene):
        await keep_time(scene)
        old, scene.host.done = scene.host.links[OLD], []
        acquaint(scene, 30, cost=STEP)
        for number in range(30):
            scene.host.links[b"mate%04d" % number].rhythm = old.rhythm
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert 0 < scene.host.done.count("mate") <= 2 * TURN_SECONDS / STEP + 1
        await scene.until_done(30)

    run(play)


def test_the_sockets_are_read_once_in_a_turn_although_the_loop_asks_as_well(monkeypatch):
    most = 10
    monkeypatch.setattr(reception, "MAX_DATAGRAMS_PER_TURN", most)

    async def play(scene):
        acquaint(scene, 80, cost=0.0)
        seen = 0
        while seen < 80:
            await asyncio.sleep(0)
            assert len(scene.host.done) - seen <= most
            seen = len(scene.host.done)

    run(play)


def test_who_says_more_than_his_share_does_not_wait_for_himself():
    """The rest that such work leaves is for others; there are none."""

    async def play(scene):
        words, turns = 100, 0
        scene.host.at_work.append(lambda *_: scene.send(BUSY))
        scene.send(BUSY, 20)
        while len(scene.host.done) < words:
            await asyncio.sleep(0)
            turns += 1
        scene.host.at_work.clear()
        assert turns < words

    run(play)


def test_a_word_waits_for_one_slice_of_a_flood():
    async def play(scene):
        flood = scene.host.links[b"flood---"] = Peer("flood", 1.3e-4, scene.host)
        scene.send(b"flood---", 200)
        waits, rng = [], random.Random(4)
        for _ in range(30):
            before = scene.host.done.count("flood")
            for _ in range(rng.randrange(1, 6)):
                await asyncio.sleep(0)
            scene.send(OLD)
            spoken_at, words = scene.clock.now, scene.host.done.count("old")
            while scene.host.done.count("old") == words:  # noqa: ASYNC110  # as above
                await asyncio.sleep(0)
            waits.append(scene.clock.now - spoken_at - CRUMB)
        assert before > 0
        assert max(waits) < 0.00025 + flood.cost

    run(play)


def test_a_crowd_leaves_others_time_also_for_what_its_words_have_brought_about():
    async def play(scene):
        scene.crowd(200)
        loop, of_crowd, of_others, task = asyncio.get_running_loop(), 0.0, 0.0, 5 * CRUMB

        def bring_about():
            scene.clock.now += task

        scene.host.at_work.append(
            lambda name, _data: loop.call_soon(bring_about) if name == "idle" else None
        )
        while scene.host.done.count("idle") < 100:
            scene.send(OLD)
            await asyncio.sleep(0)
            scene.clock.now += CRUMB / 2
        of_crowd = scene.host.done.count("idle") * (CRUMB + task)
        of_others = scene.clock.now - 100.0 - of_crowd
        assert of_crowd < 0.45 * (of_crowd + of_others)

    run(play)


def test_who_can_wait_is_served_although_the_kernel_always_has_more(monkeypatch):
    monkeypatch.setattr(reception, "MAX_DATAGRAMS_PER_TURN", 4)

    async def play(scene):
        def go_on(name, _data):
            if name == "old" and scene.host.done.count("idle") < 4:
                scene.send(OLD, 2)

        scene.host.at_work.append(go_on)
        scene.send(OLD, 40)
        scene.crowd(4)
        async with asyncio.timeout(10):
            while scene.host.done.count("idle") < 4:  # noqa: ASYNC110  # as above
                await asyncio.sleep(0)
        assert scene.clock.now - 100.0 > UNREAD_SECONDS
        assert scene.clock.now - 100.0 < 3 * UNREAD_SECONDS

    run(play)


def test_one_that_was_silent_and_says_much_is_heard_in_order():
    async def play(scene):
        scene.crowd(20)
        seen = []
        scene.host.at_work.append(lambda name, data: seen.append(data) if name == "talks" else None)
        talker = scene.host.links[b"talks---"] = Peer("talks", CRUMB, scene.host)
        talker.is_recent = False
        for number in range(20):
            scene.outside.send(b"\x40talks---" + bytes([number]))
            if number == 10:
                await asyncio.sleep(0)
                talker.is_recent = True
        await scene.until_done(40)
        assert seen == [bytes([number]) for number in range(20)]

    run(play)


def test_a_stranger_that_comes_shortly_before_a_word_is_due_waits_for_it():
    async def play(scene):
        old = scene.host.links[OLD]
        due = scene.clock.now
        for _ in range(60):
            due += EVERY
            scene.clock.now = due
            scene.send(OLD)
            scene.send(b"nobody--")
            await scene.until_done(len(scene.host.done) + 1)
        for _ in range(20):
            await asyncio.sleep(0)
        scene.host.done.clear()
        scene.clock.now = old.rhythm.heard_at + EVERY - STEP / 4
        scene.send(b"nobody--")
        for _ in range(20):
            await asyncio.sleep(0)
        assert scene.host.done == []
        scene.send(OLD)
        assert await scene.until_done(2) == ["old", "stranger"]

    run(play)


def test_a_word_that_a_step_kept_waiting_was_said_when_it_was_due():
    """Words are due at some moment of a stranger's step each, and read when that is over."""

    async def play(scene):
        old, rng = scene.host.links[OLD], random.Random(7)
        scene.host.at_work.append(
            lambda name, _data: scene.send(OLD) if name == "stranger" else None
        )
        begin = scene.clock.now
        for number in range(1, 40):
            scene.clock.now = begin + number * EVERY - rng.uniform(0, STEP)
            scene.send(b"nobody--")
            await scene.until_done(2 * number)
        assert old.rhythm.off < STEP / 8  # of a first guess the words leave half of that

    run(play)


def test_a_stranger_waits_for_a_pause_as_long_as_there_is_patience(monkeypatch):
    monkeypatch.setattr(Pauses, "room_at", lambda _self, now: now + 1e-4)  # never now

    async def play(scene):
        scene.send(b"nobody--")
        while "stranger" not in scene.host.done:
            assert scene.clock.now < 100.0 + 2 * PATIENCE_SECONDS
            scene.clock.now += PATIENCE_SECONDS / 10
            scene.send(OLD)
            await asyncio.sleep(0)
        assert scene.clock.now > 100.0 + PATIENCE_SECONDS

    run(play)


class Conversation:
    """Somebody who speaks in time, whatever is done meanwhile; how long each word waited."""

    def __init__(self, scene):
        self.scene, self.due_at, self.waits = scene, scene.clock.now + EVERY, []
        self.peer = scene.host.links[OLD]
        scene.host.at_work.append(self.on_work)
        take = self.peer.receive

        def receive(data, address, now):
            self.waits.append(scene.clock.now - self.due_at)
            self.due_at += EVERY
            return take(data, address, now)

        self.peer.receive = receive
        self.spoken = 0

    def on_work(self, _name, _data):
        self.speak_if_due()

    def speak_if_due(self):
        """Send the next word when its time has come, which a step may have been in the way of."""
        if self.spoken == len(self.waits) and self.scene.clock.now >= self.due_at:
            self.spoken += 1
            self.scene.send(OLD)

    async def go_on(self, words, between):
        async with asyncio.timeout(10):
            while len(self.waits) < words:
                self.scene.clock.now += CRUMB
                self.speak_if_due()
                between()
                for _ in range(3):
                    await asyncio.sleep(0)


@pytest.mark.parametrize("handshakes", [10, 400])
def test_a_word_in_time_waits_for_no_step_however_many_handshakes_wait(handshakes):
    """Those who come, and the connections that an attacker completes, talk at random in between.

    Where their times are taken for one, words wait for what is left of a step.
    """

    async def play(scene):
        rng = random.Random(handshakes)
        talk = Conversation(scene)
        for number in range(8):
            scene.host.links[b"mob%05d" % number] = Peer("mob", CRUMB, scene.host)
        await talk.go_on(55, lambda: None)
        talk.waits.clear()
        talk.spoken = 0

        def attack():
            if rng.random() < 0.05:
                scene.send(b"mob%05d" % rng.randrange(8))
            missing = handshakes - len(scene.reception._door)
            for _ in range(min(missing, 4)):
                scene.outside.send(long_header(rng.randbytes(8), INITIAL, 1200))

        await talk.go_on(30, attack)
        assert scene.host.done.count("stranger") > 30
        assert max(talk.waits) < 3 * CRUMB

    run(play)
