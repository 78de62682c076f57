"""The KBS client against a KBS on loopback, and against what the reference KBS was recorded to answer."""

from __future__ import annotations

import base64
import json
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common import runtime_data
from common.errors import InvalidIdentifier, InvalidSetting, TouchstoneError
from guest_agent.coco.sample import SampleAttester
from guest_agent.errors import (
    EvidenceNotMade,
    KbsDenied,
    KbsHostForbidden,
    KbsRefused,
    KbsResourceUnknown,
    KbsUnauthenticated,
    KbsUnreachable,
    SecretUndecryptable,
    ServerAnswerInvalid,
)
from guest_agent.kbs_client import KbsClient, PassportClient
from guest_agent.kbs_hosts import KbsHosts
from guest_agent.kbs_keys import TeeKey
from guest_agent.resource_uri import ResourceUri, parse
from tests.components import require
from tests.guest_agent.kbs_server import SECRET, Kbs, Recorded, answers, encrypted, error, raw_answers

PATH = "default/test/dummy"


@pytest.fixture
def server():
    with Kbs() as running:
        yield running


class Pauses(list):
    """Waits that a client asked for."""

    def __call__(self, seconds: float) -> None:
        self.append(seconds)


def client(server: Kbs, **changes) -> KbsClient:
    return KbsClient(
        server.url, changes.pop("attester", SampleAttester()), **({"sleep": Pauses()} | changes)
    )


def transcript(vectors, name: str):
    path = vectors.parent / "spec" / "transcripts" / name
    require(path.is_file(), f"no transcript at {path}")
    return path


# -- the exchange -------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["ECDH-ES+A256KW-P256", "ECDH-ES+A256KW-P521", "RSA-OAEP-256"])
def test_a_guest_gets_its_secret(server, algorithm):
    assert client(server, key_algorithm=algorithm).get_resource(PATH) == SECRET
    assert server.steps == ["auth", "attest", "get"]
    assert server.requests[2].target == f"/kbs/v0/resource/{PATH}"


def test_what_goes_over_the_wire(server):
    client(server, init_data='version = "0.1.0"\n').get_resource(PATH)
    auth, attest, get = server.requests
    assert auth.body == (
        b'{"version":"0.4.0","tee":"sample","extra-params":'
        b'{"supported-hash-algorithms":["sha256","sha384","sha512","sm3"]}}'
    )
    assert auth.headers["content-type"] == "application/json"
    assert set(attest.json) == {"init-data", "runtime-data", "tee-evidence"}
    assert attest.json["init-data"] == {"format": "toml", "body": 'version = "0.1.0"\n'}
    assert set(attest.json["runtime-data"]) == {"nonce", "tee-pubkey"}
    assert attest.json["tee-evidence"]["additional_evidence"] == ""
    assert set(attest.json["tee-evidence"]["primary_evidence"]) == {"svn", "report_data"}
    assert get.cookie == attest.cookie
    assert "authorization" not in get.headers


def test_no_init_data_is_null(server):
    client(server).attest()
    assert server.requests[1].json["init-data"] is None


def test_one_session_serves_several_resources(server):
    guest = client(server)
    assert guest.get_resource(PATH) == guest.get_resource(f"kbs:///{PATH}") == SECRET
    assert server.steps == ["auth", "attest", "get", "get"]


def test_every_handshake_has_its_own_key(server):
    guest = client(server)
    first, second = guest.attest(), guest.attest()
    assert first.key.public_jwk != second.key.public_jwk
    assert first.token != second.token


def test_devices_are_bound_by_the_text_that_is_sent(server):
    made = []

    class Noting(SampleAttester):
        def evidence(self, report_data):
            made.append(self.tee)
            return super().evidence(report_data) | {"note": "ü \u2028 \U0001f512"}

    device = Noting("sampledevice")
    guest = client(server, attester=Noting(), devices={"sampledevice": device})
    assert guest.get_resource(PATH) == SECRET  # the server checks both bindings over the text
    assert made == ["sampledevice", "sample"]
    additional = server.requests[1].json["tee-evidence"]["additional_evidence"]
    assert list(json.loads(additional)) == ["sampledevice"]


