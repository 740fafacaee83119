import asyncio

import pytest
from tests.aio import run, settle
from tests.unit.model.samples import Wake, publish

from moqvox.errors import LocalError, Unauthorized
from moqvox.model import broadcast, cache
from moqvox.model.origin import Announced, Limits, Origin, Unannounced


def made() -> broadcast.Consumer:
    return broadcast.Producer().consume()


def test_what_is_published_is_got_and_watched():
    origin = Origin(id=1)
    watch = origin.watch()
    assert origin.get("room/alice") is None
    assert watch.poll() == []
    alice = made()
    route = origin.publish("/room//alice/", alice, hops=(7, 8), cost=3)
    assert route.path == "room/alice"
    assert origin.get("room/alice") is alice
    assert origin.get("/room/alice/") is alice
    assert watch.poll() == [Announced("room/alice", (7, 8), 3)]
    route.close()
    route.close()
    assert origin.get("room/alice") is None
    assert watch.poll() == [Unannounced("room/alice")]


def test_the_first_poll_tells_what_is_there():
    origin = Origin(id=1)
    for name in ("a", "b", "c"):
        origin.publish(name, made())
    assert [change.path for change in origin.watch().poll()] == ["a", "b", "c"]


def test_prefixes_match_whole_segments():
    origin = Origin(id=1)
    for name in ("foo", "foo/bar", "foobar", "f"):
        origin.publish(name, made())
    watch = origin.watch("foo")
    assert {change.path for change in watch.poll()} == {"foo", "foo/bar"}
    origin.publish("foo/deep/er", made())
    origin.publish("foobar/x", made())
    assert [change.path for change in watch.poll()] == ["foo/deep/er"]


def test_the_best_route_has_fewest_cost_then_fewest_hops_then_is_newest():
    origin = Origin(id=1)
    ways = {}
    for name, hops, cost in (
        ("costly", (), 9),
        ("long", (2, 3), 0),
        ("short", (4,), 0),
        ("newest", (5,), 0),
    ):
        ways[name] = made()
        origin.publish("x", ways[name], hops=hops, cost=cost)
        assert origin.get("x") is ways[name]
    origin.publish("x", made(), hops=(6, 7), cost=0)
    assert origin.get("x") is ways["newest"]


def test_when_the_best_route_goes_the_next_is_announced():
    origin = Origin(id=1)
    first, second = broadcast.Producer(), broadcast.Producer()
    origin.publish("x", first.consume(), hops=(2,))
    origin.publish("x", second.consume(), hops=(3,))
    watch = origin.watch()
    assert watch.poll() == [Announced("x", (3,), 0)]
    second.close()
    assert watch.poll() == [Unannounced("x"), Announced("x", (2,), 0)]
    first.close()
    assert watch.poll() == [Unannounced("x")]


def test_failover_to_a_route_with_the_same_facts_is_announced_too():
    origin = Origin(id=1)
    first, second = broadcast.Producer(), broadcast.Producer()
    for one in (first, second):
        origin.publish("x", one.consume())
    watch = origin.watch()
    watch.poll()
    second.close()
    assert watch.poll() == [Unannounced("x"), Announced("x", (), 0)]


def test_a_worse_route_that_comes_or_goes_is_no_news():
    origin = Origin(id=1)
    origin.publish("x", made())
    watch = origin.watch()
    watch.poll()
    worse = origin.publish("x", made(), cost=5)
    worse.close()
    assert watch.poll() == []


def test_an_update_of_a_route_is_announced_when_it_matters():
    origin = Origin(id=1)
    best = origin.publish("x", made(), hops=(2,), cost=1)
    other = made()
    origin.publish("x", other, hops=(3,), cost=2)
    watch = origin.watch()
    watch.poll()
    watch.wake = wake = Wake()
    best.update(hops=(2,), cost=1)
    assert wake.calls == 0
    best.update(hops=(2, 4), cost=1)
    assert watch.poll() == [Announced("x", (2, 4), 1)]
    best.update(hops=(2,), cost=9)
    assert watch.poll() == [Announced("x", (3,), 2)]
    assert origin.get("x") is other
    best.close()
    best.update(hops=(), cost=0)
    assert origin.get("x") is other


