"""The guest's side: it opens what was made for it, and believes nothing else that a server says."""

from __future__ import annotations

import ssl
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc import jwe as reference_jwe
from joserfc.jwk import ECKey, RSAKey

from common.encoding import b64url_encode
from common.errors import FetchFailed, InvalidIdentifier, InvalidSetting, TouchstoneError
from guest_agent import client as client_module
from guest_agent.client import GuestClient
from guest_agent.errors import (
    AudienceUnexpected,
    SecretMismatch,
    SecretUndecryptable,
    ServerAnswerInvalid,
    ServerRefused,
    ServerTimeout,
)
from guest_agent.http import JsonClient
from guest_agent.keys import _OUR_HEADER, EphemeralKey
from guest_agent.offline import collect_over, parse_registers
from kms import jwe
from tests.guest_agent.exchange import AUDIENCE, SECRET, EchoAttester, Exchange

PATH = "default/disk/key"


@pytest.fixture
def server():
    with Exchange() as running:
        yield running


@pytest.fixture
def guest(server):
    return GuestClient(server.url, EchoAttester())


# -- the exchange -------------------------------------------------------------------------------------


@pytest.mark.parametrize("curve", ["P-256", "P-384", "P-521"])
def test_a_guest_gets_its_secret(server, curve):
    guest = GuestClient(server.url, EchoAttester(), curve=curve, audience=AUDIENCE)
    assert guest.get_resource(PATH) == SECRET
    assert guest.get_key("volume-key") == SECRET
    assert server.keys[0]["crv"] == curve


def test_every_session_has_its_own_key_and_nonce(server, guest):
    first, second = guest.attest(), guest.attest()
    assert first.jti != second.jti
    assert server.keys[0] != server.keys[1]
    assert "d" not in server.keys[0]


def test_one_session_serves_several_secrets(server, guest):
    session = guest.attest()
    assert guest.get_resource(PATH, session=session) == SECRET
    assert guest.get_key("volume-key", session=session) == SECRET
    assert server.requests.count("/v1/appraisals") == 1


def test_a_result_that_is_not_affirming_is_told(server, guest):
    server.status = "contraindicated"
    assert guest.attest().status == "contraindicated"


@pytest.mark.parametrize("path", ["../x", "a/b", "a/b/c\n", "a/b/%2e%2e", "a/b/c?x=1", "a/b/c#", "a/b/c/d"])
def test_an_id_that_is_not_one_is_refused_before_anything_is_sent(server, guest, path):
    with pytest.raises(InvalidIdentifier):
        guest.get_resource(path)
    with pytest.raises(InvalidIdentifier):
        guest.get_key(path)
    assert server.requests == []


# -- secrets that are not ours (abuse cases 33, 40) ---------------------------------------------------


@pytest.mark.parametrize(
    "released", [{"resource": "resource/default/disk/other"}, {"resource": "key/x"}, {"ear_jti": "0" * 32}]
)
def test_another_secret_or_another_sessions_is_refused(server, guest, released):
    server.released = released
    with pytest.raises(SecretMismatch):
        guest.get_resource(PATH)


def test_another_version_than_asked_is_refused(server, guest):
    server.released = {"version": 2}
    assert guest.get_resource(PATH) == SECRET
    assert guest.get_resource(PATH, version=2) == SECRET
    with pytest.raises(SecretMismatch):
        guest.get_resource(PATH, version=1)


def test_a_jwe_recorded_earlier_is_refused(server, guest):
    recorded = []
    server.bend["release"] = recorded.append
    guest.get_resource(PATH)
    server.bend["release"] = lambda _answer: recorded[0]
    with pytest.raises(SecretMismatch):
        guest.get_resource(PATH)


