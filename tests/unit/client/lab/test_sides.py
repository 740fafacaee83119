"""What a caller of the lab leaves behind when it is told to end."""

import signal
import subprocess
import sys

BROWSING = """
import asyncio, subprocess
from moqvox_client.lab.sides import take_along

async def main():
    browser = subprocess.Popen(["sleep", "60"], start_new_session=True)
    take_along(browser.pid)
    print("loaded", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def test_a_browser_does_not_outlive_a_caller_that_is_told_to_end():
    with subprocess.Popen([sys.executable, "-c", BROWSING], stdout=subprocess.PIPE) as caller:
        assert caller.stdout is not None
        assert caller.stdout.readline() == b"loaded\n"
        caller.send_signal(signal.SIGTERM)
        assert caller.stdout.read() == b"", "both have let go of the pipe"
