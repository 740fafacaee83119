"""How long a pause is whose speaker does nothing about it: `python -m bench.outages --netlab FILE`.

A network is dead for a while in mid-speech, and comes back as it was, or behind a NAT that knows
nothing any more (another port and address). Three clients speak at the same time, a frame of 80
bytes every 20 ms: ours that stays on its socket whatever happens (`roams=False`), ours as it is,
which hears of nothing either but leaves a path that is silent for long, and plain aioquic.
The figure is the longest pause between two frames in order at the server, less the time without
a network and half a round trip; the bound is 40 ms. Needs root, and a netlab.py. Seeds shift the
moment, by 3 ms each.
"""

import argparse
import asyncio
import concurrent.futures
import datetime
import itertools
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import ModuleType
from typing import Final

from bench.redundancy import (
    ALPN,
    FRAME_BYTES,
    INTERVAL,
    OURS_PORT,
    PLAIN_PORT,
    TAIL,
    load,
    open_server,
    pace,
    speak_plain,
)
from moqvox.transport.aioquic import connect
from moqvox.transport.credentials import Verify
from moqvox_certs import generate

FLOWS: Final = ("ours, roams=False", "ours", "plain aioquic")
BOUND_MS: Final = 40.0
AT: Final = 1.5
"""Seconds into the speech."""

SHIFT: Final = 0.003
AFTER: Final = 1.5
NEW_ADDRESS: Final = "10.77.1.99"


async def speak(args: argparse.Namespace) -> dict[int, dict[str, object]]:
    """Speak on all three flows at once; returns when each frame was."""
    said: dict[int, dict[str, object]] = {}
    sys.stdout.write("speaking\n")
    sys.stdout.flush()
    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        for number, roams in enumerate((False, True)):
            tasks.create_task(speak_ours(args, number, said, roams=roams))
        tasks.create_task(speak_plain(args, 2, PLAIN_PORT, said))
    return said


async def speak_ours(
    args: argparse.Namespace, number: int, said: dict[int, dict[str, object]], *, roams: bool
) -> None:
    """Speak with our transport, and do nothing else."""
    connection = await connect(
        args.host,
        OURS_PORT,
        protocols=[ALPN],
        webtransport=False,
        verify=Verify.authority(args.root_pem),
        server_name="localhost",
        roams=roams,
    )
    stream = connection.open_stream(bidirectional=False)
    connection.write(stream, number.to_bytes(4, "big"))
    times = pace(number, args.frames)
    for n, due in enumerate(times):
        await asyncio.sleep(max(0.0, (due - time.monotonic_ns()) / 1e9))
        connection.write(stream, n.to_bytes(4, "big") * (FRAME_BYTES // 4))
    await asyncio.sleep(TAIL)
    said[number] = {"at": times}
    connection.close()
    await connection.wait_closed()


def run(
    lab: ModuleType, args: argparse.Namespace, cell: tuple[str, int, float], seed: int
) -> list[float]:
    """Run one cell with one seed; each flow's pause beyond what must be, ms."""
    kind, rtt, dead = cell
    at = AT + seed * SHIFT
    events = [(at, f"outage={1000 * dead:g}")]
    if kind == "nat":
        events.append((at + dead, f"nat={NEW_ADDRESS}"))
    frames = round((at + dead + AFTER) / INTERVAL)
    with tempfile.TemporaryDirectory() as made_folder:
        folder = Path(made_folder)
        made = generate(["localhost"], datetime.datetime.now(datetime.UTC))
        (folder / "cert.pem").write_bytes(made.cert_pem)
        (folder / "key.pem").write_bytes(made.key_pem)
        (folder / "ca.pem").write_bytes(made.ca_pem)
        argv = [sys.executable, "-m", "bench.outages", "speak", "--host", lab.SERVER_IP]
        argv += ["--root", str(folder / "ca.pem"), "--out", str(folder / "said")]
        argv += ["--frames", str(frames)]
        with (
            lab.Lab(seed=seed, rtt=rtt, events=events) as net,
            open_server(lambda a: net.popen("server", a, stdout=subprocess.PIPE), folder),
        ):
            client = net.popen("client", argv, stdout=subprocess.PIPE)
            client.stdout.readline()
            net.t0()
            if client.wait(90):
                raise SystemExit("a speaker failed")
        heard = json.loads((folder / "heard").read_text())
    return [over(heard.get(str(n), []), frames, rtt, dead) for n in range(len(FLOWS))]


def over(heard: list[int], frames: int, rtt: float, dead: float) -> float:
    """Return the longest pause beyond the dead time and half a round trip, ms; inf: not all."""
    if len(heard) < frames:
        return math.inf
    longest = max(b - a for a, b in itertools.pairwise(heard)) / 1e6
    return longest - 1000 * dead - rtt / 2


def compare(args: argparse.Namespace) -> None:
    """Run all cells with all seeds, and print and write the results."""
    lab = load(args.netlab)
    results = {}
    cells = itertools.product(args.kinds.split(","), (50, 100), map(float, args.gaps.split(",")))
    seeds = range(1, args.seeds + 1)
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        for cell in cells:
            rows = list(pool.map(lambda seed, cell=cell: run(lab, args, cell, seed), seeds))
            results["{}, RTT {}, {:g} s".format(*cell)] = rows
            for number, flow in enumerate(FLOWS):
                pauses = [row[number] for row in rows]
                kept = sum(pause <= BOUND_MS for pause in pauses)
                sys.stdout.write(
                    "{:7} RTT {:3} ms, {:3g} s dead: ".format(*cell)
                    + f"{flow:18} {statistics.median(pauses):6.0f} "
                    f"[{min(pauses):.0f} to {max(pauses):.0f}] ms, {kept} of {len(rows)} kept\n"
                )
            sys.stdout.flush()
    if args.json:
        document = {"flows": FLOWS, "bound_ms": BOUND_MS, "runs": results}
        Path(args.json).write_text(json.dumps(document, indent=1) + "\n")


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("what", nargs="?", default="compare", choices=("compare", "speak"))
    parser.add_argument("--netlab", default=os.environ.get("MOQVOX_NETLAB"), metavar="FILE")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=5, help="seeds run at a time")
    parser.add_argument("--gaps", default="0.5,2,5", metavar="S,S...", help="seconds of nothing")
    parser.add_argument("--kinds", default="outage,nat", metavar="outage,nat")
    parser.add_argument("--json", metavar="FILE")
    for inner in ("--host", "--root", "--out"):
        parser.add_argument(inner, help=argparse.SUPPRESS)
    parser.add_argument("--frames", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.what == "speak":
        args.root_pem = Path(args.root).read_bytes()
        Path(args.out).write_text(json.dumps(asyncio.run(speak(args))))
    elif args.netlab:
        compare(args)
    else:
        parser.error("--netlab FILE is needed: a link that can be dead for TCP and UDP alike")


if __name__ == "__main__":
    main()
