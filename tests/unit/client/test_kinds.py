import enum
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moqvox_client.kinds import BY_TYPE, ByteSize, Duration, HostPort, Percent, Url, choice_of

DURATION, SIZE, PERCENT, URL = (get_args(a)[1] for a in (Duration, ByteSize, Percent, Url))


class Taste(enum.Enum):
    SWEET = "sweet"
    SOUR = "sour"


TASTE = choice_of(Taste)


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (DURATION, "2s", 2.0),
        (DURATION, "250ms", 0.25),
        (DURATION, "5m", 300.0),
        (DURATION, "1m30s", 90.0),
        (DURATION, "1.5 h", 5400.0),
        (DURATION, "40us", 40e-6),
        (DURATION, "0", 0.0),
        (SIZE, "65536", 65536),
        (SIZE, "64KiB", 65536),
        (SIZE, "4MiB", 4 << 20),
        (SIZE, "4 mib", 4 << 20),
        (SIZE, "1MB", 1_000_000),
        (SIZE, "1.5kB", 1500),
        (SIZE, "12B", 12),
        (PERCENT, "10", 10.0),
        (PERCENT, "10%", 10.0),
        (PERCENT, " 0.5 % ", 0.5),
        (BY_TYPE[HostPort], "[::]:4443", HostPort("::", 4443)),
        (BY_TYPE[HostPort], "[fe80::1]:1", HostPort("fe80::1", 1)),
        (BY_TYPE[HostPort], "127.0.0.1:0", HostPort("127.0.0.1", 0)),
        (BY_TYPE[HostPort], "localhost:4443", HostPort("localhost", 4443)),
        (BY_TYPE[HostPort], ":9090", HostPort("::", 9090)),
        (URL, "https://localhost:4443/room", "https://localhost:4443/room"),
        (URL, " moqt://[::1]:4443 ", "moqt://[::1]:4443"),
        (URL, "MOQL://relay.example", "MOQL://relay.example"),
        (BY_TYPE[bool], "Yes", True),
        (BY_TYPE[bool], "off", False),
        (BY_TYPE[int], "-3", -3),
        (BY_TYPE[float], "1e-3", 0.001),
        (BY_TYPE[Path], "-", Path("-")),
        (BY_TYPE[str], "", ""),
        (TASTE, "Sour", Taste.SOUR),
    ],
)
def test_text_becomes_a_value(kind, text, value):
    assert kind.parse(text) == value


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        (DURATION, "5", "'5' has no unit; write 5s or 5ms"),
        (DURATION, "fast", "'fast' is not a duration like 2s, 250ms, 5m or 1m30s"),
        (DURATION, "-2s", "'-2s' is not a duration"),
        (DURATION, "2s!", "not a duration"),
        (DURATION, "", "not a duration"),
        (SIZE, "4MiX", "'4MiX' is not a size like 65536, 64KiB or 4MiB"),
        (SIZE, "-1", "not a size"),
        (SIZE, "", "not a size"),
        (SIZE, "9" * 400, "is more than 1024 TiB"),
        (DURATION, "9" * 400 + "s", "is longer than ten years"),
        (PERCENT, "101", "'101' is not between 0 and 100 percent"),
        (PERCENT, "-1%", "not between 0 and 100"),
        (PERCENT, "much", "'much' is not a number"),
        (BY_TYPE[HostPort], "4443", "it needs a host and a port, such as localhost:4443"),
        (BY_TYPE[HostPort], "::1:4443", r"write an IPv6 address in brackets, \[::1\]:4443"),
        (BY_TYPE[HostPort], "[::g]:1", "'::g' in '.*' is not an IPv6 address"),
        (BY_TYPE[HostPort], "a:65536", "port 65536 in 'a:65536' is above 65535"),
        (BY_TYPE[HostPort], "a b:1", "'a b' in 'a b:1' is not a host"),
        (BY_TYPE[HostPort], "a:http", "it needs a host and a port"),
        (URL, "localhost:4443", "is not a URL; expected https://"),
        (URL, "http://a/", "has the scheme 'http'; expected https://"),
        (URL, "https:///x", "names no host to reach"),
        (URL, "https://a:0/", "names no host to reach"),
        (URL, "https://a:99999/", "is not a URL: port out of range"),
        (URL, "https://[::1/", "is not a URL"),
        (URL, "https://me:pw@a/", "a user name in the URL; give credentials with --token"),
        (URL, "https://a/#b", "has a fragment"),
        (BY_TYPE[bool], "maybe", "'maybe' is neither true nor false"),
        (BY_TYPE[int], "1.5", "'1.5' is not a whole number"),
        (BY_TYPE[float], "nan", "'nan' is not a finite number"),
        (BY_TYPE[float], "x", "'x' is not a number"),
        (BY_TYPE[Path], "", "an empty file name"),
        (TASTE, "salty", "'salty' is none of sweet, sour"),
    ],
)
def test_bad_text_is_refused_with_what_was_seen_and_allowed(kind, text, message):
    with pytest.raises(ValueError, match=message):
        kind.parse(text)


def test_a_password_in_a_url_is_not_repeated():
    with pytest.raises(ValueError, match="user name") as caught:
        URL.parse("https://me:hunter2@a/")
    assert "hunter2" not in str(caught.value)


@given(st.integers(0, 10**9).map(lambda us: us / 1e6))
def test_durations_are_shown_as_they_are_read(seconds):
    assert DURATION.parse(DURATION.show(seconds)) == pytest.approx(seconds, rel=1e-9)


@given(st.integers(0, 2**50))
def test_sizes_are_shown_as_they_are_read(count):
    assert SIZE.parse(SIZE.show(count)) == count


@pytest.mark.parametrize("seconds", ["2s", "250ms", "5m", "1h", "90s", "1500ms", "0", "40us"])
def test_durations_are_shown_briefly(seconds):
    assert DURATION.show(DURATION.parse(seconds)) == seconds


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        (BY_TYPE[HostPort], HostPort("::1", 5), "[::1]:5"),
        (BY_TYPE[HostPort], HostPort("a", 5), "a:5"),
        (PERCENT, 12.5, "12.5%"),
        (TASTE, Taste.SWEET, "sweet"),
        (BY_TYPE[bool], False, "false"),
        (SIZE, 4 << 20, "4MiB"),
    ],
)
def test_values_are_shown_as_they_are_read(kind, value, text):
    assert kind.show(value) == text
    assert kind.parse(text) == value


kinds = st.sampled_from([DURATION, SIZE, PERCENT, URL, TASTE, *BY_TYPE.values()])


@given(kinds, st.text() | st.text("[]:0123456789.ms%kKiB/- "))
def test_any_text_is_read_or_refused_never_anything_else(kind, text):
    try:
        value = kind.parse(text)
    except ValueError:
        return
    assert isinstance(kind.show(value), str)