@pytest.mark.parametrize("spelling", ["sha512", "SHA512", "Sha256", "sm3"])
def test_the_chosen_hash_is_used(server, spelling):
    server.hash = spelling.lower()
    for name in ("selected-hash-algorithm", "Selected-Hash-Algorithm"):
        server.extra = {name: spelling}
        assert client(server).get_resource(PATH) == SECRET


@pytest.mark.parametrize("chosen", ["md5", "", 5, None, ["sha256"]])
def test_a_hash_that_was_not_offered_is_refused(server, chosen):
    server.extra = {"selected-hash-algorithm": chosen}
    if chosen is None:
        assert client(server).get_resource(PATH) == SECRET
        return
    with pytest.raises(ServerAnswerInvalid, match="hash"):
        client(server).attest()


def test_a_hash_is_kept_to_what_the_appendix_computes():
    """Appendix A: the digest that evidence carries for a given nonce and key."""
    jwk = {"kty": "EC", "crv": "P-256", "alg": "ECDH-ES+A256KW"}
    jwk |= {
        "x": "ERERERERERERERERERERERERERERERERERERERERERE",
        "y": "IiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiI",
    }
    nonce = base64.b64encode(bytes(range(32))).decode()
    assert runtime_data.digest(runtime_data.device(nonce, jwk)).hex().startswith("afaf5489dc2496e5")
    assert runtime_data.digest(runtime_data.primary(nonce, jwk, "")).hex().startswith("0c96c263c7a36d48")


def test_ibm_se_gets_the_request_with_the_digest(server):
    seen = []

    class Se(SampleAttester):
        def evidence(self, report_data):
            seen.append(json.loads(report_data))
            digest = base64.b64decode(seen[0]["runtime_data_digest"])
            return super().evidence(digest)

    request = json.dumps({"request_blob": "AA==", "measurement_size": 64})

    def challenge(answer):
        server._nonces = dict.fromkeys(server._nonces, request)
        body = json.dumps({"nonce": request, "extra-params": {"selected-hash-algorithm": "sha512"}})
        return answer._replace(body=body.encode())

    server.hash = "sha512"
    server.bend["auth"] = challenge
    assert client(server, attester=Se("se")).get_resource(PATH) == SECRET
    assert seen[0]["request_blob"] == "AA=="
    assert len(base64.b64decode(seen[0]["runtime_data_digest"])) == 64


@pytest.mark.parametrize("nonce", ["", "x", "[]", "{", base64.b64encode(bytes(32)).decode()])
def test_a_nonce_that_is_no_request_of_ibm_se_is_refused(server, nonce):
    body = json.dumps({"nonce": nonce, "extra-params": ""}).encode()
    server.bend["auth"] = lambda answer: answer._replace(body=body)
    with pytest.raises(ServerAnswerInvalid):
        client(server, attester=SampleAttester("se")).attest()


# -- answers that are none ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "answer"),
    [
        ("auth", Recorded(200, {"Set-Cookie": "kbs-session-id=a"}, b"")),
        ("auth", Recorded(200, {"Set-Cookie": "kbs-session-id=a"}, b"[]")),
        ("auth", Recorded(200, {"Set-Cookie": "kbs-session-id=a"}, b'{"nonce":5}')),
        ("auth", Recorded(200, {"Set-Cookie": "kbs-session-id=a"}, b'{"nonce":""}')),
        ("auth", Recorded(200, {"Set-Cookie": "kbs-session-id=a"}, b'{"nonce":"AAAA"}')),
        ("auth", Recorded(200, {"Set-Cookie": "kbs-session-id=a b"}, b'{"nonce":"AAAA"}')),
        ("auth", Recorded(200, {"Set-Cookie": "kbs-session-id="}, b'{"nonce":"AAAA"}')),
        ("attest", Recorded(200, {}, b"{}")),
        ("attest", Recorded(200, {}, b'{"token":"a.b"}')),
        ("attest", Recorded(200, {}, b"<html>")),
        ("get", Recorded(200, {}, b"")),
        ("get", Recorded(200, {}, b"the secret in plain")),
        ("get", Recorded(200, {"Content-Type": "application/json"}, b'{"protected":"x"}')),
        ("get", Recorded(200, {"Content-Encoding": "gzip"}, b"x")),
    ],
)
def test_an_answer_of_another_form_is_told(server, step, answer):
    server.bend[step] = lambda _: answer
    with pytest.raises(ServerAnswerInvalid):
        client(server).get_resource(PATH)
    assert server.steps.count(step) == 1


