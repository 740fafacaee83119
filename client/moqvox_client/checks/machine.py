"""Checks of what is installed: Python, packages, codec, sound, clock."""

import datetime
import importlib
import importlib.metadata
import importlib.util
import platform
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

from moqvox_client.checks import Finding, fail, ok, warn

__all__ = ["clock", "codec", "demo", "packages", "python", "sound"]

LEAST_PYTHON: Final = (3, 11)

DEPENDENCIES: Final = ("aioquic", "cryptography", "msgspec", "numpy", "soxr", "PyJWT")
"""Needed by a checkout that was never installed and so has no metadata to ask."""

DEMO_MODULES: Final = ("pocketsphinx", "espeakng_loader")

BUILT: Final = datetime.datetime(2026, 11, 1, tzinfo=datetime.UTC)
"""No machine that runs this code lives earlier."""

CLOCK_SLACK: Final = datetime.timedelta(minutes=10)


def python(version: tuple[int, int, int] | None = None) -> Finding:
    """Check the interpreter's version."""
    seen = version or sys.version_info[:3]
    text = f"Python {'.'.join(map(str, seen))} on {platform.system()} {platform.machine()}"
    if seen[:2] < LEAST_PYTHON:
        return fail("python", text, "install Python 3.11 or newer")
    return ok("python", text)


def packages(
    requirements: Iterable[str] | None = None,
    installed: Callable[[str], str] = importlib.metadata.version,
) -> Finding:
    """Check that everything the distribution needs is installed."""
    seen, missing = [], []
    for name in requirements if requirements is not None else _requirements():
        try:
            seen.append(f"{name} {installed(name)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        return fail(
            "packages", f"missing: {', '.join(missing)}", f"pip install {' '.join(missing)}"
        )
    return ok("packages", ", ".join(seen))


def _requirements() -> list[str]:
    """Name what the installed distribution requires without extras or conditions."""
    try:
        lines = importlib.metadata.requires("moqvox") or []
    except importlib.metadata.PackageNotFoundError:
        return list(DEPENDENCIES)
    return [re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0] for line in lines if ";" not in line]


def codec() -> Finding:
    """Check that Opus works, by encoding and decoding a frame of silence."""
    remedy = "pip install opuslib-next-bundled, or install libopus (apt install libopus0)"
    try:
        opus = importlib.import_module("moqvox.media.codec")
        library = importlib.import_module("moqvox.media.libopus").load()
        encoder = opus.Encoder()
        packet = encoder.encode(bytes(encoder.frame_bytes))
        pcm = opus.Decoder().decode(packet)
    except ImportError as exc:
        return fail("opus", f"cannot load the codec: {exc}", remedy)
    except Exception as exc:  # noqa: BLE001 - a broken libopus fails in ways of its own
        return fail("opus", f"{type(exc).__name__}: {exc}", remedy)
    if len(pcm) != encoder.frame_bytes:
        return fail("opus", f"{len(pcm)} bytes decoded of {encoder.frame_bytes}", remedy)
    return ok("opus", f"{library.version}, through {library.wrapper}")


def demo(find: Callable[[str], object] = importlib.util.find_spec) -> Finding:
    """Check that the demo's speech recognition and synthesis are installed."""
    missing = [name for name in DEMO_MODULES if find(name) is None]
    if missing:
        return warn("demo", f"not installed: {', '.join(missing)}", 'pip install "moqvox[demo]"')
    return ok("demo", "speech recognition and synthesis are installed")


def sound(query: Callable[[], Iterable[Mapping[str, int]]] | None = None) -> Finding:
    """Check for a microphone and a speaker; files and pipes need neither."""
    try:
        found = list((query or _sound_devices)())
    except ImportError:
        seen = "no sound card support; only --mic and --speaker need it"
        return warn("sound", seen, 'pip install "moqvox[mic]"')
    except OSError as exc:
        return warn(
            "sound", f"{exc}; only --mic and --speaker need it", "apt install libportaudio2"
        )
    except Exception as exc:  # noqa: BLE001 - PortAudio's errors have no common base
        return warn("sound", f"{type(exc).__name__}: {exc}", "check the sound system's settings")
    counts = {
        "microphones": sum(device["max_input_channels"] > 0 for device in found),
        "speakers": sum(device["max_output_channels"] > 0 for device in found),
    }
    text = ", ".join(f"{what}: {count}" for what, count in counts.items())
    if not all(counts.values()):
        return warn("sound", text, "plug in a device, or use files instead of --mic and --speaker")
    return ok("sound", text)


def _sound_devices() -> Iterable[Mapping[str, int]]:
    devices: Iterable[Mapping[str, int]] = importlib.import_module("sounddevice").query_devices()
    return devices


def clock(now: datetime.datetime | None = None, newest: datetime.datetime | None = None) -> Finding:
    """Check that the clock is not behind: certificates would look not yet valid."""
    seen = now or datetime.datetime.now(datetime.UTC)
    least = max(BUILT, newest or _newest_file())
    remedy = "set the clock: timedatectl set-ntp true, or ntpdate"
    text = f"{seen:%Y-%m-%d %H:%M:%S} UTC"
    if seen < least - CLOCK_SLACK:
        return fail("clock", f"{text} is before this installation, {least:%Y-%m-%d}", remedy)
    return ok("clock", text)


def _newest_file() -> datetime.datetime:
    here = Path(__file__).parent
    newest = max(file.stat().st_mtime for file in here.glob("*.py"))
    return datetime.datetime.fromtimestamp(newest, datetime.UTC)
