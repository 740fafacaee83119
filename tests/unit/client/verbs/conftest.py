import asyncio
import contextlib
import datetime
import functools
import io
import json
import sys
import threading
import types

import pytest

from moqvox_certs import generate
from moqvox_client.__main__ import main
from moqvox_relay.config import Config
from moqvox_relay.relay import Relay


@functools.cache
def certificate(directory):
    made = generate(["localhost", "127.0.0.1"], datetime.datetime.now(datetime.UTC))
    (directory / "cert.pem").write_bytes(made.cert_pem)
    (directory / "key.pem").write_bytes(made.key_pem)
    return made


class Backstage:
    """A loop in another thread, for what a command talks to."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def call(self, work, patience=10):
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(patience)

    def start(self, work):
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    def close(self):
        async def end():
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.wait(others, timeout=5) if others else None
            await self.loop.shutdown_asyncgens()

        self.call(end())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(5)
        self.loop.close()


@pytest.fixture
def backstage():
    made = Backstage()
    yield made
    made.close()


class RunningRelay:
    """A relay of the test's own, and how to reach it."""

    def __init__(self, relay):
        self.relay = relay
        self.port = relay.where.addresses[0][1]

    @property
    def trust(self):
        return ("--tls-fingerprint", self.relay.where.fingerprint)

    def url(self, path="", scheme="moqt"):
        return f"{scheme}://127.0.0.1:{self.port}/{path}"

    async def end_sessions(self, code, reason):
        """Close every session a moment after the first was opened."""
        while not self.relay._peers:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        for task in asyncio.all_tasks():
            if task.get_coro().__qualname__ == "Driver._run":
                task.get_coro().cr_frame.f_locals["self"].close(code, reason)


@pytest.fixture
def relay(backstage, tmp_path_factory):
    directory = tmp_path_factory.getbasetemp()
    certificate(directory)

    async def start():
        made = Relay(
            Config(
                bind="127.0.0.1:0",
                tls_cert=directory / "cert.pem",
                tls_key=directory / "key.pem",
                public=("",),
                http=False,
            )
        )
        backstage.start(made.run())
        await made.started.wait()
        return made

    return RunningRelay(backstage.call(start()))


class Said:
    """What one command said."""

    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    @property
    def lines(self):
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def done(self):
        assert self.lines[-1]["event"] == "done"
        return self.lines[-1]


@pytest.fixture
def command(capfd):
    """Run a command line as a user would; there is never a traceback."""

    def command(*words):
        code = main([str(word) for word in words])
        said = Said(code, *capfd.readouterr())
        assert "Traceback" not in said.err
        return said

    return command


@pytest.fixture
def aside(backstage):
    """Run a command in the backstage loop, beside the one that is tested."""
    from moqvox_client.arguments import read_arguments
    from moqvox_client.config import resolve
    from moqvox_client.output import Output
    from moqvox_client.verbs import VERBS, load_verb

    def aside(name, *words):
        verb = load_verb(name)
        arguments = read_arguments(name, verb.options, [str(w) for w in (*words, "--json")])
        resolved = resolve(name, verb.options, arguments.values, {}, verbs=VERBS, others=list)
        out = io.StringIO()
        output = Output(json=True, stdout=out, stderr=io.StringIO())
        running = backstage.start(verb.run(resolved.options, output))
        running.said = lambda: [json.loads(line) for line in out.getvalue().splitlines()]
        return running

    return aside


class FakeDevice:
    """A sound card that keeps what it is given, or gives what it was told to."""

    def __init__(self, module, **_options):
        self.written = module.written
        self.write_available = 4800

    def start(self):
        return self

    def write(self, data):
        self.written.append(bytes(data))

    def stop(self):
        return None

    close = stop


@pytest.fixture
def sound(monkeypatch):
    """Stand in for the package of the `mic` extra."""
    module = types.ModuleType("sounddevice")
    module.written = []
    module.PortAudioError = type("PortAudioError", (Exception,), {})
    module.RawOutputStream = functools.partial(FakeDevice, module)
    monkeypatch.setitem(sys.modules, "sounddevice", module)
    return module


@pytest.fixture
def stdin(monkeypatch):
    """Give the command something to read."""

    @contextlib.contextmanager
    def stdin(data):
        fake = types.SimpleNamespace(buffer=io.BytesIO(data), isatty=lambda: False)
        with monkeypatch.context() as patched:
            patched.setattr(sys, "stdin", fake)
            yield

    return stdin
