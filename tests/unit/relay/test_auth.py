"""Tokens into grants: every way in, and every way that stays shut."""

import base64
import json

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from moqvox.errors import LocalError, Unauthorized
from moqvox_relay.auth import Authority, Claims, Grants, new_key, sign

NOW = 1_800_000_000.0
SECRET = bytes(range(32))


@pytest.fixture
def key_file(tmp_path):
    def write(*keys):
        file = tmp_path / "keys.jwk"
        file.write_text(json.dumps(keys[0] if len(keys) == 1 else {"keys": list(keys)}))
        return file

    return write


@pytest.fixture
def authority(key_file):
    return Authority.load(key_file(new_key(SECRET, kid="k1")), None)


def token(claims, secret=SECRET, algorithm="HS256", **header):
    return jwt.encode(claims, secret, algorithm=algorithm, headers=header or None)


GRANTS = [
    # root, put, get, connection path -> publish, subscribe
    ("", "", "", "", ("",), ("",)),
    ("room", "", "", "room", ("",), ("",)),
    ("room", "alice", "", "room", ("alice",), ("",)),
    ("room", ["alice", "bob"], None, "room", ("alice", "bob"), ()),
    ("room", None, "", "room", (), ("",)),
    ("room", "", "", "room/alice", ("",), ("",)),
    ("room", "alice", "", "room/alice", ("",), ("",)),
    ("room", "alice", "", "room/alice/mic", ("",), ("",)),
    ("room", "alice", "bob", "", ("room/alice",), ("room/bob",)),
    ("room", "alice", "", "room/bob", (), ("",)),
    ("/room/", "/alice/", "/", "room", ("alice",), ("",)),
    ("room", ["a", "a"], [], "room", ("a",), ()),
]


@pytest.mark.parametrize(("root", "put", "get", "path", "publish", "subscribe"), GRANTS)
def test_grants_are_relative_to_the_connection_path(
    authority, root, put, get, path, publish, subscribe
):
    claims = {"root": root, "put": put, "get": get}
    given = token({name: value for name, value in claims.items() if value is not None})
    assert authority.grant(path, given, NOW) == Grants(path, publish, subscribe)


NOTHING = [
    ("room", "foo", None, "foobar"),
    ("room", "foo", None, "room/foobar"),
    ("foo", "", "", "foobar"),
    ("room", "alice", None, "room/bob"),
    ("room", None, None, "room"),
    ("room", [], [], "room"),
    ("other", "", "", "room"),
]


@pytest.mark.parametrize(("root", "put", "get", "path"), NOTHING)
def test_token_that_grants_nothing_here_is_refused(authority, root, put, get, path):
    claims = {"root": root, "put": put, "get": get}
    given = token({name: value for name, value in claims.items() if value is not None})
    with pytest.raises(Unauthorized, match="grants nothing"):
        authority.grant(path, given, NOW)


def test_expiry_is_told_and_checked(authority):
    claims = {"get": "", "exp": NOW + 60}
    assert authority.grant("", token(claims), NOW).expires == NOW + 60
    for late in (60, 60.5, 1e6):
        with pytest.raises(Unauthorized, match="expired"):
            authority.grant("", token(claims), NOW + late)


def test_expiry_that_is_no_number_never_holds(authority):
    for exp in ("NaN", '"soon"', "true", "[]", "null"):
        body = f'{{"get":"","exp":{exp}}}'.encode()
        forged = jwt.api_jws.encode(body, SECRET, "HS256")
        if exp == "null":
            assert authority.grant("", forged, NOW).expires is None
        else:
            with pytest.raises(Unauthorized):
                authority.grant("", forged, NOW)


BAD = {
    "empty parts": "..",
    "no JWT": "hello",
    "no JSON": base64.urlsafe_b64encode(b"x").decode() + ".e30.x",
    "too long": "x" * 9000,
    "not ASCII": "\u00fc.\u00fc.\u00fc",
    "other secret": token({"get": ""}, bytes(32)),
    "list for claims": jwt.api_jws.encode(b"[]", SECRET, "HS256"),
    "wrong types": token({"get": 5}),
    "wrong root": token({"root": ["a"], "get": ""}),
    "other key id": token({"get": ""}, kid="other"),
    "other algorithm": token({"get": ""}, SECRET * 2, "HS512"),
}


@pytest.mark.parametrize("name", list(BAD))
def test_bad_token_is_refused_in_words_fit_for_the_client(authority, name):
    with pytest.raises(Unauthorized) as refused:
        authority.grant("", BAD[name], NOW)
    assert str(refused.value) in (
        "the token is no JWT",
        "the token is not valid here",
        "the token is too long",
    )


def test_unsigned_token_is_refused(authority):
    none = jwt.encode({"get": ""}, None, algorithm="none")
    with pytest.raises(Unauthorized, match="not valid"):
        authority.grant("", none, NOW)


def test_path_outside_a_root_that_breaks_rules_is_refused(authority):
    with pytest.raises(Unauthorized):
        authority.grant("a\0b", token({"get": ""}), NOW)
    with pytest.raises(Unauthorized, match="bad token"):
        authority.grant("", token({"root": "a\0b", "get": ""}), NOW)


PRIVATE = {
    "RSA": (rsa.generate_private_key(65537, 2048), RSAAlgorithm, "RS256"),
    "EC": (ec.generate_private_key(ec.SECP256R1()), ECAlgorithm, "ES256"),
    "OKP": (ed25519.Ed25519PrivateKey.generate(), OKPAlgorithm, "EdDSA"),
}


def public_jwk(kind):
    private, family, _ = PRIVATE[kind]
    return json.loads(family.to_jwk(private.public_key()))