def test_a_way_that_leaves_is_used_only_where_there_is_no_other():
    origin = Origin(id=1)
    near, far = made(), made()
    best = origin.publish("x", near, hops=(2,), cost=1)
    other = origin.publish("x", far, hops=(3, 4), cost=9)
    watch = origin.watch()
    watch.poll()
    best.leave()
    assert watch.poll() == [Announced("x", (3, 4), 9)]
    assert origin.get("x") is far
    other.close()
    assert watch.poll() == [Unannounced("x"), Announced("x", (2,), 1)]
    assert origin.get("x") is near


def test_changes_nobody_takes_are_kept_once_per_path():
    origin = Origin(id=1)
    watch = origin.watch()
    watch.wake = wake = Wake()
    for _ in range(1000):
        origin.publish("x", made()).close()
    kept = origin.publish("y", made())
    for cost in range(1000):
        kept.update(hops=(), cost=cost)
    assert wake.calls == 1
    assert len(watch._stale) == 2
    assert watch.poll() == [Announced("y", (), 999)]


def test_a_watch_can_leave_out_routes_through_a_hop():
    origin = Origin(id=1)
    origin.publish("x", made(), hops=(5,))
    origin.publish("y", made(), hops=(6, 5))
    detour = origin.publish("x", made(), hops=(7, 8), cost=4)
    watch = origin.watch(exclude_hop=5)
    assert watch.poll() == [Announced("x", (7, 8), 4)]
    detour.close()
    assert watch.poll() == [Unannounced("x")]


def test_a_loop_is_refused():
    origin = Origin(id=42)
    with pytest.raises(LocalError, match="origin"):
        origin.publish("x", made(), hops=(1, 42, 3))
    route = origin.publish("x", made(), hops=(1,))
    with pytest.raises(LocalError, match="origin"):
        route.update(hops=(42,), cost=0)
    assert origin.watch().poll() == [Announced("x", (1,), 0)]


def test_announcements_die_out_in_a_ring_of_relays():
    ring = [Origin() for _ in range(4)]
    watches = [origin.watch() for origin in ring]
    source = made()
    ring[0].publish("x", source)
    told = 0
    while True:
        moved = False
        for at, watch in enumerate(watches):
            for change in watch.poll():
                moved = True
                told += 1
                following = ring[(at + 1) % 4]
                hops = (*change.hops, ring[at].id)
                if following.id not in hops:
                    following.publish(change.path, source, hops=hops)
        if not moved:
            break
    assert told == 4
    assert [len(origin.watch().poll()[0].hops) for origin in ring] == [0, 1, 2, 3]


def test_hops_and_broadcasts_are_bounded():
    origin = Origin(id=1, limits=Limits(max_broadcasts=2, max_hops=3))
    with pytest.raises(LocalError, match="4 hops"):
        origin.publish("x", made(), hops=(2, 3, 4, 5))
    kept = [origin.publish("x", made()) for _ in range(2)]
    with pytest.raises(LocalError, match="more than 2"):
        origin.publish("y", made())
    kept[0].close()
    origin.publish("y", made())


def test_closed_broadcasts_and_bad_paths_are_the_callers_bug():
    origin = Origin(id=1)
    producer = broadcast.Producer()
    producer.close()
    with pytest.raises(LocalError, match="closed"):
        origin.publish("x", producer.consume())
    with pytest.raises(LocalError, match="control"):
        origin.publish("a\x1bb", made())


def test_a_broadcast_that_closes_leaves_all_its_paths():
    origin = Origin(id=1)
    producer = broadcast.Producer()
    for path in ("a", "b"):
        origin.publish(path, producer.consume())
    producer.close()
    assert origin.watch().poll() == []
    assert origin._count == 0


def test_a_route_that_was_closed_does_not_hold_its_broadcast():
    origin = Origin(id=1)
    producer = broadcast.Producer()
    for _ in range(100):
        origin.publish("x", producer.consume()).close()
    assert not producer._closing


def test_ids_fit_the_numbers_of_old_javascript_peers():
    ids = {Origin().id for _ in range(100)}
    assert len(ids) == 100
    assert all(0 < one < 2**53 for one in ids)


def test_a_closed_watch_hears_nothing_and_holds_nothing():
    origin = Origin(id=1)
    watch = origin.watch("a")
    watch.wake = wake = Wake()
    origin.publish("a/b", made())
    assert wake.calls == 1
    watch.close()
    watch.close()
    origin.publish("a", made())
    assert wake.calls == 1
    assert watch.poll() == []
    assert not origin._watches


