"""What copies win on the way to a browser: `python -m bench.downlink [--json FILE]`.

A server of ours speaks to a page in headless Chromium by WebTransport, twice at the same time:
with copies, and without. Each session has a seeded link in user space, which treats the n-th
datagram of both alike. A frame of 80 bytes leaves every 20 ms on one stream, with the time in
it; the page notes how late it reads the frame, beyond the link's own delay, so in order. The
percentile is by nearest rank. Bytes are the server's, with the headers of UDP and IP.
"""

import argparse
import asyncio
import datetime
import json
import math
import platform
import statistics
import struct
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import aioquic
from tests.browser.chromium import Page, chromium
from tests.browser.site import site

from moqvox.transport.aioquic import Limits, listen
from moqvox.transport.credentials import ServerCertificate
from moqvox.transport.interface import Listener
from moqvox_certs import Certificate, generate
from moqvox_client.fate import Burst, Impairment
from moqvox_client.link import Link, Settings

PROTOCOL: Final = "bench"
INTERVAL: Final = 0.02
FRAME: Final = struct.Struct(">Id68x")
"""Number, and when it was spoken: milliseconds since 1970. 80 bytes."""

HEADER_BYTES: Final = 28
DELAY_MS: Final = 50.0
BURST: Final = Burst(1500, 100, 80)
PROFILES: Final[dict[str, Impairment]] = {
    "clean, RTT 100": Impairment(delay_ms=DELAY_MS),
    "5 %, RTT 100": Impairment(delay_ms=DELAY_MS, loss=5),
    "10 %, RTT 100": Impairment(delay_ms=DELAY_MS, loss=10),
    "bursts, RTT 100": Impairment(delay_ms=DELAY_MS, burst=BURST),
}
FLOWS: Final = {"copies": Limits(), "no copies": Limits(redundancy=0.0)}

HEAR: Final = """
    const hash = Uint8Array.from(HASH.match(/../g), (pair) => parseInt(pair, 16));
    const hear = async (url) => {
      const session = new WebTransport(url, {
        protocols: [PROTOCOL],
        serverCertificateHashes: [{ algorithm: "sha-256", value: hash }],
      });
      await session.ready;
      const streams = session.incomingUnidirectionalStreams.getReader();
      const reader = (await streams.read()).value.getReader();
      const late = [];
      let rest = new Uint8Array(0);
      while (late.length < FRAMES) {
        const { value, done } = await reader.read();
        if (done) throw new Error(`the stream ended after ${late.length} frames`);
        const now = performance.timeOrigin + performance.now();
        const data = new Uint8Array(rest.length + value.length);
        data.set(rest);
        data.set(value, rest.length);
        const view = new DataView(data.buffer);
        let at = 0;
        for (; at + SIZE <= data.length; at += SIZE) {
          const number = view.getUint32(at);
          if (number !== late.length) throw new Error(`frame ${number} is out of its place`);
          late.push(now - view.getFloat64(at + 4));
        }
        rest = data.slice(at);
      }
      session.close();
      return late;
    };
    return await Promise.all(URLS.map(hear));
"""


async def speak(listener: Listener, frames: int, heard: asyncio.Event) -> dict[str, float]:
    """Speak to the first who calls; returns what was sent when all was heard."""
    connection = await listener.accept()
    stream = connection.open_stream(bidirectional=False)
    start = time.monotonic()
    for n in range(frames):
        await asyncio.sleep(max(0.0, start + n * INTERVAL - time.monotonic()))
        connection.write(stream, FRAME.pack(n, time.time() * 1000))  # noqa: TID251  # as the page's clock
    # Not until the page has left: a browser says so once, and that may be lost.
    await heard.wait()
    stats = connection.stats()
    size = stats.sent_bytes + HEADER_BYTES * stats.sent_packets
    return {"bytes": size, "copied": stats.copied_bytes, "lost_packets": stats.lost_packets}


async def run(
    page: Page, impairment: Impairment, seed: int, made: Certificate, frames: int
) -> list[dict[str, float]]:
    """Run one profile with one seed; returns a row for each flow."""
    certificate = ServerCertificate(made.cert_pem, made.key_pem)
    async with AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
        urls, speaking, all_heard = [], [], asyncio.Event()
        for limits in FLOWS.values():
            listener = await listen(
                "127.0.0.1", 0, protocols=[PROTOCOL], certificate=certificate, limits=limits
            )
            stack.push_async_callback(listener.close)
            link = Link(listener.addresses[0][:2], Settings.both(impairment), seed=seed)
            await stack.enter_async_context(link)
            urls.append(f"https://127.0.0.1:{link.address[1]}/")
            speaking.append(tasks.create_task(speak(listener, frames, all_heard)))
        names = {"HASH": made.fingerprint_hex, "PROTOCOL": PROTOCOL, "FRAMES": frames}
        names |= {"SIZE": FRAME.size, "URLS": urls}
        known = "".join(f"const {name} = {json.dumps(value)};\n" for name, value in names.items())
        heard: list[list[float]] = await page.run(known + HEAR)  # type: ignore[assignment]  # JSON
        all_heard.set()
        rows = [await task for task in speaking]
    return [
        row | lateness([late - DELAY_MS for late in flow])
        for row, flow in zip(rows, heard, strict=True)
    ]


def lateness(late: Sequence[float]) -> dict[str, float]:
    """Sum up how late the frames of a flow were, in milliseconds."""
    ranked = sorted(late)
    ranks = {f"p{part}_ms": ranked[math.ceil(len(late) * part / 100) - 1] for part in (50, 99)}
    return {**ranks, "max_ms": ranked[-1]}


def show(name: str, runs: list[list[dict[str, float]]]) -> None:
    """Print a profile's rows."""
    for number, flow in enumerate(FLOWS):
        p99 = [row[number]["p99_ms"] for row in runs]
        ratio = statistics.median(row[number]["bytes"] / row[-1]["bytes"] for row in runs)
        sys.stdout.write(
            f"{name:16} {flow:10} p50 {statistics.median(r[number]['p50_ms'] for r in runs):4.1f},"
            f" p99 {statistics.median(p99):6.1f} [{min(p99):.0f}-{max(p99):.0f}] ms,"
            f" {statistics.median(row[number]['bytes'] for row in runs) / 1000:6.1f} kB"
            f" ({ratio:.2f}x)\n"
        )
    sys.stdout.flush()


async def compare(args: argparse.Namespace) -> dict[str, object]:
    """Run all profiles with all seeds, and print the results; returns them."""
    made = generate(["localhost"], datetime.datetime.now(datetime.UTC))
    results: dict[str, list[list[dict[str, float]]]] = {}
    async with site({}) as pages, chromium() as page:
        await page.open(pages.url + "blank")
        for name, impairment in PROFILES.items():
            if args.profile and args.profile not in name:
                continue
            seeds = range(args.first_seed, args.first_seed + args.seeds)
            results[name] = [await run(page, impairment, seed, made, args.frames) for seed in seeds]
            show(name, results[name])
        browser = await page.run("navigator.userAgent")
    return {
        "browser": browser,
        "python": platform.python_version(),
        "aioquic": aioquic.__version__,
        "flows": list(FLOWS),
        "frames": args.frames,
        "runs": results,
    }


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--frames", type=int, default=400)
    parser.add_argument("--profile", metavar="TEXT", help="only profiles with this in their name")
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args()
    document = asyncio.run(compare(args))
    if args.json:
        Path(args.json).write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
