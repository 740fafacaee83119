"""Firefox, driven by WebDriver BiDi, which it speaks itself: no driver in between."""

import asyncio
import base64
import itertools
import json
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.browser.sound import Sound, process, sound
from tests.browser.tab import Tab, keep
from websockets.asyncio.client import ClientConnection, connect

NAMES = ("firefox-esr", "firefox")

PREFERENCES: Mapping[str, object] = {
    "app.normandy.enabled": False,
    "app.update.enabled": False,
    "browser.aboutwelcome.enabled": False,
    "browser.shell.checkDefaultBrowser": False,
    "browser.startup.homepage_override.mstone": "ignore",
    "datareporting.policy.dataSubmissionEnabled": False,
    "media.autoplay.default": 0,
    "media.autoplay.blocking_policy": 0,
    "media.navigator.permission.disabled": True,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "remote.active-protocols": 1,
    "services.settings.server": "data:,",
    "toolkit.telemetry.reportingpolicy.firstRun": False,
}
"""Nobody to ask, nothing to fetch."""

KEYS = {" ": " ", "Enter": "\ue006", "Escape": "\ue00c", "Tab": "\ue004"}


def executable() -> str:
    for name in NAMES:
        found = shutil.which(name)
        if found:
            return found
    pytest.skip("Firefox is not installed (Debian package `firefox-esr`): it was not tried")


class FirefoxTab(Tab):
    """One tab."""

    def __init__(self, socket: ClientConnection) -> None:
        super().__init__()
        self._socket = socket
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future] = {}
        self.context = ""
        self.version = ""

    async def read(self) -> None:
        async for text in self._socket:
            message = json.loads(text)
            if message.get("id") is not None:
                self._waiting.pop(message["id"]).set_result(message)
            elif message.get("method") == "log.entryAdded":
                entry = message["params"]
                kind = "uncaught" if entry["type"] == "javascript" else entry["level"]
                self.console.append(f"{kind}: {entry['text']}")

    async def do(self, method: str, **params: object) -> dict:
        number = next(self._numbers)
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        await self._socket.send(json.dumps({"id": number, "method": method, "params": params}))
        message = await answer
        if message["type"] == "error":
            raise AssertionError(f"{method}: {message['message']}")
        return message["result"]

    async def begin(self) -> None:
        session = await self.do("session.new", capabilities={})
        self.version = session["capabilities"]["browserVersion"]
        await self.do("session.subscribe", events=["log.entryAdded"])
        self.context = (await self.do("browsingContext.getTree"))["contexts"][0]["context"]

    async def open(self, url: str) -> None:
        await self.do("browsingContext.navigate", context=self.context, url=url, wait="complete")

    async def run(self, script: str) -> object:
        # JSON on the way out: the protocol's own notation of objects is a long one.
        body = script if "return" in script else f"return ({script});"
        result = await self.do(
            "script.callFunction",
            functionDeclaration=f"async () => JSON.stringify(await (async () => {{ {body} }})())",
            awaitPromise=True,
            target={"context": self.context},
            userActivation=True,
        )
        if result["type"] == "exception":
            said = result["exceptionDetails"]["text"]
            raise AssertionError(f"{said}\nconsole: {self.console[-20:]}")
        value = result["result"].get("value")
        return None if value is None else json.loads(value)

    async def press(self, key: str, *, down: bool = True, up: bool = True) -> None:
        kinds = [kind for kind, wanted in (("keyDown", down), ("keyUp", up)) if wanted]
        await self.do(
            "input.performActions",
            context=self.context,
            actions=[
                {
                    "type": "key",
                    "id": "keyboard",
                    "actions": [{"type": kind, "value": KEYS[key]} for kind in kinds],
                }
            ],
        )

    async def resize(self, width: int, height: int) -> None:
        viewport = {"width": width, "height": height}
        await self.do("browsingContext.setViewport", context=self.context, viewport=viewport)

    async def screenshot(self, path: Path) -> None:
        shot = await self.do("browsingContext.captureScreenshot", context=self.context)
        keep(path, base64.b64decode(shot["data"]))


@asynccontextmanager
async def firefox() -> AsyncIterator[tuple[FirefoxTab, Sound]]:
    """A headless Firefox with one empty tab, a profile of its own, and a sound card."""
    program = executable()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        lines = [f"user_pref({json.dumps(k)}, {json.dumps(v)});\n" for k, v in PREFERENCES.items()]
        (Path(profile) / "user.js").write_text("".join(lines))
        async with (
            sound(Path(profile)) as card,
            process(
                *(program, "--headless", "--no-remote", "--remote-debugging-port=0"),
                *("--profile", profile, "about:blank"),
                env={**os.environ, **card.environment, "HOME": profile},
            ),
        ):
            address = await _debugger(Path(profile))
            async with connect(address, max_size=None) as socket, asyncio.TaskGroup() as tasks:
                tab = FirefoxTab(socket)
                reading = tasks.create_task(tab.read())
                await tab.begin()
                try:
                    yield tab, card
                finally:
                    reading.cancel()


async def _debugger(profile: Path) -> str:
    """Where WebDriver BiDi is spoken."""
    file = profile / "WebDriverBiDiServer.json"
    async with asyncio.timeout(40):
        while not (file.exists() and file.read_text().endswith("}")):  # noqa: ASYNC110 - a file
            await asyncio.sleep(0.05)
    where = json.loads(file.read_text())
    return f"ws://{where['ws_host']}:{where['ws_port']}/session"
