"""The reference: a small moq-lite-06 server as a newcomer writes it on `aioquic.asyncio`.

`python -m bench.naive relay|echo --bind HOST:PORT --tls-cert CERT --tls-key KEY`. Straightforward
code on aioquic's own server, one handler of events, bytes of a group forwarded as they come.
There is nothing here for safety: no bounds, no back-pressure, no priorities, no errors.
`relay` gives everyone what anyone publishes; `echo` gives a caller its own `ID/caller` as
`ID/agent`.
"""

import argparse
import asyncio
import contextlib
import json
import signal

from aioquic.asyncio import QuicConnectionProtocol, serve
from aioquic.buffer import Buffer, BufferReadError
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, HandshakeCompleted, StreamDataReceived

ANNOUNCE, SUBSCRIBE, PROBE, TRACK = 1, 2, 4, 6
GROUP = 0
INFO = b"\x7f\x80\x01\xd4\xc0\x80\x0f\x42\x40"
"""TRACK_INFO: priority 127, 120 s, microseconds."""


def varint(*values):
    buf = Buffer(capacity=8 * len(values))
    for value in values:
        buf.push_uint_var(value)
    return buf.data


def string(text):
    return varint(len(text)) + text.encode()


def message(body):
    return varint(len(body)) + body


def pull_string(buf):
    return buf.pull_bytes(buf.pull_uint_var()).decode()


class Group:
    """A group on its way through: what came so far, and the streams that it goes to."""

    def __init__(self, sequence):
        self.sequence = sequence
        self.data = b""
        self.ended = False
        self.targets = []


class Track:
    """One publisher's track, its groups, its subscribers."""

    def __init__(self):
        self.groups = []
        self.subscribers = []

    def finish(self):
        after = self.groups[-1].sequence + 1 if self.groups else 0
        for peer, _, stream in self.subscribers:
            peer.send(stream, varint(1) + message(varint(after)), end=True)


class Hub:
    """What all connections share."""

    def __init__(self, *, echo):
        self.echo = echo
        self.broadcasts = {}
        self.watchers = []

    def announce(self, path, peer, hops):
        if path in self.broadcasts:
            return  # a subscriber that passes it on
        self.broadcasts[path] = (peer, hops)
        for watcher, stream in self.watchers:
            watcher.send_announcement(stream, path, peer, hops)


