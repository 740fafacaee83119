"""Secrets shared by workers and machines: derivation, sealing, rotation, files."""

import pytest

from moqvox.errors import LocalError
from moqvox.transport.quic.keys import Keys, Purpose

NOW = 1_800_000_000.0
SECRET = bytes(range(32))


def test_two_servers_with_one_secret_derive_the_same_and_with_another_nothing_of_it():
    one, other, stranger = Keys(SECRET), Keys(SECRET), Keys(bytes(32))
    assert one.reset_token(b"12345678") == other.reset_token(b"12345678")
    assert len(one.reset_token(b"")) == 16
    assert one.reset_token(b"12345678") != one.reset_token(b"12345679")
    assert one.reset_token(b"12345678") != stranger.reset_token(b"12345678")
    assert one.derive("a", 48) == other.derive("a", 48)
    assert one.derive("a") != one.derive("b")
    assert len(one.derive("a", 48)) == 48


@pytest.mark.parametrize("purpose", Purpose)
def test_what_one_server_seals_another_opens_within_its_lifetime(purpose):
    sealed = Keys(SECRET).seal(purpose, b"payload", bound_to=b"address", now=NOW)
    other = Keys(SECRET)
    lifetime = purpose.value.lifetime
    assert len(sealed) == len(b"payload") + 37
    assert b"payload" not in sealed
    for age, expected in ((-59, b"payload"), (-61, None), (lifetime - 1, b"payload")):
        assert other.unseal(purpose, sealed, bound_to=b"address", now=NOW + age) == expected
    for age in (lifetime + 1, 3 * purpose.value.period, 256 * purpose.value.period):
        assert other.unseal(purpose, sealed, bound_to=b"address", now=NOW + age) is None


def test_a_token_opens_across_a_change_of_keys():
    """However close to the end of its key's period it was sealed."""
    for purpose in Purpose:
        end = (int(NOW // purpose.value.period) + 1) * purpose.value.period
        sealed = Keys(SECRET).seal(purpose, b"x", now=end - 0.1)
        assert Keys(SECRET).unseal(purpose, sealed, now=end + 1) == b"x"
        after = Keys(SECRET).seal(purpose, b"y", now=end + 0.1)
        assert Keys(SECRET).unseal(purpose, after, now=end - 1) == b"y"
        assert sealed[0] != after[0]


def test_what_is_bound_forged_or_meant_for_something_else_stays_shut():
    keys = Keys(SECRET)
    sealed = keys.seal(Purpose.RETRY, b"payload", bound_to=b"here", now=NOW)
    assert keys.unseal(Purpose.RETRY, sealed, bound_to=b"there", now=NOW) is None
    assert keys.unseal(Purpose.ADDRESS, sealed, bound_to=b"here", now=NOW) is None
    assert Keys(bytes(32)).unseal(Purpose.RETRY, sealed, bound_to=b"here", now=NOW) is None
    for index in range(len(sealed)):
        forged = bytearray(sealed)
        forged[index] ^= 1
        assert keys.unseal(Purpose.RETRY, bytes(forged), bound_to=b"here", now=NOW) is None
    for size in range(len(sealed)):
        assert keys.unseal(Purpose.RETRY, sealed[:size], bound_to=b"here", now=NOW) is None


def test_sealing_the_same_twice_looks_different():
    keys = Keys(SECRET)
    assert len({keys.seal(Purpose.RETRY, b"", now=NOW) for _ in range(100)}) == 100


def test_derived_keys_are_not_kept_without_bound():
    keys = Keys(SECRET)
    for hour in range(100):
        keys.seal(Purpose.RETRY, b"", now=NOW + 3600 * hour)
    assert len(keys._sealing) <= 16


def test_a_secret_is_read_from_hex_and_from_a_file_of_it(tmp_path):
    path = tmp_path / "secret"
    path.write_text(SECRET.hex() + "\n")
    assert Keys.read(path).reset_token(b"x") == Keys.parse(SECRET.hex()).reset_token(b"x")
    assert Keys.generate().reset_token(b"x") != Keys.generate().reset_token(b"x")
    assert SECRET.hex() not in repr(Keys(SECRET))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "0 bytes"),
        (b"00" * 15, "15 bytes"),
        (b"secret!", "hex"),
        (b"\xff" * 40, "hex"),
        (b"00" * 4096, "larger"),
    ],
)
def test_a_useless_secret_file_is_named_without_showing_what_is_in_it(tmp_path, content, words):
    path = tmp_path / "secret"
    path.write_bytes(content)
    with pytest.raises(LocalError, match=words) as caught:
        Keys.read(path)
    assert str(path) in str(caught.value)
    assert "secret!" not in str(caught.value)


def test_a_missing_secret_file_is_named(tmp_path):
    with pytest.raises(LocalError, match="no such file"):
        Keys.read(tmp_path / "none")