def test_a_secret_for_another_key_does_not_open(server, guest):
    session = guest.attest()
    other = jwe.recipient(EphemeralKey().public_jwk)
    named = {"resource": f"resource/{PATH}", "version": 1, "ear_jti": session.jti}
    server.bend["release"] = lambda _answer: {"jwe": jwe.encrypt(other, SECRET, **named)}
    with pytest.raises(SecretUndecryptable):
        guest.get_resource(PATH, session=session)


def _sealed(key, header, algorithm="ECDH-ES+A256KW", encryption="A256GCM"):
    registry = reference_jwe.JWERegistry(
        header_registry=_OUR_HEADER, algorithms=[algorithm, encryption, "DEF"], strict_check_header=False
    )
    named = {"resource": "key/k", "version": 1, "ear_jti": "j"}
    full = {"alg": algorithm, "enc": encryption} | named | header
    return reference_jwe.encrypt_compact(full, b"0" * 1000, key, registry=registry)


def _open(key, token):
    return key.open_secret(token, resource="key/k", version=None, ear_jti="j")


def test_compressed_and_other_forms_of_jwe_are_refused():
    key = EphemeralKey("P-256")
    public = ECKey.import_key(dict(key.public_jwk))
    assert _open(key, _sealed(public, {})) == b"0" * 1000
    refused = [
        _sealed(public, {"zip": "DEF"}),
        _sealed(public, {"crit": ["kid"], "kid": "x"}),
        _sealed(public, {"kid": "x"}),
        _sealed(public, {}, algorithm="ECDH-ES"),
        _sealed(public, {}, algorithm="ECDH-ES+A128KW"),
        _sealed(public, {}, encryption="A128CBC-HS256"),
        _sealed(public, {"version": True}),
        _sealed(
            RSAKey.import_key(rsa.generate_private_key(65537, 3072).public_key()),
            {},
            algorithm="RSA-OAEP-256",
        ),
    ]
    for token in refused:
        with pytest.raises(SecretUndecryptable):
            _open(key, token)


def test_a_bit_flipped_anywhere_does_not_open():
    key = EphemeralKey("P-256")
    token = _sealed(ECKey.import_key(dict(key.public_jwk)), {})
    for position in range(0, len(token), 7):
        other = "A" if token[position] != "A" else "B"
        with pytest.raises((SecretUndecryptable, SecretMismatch)):
            _open(key, token[:position] + other + token[position + 1 :])


@settings(deadline=None, max_examples=200)
@given(st.text(max_size=60) | st.lists(st.binary(max_size=60).map(b64url_encode), max_size=6).map(".".join))
def test_any_text_as_a_jwe_is_a_typed_refusal(text):
    with pytest.raises(SecretUndecryptable):
        _open(EphemeralKey("P-256"), text)


@settings(deadline=None, max_examples=150)
@given(
    st.dictionaries(
        st.sampled_from(["alg", "enc", "epk", "resource", "version", "ear_jti", "zip"]),
        st.sampled_from(["ECDH-ES+A256KW", "A256GCM", "key/k", "j", 1, {}, {"kty": "EC"}, None, []]),
    ),
    st.binary(max_size=50),
)
def test_any_header_is_a_typed_refusal(header, rest):
    import json

    token = ".".join([b64url_encode(json.dumps(header).encode()), *[b64url_encode(rest)] * 4])
    with pytest.raises((SecretUndecryptable, SecretMismatch)):
        _open(EphemeralKey("P-256"), token)


# -- answers that are not the protocol's --------------------------------------------------------------


def test_a_challenge_of_another_relying_party_is_refused(server):
    guest = GuestClient(server.url, EchoAttester(), audience="https://another.example")
    with pytest.raises(AudienceUnexpected):
        guest.attest()
    assert server.requests == ["/v1/challenges"]


@pytest.mark.parametrize("nonce", ["", "AAAA", "A" * 41, "!" * 43, "A" * 43 + "="])
def test_a_short_or_misspelt_nonce_is_refused(server, guest, nonce):
    server.bend["challenge"] = lambda answer: answer | {"nonce": nonce}
    with pytest.raises(ServerAnswerInvalid):
        guest.attest()


