"""N one-to-one voice sessions with an echo agent: `python -m bench.sessions --help`.

Each caller speaks frames all the time and hears each of them back: one frame up and one down
is one delivery here. No codec runs anywhere. The same callers (moq-rs clients, bench/moqrs)
call every agent in turn.
"""

import asyncio
import sys

from interop.program import number
from interop.stage import Stage

from bench.plan import Plan, Sample, Setting, parse
from bench.processes import Cores, Running, real, start_load, usage
from bench.report import Row, rows, run
from bench.sweep import Outcome, observe
from bench.systems import Work


async def measure(
    stage: Stage, server: Running, setting: Setting, plan: Plan, cores: Cores
) -> Sample:
    """Make the calls, let them talk, and count what came back."""
    empty = usage(server.pid)
    where = [f"moqt://{server.address}", "--frame-ms", str(setting.frame_ms)]
    where += ["-n", str(setting.count), "--seed", str(plan.seed + setting.repeat)]
    callers = await start_load(stage, "callers", where, cores)
    await callers.program.event("subscribed")
    await asyncio.sleep(plan.settle_s)
    window = await observe(server, [callers], plan.window_s)
    full = usage(server.pid)
    await callers.program.say(window.order)
    got = await callers.program.event("report")
    return Sample(
        setting,
        window_s=window.seconds,
        deliveries=number(got, "deliveries"),
        lost=number(got, "frames") - number(got, "deliveries"),
        server_cpu_s=window.server_cpu_s,
        server_share=window.server_cpu_s / window.seconds,
        load_share=window.load_cpu_s / window.seconds,
        p50_ms=real(got, "p50_ms"),
        p99_ms=real(got, "p99_ms"),
        max_ms=real(got, "max_ms"),
        timed=number(got, "timed"),
        late_p99_ms=real(got, "late_p99_ms"),
        rss_bytes=full.rss_bytes,
        rss_per_session_bytes=(full.rss_bytes - empty.rss_bytes) // setting.count,
    )


def capacities(outcome: Outcome, plan: Plan) -> list[str]:
    """Say how many sessions each system carried on its core, and would by CPU time alone."""
    words: list[str] = []
    table = rows(outcome.samples)
    for frame_ms in plan.frames_ms:
        for system in plan.systems:
            own = [row for row in table if (row.system, row.frame_ms) == (system, frame_ms)]
            if own:
                words.append(f"{system}, {frame_ms} ms: {_capacity(own, plan.limit_ms)}")
    return words


def _capacity(own: list[Row], limit_ms: float) -> str:
    good = [row.count for row in own if row.is_good(limit_ms)]
    tried = [row.count for row in own]
    by_cpu = max(
        (row.count / row.server_share.median * 100 for row in own if row.server_share), default=0
    )
    cpu = f"CPU time for {by_cpu:.0f}"
    if not good:
        return f"fewer than {min(tried)} sessions on one core in time; {cpu}"
    more = " (no more were tried)" if max(good) == max(tried) else ""
    return f"{max(good)} sessions on one core{more}; {cpu}"


def main() -> int:
    """Measure, print the tables and capacities, write the JSON."""
    plan = parse(
        None,
        summary="N one-to-one voice sessions with an echo agent",
        counts=(20, 40, 60, 80, 100, 120, 150, 200, 250, 300),
        quick_counts=(10, 30),
        limit_ms=50.0,
    )
    return run("sessions", plan, Work.ECHO, measure, lambda outcome: capacities(outcome, plan))


if __name__ == "__main__":
    sys.exit(main())
