"""One publisher to N subscribers through a relay: `python -m bench.fanout --help`.

The same publisher and subscribers (moq-rs clients, bench/moqrs) load every server in turn.
The server has one core, the load another.
"""

import asyncio
import sys
from typing import Final

from interop.program import number
from interop.stage import Stage

from bench.plan import Plan, Sample, Setting, parse
from bench.processes import Cores, Running, real, start_load, usage
from bench.report import run
from bench.sweep import observe
from bench.systems import Work

BROADCAST: Final = "bench"


async def measure(
    stage: Stage, server: Running, setting: Setting, plan: Plan, cores: Cores
) -> Sample:
    """Bring in the crowd, let the publisher write, and count."""
    empty = usage(server.pid)
    where = [f"moqt://{server.address}", BROADCAST, "--frame-ms", str(setting.frame_ms)]
    where += ["--group-per-frame"] if setting.group_per_frame else []
    crowd = await start_load(stage, "subscribers", [*where, "-n", str(setting.count)], cores)
    await crowd.program.event("connected")
    publisher = await start_load(stage, "publisher", where, cores)
    await crowd.program.event("subscribed")
    await asyncio.sleep(plan.settle_s)
    window = await observe(server, [crowd, publisher], plan.window_s)
    full = usage(server.pid)
    await publisher.program.say(window.order)
    written = await publisher.program.event("report")
    await crowd.program.say(window.order)
    got = await crowd.program.event("report")
    deliveries = number(got, "deliveries")
    return Sample(
        setting,
        window_s=window.seconds,
        deliveries=deliveries,
        lost=setting.count * number(written, "frames") - deliveries,
        server_cpu_s=window.server_cpu_s,
        server_share=window.server_cpu_s / window.seconds,
        load_share=window.load_cpu_s / window.seconds,
        p50_ms=real(got, "p50_ms"),
        p99_ms=real(got, "p99_ms"),
        max_ms=real(got, "max_ms"),
        timed=number(got, "timed"),
        late_p99_ms=real(written, "late_p99_ms"),
        rss_bytes=full.rss_bytes,
        rss_per_session_bytes=(full.rss_bytes - empty.rss_bytes) // (setting.count + 1),
    )


def main() -> int:
    """Measure, print the table, write the JSON."""
    plan = parse(
        None,
        summary="one publisher to N subscribers through a relay",
        counts=(10, 50, 100, 150, 200, 300),
        quick_counts=(10, 40),
        limit_ms=100.0,
        groups=True,
    )
    return run("fanout", plan, Work.RELAY, measure, lambda _outcome: [])


if __name__ == "__main__":
    sys.exit(main())
