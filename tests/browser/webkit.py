"""WebKitGTK's MiniBrowser, by its own WebDriver: the engine nearest to Safari outside Apple's."""

import asyncio
import base64
import json
import os
import shutil
import socket
import tempfile
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.browser.firefox import KEYS
from tests.browser.sound import Sound, process, sound
from tests.browser.tab import Tab, keep

BROWSERS = sorted(Path("/usr/lib").glob("*/webkit2gtk-4.*/MiniBrowser"))

ALONE = {
    "LIBGL_ALWAYS_SOFTWARE": "1",
    "WEBKIT_DISABLE_DMABUF_RENDERER": "1",
    "WEBKIT_DISABLE_SANDBOX_THIS_IS_DANGEROUS": "1",  # it refuses to be root otherwise
}


class WebkitTab(Tab):
    """One tab; what the page logs is not told."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self._base = f"http://127.0.0.1:{port}"
        self.version = ""

    async def do(self, method: str, path: str, **body: object) -> object:
        return await asyncio.to_thread(self._ask, method, path, body if method == "POST" else None)

    def _ask(self, method: str, path: str, body: object) -> object:
        request = urllib.request.Request(
            self._base + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.loads(answer.read())["value"]
        except urllib.error.HTTPError as exc:
            raise AssertionError(f"{path}: {exc.read().decode()}") from None

    async def begin(self) -> None:
        options = {"binary": str(BROWSERS[-1]), "args": ["--automation"]}
        wanted = {"alwaysMatch": {"webkitgtk:browserOptions": options}}
        session = await self.do("POST", "/session", capabilities=wanted)
        self.version = session["capabilities"]["browserVersion"]
        self._base += f"/session/{session['sessionId']}"

    async def open(self, url: str) -> None:
        await self.do("POST", "/url", url=url)

    async def run(self, script: str) -> object:
        body = script if "return" in script else f"return ({script});"
        script = f"""
            const done = arguments[0];
            (async () => {{ {body} }})().then((value) => done({{ value }}),
                (error) => done({{ error: String(error) }}));
        """
        result = await self.do("POST", "/execute/async", script=script, args=[])
        if "error" in result:
            raise AssertionError(result["error"])
        return result.get("value")

    async def press(self, key: str, *, down: bool = True, up: bool = True) -> None:
        kinds = [kind for kind, wanted in (("keyDown", down), ("keyUp", up)) if wanted]
        strokes = [{"type": kind, "value": KEYS[key]} for kind in kinds]
        keyboard = {"type": "key", "id": "keyboard", "actions": strokes}
        await self.do("POST", "/actions", actions=[keyboard])

    async def screenshot(self, path: Path) -> None:
        keep(path, base64.b64decode(str(await self.do("GET", "/screenshot"))))


@asynccontextmanager
async def webkit() -> AsyncIterator[tuple[WebkitTab, Sound]]:
    """A MiniBrowser with one empty tab, a screen of its own, and a sound card."""
    driver, screen = shutil.which("WebKitWebDriver"), shutil.which("Xvfb")
    if driver is None or screen is None or not BROWSERS:
        pytest.skip("WebKitGTK or Xvfb is not installed (Debian: `webkit2gtk-driver`, `xvfb`)")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        port = _free_port()
        async with sound(Path(folder)) as card, _screen(screen) as display:
            environment = {**os.environ, **card.environment, **ALONE}
            environment.update(DISPLAY=display, HOME=folder, XDG_RUNTIME_DIR=folder)
            async with process(driver, f"--port={port}", env=environment):
                await _listening(port)
                tab = WebkitTab(port)
                await tab.begin()
                try:
                    yield tab, card
                finally:
                    await tab.do("DELETE", "")


@asynccontextmanager
async def _screen(program: str) -> AsyncIterator[str]:
    """Run an X server on a free display; its name."""
    running = await asyncio.create_subprocess_exec(
        *(program, "-displayfd", "1", "-nolisten", "tcp", "-screen", "0", "1100x900x24"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(10):
            number = await running.stdout.readline()
        yield f":{number.decode().strip()}"
    finally:
        running.terminate()
        await running.wait()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


async def _listening(port: int) -> None:
    async with asyncio.timeout(10):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                return
