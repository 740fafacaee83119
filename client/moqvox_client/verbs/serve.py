"""`moqvox serve`: run an agent, on a port of its own or behind a relay."""

import asyncio
import datetime
import importlib
import inspect
import logging
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Final

from moqvox import voice
from moqvox.collector import spare
from moqvox.driver.scope import scope
from moqvox.errors import LocalError
from moqvox.listen import Keys
from moqvox.transport.websocket import facts
from moqvox_certs import Certificate, pin_obstacles
from moqvox_client import trust
from moqvox_client.errors import UsageError
from moqvox_client.flags import DEFAULT_BIND, Also, Bind, TlsCert, TlsGenerate, TlsKey, WebSocket
from moqvox_client.kinds import Duration, Url
from moqvox_client.options import Flag
from moqvox_client.output import Output
from moqvox_client.reach import Reaching, verify
from moqvox_client.site import Site, page_url

__all__ = ["EXAMPLES", "Agent", "Options", "prepare", "run", "take_calls"]

log = logging.getLogger("moqvox.client")

EXAMPLES: Final = """
moqvox serve --tls-generate localhost                       # the demo's agent on :4443
moqvox serve --agent mybot:agent --tls-cert cert.pem --tls-key key.pem
moqvox serve --agent mybot:agent --url https://relay.example/room --token "$TOKEN"
"""

DEMO_AGENT: Final = "moqvox_client.speech.agent:agent"

PATIENCE: Final = 600.0
"""Seconds that what agents and calls leave in cycles may be kept, if there is always a call."""

CALL: Final = "call-"
"""What the names of tasks begin with in which an agent has a call."""

Agent = Callable[[voice.Session], Awaitable[None]]


class Options(Reaching, frozen=True, kw_only=True):
    """Which agent, and where its callers come from."""

    agent: Annotated[
        str,
        Flag(
            "coroutine that takes a session; warm_up() of its module is awaited first",
            metavar="MODULE:FUNCTION",
        ),
    ] = DEMO_AGENT
    url: Annotated[Url | None, Flag("meet callers through this relay, instead of listening")] = None
    also: Also = ()
    bind: Bind = DEFAULT_BIND
    tls_cert: TlsCert = None
    tls_key: TlsKey = None
    tls_generate: TlsGenerate = ()
    websocket: WebSocket = True
    page: Annotated[bool, Flag("serve the page to talk from, over TCP on the same port")] = True
    barge_in: Annotated[bool, Flag("cut a response short when the caller speaks again")] = True
    max_lead: Annotated[Duration, Flag("how far a response may be ahead of what was heard")] = 20.0
    grace: Annotated[Duration, Flag("how long a call is kept whose connection is gone")] = 60.0
    drain: Annotated[Duration, Flag("how long callers may take to leave on shutdown")] = 0.0
    secret_file: Annotated[
        Path | None, Flag("hex digits kept from run to run: callers then notice a restart at once")
    ] = None
    journal: Annotated[
        Path | None,
        Flag("write calls down here, so that a server killed in mid-answer goes on", metavar="DIR"),
    ] = None


async def run(options: Options, output: Output) -> int:
    """Take calls until told to stop."""
    agent = find_agent(options.agent)
    await prepare(agent)
    calls = [0]
    try:
        async with spare(_is_idle, patience=PATIENCE):
            if options.url is not None:
                await _attend(options.url, options, agent, output, calls)
            else:
                await _listen(options, agent, output, calls)
    except asyncio.CancelledError:
        output.done(calls=calls[0])
        raise
    return 0


async def _attend(
    url: str, options: Options, agent: Agent, output: Output, calls: list[int]
) -> None:
    """Take calls behind a relay, until it is gone."""
    async with voice.attend(
        [url, *options.also],
        verify=verify(options),
        token=options.token or "",
        versions=options.versions,
        barge_in=options.barge_in,
        max_lead=options.max_lead,
        timeout=options.timeout,
        websocket=options.websocket,
        grace=options.grace,
        journal=_journal(options),
    ) as desk:
        output.event("ready", url=url)
        output.text(f"agent behind {url}")
        await take_calls(desk, agent, output, calls)
        if desk.ended is not None:
            raise desk.ended


