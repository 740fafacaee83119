"""What copies win on a lossy path: `python -m bench.redundancy [--netlab FILE] [--json FILE]`.

Eight seconds of speech, a frame of 80 bytes every 20 ms on one stream, from three senders at
the same time: ours to our server, ours to a plain aioquic server, and plain aioquic to plain
aioquic. A frame counts when it and all before it are there; its lateness is beyond the path's
own delay, the percentile is by nearest rank. Bytes are the sender's, with the headers of UDP and
IP. `--netlab FILE` runs all three over one emulated link of that netlab.py (root); otherwise each
has a seeded link in user space, which treats the n-th datagram of each alike.
"""

import argparse
import asyncio
import contextlib
import datetime
import importlib.util
import json
import math
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Final

import aioquic
from aioquic.asyncio import QuicConnectionProtocol, serve
from aioquic.asyncio import connect as connect_plain
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import QuicEvent, StreamDataReceived

from moqvox.transport.aioquic import connect, listen
from moqvox.transport.credentials import ServerCertificate, Verify
from moqvox.transport.interface import Closed, Connection, StreamData
from moqvox_certs import generate
from moqvox_client.fate import Burst, Impairment
from moqvox_client.link import Link, Settings

ALPN: Final = "bench"
FRAME_BYTES: Final = 80
INTERVAL: Final = 0.02
HEADER_BYTES: Final = 28
TAIL: Final = 2.5
"""Seconds after the last frame in which all arrives."""

FLOWS: Final = ("ours", "ours to plain", "plain")
OURS_PORT, PLAIN_PORT = 4601, 4602
PROFILES: Final[dict[str, dict[str, float | str]]] = {
    "clean, RTT 100": {"rtt": 100},
    "5 %, RTT 100": {"rtt": 100, "loss": 5},
    "10 %, RTT 100": {"rtt": 100, "loss": 10},
    "bursts, RTT 50": {"rtt": 50, "burst": "1500,100,0.8"},
    "bursts, RTT 100": {"rtt": 100, "burst": "1500,100,0.8"},
}


class Ear:
    """Notes when each frame of each flow, and all before it, arrived."""

    def __init__(self) -> None:
        self.heard: dict[int, list[int]] = {}
        self._data: dict[tuple[int, int], bytearray] = {}

    def take(self, who: int, stream: int, data: bytes) -> None:
        """Take bytes in order; the first four name the flow."""
        have = self._data.setdefault((who, stream), bytearray())
        have += data
        if len(have) < 4:
            return
        times = self.heard.setdefault(int.from_bytes(have[:4], "big"), [])
        while len(times) < (len(have) - 4) // FRAME_BYTES:
            times.append(time.monotonic_ns())


class PlainEar(QuicConnectionProtocol):
    """A plain aioquic server's side."""

    ear: Ear

    def quic_event_received(self, event: QuicEvent) -> None:
        """Note what came."""
        if isinstance(event, StreamDataReceived):
            self.ear.take(id(self), event.stream_id, event.data)


async def hear(args: argparse.Namespace, ear: Ear, certificate: ServerCertificate) -> None:
    """Serve until SIGTERM."""
    PlainEar.ear = ear
    plain = QuicConfiguration(is_client=False, alpn_protocols=[ALPN])
    plain.load_cert_chain(args.cert, args.key)
    await serve(args.host, PLAIN_PORT, configuration=plain, create_protocol=PlainEar)
    listener = await listen(args.host, OURS_PORT, protocols=[ALPN], certificate=certificate)
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)

    async def follow(connection: Connection) -> None:
        while True:
            for event in await connection.events():
                if isinstance(event, StreamData):
                    ear.take(id(connection), event.stream, event.data)
                elif isinstance(event, Closed):
                    return

    async with asyncio.TaskGroup() as tasks:

        async def accept() -> None:
            while True:
                tasks.create_task(follow(await listener.accept()))

        accepting = tasks.create_task(accept())
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await stopped.wait()
        accepting.cancel()
        await listener.close()


async def speak(args: argparse.Namespace) -> dict[int, dict[str, object]]:
    """Speak on all three flows at once; returns when and how much was sent."""
    said: dict[int, dict[str, object]] = {}
    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        for number, port in enumerate(json.loads(args.ports)):
            one = speak_plain if number == 2 else speak_ours
            tasks.create_task(one(args, number, port, said))
    return said


