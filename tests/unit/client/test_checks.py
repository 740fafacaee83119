import asyncio
import datetime
import importlib.metadata
import socket

import pytest

import moqvox_certs
from moqvox_client.checks import Status, machine, network, server
from moqvox_client.kinds import HostPort

NOW = datetime.datetime(2026, 11, 21, 10, 30, tzinfo=datetime.UTC)


def installed(*names):
    def version(name):
        if name in names:
            return "1.0"
        raise importlib.metadata.PackageNotFoundError(name)

    return version


def test_python_is_new_enough_or_the_remedy_says_which_is():
    assert machine.python().status is Status.OK
    old = machine.python((3, 9, 1))
    assert (old.status, old.remedy) == (Status.FAIL, "install Python 3.11 or newer")
    assert "3.9.1" in old.detail


def test_missing_packages_are_named_with_the_command_that_installs_them():
    found = machine.packages(["aioquic", "msgspec", "soxr"], installed("msgspec"))
    assert found.status is Status.FAIL
    assert found.detail == "missing: aioquic, soxr"
    assert found.remedy == "pip install aioquic soxr"
    assert machine.packages(["soxr"], installed("soxr")).detail == "soxr 1.0"


def test_packages_of_this_machine_are_there():
    assert machine.packages().status is Status.OK


def test_requirements_are_read_from_the_installation_or_known(monkeypatch):
    lines = ["aioquic==1.7.*", 'x[y]>1; extra == "demo"', "numpy", "opuslib>=3"]
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: lines)
    assert machine._requirements() == ["aioquic", "numpy", "opuslib"]

    def absent(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "requires", absent)
    assert "aioquic" in machine._requirements()


def test_codec_really_encodes_and_decodes():
    found = machine.codec()
    assert (found.status, found.remedy) == (Status.OK, "")


def test_codec_that_fails_is_a_failure_with_a_remedy(monkeypatch):
    libopus = pytest.importorskip("moqvox.media.libopus")

    def missing():
        raise libopus.OpusUnavailable("no libopus here")

    monkeypatch.setattr(libopus, "load", missing)
    found = machine.codec()
    assert found.status is Status.FAIL
    assert "no libopus here" in found.detail
    assert "pip install opuslib-next-bundled" in found.remedy


def test_demo_needs_its_extra():
    assert machine.demo(lambda name: object()).status is Status.OK
    found = machine.demo(lambda name: None if name == "pocketsphinx" else object())
    assert (found.status, found.detail) == (Status.WARN, "not installed: pocketsphinx")
    assert found.remedy == 'pip install "moqvox[demo]"'


def device(inputs, outputs):
    return {"max_input_channels": inputs, "max_output_channels": outputs}


def test_sound_is_optional_and_each_lack_has_its_remedy():
    def failing(exc):
        def query():
            raise exc

        return query

    found = machine.sound(lambda: [device(1, 0), device(0, 2), device(2, 2)])
    assert (found.status, found.detail) == (Status.OK, "microphones: 2, speakers: 2")
    for query, remedy in [
        (lambda: [device(0, 2)], "plug in a device"),
        (failing(ImportError("sounddevice")), 'pip install "moqvox[mic]"'),
        (failing(OSError("PortAudio library not found")), "apt install libportaudio2"),
        (failing(RuntimeError("host API")), "check the sound system"),
    ]:
        found = machine.sound(query)
        assert found.status is Status.WARN
        assert found.remedy.startswith(remedy)


def test_clock_behind_the_installation_is_a_failure():
    assert machine.clock().status is Status.OK
    assert machine.clock(NOW, NOW + datetime.timedelta(minutes=5)).status is Status.OK
    for now, newest in [
        (NOW, NOW + datetime.timedelta(hours=1)),
        (datetime.datetime(1970, 1, 2, tzinfo=datetime.UTC), NOW),
    ]:
        found = machine.clock(now, newest)
        assert found.status is Status.FAIL
        assert "before this installation" in found.detail
        assert "timedatectl" in found.remedy


@pytest.mark.net
def test_loopback_and_dual_stack_work_here():
    assert network.loopback().status is Status.OK
    assert network.dual_stack().status in (Status.OK, Status.WARN)