async def _listen(options: Options, agent: Agent, output: Output, calls: list[int]) -> None:
    """Take calls on a port of our own."""
    now = datetime.datetime.now(datetime.UTC)
    generate = options.tls_generate
    if generate and "localhost" in generate:
        generate = tuple(dict.fromkeys((*generate, "127.0.0.1", "::1")))
    identity, found = trust.identity(options.tls_cert, options.tls_key, generate, now=now)
    site = Site(fingerprint=_pin(found)) if options.page and options.websocket else None
    async with voice.serve(
        str(options.bind),
        tls=identity,
        versions=options.versions,
        barge_in=options.barge_in,
        max_lead=options.max_lead,
        websocket=options.websocket,
        http=facts(lambda: found.fingerprint_hex, site),
        grace=options.grace,
        journal=_journal(options),
        drain=options.drain,
        keys=None if options.secret_file is None else Keys.read(options.secret_file),
    ) as desk:
        host, port = desk.addresses[0]
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        pin = found.fingerprint_hex
        page = None
        if site is not None and desk.tcp:
            site.addresses = desk.addresses
            page = page_url(desk.addresses, trusted=not site.fingerprint)
        output.event("ready", address=address, port=port, tcp=desk.tcp, fingerprint=pin, page=page)
        carriers = "UDP and TCP" if desk.tcp else "UDP"
        output.text(f"agent on {address} ({carriers}), certificate sha256 {pin}")
        if page is not None:
            output.text(f"talk to it at {page}")
        await take_calls(desk, agent, output, calls)


def _journal(options: Options) -> voice.Journal | None:
    """Open the journal.

    Raises:
        UsageError: it can't be used.
    """
    if options.journal is None:
        return None
    journal = voice.Journal(options.journal, voice.Bounds(max_age=options.grace))
    try:
        journal.open()
    except LocalError as exc:
        raise UsageError(f"--{exc}") from exc
    return journal


def _pin(certificate: Certificate) -> str:
    """Choose whether browsers pin the certificate: they take no long-lived one by its hash."""
    return "" if pin_obstacles(certificate) else certificate.fingerprint_hex


def find_agent(name: str) -> Agent:
    """Import `module:function`; modules of the working directory are found too.

    Raises:
        UsageError: malformed, not to be imported, or no coroutine function.
    """
    module_name, colon, function_name = name.partition(":")
    if not colon or not module_name or not function_name:
        raise UsageError(f"--agent {name!r} is not MODULE:FUNCTION")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except Exception as exc:  # the user's module may fail in any way
        raise UsageError(f"--agent {name}: {type(exc).__name__}: {exc}") from exc
    found = getattr(module, function_name, None)
    if not inspect.iscoroutinefunction(found):
        raise UsageError(f"--agent {name}: {function_name} is no coroutine function there")
    agent: Agent = found
    return agent


async def prepare(agent: Agent) -> None:
    """Await `warm_up()` of the agent's module, if it has one, before the first call."""
    warm_up = getattr(sys.modules.get(agent.__module__), "warm_up", None)
    if inspect.iscoroutinefunction(warm_up):
        await warm_up()


def _is_idle() -> bool:
    """Whether no call is going on."""
    return not any(task.get_name().startswith(CALL) for task in asyncio.all_tasks())


async def take_calls(desk: voice.Desk, agent: Agent, output: Output, calls: list[int]) -> None:
    """Run the agent once for each call; one that fails ends its own call only."""
    async with scope() as tasks:
        async for session in desk:
            calls[0] += 1
            tasks.create_task(_take_call(session, agent, output), name=f"{CALL}{session.id}")


async def _take_call(session: voice.Session, agent: Agent, output: Output) -> None:
    started = asyncio.get_running_loop().time()
    output.event("call", id=session.id, remote=session.remote_address)
    output.note(f"call {session.id} from {session.remote_address}")
    try:
        await agent(session)
    except Exception as exc:  # the user's code; its failure is shown, not ours
        log.exception("the agent failed in call %s", session.id)
        output.event("agent_failed", id=session.id, error=str(exc))
        session.interrupt()
    finally:
        session.hang_up()
        lasted = asyncio.get_running_loop().time() - started
        output.event("hung_up", id=session.id, seconds=round(lasted, 3))
