"""A crowd that is over is taken apart a few at a time, on a clock that only work moves."""

from moqvox.transport.aioquic.departures import PIECE_SECONDS, REST, Departures

COST = PIECE_SECONDS / 3


class Loop:
    """Calls later what it is told to, when the test says so."""

    def __init__(self):
        self.now, self.calls, self.closed = 100.0, [], False

    def time(self):
        return self.now

    def call_soon(self, call):
        self.calls.append((self.now, call))

    def call_later(self, delay, call):
        self.calls.append((self.now + delay, call))

    def is_closed(self):
        return self.closed

    def turn(self):
        when, call = self.calls.pop(0)
        self.now = max(self.now, when)
        call()


class Over:
    """A link that is over, and takes time to be taken apart."""

    def __init__(self, loop):
        self.loop, self.times = loop, 0

    def let_go(self):
        self.loop.now += COST
        self.times += 1


def never(_now):
    """Have nothing more urgent to do."""
    return False


def test_nothing_is_taken_apart_while_there_is_more_urgent_work():
    loop = Loop()
    link = Over(loop)
    urgent_until = loop.now + 0.02
    Departures(loop, lambda now: now < urgent_until).add(link)
    while loop.calls:
        loop.turn()
        assert link.times == (loop.now >= urgent_until)
    assert link.times == 1


def test_nothing_is_taken_apart_while_it_is_told_to_be():
    loop = Loop()
    link = Over(loop)
    Departures(loop, never).add(link)
    assert link.times == 0
    loop.turn()
    assert link.times == 1
    assert not loop.calls


def test_a_crowd_takes_a_fifth_of_the_time_in_short_pieces():
    loop = Loop()
    departures, crowd = Departures(loop, never), [Over(loop) for _ in range(300)]
    for link in crowd:
        departures.add(link)
    began, longest = loop.now, 0.0
    while loop.calls:
        loop.now = max(loop.now, loop.calls[0][0])
        before = loop.now
        loop.turn()
        longest = max(longest, loop.now - before)
    assert len(departures) == 0
    assert [link.times for link in crowd] == [1] * 300
    assert longest <= PIECE_SECONDS + COST
    assert loop.now - began >= 0.95 * (1 + REST) * 300 * COST


def test_when_the_loop_is_closed_nothing_is_kept():
    loop = Loop()
    loop.closed = True
    departures = Departures(loop, never)
    departures.add(Over(loop))
    assert len(departures) == 0
    assert not loop.calls