@pytest.mark.net
def test_buffers_are_what_the_kernel_really_gives():
    assert network.buffers(64 * 1024).status is Status.OK
    absurd = network.buffers(1 << 30)
    if absurd.status is Status.OK:
        pytest.skip("this kernel gives a gigabyte")
    assert absurd.status is Status.WARN
    assert f"of {1 << 20} KiB asked; bursts may be dropped" in absurd.detail
    assert f"{1 << 30}" in absurd.remedy


def test_remedy_for_small_buffers_is_this_systems(monkeypatch):
    monkeypatch.setattr("sys.platform", "linux")
    assert "net.core.rmem_max=4194304 net.core.wmem_max=4194304" in network._buffer_remedy(4 << 20)
    monkeypatch.setattr("sys.platform", "darwin")
    assert "kern.ipc.maxsockbuf=8388608" in network._buffer_remedy(4 << 20)


@pytest.mark.net
@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
def test_taken_port_is_found_for_udp_and_tcp(kind):
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            taken.listen()
        port = taken.getsockname()[1]
        found = network.port_free(HostPort("127.0.0.1", port))
    label = "UDP" if kind == socket.SOCK_DGRAM else "TCP"
    assert found.status is Status.WARN
    assert found.detail.startswith(f"{label} 127.0.0.1:{port}: ")
    assert f"--bind [::]:{port + 1}" in found.remedy
    assert network.port_free(HostPort("127.0.0.1", 0)).status is Status.OK


@pytest.mark.net
def test_foreign_address_cannot_be_bound():
    assert network.port_free(HostPort("192.0.2.1", 4443)).status is Status.WARN
    assert network.port_free(HostPort("host.invalid", 4443)).status is Status.FAIL


@pytest.fixture
def tls(tmp_path):
    def write(now, days=13):
        certificate = moqvox_certs.generate(["localhost"], now, days)
        return moqvox_certs.write_files(certificate, tmp_path), certificate

    return write


def test_good_certificate_is_ok_and_can_be_pinned(tls):
    files, certificate = tls(NOW)
    found, pin = server.certificate(files.cert, files.key, NOW)
    assert (found.status, pin.status) == (Status.OK, Status.OK)
    assert found.detail == f"localhost; 12 days left; sha256 {certificate.fingerprint_hex}"


def test_certificate_that_ends_soon_is_a_warning_and_one_that_ended_a_failure(tls):
    files, _ = tls(NOW, days=1)
    (soon, _), (late,) = (
        server.certificate(files.cert, files.key, NOW + datetime.timedelta(days=days))
        for days in (0, 2)
    )
    assert soon.status is Status.WARN
    assert "23 hours left" in soon.detail
    assert late.status is Status.FAIL
    assert "expired on" in late.detail
    assert "moqvox certs" in late.remedy


def test_certificate_that_browsers_cannot_pin_is_a_warning(tmp_path):
    authority = moqvox_certs.create_authority(NOW)
    (tmp_path / "c.pem").write_bytes(authority.cert_pem)
    (tmp_path / "k.pem").write_bytes(authority.key_pem)
    found, pin = server.certificate(tmp_path / "c.pem", tmp_path / "k.pem", NOW)
    assert (found.status, pin.status) == (Status.FAIL, Status.WARN)
    assert "names no host" in found.detail
    assert "it is a CA certificate" in pin.detail


def reached(connect, timeout=0.01):
    return asyncio.run(server.reach("https://h/", connect, timeout=timeout))


def test_reached_server_tells_what_was_agreed():
    async def connect():
        return "moq-lite-06 over quic"

    found = reached(connect, timeout=5)
    assert found.status is Status.OK
    assert found.detail.startswith("https://h/: moq-lite-06 over quic, connected in ")


def test_unreachable_server_is_a_failure_with_the_reason():
    async def silent():
        await asyncio.sleep(20)

    async def refusing():
        raise ConnectionRefusedError("no such version")

    async def broken():
        raise ImportError("no aioquic")

    for connect, detail in [
        (silent, "https://h/: no answer within 0.01 s"),
        (refusing, "https://h/: no such version"),
        (broken, "cannot load the library: no aioquic"),
    ]:
        found = reached(connect)
        assert (found.status, found.detail) == (Status.FAIL, detail)
        assert found.remedy
