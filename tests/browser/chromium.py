"""Chromium, driven over its own debugging protocol: no driver and no package in between."""

import asyncio
import base64
import contextlib
import itertools
import json
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.browser.tab import Tab, keep
from websockets.asyncio.client import ClientConnection, connect

NAMES = ("chromium", "chromium-browser", "google-chrome")

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--no-first-run",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--mute-audio",
    "--autoplay-policy=no-user-gesture-required",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
    "--remote-debugging-port=0",
    "--window-size=1100,900",
)


def executable() -> str:
    for name in NAMES:
        found = shutil.which(name)
        if found:
            return found
    if os.environ.get("CI"):
        pytest.fail("Chromium is not installed (Debian package `chromium`)")
    pytest.skip("Chromium is not installed: the page was not tried")


def renderers(browser: int) -> list[int]:
    """The processes of a browser that run pages."""
    parents: dict[int, int] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # one that has just ended
            parents[int(folder.name)] = int(
                (folder / "stat").read_text().rpartition(")")[2].split()[1]
            )
    found = {browser}
    while grown := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= grown
    return [pid for pid in found if b"--type=renderer" in Path(f"/proc/{pid}/cmdline").read_bytes()]


class Page(Tab):
    """One tab."""

    def __init__(self, socket: ClientConnection, pid: int) -> None:
        super().__init__()
        self._socket = socket
        self._pid = pid
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future] = {}

    async def read(self) -> None:
        async for text in self._socket:
            message = json.loads(text)
            if "id" in message:
                self._waiting.pop(message["id"]).set_result(message)
            elif message["method"] == "Runtime.consoleAPICalled":
                args = message["params"]["args"]
                said = " ".join(str(a.get("value", a.get("description"))) for a in args)
                self.console.append(f"{message['params']['type']}: {said}")
            elif message["method"] == "Runtime.exceptionThrown":
                details = message["params"]["exceptionDetails"]
                said = details.get("exception", {}).get("description", details["text"])
                self.console.append(f"uncaught: {said}")
            elif message["method"] == "Log.entryAdded":
                entry = message["params"]["entry"]
                self.console.append(f"{entry['level']}: {entry['text']} {entry.get('url', '')}")

    async def do(self, method: str, **params: object) -> dict:
        number = next(self._numbers)
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        await self._socket.send(json.dumps({"id": number, "method": method, "params": params}))
        message = await answer
        if "error" in message:
            raise AssertionError(f"{method}: {message['error']['message']}")
        return message["result"]

    async def open(self, url: str) -> None:
        await self.do("Page.navigate", url=url)
        await self.until("document.readyState === 'complete'")

    async def run(self, script: str) -> object:
        if "return" in script:
            script = f"(async () => {{ {script} }})()"
        result = await self.do(
            "Runtime.evaluate",
            expression=script,
            awaitPromise=True,
            returnByValue=True,
            userGesture=True,
        )
        if "exceptionDetails" in result:
            details = result["exceptionDetails"]
            said = details.get("exception", {}).get("description", details["text"])
            raise AssertionError(f"{said}\nconsole: {self.console[-20:]}")
        return result["result"].get("value")

    async def press(self, key: str, *, down: bool = True, up: bool = True) -> None:
        codes = {" ": ("Space", 32), "Enter": ("Enter", 13), "Escape": ("Escape", 27)}
        code, number = codes[key]
        text = {" ": " ", "Enter": "\r"}.get(key)
        common = {"key": key, "code": code, "windowsVirtualKeyCode": number}
        if down:
            extra = {"text": text} if text else {}
            await self.do("Input.dispatchKeyEvent", type="keyDown", **common, **extra)
        if up:
            await self.do("Input.dispatchKeyEvent", type="keyUp", **common)

    async def resize(self, width: int, height: int, *, mobile: bool = False) -> None:
        await self.do(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=mobile,
        )

    async def hold_up(self, seconds: float) -> None:
        """Stop the processes that run pages, as a machine does that has no time for them."""
        held = renderers(self._pid)
        assert held, "no process of a page was found"
        for pid in held:
            os.kill(pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            for pid in held:
                os.kill(pid, signal.SIGCONT)

    async def screenshot(self, path: Path) -> None:
        shot = await self.do("Page.captureScreenshot", format="png", captureBeyondViewport=False)
        keep(path, base64.b64decode(shot["data"]))


@asynccontextmanager
async def chromium(
    *, microphone: Path | None = None, flags: Sequence[str] = ()
) -> AsyncIterator[Page]:
    """A headless Chromium with one empty tab; `microphone` is the WAV its fake one plays once."""
    more = list(flags)
    if microphone is not None:
        more.append(f"--use-file-for-fake-audio-capture={microphone}%noloop")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = await asyncio.create_subprocess_exec(
            executable(),
            *FLAGS,
            *more,
            f"--user-data-dir={profile}",
            "about:blank",
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            address = await _debugger(Path(profile))
            async with connect(address, max_size=None) as socket, asyncio.TaskGroup() as tasks:
                page = Page(socket, process.pid)
                reading = tasks.create_task(page.read())
                for domain in ("Page", "Runtime", "Log"):
                    await page.do(f"{domain}.enable")
                try:
                    yield page
                finally:
                    reading.cancel()
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()


async def _debugger(profile: Path) -> str:
    """Where the first tab is spoken to."""
    file = profile / "DevToolsActivePort"
    async with asyncio.timeout(20):
        while not file.exists() or len(file.read_text().split()) < 2:  # noqa: ASYNC110 - a file
            await asyncio.sleep(0.05)
        port = int(file.read_text().split()[0])
        while True:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(f"GET /json/list HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            size = next(
                int(line.partition(b":")[2])
                for line in head.split(b"\r\n")
                if line.lower().startswith(b"content-length:")
            )
            answer = await reader.readexactly(size)
            writer.close()
            tabs = [tab for tab in json.loads(answer) if tab["type"] == "page"]
            if tabs:
                return str(tabs[0]["webSocketDebuggerUrl"])
            await asyncio.sleep(0.05)