def test_a_challenge_without_a_cookie_is_told(server):
    server.bend["auth"] = lambda answer: answer._replace(headers={"Set-Cookie": "other=1"})
    with pytest.raises(ServerAnswerInvalid, match="cookie"):
        client(server).attest()


def test_an_answer_without_end_is_cut(server, monkeypatch):
    monkeypatch.setattr("guest_agent.http._MAX_ANSWER", 1000)
    server.bend["get"] = lambda _: Recorded(200, {}, bytes(5000))
    with pytest.raises(ServerAnswerInvalid, match="larger"):
        client(server).get_resource(PATH)


def test_a_resource_for_another_key_is_not_opened(server):
    other = encrypted(TeeKey.generate().public_jwk)
    server.bend["get"] = lambda _: Recorded(200, {"Content-Type": "application/json"}, other)
    with pytest.raises(SecretUndecryptable):
        client(server).get_resource(PATH)


def test_an_attester_that_fails_is_told_and_nothing_is_sent(server):
    class Broken(SampleAttester):
        def evidence(self, report_data):
            raise EvidenceNotMade("the firmware is busy")

    with pytest.raises(EvidenceNotMade):
        client(server, attester=Broken()).attest()
    assert server.steps == ["auth"]


# -- refusals and retries -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (error(403, "PolicyDeny"), KbsDenied),
        (error(401, "PolicyDeny", "Access denied by policy"), KbsDenied),
        (Recorded(403, {}, b""), KbsDenied),
        (error(404, "PluginNotFound"), KbsResourceUnknown),
        (error(401, "PluginInternalError", "Plugin internal error"), KbsResourceUnknown),
        (Recorded(404, {}, b"not here"), KbsResourceUnknown),
        (error(500, "Other"), KbsRefused),
        (error(429, "PluginInternalError"), KbsRefused),
        (error(400, "PluginInternalError"), KbsRefused),
        (Recorded(405, {}, b""), KbsRefused),
        (Recorded(302, {"Location": "http://127.0.0.1:1/"}, b""), KbsRefused),
    ],
)
def test_a_refusal_is_final_and_of_its_kind(server, answer, kind):
    server.bend["get"] = lambda _: answer
    with pytest.raises(kind) as caught:
        client(server).get_resource(PATH)
    assert caught.value.status == answer.status
    assert server.steps == ["auth", "attest", "get"]


def test_a_refusal_keeps_its_variant_and_one_printable_line(server):
    server.bend["get"] = lambda _: error(401, "PolicyDeny", "no\n\x1b[31m way" + "x" * 5000)
    with pytest.raises(KbsDenied) as caught:
        client(server).get_resource(PATH)
    assert caught.value.variant == "PolicyDeny"
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 3000


def test_a_session_that_ended_is_replaced(server):
    guest = client(server)
    guest.get_resource(PATH)
    server._keys.clear()
    assert guest.get_resource(PATH) == SECRET
    assert server.steps == ["auth", "attest", "get", "get", "auth", "attest", "get"]


def test_attesting_anew_ends_after_three(server):
    server.bend["get"] = lambda _: error(401, "TokenNotFound")
    with pytest.raises(KbsUnauthenticated):
        client(server).get_resource(PATH)
    assert server.steps == ["auth", "attest", "get"] * 3


def test_evidence_that_is_refused_is_tried_three_times(server):
    server.bend["attest"] = lambda _: error(401, "AttestationError", "RCAR handshake Attest failed")
    with pytest.raises(KbsUnauthenticated) as caught:
        client(server).attest()
    assert caught.value.variant == "AttestationError"
    assert server.steps == ["auth", "attest"] * 3


