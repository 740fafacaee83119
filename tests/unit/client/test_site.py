"""What the page's server answers: files, where to call, and the laboratory."""

import json

import pytest

from moqvox.transport.websocket import HttpRequest
from moqvox_client import site as sites
from moqvox_client.site import Site, page_url

EVERYWHERE = [("::", 4443)]


class Network:
    """What was asked of the laboratory."""

    def __init__(self):
        self.asked = []

    def outage(self, duration):
        self.asked.append(("outage", duration))

    def lose(self, percent):
        self.asked.append(("loss", percent))


def ask(site, path, *, method="GET", **headers):
    told = {"host": "localhost:4443", **{k.replace("_", "-"): v for k, v in headers.items()}}
    return site(HttpRequest(path, told, False, "127.0.0.1:9", method))


def connection(site, **headers):
    return json.loads(ask(site, "/connection.json", **headers).body)


def test_the_page_and_its_modules_are_served_with_their_types():
    site = Site(EVERYWHERE)
    for path, kind in [
        ("/", "text/html"),
        ("/?url=x", "text/html"),
        ("/moqvox.js", "text/javascript"),
        ("/page.css", "text/css"),
        ("/icon.svg", "image/svg+xml"),
    ]:
        answer = ask(site, path)
        assert answer.status == 200, path
        assert answer.content_type.startswith(kind)
        assert answer.body


def test_every_module_that_a_module_asks_for_is_there():
    site = Site(EVERYWHERE)
    for name, (kind, body) in site._files.items():
        if not kind.startswith("text/javascript"):
            continue
        for line in body.decode().splitlines():
            if line.startswith(("import", "}", "export")) and ' from "./' in line:
                wanted = line.split(' from "./')[1].split('"')[0]
                assert ask(site, f"/{wanted}") is not None, f"{name} wants {wanted}"


@pytest.mark.parametrize(
    "path", ["/nothing", "/../site.py", "/..%2fsite.py", "//etc/passwd", "/web/index.html", "/lab/"]
)
def test_nothing_else_is(path):
    assert ask(Site(EVERYWHERE), path) is None


def test_only_the_page_itself_may_change_something_and_only_by_post():
    network = Network()
    site = Site(EVERYWHERE, lab=network)
    assert ask(site, "/lab/outage").status == 405
    assert ask(site, "/", method="POST").status == 405
    assert ask(site, "/lab/outage", method="POST", sec_fetch_site="cross-site").status == 403
    for verb in ("loss/x", "loss/-1", "loss/100", "loss/nan", "loss/", "reboot"):
        assert ask(site, f"/lab/{verb}", method="POST") is None, verb
    assert network.asked == []
    assert ask(site, "/lab/outage", method="POST", sec_fetch_site="same-origin").status == 204
    assert ask(site, "/lab/loss/10", method="POST").status == 204
    assert ask(site, "/lab/loss/0", method="POST").status == 204
    assert network.asked == [("outage", 2.0), ("loss", 10.0), ("loss", 0.0)]


def test_the_page_calls_the_host_that_it_came_from():
    site = Site(EVERYWHERE, "ab" * 32, path="room", lab=Network())
    assert connection(site) == {
        "url": "https://localhost:4443/room",
        "certificateHashes": ["ab" * 32],
        "token": "",
        "namedProtocol": True,
        "lab": "lab/",
    }
    assert connection(site, host="voice.example")["url"] == "https://voice.example/room"
    trusted = connection(Site(EVERYWHERE))
    assert trusted["certificateHashes"] == []
    assert trusted["lab"] is None
    assert ask(site, "/connection.json").headers == (("Cache-Control", "no-store"),)


def test_localhost_is_not_called_where_nobody_listens_on_its_ipv6_address():
    # Browsers dial ::1 over UDP, and only that.
    assert connection(Site([("127.0.0.1", 4443)]))["url"] == "https://127.0.0.1:4443/"


@pytest.mark.parametrize(
    ("address", "trusted", "url"),
    [
        (("::", 4443), False, "http://localhost:4443/"),
        (("127.0.0.1", 99), False, "http://localhost:99/"),
        (("::", 443), True, "https://localhost:443/"),
        (("192.0.2.1", 443), True, "https://192.0.2.1:443/"),
        (("2001:db8::1", 443), True, "https://[2001:db8::1]:443/"),
    ],
)
def test_the_page_is_named_so_that_nothing_has_to_be_clicked_through(address, trusted, url):
    assert page_url([address], trusted=trusted) == url


def test_a_package_without_the_page_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(sites, "__file__", str(tmp_path / "x" / "site.py"))
    with pytest.raises(sites.Failed, match="client/web"):
        Site(EVERYWHERE)