def test_a_result_about_another_key_or_nonce_is_refused(server, guest):
    def another_key(answer):
        claims = client_module._claims_of(answer["token"])
        return answer | {"token": server.token(claims["eat_nonce"], EphemeralKey().public_jwk)}

    def another_nonce(answer):
        claims = client_module._claims_of(answer["token"])
        return answer | {"token": server.token("x", claims["cnf"]["jwk"])}

    def no_id(answer):
        claims = client_module._claims_of(answer["token"])
        return answer | {"token": server.token(claims["eat_nonce"], claims["cnf"]["jwk"], jti=None)}

    for bend in (
        another_key,
        another_nonce,
        no_id,
        lambda a: a | {"token": "x"},
        lambda a: a | {"token": ""},
    ):
        server.bend["appraisal"] = bend
        with pytest.raises(ServerAnswerInvalid):
            guest.attest()


JSON = ("Content-Type", "application/json")
PROBLEM = ("Content-Type", "application/problem+json")


@pytest.mark.parametrize(
    "answer",
    [
        ("302 Found", [("Location", "http://169.254.169.254/"), JSON], b"{}"),
        ("200 OK", [("Content-Type", "text/html")], b"<html>log in</html>"),
        ("200 OK", [JSON], b""),
        ("200 OK", [JSON], b"[]"),
        ("200 OK", [JSON], b'{"nonce":1}'),
        ("200 OK", [JSON], b"\xff\xfe"),
        ("200 OK", [JSON], b"[" * 100_000),
        ("200 OK", [JSON, ("Content-Encoding", "gzip")], b"\x1f\x8b"),
        ("500 Oops", [("Content-Type", "text/plain")], b"stack trace"),
        ("403 No", [PROBLEM], b"not json"),
        ("403 No", [PROBLEM], b'{"code":3}'),
    ],
)
def test_an_answer_of_another_form_is_refused(server, guest, answer):
    server.raw["challenge"] = answer
    with pytest.raises(ServerAnswerInvalid):
        guest.attest()
    assert server.requests == ["/v1/challenges"]


def test_an_endless_answer_is_cut_off(server, guest, monkeypatch):
    monkeypatch.setattr("guest_agent.http._MAX_ANSWER", 1 << 20)
    server.raw["challenge"] = ("200 OK", [JSON], (b" " * 65536 for _ in range(1000)))
    with pytest.raises((ServerAnswerInvalid, FetchFailed)):
        guest.attest()


def test_a_dripping_answer_ends_at_the_deadline(server):
    def drip():
        for _ in range(40):
            yield b" "
            time.sleep(0.1)

    server.raw["challenge"] = ("200 OK", [JSON], drip())
    guest = GuestClient(server.url, EchoAttester(), timeout_s=0.5)
    started = time.monotonic()
    with pytest.raises(ServerTimeout):
        guest.attest()
    assert time.monotonic() - started < 3


def test_a_refusal_keeps_the_servers_code_and_advice_and_no_control_characters(server, guest):
    problem = (
        b'{"type":"x","status":403,"code":"release.denied","detail":"no\\u001b[31m\\nforged",'
        b'"advice":"do this","request_id":"r1","details":{"reasons":["executables"]}}'
    )
    server.raw["release"] = ("403 Forbidden", [PROBLEM], problem)
    with pytest.raises(ServerRefused) as caught:
        guest.get_resource(PATH)
    error = caught.value
    assert (error.remote_code, error.status, error.advice) == ("release.denied", 403, "do this")
    assert error.details == {"reasons": ["executables"], "request_id": "r1"}
    assert str(error) == "no?[31m?forged"


@settings(deadline=None, max_examples=200)
@given(st.text(max_size=80) | st.binary(max_size=60).map(lambda data: f"a.{b64url_encode(data)}.c"))
def test_any_text_as_a_token_is_an_object_or_a_typed_refusal(text):
    try:
        assert isinstance(client_module._claims_of(text), dict)
    except TouchstoneError as error:
        assert isinstance(error, ServerAnswerInvalid)  # noqa: PT017