def test_a_broken_connection_is_tried_again_with_a_new_handshake(server):
    pauses = Pauses()
    left = iter([None, None])
    honest = server._attest
    server._attest = lambda request: next(left) if request and (left.__length_hint__()) else honest(request)
    assert client(server, sleep=pauses).get_resource(PATH) == SECRET
    assert server.steps == ["auth", "attest"] * 3 + ["get"]
    assert pauses == [1.0, 1.0]


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_server_that_starts_is_waited_for(server, status):
    pauses = Pauses()
    server.scripted = iter([Recorded(status, {}, b"")] * 4)
    assert client(server, sleep=pauses).get_resource(PATH) == SECRET
    assert pauses == [1.0] * 4


def test_a_server_that_is_not_there_is_told_after_five_attempts():
    with Kbs() as gone:
        pass
    pauses = Pauses()
    with pytest.raises(KbsUnreachable, match="5 attempts"):
        client(gone, sleep=pauses).attest()
    assert pauses == [1.0] * 4


def test_an_authority_that_is_not_ours_is_not_believed(tmp_path):
    from tests.guest_agent.test_client import _certificate

    authority, context = _certificate(tmp_path, "ours", "localhost")
    with Kbs(context) as server:
        pauses = Pauses()
        with pytest.raises(KbsUnreachable, match="certificate"):
            client(server, sleep=pauses).attest()
        assert pauses == []
        assert client(server, ca_file=authority).get_resource(PATH) == SECRET