def test_waiting_ends_with_the_announcement():
    async def main():
        origin = Origin(id=1)
        loop = asyncio.get_running_loop()
        alice = made()
        loop.call_later(1, origin.publish, "room/alice/child", made())
        loop.call_later(2, origin.publish, "room/alice", alice)
        assert await origin.wait("room/alice") is alice
        assert loop.time() == 2
        assert not origin._watches

    run(main())


def test_iteration_tells_changes_until_the_watch_is_closed():
    async def main():
        origin = Origin(id=1)
        watch = origin.watch()
        told = []

        async def follow():
            async for change in watch:
                told.append(change)  # noqa: PERF401 -- as users write it

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(follow())
            await settle()
            route = origin.publish("x", made())
            await settle()
            route.close()
            await settle()
            watch.close()
        assert told == [Announced("x", (), 0), Unannounced("x")]

    run(main())


def test_broadcasts_of_an_origin_can_share_its_budget():
    async def main():
        origin = Origin(limits=Limits(max_bytes=20_000))
        producers = [broadcast.Producer(budget=origin.budget) for _ in range(3)]
        for producer in producers:
            track = producer.create_track("audio")
            for _ in range(20):
                publish(track, "x" * 500)
        assert origin.budget.size_bytes <= 20_000

    run(main())


def test_a_view_translates_paths_at_its_root():
    origin = Origin(id=1)
    view = origin.view("room/a")
    watch = view.watch()
    alice = made()
    view.publish("alice", alice)
    origin.publish("room/b/bob", made())
    whole = view.publish("", made())
    assert origin.get("room/a/alice") is alice
    assert view.get("alice") is alice
    assert view.get("../b/bob") is None
    assert watch.poll() == [Announced("alice", (), 0), Announced("", (), 0)]
    whole.close()
    assert watch.poll() == [Unannounced("")]
    assert [change.path for change in view.watch("alice").poll()] == ["alice"]


def test_a_view_shows_and_takes_only_what_is_allowed():
    origin = Origin(id=1)
    view = origin.view("app", subscribe=["rooms/1", "public"], publish=["rooms/1/me"])
    for path in ("app/rooms/1/you", "app/rooms/2/you", "app/public", "app/publicity", "public"):
        origin.publish(path, made())
    assert view.get("rooms/1/you") is not None
    assert view.get("rooms/2/you") is None
    assert view.get("publicity") is None
    assert {c.path for c in view.watch().poll()} == {"rooms/1/you", "public"}
    assert {c.path for c in view.watch("rooms").poll()} == {"rooms/1/you"}
    assert view.watch("rooms/2").poll() == []
    view.publish("rooms/1/me/audio", made())
    for path in ("rooms/1/you", "", "rooms/1/mean", "other"):
        with pytest.raises(Unauthorized, match="not allowed"):
            view.publish(path, made())


def test_a_watch_above_what_is_allowed_follows_changes_there_only():
    origin = Origin(id=1)
    watch = origin.view(subscribe=["a/x", "a/y", "a/x/deeper"]).watch("a")
    watch.wake = wake = Wake()
    origin.publish("a/z", made())
    assert wake.calls == 0
    origin.publish("a/x/deeper/still", made())
    assert watch.poll() == [Announced("a/x/deeper/still", (), 0)]
    watch.close()
    assert not origin._watches


@pytest.mark.parametrize("nothing", [(), None])
def test_a_view_may_allow_nothing(nothing):
    origin = Origin(id=1)
    view = origin.view(subscribe=nothing, publish=nothing)
    origin.publish("a", made())
    assert view.get("a") is None
    assert view.watch().poll() == []
    with pytest.raises(Unauthorized):
        view.publish("a", made())


def test_waiting_for_what_may_not_be_seen_is_refused_instead_of_endless():
    async def main():
        origin = Origin(id=1)
        view = origin.view("app", subscribe=["a"])
        with pytest.raises(Unauthorized, match="subscribe"):
            await view.wait("b")
        alice = made()
        asyncio.get_running_loop().call_later(1, origin.publish, "app/a/alice", alice)
        assert await view.wait("a/alice") is alice

    run(main())


def test_a_default_budget_of_a_broadcast_is_its_own():
    async def main():
        assert cache.Budget().max_bytes > 0
        first, second = broadcast.Producer(), broadcast.Producer()
        publish(first.create_track("a"), "x")
        assert first._budget is not second._budget
        assert second._budget.size_bytes == 0

    run(main())