class Peer(QuicConnectionProtocol):
    """One connection."""

    hub = None

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.buffers = {}
        self.groups = {}
        self.tracks = {}
        self.subscribed = {}
        self.asked = {}
        self.watch = None
        self.peer_hop = 0
        self.set_up = False

    def quic_event_received(self, event):
        if isinstance(event, HandshakeCompleted):
            setup = self._quic.get_next_available_stream_id(is_unidirectional=True)
            self.send(setup, varint(1) + message(varint(0)), end=True)
            self.watch = self._quic.get_next_available_stream_id()
            self.send(self.watch, varint(ANNOUNCE) + message(string("")))
        elif isinstance(event, StreamDataReceived):
            self.received(event.stream_id, event.data, event.end_stream)
        elif isinstance(event, ConnectionTerminated):
            self.gone()

    def send(self, stream, data, end=False):
        self._quic.send_stream_data(stream, data, end)
        self.transmit()

    def received(self, stream, data, end):
        if stream in self.groups:
            self.forward(self.groups[stream], data, end)
            return
        if self.buffers.get(stream) is None and stream in self.buffers:
            return  # a stream that was dealt with
        data = self.buffers.get(stream, b"") + data
        self.buffers[stream] = data
        with contextlib.suppress(BufferReadError):  # the rest comes later
            self.parse(stream, data, end)

    def parse(self, stream, data, end):
        buf = Buffer(data=data)
        if stream == self.watch:
            self.parse_announcements(buf, data)
        elif stream & 2:
            if buf.pull_uint_var() == GROUP:
                self.parse_group(stream, buf, data, end)
        elif stream & 1:
            if end:
                self.asked[stream].finish()
        else:
            self.parse_request(stream, buf)

    def parse_announcements(self, buf, data):
        while not buf.eof():
            start = buf.tell()
            try:
                kind = buf.pull_uint_var() if self.set_up else None
                body = Buffer(data=buf.pull_bytes(buf.pull_uint_var()))
            except BufferReadError:
                self.buffers[self.watch] = data[start:]
                return
            if kind is None:
                self.set_up = True
                self.peer_hop = body.pull_uint_var()
            elif kind == 0:
                path = pull_string(body)
                hops = [body.pull_uint_var() for _ in range(body.pull_uint_var())]
                self.announced(path, [*hops, self.peer_hop])
        self.buffers[self.watch] = b""

    def announced(self, path, hops):
        if not self.hub.echo:
            self.hub.announce(path, self, hops)
        elif path.endswith("/caller"):
            self.tracks[path.removesuffix("caller") + "agent"] = path
            for watcher, stream in self.hub.watchers:
                if watcher is self:
                    self.send_announcement(stream, path.removesuffix("caller") + "agent", None, [7])

    def send_announcement(self, stream, path, peer, hops):
        if peer is not self:
            body = string(path) + varint(len(hops), *hops) + varint(1, 1)
            self.send(stream, varint(0) + message(body))

    def parse_request(self, stream, buf):
        kind = buf.pull_uint_var()
        if kind == PROBE:
            self.buffers[stream] = None
            return
        body = Buffer(data=buf.pull_bytes(buf.pull_uint_var()))
        self.buffers[stream] = None
        if kind == ANNOUNCE:
            present = self.hub.broadcasts.items()
            others = [(path, peer, hops) for path, (peer, hops) in present if peer is not self]
            others += [(path, None, [7]) for path in self.tracks]
            self.send(stream, message(varint(9, len(others))))
            for path, peer, hops in others:
                self.send_announcement(stream, path, peer, hops)
            self.hub.watchers.append((self, stream))
        elif kind == TRACK:
            self.send(stream, message(INFO), end=True)
        elif kind == SUBSCRIBE:
            number, path, name = body.pull_uint_var(), pull_string(body), pull_string(body)
            self.subscribe(stream, number, path, name)

    def subscribe(self, stream, number, path, name):
        if self.hub.echo:
            source, path = self, self.tracks[path]
        else:
            source = self.hub.broadcasts[path][0]
        track = source.track(path, name)
        track.subscribers.append((self, number, stream))
        first = track.groups[-1].sequence if track.groups else 0
        self.send(stream, varint(0) + message(varint(first)))
        for group in track.groups[-1:]:
            if not group.ended:
                self.open_group(group, number)

    def track(self, path, name):
        """Return a track of this publisher's; subscribe to it if nobody has."""
        for track_path, track_name, track in self.subscribed.values():
            if (track_path, track_name) == (path, name):
                return track
        number = len(self.subscribed)
        track = Track()
        self.subscribed[number] = (path, name, track)
        stream = self._quic.get_next_available_stream_id()
        body = varint(number) + string(path) + string(name) + b"\x80" + varint(120_000, 0, 0, 0, 0)
        self.asked[stream] = track
        self.send(stream, varint(SUBSCRIBE) + message(body))
        return track

    def parse_group(self, stream, buf, data, end):
        body = Buffer(data=buf.pull_bytes(buf.pull_uint_var()))
        track = self.subscribed[body.pull_uint_var()][2]
        group = Group(body.pull_uint_var())
        self.groups[stream] = group
        track.groups = [*track.groups[-1:], group]
        self.buffers[stream] = None
        for peer, number, _ in track.subscribers:
            peer.open_group(group, number)
        self.forward(group, data[buf.tell() :], end)

    def open_group(self, group, number):
        stream = self._quic.get_next_available_stream_id(is_unidirectional=True)
        header = varint(GROUP) + message(varint(number, group.sequence, 0))
        group.targets.append((self, stream))
        self.send(stream, header + group.data)

    def forward(self, group, data, end):
        group.data += data
        group.ended = end
        for peer, stream in group.targets:
            peer.send(stream, data, end)

    def gone(self):
        self.hub.watchers = [watcher for watcher in self.hub.watchers if watcher[0] is not self]
        for publisher, _ in self.hub.broadcasts.values():
            for track in publisher.asked.values():
                track.subscribers = [s for s in track.subscribers if s[0] is not self]
                for group in track.groups:
                    group.targets = [target for target in group.targets if target[0] is not self]


async def run(args):
    Peer.hub = Hub(echo=args.what == "echo")
    configuration = QuicConfiguration(is_client=False, alpn_protocols=["moq-lite-06"])
    configuration.load_cert_chain(args.tls_cert, args.tls_key)
    host, _, port = args.bind.rpartition(":")
    server = await serve(host, int(port), configuration=configuration, create_protocol=Peer)
    address = server._transport.get_extra_info("sockname")  # noqa: SLF001  # no public way
    print(json.dumps({"event": "ready", "address": f"{address[0]}:{address[1]}"}), flush=True)
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    await stopped.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("relay", "echo"))
    parser.add_argument("--bind", default="127.0.0.1:0")
    parser.add_argument("--tls-cert", required=True)
    parser.add_argument("--tls-key", required=True)
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