def test_threads_share_a_session(server):
    guest = client(server)
    results = []
    threads = [threading.Thread(target=lambda: results.append(guest.get_resource(PATH))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [SECRET] * 8
    assert server.steps.count("attest") == 1


# -- settings -----------------------------------------------------------------------------------------


def test_plain_http_to_another_host_is_refused_unless_asked_for():
    with pytest.raises(InvalidSetting):
        KbsClient("http://kbs.example:8080", SampleAttester())
    KbsClient("http://kbs.example:8080", SampleAttester(), allow_http=True)


def test_an_unknown_key_algorithm_is_told_at_the_start():
    with pytest.raises(InvalidSetting):
        KbsClient("https://kbs.example", SampleAttester(), key_algorithm="RSA1_5")


# -- plugins, passports, hosts ------------------------------------------------------------------------


def test_a_plugin_may_answer_in_plain(server):
    server.plugin = Recorded(200, {"Content-Type": "text/xml"}, b"credential")
    assert client(server).get_resource("kbs+nebula-ca:///credential?name=a&ip=10.9.8.7") == b"credential"
    assert server.requests[-1].target == "/kbs/v0/nebula-ca/credential?name=a&ip=10.9.8.7"


def test_a_plugins_encrypted_answer_is_opened(server):
    assert client(server).get_resource("kbs+pkcs11:///wrap-key/1") == SECRET


def test_a_plugins_json_is_returned_as_it_is(server):
    server.plugin = Recorded(200, {"Content-Type": "application/json"}, b'{"a": 1}')
    assert client(server).get_resource("kbs+p:///x") == b'{"a": 1}'


def test_a_passport_is_shown_and_nothing_attested(server):
    session = client(server).attest()
    server.requests.clear()
    passport = PassportClient(server.url, session.token, session.key, sleep=Pauses())
    assert passport.get_resource(PATH) == SECRET
    (request,) = server.requests
    assert request.headers["authorization"] == f"Bearer {session.token}"
    assert request.cookie is None


def test_a_passport_that_is_not_accepted_is_told(server):
    passport = PassportClient(server.url, "e30.e30.c2ln", TeeKey.generate(), sleep=Pauses())
    with pytest.raises(KbsUnauthenticated):
        passport.get_resource(PATH)
    assert server.steps == ["get"]


@pytest.mark.parametrize("token", ["a b", "a\r\nX: y", "ü", "a" * (257 << 10)])
def test_a_token_that_could_bend_the_request_is_refused(token):
    with pytest.raises(InvalidSetting):
        PassportClient("https://kbs.example", token, TeeKey.generate())


class TestHosts:
    def hosts(self, server, *others):
        made = []

        def make(url):
            made.append(url)
            return KbsClient(url, SampleAttester(), sleep=Pauses())

        return KbsHosts(server.url, make, kbs_hosts=others), made

    def test_the_host_is_honoured(self, server):
        with Kbs() as other:
            hosts, made = self.hosts(server, f"localhost:{other.port}")
            assert hosts.get_resource(f"kbs://localhost:{other.port}/{PATH}") == SECRET
            assert hosts.get_resource(f"kbs://LOCALHOST:{other.port}/{PATH}") == SECRET
            assert other.steps == ["auth", "attest", "get", "get"]
            assert server.requests == []
            assert hosts.get_resource(f"kbs:///{PATH}") == SECRET
            assert hosts.get_resource(f"kbs://localhost:{server.port}/{PATH}") == SECRET
            assert server.steps == ["auth", "attest", "get", "get"]
            assert made == [server.url, other.url]

    @pytest.mark.parametrize("host", ["evil.example", "localhost", "localhost:1", "127.0.0.1"])
    def test_a_host_that_is_not_configured_gets_nothing(self, server, host):
        """An image's annotation must not be able to send this guest's evidence anywhere."""
        hosts, made = self.hosts(server, "kbs.example")
        with pytest.raises(KbsHostForbidden):
            hosts.get_resource(f"kbs://{host}/{PATH}")
        assert made == [server.url]
        assert server.requests == []

    @pytest.mark.parametrize("host", ["", "a/b", "https://a", "a:b", "a@b", "*", "a b"])
    def test_a_list_of_other_things_is_refused(self, server, host):
        with pytest.raises(InvalidSetting):
            self.hosts(server, host)


@pytest.mark.parametrize(
    ("text", "uri"),
    [
        ("default/key/1", ResourceUri("default/key/1")),
        ("kbs:///default/key/1", ResourceUri("default/key/1")),
        ("kbs://KBS.example:8080/a/b/c", ResourceUri("a/b/c", host="kbs.example:8080")),
        ("kbs://[::1]:8080/a/b/c", ResourceUri("a/b/c", host="[::1]:8080")),
        ("kbs+pkcs11:///wrap", ResourceUri("wrap", "pkcs11")),
        ("kbs+x://h/a/b?c=d&e=", ResourceUri("a/b", "x", "h", "c=d&e=")),
    ],
)
def test_uris(text, uri):
    assert parse(text) == uri


@pytest.mark.parametrize(
    "text",
    [
        "", "a/b", "a/b/c/d", "../b/c", "a/../c", "a//c", "a/b/.c", "a/b/c\n", "a/b/c?x", "kbs:/a/b/c",
        "http://h/a/b/c", "kbs://h", "kbs://h/a/b", "kbs://u@h/a/b/c", "kbs://h:x/a/b/c", "kbs:///a/b/c#d",
        "kbs:///a/b/%2e%2e", "kbs+://h/a", "kbs+UP:///a", "kbs+p:///", "kbs+p:///a/../b", "kbs+p:///a?b",
        "kbs+p:///a?b=c d", "kbs+p:///a?b=%0a", "kbs+../x:///a/b/c", "kbs://-/a/b/c",
        "kbs:///a/b/" + "c" * 3000,
        "kbs+p:///" + "/".join("a" * 17),
    ],
)  # fmt: skip
def test_other_texts_are_no_uris(text):
    with pytest.raises(InvalidIdentifier):
        parse(text)


@given(st.text(max_size=60))
def test_any_text_is_a_uri_or_a_typed_error(text):
    for candidate in (text, f"kbs://{text}", f"kbs:///{text}", f"kbs+p:///{text}"):
        try:
            uri = parse(candidate)
        except InvalidIdentifier:
            continue
        assert uri.target.isascii()
        assert uri.target.isprintable()
        assert ".." not in uri.path


# -- what the reference KBS was recorded to answer ----------------------------------------------------


class TestRecorded:
    @pytest.mark.parametrize("name", ["04_client_get_resource_rcar.txt"])
    def test_a_handshake(self, vectors, server, name):
        missing, auth, attest, resource = answers(transcript(vectors, name))
        assert missing.status == 401
        server.scripted = iter([auth, attest, resource])
        with pytest.raises(SecretUndecryptable, match="not made for this TEE key"):
            client(server).get_resource(PATH)
        assert server.requests[1].cookie == "kbs-session-id=3fe53f6d62f548ce8843ae1779b10f75"
        assert server.requests[2].cookie == server.requests[1].cookie
        assert server.requests[1].json["runtime-data"]["nonce"] == json.loads(auth.body)["nonce"]

    def test_its_form_opens_with_the_right_key(self, vectors, server):
        """The recorded answers with a resource of the same form for the key that this handshake has."""
        _, auth, attest, resource = answers(transcript(vectors, "04_client_get_resource_rcar.txt"))

        def script():
            yield auth
            yield attest
            yield resource._replace(body=encrypted(server.requests[1].json["runtime-data"]["tee-pubkey"]))

        server.scripted = script()
        assert client(server).get_resource(PATH) == SECRET

    def test_a_handshake_with_an_rsa_key(self, vectors, server):
        auth, attest = answers(transcript(vectors, "05_client_attest_rsa_key.txt"))
        server.scripted = iter([auth, attest])
        session = client(server, key_algorithm="RSA-OAEP-256").attest()
        assert session.token == json.loads(attest.body)["token"]
        assert server.requests[1].json["runtime-data"]["tee-pubkey"]["alg"] == "RSA-OAEP-256"

    def test_a_passport(self, vectors, server):
        (resource,) = answers(transcript(vectors, "06_client_get_resource_passport.txt"))
        server.scripted = iter([resource])
        passport = PassportClient(server.url, "e30.e30.c2ln", TeeKey.generate("RSA-OAEP-256"))
        with pytest.raises(SecretUndecryptable, match="not made for this TEE key"):
            passport.get_resource(PATH)

    def test_init_data(self, vectors, server):
        path = transcript(vectors, "17_client_attest_initdata.txt")
        server.scripted = iter(answers(path))
        body = path.read_text().partition('"body":')[2]
        text = json.JSONDecoder().raw_decode(body)[0]
        client(server, init_data=text).attest()
        assert server.requests[1].json["init-data"] == {"format": "toml", "body": text}

    @pytest.mark.parametrize(
        ("title", "kind"),
        [
            ("resource, no cookie and no bearer token", KbsUnauthenticated),
            ("unknown resource", KbsResourceUnknown),
            ("unknown plugin", KbsResourceUnknown),
            ("outside the prefix", KbsResourceUnknown),
            ("bearer token with a zeroed signature", KbsUnauthenticated),
            ("policy denied (policy: default allow = false)", KbsDenied),
            ("policy without an allow rule", KbsRefused),
            ("resource path with too few parts", KbsResourceUnknown),
        ],
    )
    def test_refusals(self, vectors, server, title, kind):
        recorded = raw_answers(transcript(vectors, "23_kbs_errors_raw.txt"))[title]
        server.bend["get"] = lambda _: recorded
        if title == "policy without an allow rule":
            kind = (KbsRefused, KbsDenied, KbsUnauthenticated)
        with pytest.raises(kind):
            client(server).get_resource(PATH)

    def test_refused_evidence(self, vectors, server):
        recorded = raw_answers(transcript(vectors, "23_kbs_errors_raw.txt"))["attest, another nonce"]
        server.bend["attest"] = lambda _: recorded
        with pytest.raises(KbsUnauthenticated, match="RCAR handshake Attest failed"):
            client(server).attest()


@given(body=st.binary(max_size=300), status=st.sampled_from([200, 201, 400, 401, 403, 404, 500]))
@settings(max_examples=60, deadline=None)
def test_any_answer_is_a_typed_error(body, status):
    with Kbs() as server:
        for step in ("auth", "attest", "get"):
            server.bend = {step: lambda answer: answer._replace(status=status, body=body)}
            with pytest.raises(TouchstoneError):
                client(server).get_resource(PATH)
