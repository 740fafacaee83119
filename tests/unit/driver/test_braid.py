"""One track filled from two ways: every frame once, whoever brings it."""

import random

import pytest
from tests.aio import run
from tests.unit.driver.sides import ALL, read_track

from moqvox.driver.braid import Braid
from moqvox.frame import Frame
from moqvox.model import broadcast


def track_of():
    return broadcast.Producer().create_track("audio")


@pytest.mark.parametrize("seed", range(20))
def test_frames_of_two_ways_in_any_interleaving_come_once_and_in_order(seed):
    async def main():
        dice = random.Random(seed)
        producer = track_of()
        reader = producer.consume(ALL)
        group = producer.create_group(3)
        before = dice.randrange(5)
        for number in range(before):
            group.write(Frame(b"%d" % number))
        braid = Braid(producer, [group])
        ways = [(braid.strand(3, before), before), (braid.strand(3, 0), 0)]
        places = [at for _, at in ways]
        while min(places) < 10:
            way = dice.choice([way for way in (0, 1) if places[way] < 10])
            ways[way][0].write(Frame(b"%d" % places[way]))
            places[way] += 1
        for strand, _ in ways:
            strand.finish()
        braid.finish(4)
        got = await read_track(reader)
        return braid.start, got.payloads

    assert run(main()) == (3, [b"%d" % number for number in range(10)])


def test_way_that_ends_behind_the_other_does_not_cut_the_group():
    async def main():
        producer = track_of()
        reader = producer.consume(ALL)
        braid = Braid(producer, [])
        ahead, behind = braid.strand(0, 0), braid.strand(0, 1)
        behind.finish()
        ahead.write(Frame(b"a"))
        ahead.write(Frame(b"b"))
        ahead.finish()
        behind.write(Frame(b"b"))
        braid.finish(1)
        return (await read_track(reader)).payloads

    assert run(main()) == [b"a", b"b"]


def test_groups_from_before_what_was_missing_are_not_made_anew():
    async def main():
        producer = track_of()
        for number in (5, 7):
            producer.create_group(number).finish()
        reader = producer.consume(ALL)
        braid = Braid(producer, [], [(6, 6)])
        for number in range(4, 9):
            strand = braid.strand(number, 0)
            strand.write(Frame(b"%d" % number))
            strand.finish()
        braid.finish(9)
        return braid.start, sorted((await read_track(reader)).payloads)

    assert run(main()) == (6, [b"6", b"8"])