def pace(number: int, frames: int) -> list[int]:
    """Prepare the times to speak at; the flows take turns, lest they wait for one another."""
    step = round(INTERVAL * 1e9)
    start = (time.monotonic_ns() // step + 1) * step + number * step // len(FLOWS)
    return [start + round(n * INTERVAL * 1e9) for n in range(frames)]


async def speak_ours(
    args: argparse.Namespace, number: int, port: int, said: dict[int, dict[str, object]]
) -> None:
    """Speak with our transport."""
    verify = Verify.authority(args.root_pem)
    connection = await connect(
        args.host,
        port,
        protocols=[ALPN],
        webtransport=False,
        verify=verify,
        server_name="localhost",
    )
    stream = connection.open_stream(bidirectional=False)
    connection.write(stream, number.to_bytes(4, "big"))
    times = pace(number, args.frames)
    for n, due in enumerate(times):
        await asyncio.sleep(max(0.0, (due - time.monotonic_ns()) / 1e9))
        times[n] = time.monotonic_ns()
        connection.write(stream, n.to_bytes(4, "big") * (FRAME_BYTES // 4))
    await asyncio.sleep(TAIL)
    stats = connection.stats()
    size = stats.sent_bytes + HEADER_BYTES * stats.sent_packets
    said[number] = {"at": times, "bytes": size, "copied": stats.copied_bytes}
    connection.close()
    await connection.wait_closed()


class Counted(QuicConnectionProtocol):
    """A plain client that counts what it sends."""

    size = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Get between aioquic and its transport."""
        super().connection_made(transport)
        sending = transport.sendto  # type: ignore[attr-defined]  # a datagram transport

        def sendto(data: bytes, address: object) -> None:
            self.size += len(data) + HEADER_BYTES
            sending(data, address)

        transport.sendto = sendto  # type: ignore[attr-defined]  # as above


async def speak_plain(
    args: argparse.Namespace, number: int, port: int, said: dict[int, dict[str, object]]
) -> None:
    """Speak as a program on `aioquic.asyncio` does."""
    configuration = QuicConfiguration(
        is_client=True, alpn_protocols=[ALPN], server_name="localhost", cadata=args.root_pem
    )
    async with connect_plain(
        args.host, port, configuration=configuration, create_protocol=Counted
    ) as protocol:
        quic = protocol._quic  # noqa: SLF001  # the way to send without StreamWriter
        stream = quic.get_next_available_stream_id(is_unidirectional=True)
        quic.send_stream_data(stream, number.to_bytes(4, "big"))
        protocol.transmit()
        times = pace(number, args.frames)
        for n, due in enumerate(times):
            await asyncio.sleep(max(0.0, (due - time.monotonic_ns()) / 1e9))
            times[n] = time.monotonic_ns()
            quic.send_stream_data(stream, n.to_bytes(4, "big") * (FRAME_BYTES // 4))
            protocol.transmit()
        await asyncio.sleep(TAIL)
        said[number] = {"at": times, "bytes": protocol.size}  # type: ignore[attr-defined]  # ours


def run_netlab(
    lab: ModuleType, settings: dict[str, float | str], seed: int, folder: Path, frames: int
) -> None:
    """Run one profile with one seed in network namespaces."""
    with (
        lab.Lab(seed=seed, **settings) as net,
        open_server(lambda argv: net.popen("server", argv, stdout=subprocess.PIPE), folder),
    ):
        ports = [OURS_PORT, PLAIN_PORT, PLAIN_PORT]
        client = net.popen("client", speaker(lab.SERVER_IP, ports, folder, frames))
        if client.wait(90):
            raise SystemExit("a speaker failed")


async def run_userspace(
    settings: dict[str, float | str], seed: int, folder: Path, frames: int
) -> None:
    """Run one profile with one seed on loopback."""
    burst = None
    if "burst" in settings:
        good, bad, share = (float(part) for part in str(settings["burst"]).split(","))
        burst = Burst(good, bad, 100 * share)
    both = Settings.both(
        Impairment(
            loss=float(settings.get("loss", 0)), burst=burst, delay_ms=float(settings["rtt"]) / 2
        )
    )
    targets = [OURS_PORT, PLAIN_PORT, PLAIN_PORT]
    with open_server(lambda argv: subprocess.Popen(argv, stdout=subprocess.PIPE), folder):
        async with contextlib.AsyncExitStack() as stack:
            links = [
                await stack.enter_async_context(Link(("127.0.0.1", port), both, seed=seed))
                for port in targets
            ]
            ports = [link.address[1] for link in links]
            argv = speaker("127.0.0.1", ports, folder, frames)
            client = await asyncio.create_subprocess_exec(*argv)
            if await client.wait():
                raise SystemExit("a speaker failed")


@contextlib.contextmanager
def open_server(
    start: Callable[[list[str]], subprocess.Popen[bytes]], folder: Path
) -> Iterator[None]:
    """Serve, and let the server write down what it heard."""
    argv = [sys.executable, "-m", "bench.redundancy", "hear", "--out", str(folder / "heard")]
    argv += ["--cert", str(folder / "cert.pem"), "--key", str(folder / "key.pem")]
    server = start([*argv, "--host", "0.0.0.0"])  # every address of the namespace
    try:
        if server.stdout is None or server.stdout.readline() != b"ready\n":
            raise SystemExit("the server failed")
        yield
    finally:
        server.terminate()
        server.wait(10)


def speaker(host: str, ports: Sequence[int], folder: Path, frames: int) -> list[str]:
    """Write the command line of a speaker."""
    argv = [sys.executable, "-m", "bench.redundancy", "speak", "--host", host]
    argv += ["--ports", json.dumps(list(ports)), "--out", str(folder / "said")]
    return [*argv, "--root", str(folder / "ca.pem"), "--frames", str(frames)]


def read(folder: Path, delay: float) -> list[dict[str, float]]:
    """Compare what was said with what was heard, for each flow."""
    said = json.loads((folder / "said").read_text())
    heard = json.loads((folder / "heard").read_text())
    rows = []
    for number in range(len(FLOWS)):
        at, there = said[str(number)]["at"], heard.get(str(number), [])
        late = [(b - a) / 1e6 - delay for a, b in zip(at, there, strict=False)]
        late += [math.inf] * (len(at) - len(late))
        rows.append(
            {
                "p50_ms": sorted(late)[math.ceil(len(late) * 0.5) - 1],
                "p99_ms": sorted(late)[math.ceil(len(late) * 0.99) - 1],
                "max_ms": max(late),
                "missing": len(at) - len(there),
                "bytes": said[str(number)]["bytes"],
            }
        )
    return rows


def show(name: str, runs: list[list[dict[str, float]]]) -> None:
    """Print a profile's rows."""
    for number, flow in enumerate(FLOWS):
        p99 = [run[number]["p99_ms"] for run in runs]
        ratio = statistics.median(run[number]["bytes"] / run[2]["bytes"] for run in runs)
        part = statistics.median(run[number]["p99_ms"] / run[2]["p99_ms"] for run in runs)
        sys.stdout.write(
            f"{name:16} {flow:14} p99 {statistics.median(p99):6.0f}"
            f" [{min(p99):.0f}-{max(p99):.0f}] ms, {part:.2f}x of plain,"
            f" {statistics.median(run[number]['bytes'] for run in runs) / 1000:6.1f} kB"
            f" ({ratio:.2f}x), missing {sum(run[number]['missing'] for run in runs):.0f}\n"
        )
    sys.stdout.flush()


def load(file: str) -> ModuleType:
    """Import a netlab.py from where it is."""
    spec = importlib.util.spec_from_file_location("netlab", file)
    if spec is None or spec.loader is None:
        raise SystemExit(f"cannot import {file}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def compare(args: argparse.Namespace) -> None:
    """Run all profiles with all seeds, and print and write the results."""
    lab = load(args.netlab) if args.netlab else None
    made = generate(["localhost"], datetime.datetime.now(datetime.UTC))
    results: dict[str, list[list[dict[str, float]]]] = {}
    for name, settings in PROFILES.items():
        if args.profile and args.profile not in name:
            continue
        results[name] = []
        for seed in range(args.first_seed, args.first_seed + args.seeds):
            with tempfile.TemporaryDirectory() as made_folder:
                folder = Path(made_folder)
                (folder / "cert.pem").write_bytes(made.cert_pem)
                (folder / "key.pem").write_bytes(made.key_pem)
                (folder / "ca.pem").write_bytes(made.ca_pem)
                if lab is not None:
                    run_netlab(lab, settings, seed, folder, args.frames)
                else:
                    asyncio.run(run_userspace(settings, seed, folder, args.frames))
                results[name].append(read(folder, float(settings["rtt"]) / 2))
        show(name, results[name])
    if args.json:
        document = {
            "link": "netlab" if lab else "user space",
            "python": platform.python_version(),
            "aioquic": aioquic.__version__,
            "flows": FLOWS,
            "frames": args.frames,
            "profiles": PROFILES,
            "runs": results,
        }
        Path(args.json).write_text(json.dumps(document, indent=1) + "\n")


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("what", nargs="?", default="compare", choices=("compare", "hear", "speak"))
    parser.add_argument("--netlab", default=os.environ.get("MOQVOX_NETLAB"), metavar="FILE")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--frames", type=int, default=400)
    parser.add_argument("--profile", metavar="TEXT", help="only profiles with this in their name")
    parser.add_argument("--json", metavar="FILE")
    for inner in ("--host", "--ports", "--cert", "--key", "--root", "--out"):
        parser.add_argument(inner, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.what == "compare":
        compare(args)
    elif args.what == "hear":
        ear = Ear()
        cert, key = Path(args.cert).read_bytes(), Path(args.key).read_bytes()
        asyncio.run(hear(args, ear, ServerCertificate(cert, key)))
        Path(args.out).write_text(json.dumps(ear.heard))
    else:
        args.root_pem = Path(args.root).read_bytes()
        Path(args.out).write_text(json.dumps(asyncio.run(speak(args))))


if __name__ == "__main__":
    main()