@pytest.mark.parametrize("kind", list(PRIVATE))
def test_public_keys_verify_their_own_algorithms(key_file, kind):
    private, _, algorithm = PRIVATE[kind]
    authority = Authority.load(key_file(public_jwk(kind)), None)
    given = jwt.encode({"get": ""}, private, algorithm=algorithm)
    assert authority.grant("", given, NOW).subscribe == ("",)


@pytest.mark.parametrize("kind", list(PRIVATE))
def test_public_key_is_no_secret_to_sign_with(key_file, kind):
    """Algorithm confusion: HS256 over the bytes of a public key that everybody knows."""
    private, _, _ = PRIVATE[kind]
    pem = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    authority = Authority.load(key_file(public_jwk(kind)), None)
    for secret in (pem, pem.strip(), json.dumps(public_jwk(kind)).encode()):
        forged = _hs256(secret)
        with pytest.raises(Unauthorized):
            authority.grant("", forged, NOW)


def _hs256(secret):
    import hashlib
    import hmac

    def b64(data):
        return base64.urlsafe_b64encode(data).rstrip(b"=")

    body = b64(b'{"alg":"HS256","typ":"JWT"}') + b"." + b64(b'{"get":"","put":""}')
    return (body + b"." + b64(hmac.digest(secret, body, hashlib.sha256))).decode()


def test_key_that_names_its_algorithm_verifies_no_other(key_file):
    long = new_key(bytes(64), kid="k")
    named = Authority.load(key_file(long), None)
    free = {name: value for name, value in long.items() if name != "alg"}
    given = token({"get": ""}, bytes(64), "HS512")
    with pytest.raises(Unauthorized):
        named.grant("", given, NOW)
    assert Authority.load(key_file(free), None).grant("", given, NOW).subscribe == ("",)


def test_any_key_of_a_set_verifies_and_the_key_id_picks_one(key_file):
    second = bytes(32)
    file = key_file(new_key(SECRET, kid="k1"), new_key(second, kid="k2"))
    authority = Authority.load(file, None)
    for secret, kid in ((SECRET, "k1"), (second, "k2"), (second, None)):
        header = {} if kid is None else {"kid": kid}
        assert authority.grant("", token({"get": ""}, secret, **header), NOW)
    with pytest.raises(Unauthorized):
        authority.grant("", token({"get": ""}, second, kid="k1"), NOW)


PUBLIC = [
    ([""], "", ("",)),
    ([""], "any/where", ("",)),
    (["room"], "room", ("",)),
    (["room"], "room/alice", ("",)),
    (["room", "hall"], "", ("room", "hall")),
    (["/room/"], "", ("room",)),
]


@pytest.mark.parametrize(("public", "path", "prefixes"), PUBLIC)
def test_public_prefixes_need_no_token(public, path, prefixes):
    grants = Authority((), public).grant(path, "", NOW)
    assert grants == Grants(path, prefixes, prefixes)


@pytest.mark.parametrize(("public", "path"), [([], ""), (["room"], "roommate"), (["a/b"], "b")])
def test_elsewhere_a_token_is_needed(public, path):
    with pytest.raises(Unauthorized, match="token is needed"):
        Authority((), public).grant(path, "", NOW)


def test_token_where_there_is_no_key_is_refused():
    with pytest.raises(Unauthorized):
        Authority((), [""]).grant("", token({"get": ""}), NOW)


def test_signed_token_is_accepted(key_file):
    file = key_file(new_key(SECRET, kid="k1"))
    claims = Claims(root="room", put=["alice"], get=[""], exp=NOW + 5, iat=NOW)
    grants = Authority.load(file, None).grant("room", sign(claims, file), NOW)
    assert grants == Grants("room", ("alice",), ("",), NOW + 5)


def test_public_key_cannot_sign(key_file):
    with pytest.raises(LocalError, match="can't sign"):
        sign(Claims(get=""), key_file(public_jwk("EC")))


BAD_FILES = {
    "[]": "holds no key",
    "5": "holds no key",
    '{"keys": []}': "holds no key",
    '{"keys": 5}': "holds no key",
    '{"keys": [5]}': "int instead of an object",
    "{}": "key type None is not known",
    '{"kty": "XYZ"}': "key type 'XYZ' is not known; known are oct, RSA, EC, OKP",
    '{"kty": ["oct"]}': "is not known",
    '{"kty": "oct"}': "not a usable JWK",
    '{"kty": "oct", "k": 5}': "not a usable JWK",
    '{"kty": "oct", "k": "!"}': "",
    '{"kty": "oct", "k": "c2hvcnQ"}': "shorter than 32 bytes",
    '{"kty": "oct", "alg": "RS256", "k": "c2hvcnQ"}': "none of HS256, HS384, HS512",
    '{"kty": "oct", "alg": "none", "k": "c2hvcnQ"}': "none of HS256",
    '{"kty": "RSA", "n": "x", "e": "AQAB"}': "",
    '{"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}': "",
    "nonsense": "not a JWK",
}


@pytest.mark.parametrize("text", list(BAD_FILES))
def test_bad_key_file_is_named_and_explained(tmp_path, text):
    file = tmp_path / "key.jwk"
    file.write_text(text)
    with pytest.raises(LocalError) as refused:
        Authority.load(file, None)
    assert str(file) in str(refused.value)
    assert BAD_FILES[text] in str(refused.value)


def test_missing_and_binary_key_files_are_explained(tmp_path):
    with pytest.raises(LocalError, match="No such file"):
        Authority.load(tmp_path / "none", None)
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(LocalError, match="not a JWK"):
        Authority.load(tmp_path / "binary", None)


def test_short_secret_makes_no_key():
    with pytest.raises(LocalError, match="at least 32 bytes"):
        new_key(bytes(31), kid="x")