# -- transport ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:8080",
        "ftp://localhost",
        "file:///etc/passwd",
        "http://example.com",
        "http://localhost.evil.example",
        "http://127.0.0.1.evil.example",
        "http://127.0.0.1@evil.example",
        "http://user:password@localhost",
        "https://user@example.com",
        "https://example.com/?a=b",
        "https://example.com/#f",
        "https://",
        "http://[::1",
    ],
)
def test_a_url_that_proves_no_server_is_refused(url):
    with pytest.raises(InvalidSetting) as caught:
        JsonClient(url)
    assert "password" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["http://localhost:1", "http://127.0.0.1", "http://[::1]:80", "https://a.example/x/"]
)
def test_loopback_and_tls_are_accepted(url):
    JsonClient(url)


def test_proxies_of_the_environment_are_ignored(server, guest, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert guest.get_resource(PATH) == SECRET


def test_no_server_is_told_as_such():
    with Exchange() as stopped:
        url = stopped.url
    with pytest.raises(FetchFailed):
        GuestClient(url, EchoAttester()).attest()


def _certificate(folder, name, host):
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = folder / f"{name}.pem"
    pem.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file = folder / f"{name}.key"
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, key_file)
    return pem, context


def test_tls_demands_the_named_authority_and_the_host(tmp_path):
    right, context = _certificate(tmp_path, "right", "localhost")
    other, _ = _certificate(tmp_path, "other", "localhost")
    with Exchange(tls=context) as server:
        assert GuestClient(server.url, EchoAttester(), ca_file=right).get_resource(PATH) == SECRET
        for ca_file in (other, None):
            with pytest.raises(FetchFailed, match="certificate"):
                GuestClient(server.url, EchoAttester(), ca_file=ca_file).attest()
        with pytest.raises(FetchFailed, match="certificate"):
            GuestClient(f"https://127.0.0.1:{server.port}", EchoAttester(), ca_file=right).attest()


def test_a_ca_file_that_is_not_one_is_refused(tmp_path):
    (tmp_path / "empty.pem").write_bytes(b"")
    for name in ("empty.pem", "absent.pem"):
        with pytest.raises(InvalidSetting):
            JsonClient("https://localhost", ca_file=tmp_path / name)


# -- offline evidence, dependencies -------------------------------------------------------------------


def test_evidence_over_a_relying_partys_challenge():
    request = collect_over(EchoAttester(), b"r" * 64)
    assert (request.report_data, request.nonce, request.tee_pubkey) == ((b"r" * 64).hex(), None, None)
    for size in (0, 63, 65):
        with pytest.raises(TouchstoneError):
            collect_over(EchoAttester(), b"r" * size)


def test_registers_are_parsed_strictly():
    assert parse_registers("sha256:0,7,2+sha384:4") == {"sha256": [0, 2, 7], "sha384": [4]}
    assert parse_registers(None) is None
    for text in (
        "",
        "sha256",
        "sha256:",
        "md5:0",
        "sha256:0+sha256:1",
        "sha256:0,",
        "sha256:0\n",
        "sha256:-1",
    ):
        with pytest.raises(TouchstoneError):
            parse_registers(text)


def test_another_curve_is_refused():
    with pytest.raises(InvalidSetting):
        EphemeralKey("secp256k1")


def test_the_agent_loads_no_server_part():
    script = (
        "import sys, guest_agent.cli, guest_agent.client\n"
        "rooms = {'service', 'kms', 'verifier', 'rvps', 'provenance', 'policy', 'storage', 'testkit',"
        " 'flask', 'sqlalchemy', 'sigstore', 'pydantic', 'regorus'}\n"
        "print(sorted(rooms & {name.partition('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
