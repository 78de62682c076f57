"""Nobody administers whose token, role, method and path were not configured to; every trick is refused."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from joserfc import jws
from joserfc.jwk import ECKey, OKPKey, RSAKey

from coco.admin import AclRule, AdminGate, AdminMode, NativeAdmin, Provider
from coco.admin_keys import ProviderKeys
from coco.errors import AdminDenied, CocoSetting
from common.errors import AccessError, FetchFailed

NOW = datetime(2026, 11, 28, tzinfo=UTC)
TARGET = "/kbs/v0/resource-policy"
RESOURCE = "/kbs/v0/resource/default/test/dummy"
ALL = AclRule("admin", "^/kbs/.+$")
ED = ed25519.Ed25519PrivateKey.generate()
RSA = rsa.generate_private_key(65537, 2048)
# The reference client's own call (transcript 20): EdDSA, an empty audience, ten years.
CLIENT_CLAIMS = {"iss": "peer-admin", "sub": "admin", "aud": [], "iat": 1795479046, "exp": 2110839046}


def _pem(private):
    return private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _claims(**changes):
    claims = {"sub": "alice", "role": "admin", "exp": int(NOW.timestamp()) + 300} | changes
    return {name: value for name, value in claims.items() if value is not None}


def _token(private=ED, claims=None, algorithm="EdDSA", **header):
    """Signed by joserfc, except Ed25519, whose older name it warns of."""
    header = {"alg": algorithm, "typ": "JWT"} | header
    payload = json.dumps(_claims() if claims is None else claims)
    if algorithm.startswith("Ed"):
        signed = f"{_b64(json.dumps(header).encode())}.{_b64(payload.encode())}"
        return f"{signed}.{_b64(private.sign(signed.encode()))}"
    kind = ECKey if algorithm.startswith("E") else RSAKey
    registry = jws.JWSRegistry(algorithms=[algorithm], strict_check_header=False)
    return jws.serialize_compact(header, payload, kind.import_key(private), registry=registry)


@pytest.fixture
def key_file(tmp_path):
    path = tmp_path / "admin.pem"
    path.write_bytes(_pem(ED))
    return path


@pytest.fixture
def gate(key_file):
    return _gate(key_file)


def _gate(key_file, *, rules=(ALL,), revoked=(), native=None, **provider):
    return AdminGate(
        AdminMode.AUTHENTICATED,
        providers=[Provider(provider.pop("name", "idp"), public_key=key_file, **provider)],
        rules=rules,
        revoked=revoked,
        native=native,
    )


def _refused(gate, authorization, method="POST", target=TARGET, now=NOW):
    with pytest.raises(AdminDenied) as refusal:
        gate.admit(authorization, method, target, now)
    return refusal.value.message


UNVERIFIED = (
    "admin access denied for endpoint resource-policy:"
    " Admin access denied: Cannot verify token with any of the issuers"
)


def test_the_reference_clients_token_is_admitted(gate):
    token = _token(claims=CLIENT_CLAIMS | {"role": "admin"})
    for target in (TARGET, RESOURCE):
        admin = gate.admit(f"Bearer {token}", "POST", target, NOW)
        assert (admin.name, admin.role) == ("admin (idp)", "admin")


def test_the_texts_are_those_that_the_reference_client_shows(gate):
    prefix = "admin access denied for endpoint resource-policy: "
    assert _refused(gate, None) == prefix + "Failed to parse HTTP Auth Bearer header"
    assert _refused(gate, "Bearer aaaa.bbbb.cccc") == UNVERIFIED
    # What the reference's quick start makes: no role.
    message = _refused(gate, f"Bearer {_token(claims=CLIENT_CLAIMS)}")
    assert message == (
        prefix + "Admin access denied: Failed to parse claims from token:"
        ' AdminAccessDenied { reason: "Missing required `role` claim in JWT" }'
    )
    assert "endpoint resource: " in _refused(gate, None, target=RESOURCE)


@pytest.mark.parametrize("target", [TARGET, RESOURCE])
def test_without_a_provider_or_a_rule_everything_is_refused(key_file, target):
    bearer = f"Bearer {_token()}"
    _refused(AdminGate(AdminMode.AUTHENTICATED, rules=[ALL]), bearer, target=target)
    _refused(_gate(key_file, rules=()), bearer, target=target)
    _refused(AdminGate(AdminMode.DENY_ALL, rules=[ALL]), bearer, target=target)


def test_the_insecure_mode_still_refuses_what_is_no_call_of_the_kbs():
    gate = AdminGate(AdminMode.INSECURE_ALLOW_ALL)
    assert gate.admit(None, "POST", TARGET, NOW).role == ""
    _refused(gate, None, target="/kbs/v0/resource/../policy")
    _refused(gate, None, method="PATCH")


ALGORITHMS = {
    "ES256": (lambda: ec.generate_private_key(ec.SECP256R1()), {}),
    "ES384": (lambda: ec.generate_private_key(ec.SECP384R1()), {}),
    "ES512": (lambda: ec.generate_private_key(ec.SECP521R1()), {}),
    "EdDSA": (ed25519.Ed25519PrivateKey.generate, {}),
    "Ed25519": (ed25519.Ed25519PrivateKey.generate, {}),
    **{name: (lambda: RSA, {"rsa_algorithm": name}) for name in ("RS256", "RS384", "RS512")},
    **{name: (lambda: RSA, {"rsa_algorithm": name}) for name in ("PS256", "PS384", "PS512")},
}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_keys_own_algorithm_is_taken_and_no_other(tmp_path, algorithm):
    make, setting = ALGORITHMS[algorithm]
    private = make()
    path = tmp_path / "key.pem"
    path.write_bytes(_pem(private))
    gate = _gate(path, **setting)
    assert gate.admit(f"Bearer {_token(private, algorithm=algorithm)}", "POST", TARGET, NOW)
    others = {"RS256": "PS256", "PS256": "RS256", "RS384": "RS256", "PS512": "RS512"}
    if algorithm in others:
        token = _token(private, algorithm=others[algorithm])
        assert _refused(gate, f"Bearer {token}") == UNVERIFIED


def _hs_token(secret, algorithm="HS256"):
    signed = f"{_b64(json.dumps({'alg': algorithm}).encode())}.{_b64(json.dumps(_claims()).encode())}"
    mac = hmac.new(secret, signed.encode(), getattr(hashlib, "sha" + algorithm[2:])).digest()
    return f"{signed}.{_b64(mac)}"


def test_a_public_key_is_no_hmac_secret(tmp_path):
    for private in (RSA, ED):
        path = tmp_path / "key.pem"
        path.write_bytes(_pem(private))
        gate = _gate(path)
        for secret in (_pem(private), _pem(private).strip()):
            assert _refused(gate, f"Bearer {_hs_token(secret)}") == UNVERIFIED


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "", None, 5, ["EdDSA"], "ES256"])
def test_an_unsigned_or_misnamed_token_is_refused(gate, algorithm):
    header, payload = (_b64(json.dumps(part).encode()) for part in ({"alg": algorithm}, _claims()))
    for signature in ("", _token().split(".")[2]):
        message = _refused(gate, f"Bearer {header}.{payload}.{signature}")
        assert message == UNVERIFIED


@pytest.mark.parametrize(
    "header",
    [
        {"jwk": OKPKey.import_key(ED).as_dict(private=False)},
        {"jku": "https://attacker.example/jwks"},
        {"x5u": "https://attacker.example/chain"},
        {"x5c": ["AAAA"]},
        {"crit": ["exp"], "exp": 1},
        {"b64": False},
    ],
    ids=lambda header: next(iter(header)),
)
def test_a_header_that_brings_a_key_or_an_extension_is_refused(gate, header):
    signed = (
        f"{_b64(json.dumps({'alg': 'EdDSA'} | header).encode())}.{_b64(json.dumps(_claims()).encode())}"
    )
    token = f"{signed}.{_b64(ED.sign(signed.encode()))}"
    assert _refused(gate, f"Bearer {token}") == UNVERIFIED


def test_a_header_with_foreign_harmless_members_is_taken(gate):
    assert gate.admit(f"Bearer {_token(x5t='abc', tenant='t')}", "POST", TARGET, NOW)


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": None},
        {"exp": int(NOW.timestamp()) - 61},
        {"exp": "2110839046"},
        {"exp": True},
        {"exp": 1e400},
        {"exp": 10**400},
        {"nbf": int(NOW.timestamp()) + 61},
        {"nbf": "now"},
        {"jti": 5},
    ],
    ids=str,
)
def test_a_token_out_of_its_time_is_refused(gate, changes):
    assert _refused(gate, f"Bearer {_token(claims=_claims(**changes))}") == UNVERIFIED


def test_clocks_may_differ_by_a_minute(gate):
    moment = int(NOW.timestamp())
    for changes in ({"exp": moment - 60}, {"nbf": moment + 60}, {"exp": moment + 0.5}):
        assert gate.admit(f"Bearer {_token(claims=_claims(**changes))}", "POST", TARGET, NOW)


@pytest.mark.parametrize("role", [None, 5, "", ["admin"]])
def test_a_role_is_mandatory_text(gate, role):
    assert "Missing required `role`" in _refused(gate, f"Bearer {_token(claims=_claims(role=role))}")


def test_issuer_and_audience_are_held_against_the_configuration(key_file):
    gate = _gate(key_file, issuer="https://idp.example", audience="KBS")
    good = {"iss": "https://idp.example", "aud": ["other", "KBS"]}
    assert gate.admit(f"Bearer {_token(claims=_claims(**good))}", "POST", TARGET, NOW)
    assert gate.admit(f"Bearer {_token(claims=_claims(**good | {'aud': 'KBS'}))}", "POST", TARGET, NOW)
    for changes in (
        {"iss": "https://idp.example/"},
        {"iss": None},
        {"iss": ["https://idp.example"]},
        {"aud": []},
        {"aud": None},
        {"aud": "KBS2"},
        {"aud": {"KBS": 1}},
    ):
        token = _token(claims=_claims(**good | changes))
        assert _refused(gate, f"Bearer {token}") == UNVERIFIED


def test_one_providers_key_signs_for_no_other_provider(tmp_path):
    other = ed25519.Ed25519PrivateKey.generate()
    paths = []
    for name, private in (("a", ED), ("b", other)):
        paths.append(tmp_path / name)
        paths[-1].write_bytes(_pem(private))
    gate = AdminGate(
        AdminMode.AUTHENTICATED,
        providers=[Provider(n, issuer=n, public_key=p) for n, p in zip("ab", paths, strict=True)],
        rules=[ALL],
    )
    assert gate.admit(f"Bearer {_token(other, _claims(iss='b'))}", "POST", TARGET, NOW).name == "alice (b)"
    assert _refused(gate, f"Bearer {_token(other, _claims(iss='a'))}") == UNVERIFIED


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer",
        "Bearer ",
        "Basic YWxpY2U6eA==",
        "{token}",
        "Bearer  {token}",
        "Bearer {token} ",
        "Bearer {token}\n",
        "Bearer {token},Bearer {token}",
        "Bearer {token}, Bearer {token}",
        "Bearer\t{token}",
        "Bearer {token}" + "A" * 20000,
    ],
)
def test_one_plain_bearer_header_and_nothing_else(gate, authorization):
    message = _refused(gate, authorization.replace("{token}", _token()))
    assert message.endswith("Failed to parse HTTP Auth Bearer header")


@pytest.mark.parametrize("cut", [0, 1, 2])
def test_an_altered_token_is_refused(gate, cut):
    parts = _token().split(".")
    parts[cut] = parts[cut][:-2] + ("AA" if parts[cut][-2:] != "AA" else "BB")
    assert _refused(gate, "Bearer " + ".".join(parts)) == UNVERIFIED
    _refused(gate, "Bearer " + ".".join(_token().split(".")[:2]))


def test_a_claim_that_stands_twice_is_refused(gate):
    payload = json.dumps(_claims(role="reader"))[:-1] + ', "role": "admin"}'
    signed = f"{_b64(b'{}'.replace(b'{}', json.dumps({'alg': 'EdDSA'}).encode()))}.{_b64(payload.encode())}"
    assert _refused(gate, f"Bearer {signed}.{_b64(ED.sign(signed.encode()))}") == UNVERIFIED


# Rules.


def test_rules_have_a_method_dimension(key_file):
    rules = [
        AclRule("reader", "^/kbs/v0/reference-value/.+$", frozenset({"GET"})),
        AclRule("reader", "^/kbs/v0/resource-policy$", frozenset({"GET"})),
        AclRule("admin", "^/kbs/v0/resource/.+$", frozenset({"POST", "DELETE"})),
    ]
    gate = _gate(key_file, rules=rules)
    reader = f"Bearer {_token(claims=_claims(role='reader'))}"
    admin = f"Bearer {_token()}"
    assert gate.admit(reader, "GET", TARGET, NOW)
    assert gate.admit(admin, "DELETE", RESOURCE, NOW)
    for authorization, method, target in (
        (reader, "POST", TARGET),
        (reader, "DELETE", RESOURCE),
        (admin, "POST", TARGET),
        (admin, "GET", RESOURCE),
        (admin, "PATCH", RESOURCE),
        (admin, "post", RESOURCE),
    ):
        _refused(gate, authorization, method, target)


@pytest.mark.parametrize(
    "target",
    [
        "/kbs/v0/resource/../resource-policy",
        "/kbs/v0/resource/./a/b",
        "/kbs/v0/resource/%2e%2e/resource-policy",
        "/kbs/v0/resource%2fa",
        "/kbs/v0/resource/a%00b",
        "/kbs/v0//resource-policy",
        "/kbs/v0/resource/",
        "/kbs/v0/resource\\..\\x",
        "/kbs/v0/resource/a;b",
        "/kbs/v0/resource/a#b",
        "/kbs/v0/resource/a\n",
        "/kbs/v0/resource/\u00e9",
        "/kbs/v0",
        "/kbs/v1/resource/a",
        "/other/kbs/v0/resource",
        "https://evil.example/kbs/v0/resource/a",
        "",
        "/kbs/v0/resource/" + "a" * 1024,
    ],
)
def test_a_path_that_two_readers_could_read_differently_is_refused(gate, target):
    message = _refused(gate, f"Bearer {_token()}", target=target)
    assert message.endswith("the path is encoded, relative or not one of the KBS")
    assert "%" not in message
    assert "\n" not in message


def test_the_query_opens_nothing(key_file):
    gate = _gate(key_file, rules=[AclRule("admin", "^/kbs/v0/resource-policy$")])
    assert gate.admit(f"Bearer {_token()}", "POST", TARGET + "?a=/../%00", NOW)
    gate = _gate(key_file, rules=[AclRule("admin", "^/kbs/.*resource-policy$")])
    _refused(gate, f"Bearer {_token()}", target=RESOURCE + "?x=/resource-policy")


@pytest.mark.parametrize(
    "rule",
    [
        AclRule("admin", "^/kbs/a|.*$"),
        AclRule("admin", "/kbs/.*"),
        AclRule("", "^/kbs/.+$"),
        AclRule("admin", "^/kbs/.+$", frozenset()),
        AclRule("admin", "^/kbs/.+$", frozenset({"PATCH"})),
    ],
)
def test_a_rule_that_is_open_or_empty_stops_the_start(rule):
    with pytest.raises(CocoSetting):
        AdminGate(AdminMode.AUTHENTICATED, rules=[rule])


# Keys.


def test_a_key_taken_out_of_its_file_is_out_at_once(gate, key_file):
    bearer = f"Bearer {_token()}"
    assert gate.admit(bearer, "POST", TARGET, NOW)
    before = key_file.stat()
    key_file.write_bytes(_pem(ed25519.Ed25519PrivateKey.generate()))
    # Same size and time stamps: the content decides.
    os.utime(key_file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert _refused(gate, bearer) == UNVERIFIED
    key_file.write_bytes(_pem(ED))
    assert gate.admit(bearer, "POST", TARGET, NOW)
    key_file.unlink()
    assert _refused(gate, bearer) == UNVERIFIED


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[]", b"-----BEGIN PUBLIC KEY-----\nAAAA\n", b"x" * (1 << 19)]
)
def test_a_broken_key_file_gives_no_key(gate, key_file, content):
    assert gate.admit(f"Bearer {_token()}", "POST", TARGET, NOW)
    key_file.write_bytes(content)
    assert _refused(gate, f"Bearer {_token()}") == UNVERIFIED
    with pytest.raises(CocoSetting):
        gate.require_keys()


def test_a_set_is_read_key_by_key(tmp_path):
    second = ec.generate_private_key(ec.SECP256R1())
    keys = [
        dict(OKPKey.import_key(ED).as_dict(private=False)) | {"kid": "one"},
        dict(ECKey.import_key(second).as_dict(private=False)) | {"kid": "two", "alg": "ES256"},
        dict(ECKey.import_key(second).as_dict(private=False)) | {"kid": "three", "use": "enc"},
        dict(ECKey.import_key(second).as_dict(private=False)) | {"kid": "four", "alg": "HS256"},
        dict(ECKey.import_key(second).as_dict(private=True)) | {"kid": "five"},
        {"kty": "oct", "k": "AAAA", "kid": "six"},
        {"kty": "RSA", "n": _b64(b"\xff" * 128), "e": "AQAB", "kid": "seven"},
        "no key",
    ]
    path = tmp_path / "jwks.json"
    path.write_text(json.dumps({"keys": keys}))
    provider = Provider("idp", jwk_set=str(path))
    present = ProviderKeys(provider).present()
    assert [(key.kid, key.algorithm) for key in present] == [("one", "EdDSA"), ("two", "ES256")]
    gate = AdminGate(AdminMode.AUTHENTICATED, providers=[provider], rules=[ALL])
    gate.require_keys()
    assert gate.admit(f"Bearer {_token(kid='one')}", "POST", TARGET, NOW)
    assert gate.admit(f"Bearer {_token(second, algorithm='ES256', kid='two')}", "POST", TARGET, NOW)
    assert _refused(gate, f"Bearer {_token(kid='two')}") == UNVERIFIED


class _Fetcher:
    def __init__(self, answers):
        self.answers = answers

    def fetch(self, url):
        assert url == "https://idp.example/jwks"
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def test_a_set_at_a_url_comes_through_the_fetcher_and_a_failure_gives_no_key():
    jwks = json.dumps({"keys": [dict(OKPKey.import_key(ED).as_dict(private=False))]}).encode()
    gate = AdminGate(
        AdminMode.AUTHENTICATED,
        providers=[Provider("idp", jwk_set="https://idp.example/jwks")],
        rules=[ALL],
        fetcher=_Fetcher([jwks, FetchFailed("down")]),
    )
    assert gate.admit(f"Bearer {_token()}", "POST", TARGET, NOW)
    assert _refused(gate, f"Bearer {_token()}") == UNVERIFIED


@pytest.mark.parametrize(
    "provider",
    [
        Provider("idp"),
        Provider("idp", public_key="a", jwk_set="b"),
        Provider("idp", jwk_set="http://idp.example/jwks"),
        Provider("idp", jwk_set="https://idp.example/jwks"),
        Provider("idp", public_key="a", rsa_algorithm="HS256"),
        Provider("idp", public_key="a", rsa_algorithm="none"),
    ],
)
def test_a_provider_that_is_not_clear_stops_the_start(provider):
    with pytest.raises(CocoSetting):
        AdminGate(AdminMode.AUTHENTICATED, providers=[provider])


def test_a_revoked_token_id_is_refused(key_file):
    gate = _gate(key_file, revoked=["stolen"])
    assert gate.admit(f"Bearer {_token(claims=_claims(jti='other'))}", "POST", TARGET, NOW)
    assert _refused(gate, f"Bearer {_token(claims=_claims(jti='stolen'))}") == UNVERIFIED


# Tokens of our own.

SCOPES = [
    ("GET", "/kbs/v0/resource", "resources:read"),
    ("POST", RESOURCE, "resources:write"),
    ("DELETE", RESOURCE, "resources:write"),
    ("GET", TARGET, "policies:read"),
    ("POST", "/kbs/v0/attestation-policy", "policies:write"),
    ("GET", "/kbs/v0/reference-value/a/b", "reference-values:read"),
    ("POST", "/kbs/v0/reference-value", "attestations:write"),
    ("DELETE", "/kbs/v0/reference-value/a", "retract"),
    ("GET", "/kbs/v0/external/ca/x", "resources:write"),
    ("POST", "/kbs/v0/pkcs11/wrap-key", "resources:write"),
]


@pytest.mark.parametrize(("method", "target", "scope"), SCOPES)
def test_a_token_of_ours_needs_the_scope_of_the_call(method, target, scope):
    def native(authorization, now):
        assert now == NOW
        if authorization != "Bearer ts_good":
            raise AccessError("no")
        return NativeAdmin("ops (ts_1)", holder)

    gate = AdminGate(AdminMode.AUTHENTICATED, native=native)
    holder = frozenset({scope})
    assert gate.admit("Bearer ts_good", method, target, NOW).name == "ops (ts_1)"
    holder = frozenset({s for _, _, s in SCOPES} - {scope})
    assert scope in _refused(gate, "Bearer ts_good", method, target)
    assert "Cannot verify token" in _refused(gate, "Bearer ts_bad", method, target)


def test_a_token_of_ours_is_refused_where_they_are_not_taken(gate):
    assert _refused(gate, "Bearer ts_good") == UNVERIFIED


def test_expiry_moves_with_the_clock(gate):
    bearer = f"Bearer {_token()}"
    assert gate.admit(bearer, "POST", TARGET, NOW)
    assert _refused(gate, bearer, now=NOW + timedelta(seconds=361)) == UNVERIFIED
