"""Addresses as people write them."""

import pytest

from moqvox.errors import LocalError
from moqvox.url import Address, Scheme, parse_bind, parse_url, split_path

GOOD = {
    "https://host": Address(Scheme.WEBTRANSPORT, "host", 443, "/"),
    "HTTPS://Host:1/": Address(Scheme.WEBTRANSPORT, "host", 1, "/"),
    "wss://host/room": Address(Scheme.WEBSOCKET, "host", 443, "/room"),
    "moqt://host:4443/room": Address(Scheme.QUIC, "host", 4443, "/room"),
    "moql://[::1]:4443": Address(Scheme.QUIC_LITE, "::1", 4443, "/"),
    "https://h/a/b?x=1&jwt=old": Address(Scheme.WEBTRANSPORT, "h", 443, "/a/b?x=1&jwt=old"),
    "https://h/a#part": Address(Scheme.WEBTRANSPORT, "h", 443, "/a"),
    "https://h?empty=": Address(Scheme.WEBTRANSPORT, "h", 443, "/?empty="),
}


@pytest.mark.parametrize("url", list(GOOD))
def test_good_url_is_taken_apart(url):
    assert parse_url(url) == GOOD[url]


BAD = {
    "": "unknown scheme",
    "host:4443": "unknown scheme",
    "http://host": "known are https://, moqt://, moql://",
    "https://": "no host",
    "https:///path": "no host",
    "https://host:0": "port 0",
    "https://host:99999": "bad URL",
    "https://host:x": "bad URL",
    "https://[::1": "bad URL",
    "https://me:secret@host": "user name",
}


@pytest.mark.parametrize("url", list(BAD))
def test_bad_url_is_refused_and_secrets_are_not_repeated(url):
    with pytest.raises(LocalError) as refused:
        parse_url(url)
    assert BAD[url] in str(refused.value)
    assert "secret" not in str(refused.value)


def test_token_replaces_one_that_is_there_and_is_escaped():
    address = parse_url("https://h/a?x=1&jwt=old", "a&b=c d")
    assert address.path == "/a?x=1&jwt=a%26b%3Dc+d"
    assert split_path(address.path) == ("a", "a&b=c d")


def test_url_is_shown_without_its_token():
    assert parse_url("moqt://[::1]:5/a", "secret").shown() == "moqt://[::1]:5/a"


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("", ("", "")),
        ("/", ("", "")),
        ("/a/b/", ("a/b", "")),
        ("/a?jwt=x&jwt=y", ("a", "x")),
        ("/a?jwt", ("a", "")),
        ("?jwt=x", ("", "x")),
    ],
)
def test_connection_path_is_split_from_its_token(path, parts):
    assert split_path(path) == parts


@pytest.mark.parametrize(
    ("bind", "pair"),
    [
        ("[::]:4443", ("::", 4443)),
        (":0", ("::", 0)),
        ("127.0.0.1:1", ("127.0.0.1", 1)),
        ("host:65535", ("host", 65535)),
    ],
)
def test_bind_address_is_split(bind, pair):
    assert parse_bind(bind) == pair


@pytest.mark.parametrize("bind", ["", "host", "4443", "host:", "host:x", "host:-1", "h:65536"])
def test_bad_bind_address_says_how_to_write_it(bind):
    with pytest.raises(LocalError, match="write host:port"):
        parse_bind(bind)
