"""The OPA engine: each gap of opa-python-client 3.0.0 is shown to be there, and closed by the adapter."""

from __future__ import annotations

import datetime as dt
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from opa_client.errors import PolicyNotFoundError, RegoParseError
from opa_client.opa import OpaClient

from common.errors import InvalidSetting, Malformed
from policy import shipped
from policy.errors import PolicyEngineUnavailable, PolicyEvaluationFailed, PolicyRejected, PolicySyntax
from policy.modules import RESULT
from policy.opa_address import parse_address
from policy.opa_client_adapter import OpaConnection
from policy.opa_engine import OpaEngine, OpaPolicy
from policy.port import PolicyEngine, PolicyKind, PolicySource
from testkit.daemon import free_port
from testkit.opa import OpaServer
from tests.components import require_opa

RELEASE = PolicySource(PolicyKind.RELEASE, "package policy\n\nallow if input.x == 1\n")


def connection(server: OpaServer, token: str | None = None) -> OpaConnection:
    return OpaConnection(parse_address(server.url), token=token, ca_file=None, timeout_s=5)


def client(server: OpaServer, **options: Any) -> OpaClient:
    return OpaClient(host="127.0.0.1", port=server.port, retries=0, **options)


@pytest.fixture
def token_server(opa_server: OpaServer) -> Iterator[OpaServer]:
    del opa_server  # skips or fails without a binary
    with OpaServer(token="correct-horse") as server:
        yield server


class TestGaps:
    def test_1_a_rejected_policy_is_not_rewritten(self, opa_server: OpaServer) -> None:
        old = "package gap1\n\nallow { input.x == 1 }\n"
        plain = client(opa_server)
        assert plain.update_policy_from_string(old, "gap1-client")  # the client uploads another text
        assert plain.get_policy("gap1-client")["result"]["raw"] != old
        with pytest.raises(PolicySyntax):
            connection(opa_server).put_policy("gap1-ours", old)
        assert connection(opa_server).stored("gap1-ours") is None

    def test_1_a_server_that_stores_another_text_is_noticed(self) -> None:
        with _FakeServer(
            {"GET": (200, b'{"result": {"raw": "package other\\n"}}'), "PUT": (200, b"{}")}
        ) as url:
            target = OpaConnection(parse_address(url), token=None, ca_file=None, timeout_s=2)
            with pytest.raises(PolicyEngineUnavailable, match="another text"):
                target.put_policy("gap1", "package policy\n")

    def test_2_undefined_and_not_loaded_are_told_apart(self, opa_server: OpaServer) -> None:
        plain = client(opa_server)
        assert plain.query_rule({}, "no.such", "rule") == {}
        policy = OpaEngine(opa_server.url).compile(RELEASE)
        assert plain.query_rule({}, policy.package, "allow") == {}
        assert plain.query_rule({}, policy.package, RESULT) == {"result": {"data.policy.allow": []}}
        assert policy.evaluate(b"{}") == {}
        assert policy.evaluate(b'{"x": 1}') == {"data.policy.allow": True}

    def test_3_a_wrong_token_is_one_error_everywhere(self, token_server: OpaServer) -> None:
        wrong = client(token_server, token="wrong")
        with pytest.raises(PolicyNotFoundError):
            wrong.get_policy("gap3")
        with pytest.raises(RegoParseError):
            wrong.update_policy_from_string("package a\n", "gap3", rego_compat=False)
        with pytest.raises(requests.HTTPError):
            wrong.query_rule({}, "a", "b")
        for token in ("wrong", None):
            ours = connection(token_server, token)
            calls: list[tuple[Any, tuple[Any, ...]]] = [
                (ours.stored, ("gap3",)),
                (ours.put_policy, ("gap3", "package a\n")),
                (ours.query, ("a", "b", {})),
                (ours.delete_policy, ("gap3",)),
            ]
            for call, arguments in calls:
                with pytest.raises(PolicyEngineUnavailable):
                    call(*arguments)
        assert OpaEngine(token_server.url, token="correct-horse").compile(RELEASE).evaluate(b"{}") == {}

    def test_4_transport_and_evaluation_errors_are_typed(self, opa_server: OpaServer) -> None:
        text = "package policy\n\nallow := 1 if input.a\n\nallow := 2 if input.b\n"
        policy = OpaEngine(opa_server.url).compile(PolicySource(PolicyKind.RELEASE, text))
        with pytest.raises(requests.HTTPError):
            client(opa_server).query_rule({"a": 1, "b": 1}, policy.package, "allow")
        with pytest.raises(PolicyEvaluationFailed, match="conflict") as caught:
            policy.evaluate(b'{"a": 1, "b": 1}')
        assert "\n" not in caught.value.message
        with pytest.raises(requests.exceptions.InvalidJSONError):
            client(opa_server).query_rule({"a": float("nan")}, policy.package, "allow")
        with pytest.raises(Malformed):
            connection(opa_server).query(policy.package, RESULT, {"a": float("nan")})
        for data in (b"", b"{", b'{"a": NaN}', b"\xff"):
            with pytest.raises(Malformed):
                policy.evaluate(data)

    def test_4_a_server_that_is_gone_or_silent_is_unavailable(self, opa_server: OpaServer) -> None:
        with OpaServer() as server:
            policy = OpaEngine(server.url, timeout_s=2).compile(RELEASE)
        with pytest.raises(PolicyEngineUnavailable):
            policy.evaluate(b"{}")
        with _FakeServer({"POST": (200, b'{"result": {}}')}, delay=2.0) as url:
            target = OpaConnection(parse_address(url), token=None, ca_file=None, timeout_s=0.3)
            with pytest.raises(PolicyEngineUnavailable, match="in time"):
                target.query("a", "b", {})

    def test_5_the_environment_does_not_choose_the_ca(
        self, opa_server: OpaServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        certificate, key = _certificate(tmp_path, "server")
        other, _ = _certificate(tmp_path, "other")
        with OpaServer(certificate=(certificate, key)) as server:
            assert OpaEngine(server.url, ca_file=certificate).compile(RELEASE).evaluate(b"{}") == {}
            for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
                monkeypatch.setenv(name, str(other))
            plain = OpaClient(host="localhost", port=server.port, ssl=str(certificate), retries=0)
            assert plain.check_health() is False
            assert OpaEngine(server.url, ca_file=certificate).compile(RELEASE).evaluate(b"{}") == {}
            for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
                monkeypatch.setenv(name, str(certificate))
            with pytest.raises(PolicyEngineUnavailable, match="certificate"):
                OpaEngine(server.url, ca_file=other).compile(RELEASE)
            with pytest.raises(PolicyEngineUnavailable, match="certificate"):
                OpaEngine(server.url).compile(RELEASE)

    def test_5_proxies_of_the_environment_are_not_used(
        self, opa_server: OpaServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
        assert OpaEngine(opa_server.url).compile(RELEASE).evaluate(b"{}") == {}

    @pytest.mark.parametrize(
        "url",
        [
            "http://opa.example:8181",
            "http://10.0.0.1",
            "http://127.0.0.1.example",
            "ftp://127.0.0.1",
            "127.0.0.1:8181",
            "https://",
            "https://user:secret@opa.example",
            "https://opa.example/path",
            "https://opa.example?x=1",
            "https://opa.example:99999",
            "",
        ],
    )
    def test_6_plain_http_beyond_loopback_and_odd_urls_are_refused(self, url: str) -> None:
        with pytest.raises(InvalidSetting) as caught:
            OpaEngine(url, token="secret")
        assert "secret" not in str(caught.value)

    @pytest.mark.parametrize(
        "url", ["http://localhost", "http://127.9.9.9:1", "http://[::1]:8181", "https://a.b"]
    )
    def test_6_loopback_and_tls_are_accepted(self, url: str) -> None:
        OpaEngine(url)

    def test_7_a_falsy_input_is_an_input(self, opa_server: OpaServer) -> None:
        assert client(opa_server).ad_hoc_query("x := input", {}) == {}  # the client drops the input
        policy = OpaEngine(opa_server.url).compile(
            PolicySource(
                PolicyKind.RELEASE, "package policy\n\nallow if is_object(input)\n\nreasons := input\n"
            )
        )
        assert policy.evaluate(b"{}") == {"data.policy.allow": True, "data.policy.reasons": {}}

    @pytest.mark.parametrize("text", ["0", "false", "null", "[]", '""', "1", '["a"]'])
    def test_7_an_input_that_is_not_an_object_is_refused_by_both_engines(
        self, both: tuple[PolicyEngine, PolicyEngine], text: str
    ) -> None:
        for engine in both:
            with pytest.raises(Malformed):
                engine.compile(RELEASE).evaluate(text.encode())

    def test_8_and_11_data_is_never_written_and_cannot_stand_in_for_a_decision(
        self, opa_server: OpaServer
    ) -> None:
        policy = OpaEngine(opa_server.url).compile(RELEASE)
        path = policy.package.replace(".", "/")
        plain = client(opa_server)
        assert plain.update_or_create_data(
            {"allow_": True, "other": [1]}, path
        )  # accepted over the package
        assert policy.evaluate(b"{}") == {}
        with pytest.raises(RegoParseError):
            plain.update_or_create_data({"data.policy.allow": [True]}, f"{path}/{RESULT}")
        assert policy.evaluate(b"{}") == {}

    def test_9_ids_of_ours_need_no_quoting_and_others_are_refused(self, opa_server: OpaServer) -> None:
        plain = client(opa_server)
        assert plain.update_policy_from_string("package gap9\n", "gap9?x=1", rego_compat=False)
        assert plain.get_policy("gap9")["result"]["id"] == "gap9"  # the id was cut off
        policy = OpaEngine(opa_server.url).compile(RELEASE)
        assert connection(opa_server).stored(policy.policy_id) is not None
        for identifier in ("a?x=1", "a/b", "../a", "a b", "A", "", "é", "a\n"):
            with pytest.raises(Malformed):
                connection(opa_server).stored(identifier)

    def test_10_whatever_the_client_raises_is_an_error_of_ours(self) -> None:
        answers = [(200, b"not json"), (200, b"[]"), (302, b""), (404, b"{}"), (500, b"{}"), (500, b"x")]
        for status, body in answers:
            with _FakeServer({"GET": (status, body), "PUT": (status, body), "POST": (status, body)}) as url:
                target = OpaConnection(parse_address(url), token=None, ca_file=None, timeout_s=2)
                with pytest.raises(PolicyEngineUnavailable):
                    target.query("a", "b", {})
                with pytest.raises(PolicyEngineUnavailable):
                    target.put_policy("a", "package a\n")

    @pytest.mark.parametrize(
        "result",
        [
            {"data.policy.allow": [True, True]},
            {"data.policy.allow": True},
            {"data.policy.allow": [], "more": []},
            {},
            [],
            None,
            True,
        ],
    )
    def test_11_an_answer_of_another_shape_is_not_a_decision(self, result: Any) -> None:
        body = json.dumps({"result": result}).encode()
        stored = json.dumps({"result": {"raw": "x"}}).encode()
        with _FakeServer({"POST": (200, body), "GET": (200, stored), "PUT": (200, b"{}")}) as url:
            from policy.modules import prepare

            target = OpaConnection(parse_address(url), token=None, ca_file=None, timeout_s=2)
            with pytest.raises(PolicyEngineUnavailable):
                OpaPolicy(prepare(RELEASE), target).evaluate(b"{}")

    def test_12_an_undefined_entry_point_does_not_hide_the_others(self, opa_server: OpaServer) -> None:
        text = 'package policy\n\nallow if input.x\n\nreasons contains "because"\n'
        policy = OpaEngine(opa_server.url).compile(PolicySource(PolicyKind.RELEASE, text))
        assert policy.evaluate(b"{}") == {"data.policy.reasons": ["because"]}


def test_policies_of_one_package_live_side_by_side(opa_server: OpaServer) -> None:
    engine = OpaEngine(opa_server.url)
    texts = [f"package policy\n\nallow := input.x == {number}\n" for number in range(5)]
    policies = [engine.compile(PolicySource(PolicyKind.RELEASE, text)) for text in texts]
    answers = [policy.evaluate(b'{"x": 3}')["data.policy.allow"] for policy in policies]
    assert answers == [False, False, False, True, False]


def test_the_stored_text_differs_from_the_source_in_the_package_path_alone(opa_server: OpaServer) -> None:
    source = shipped.load(PolicyKind.APPRAISAL, "default_cpu")
    policy = OpaEngine(opa_server.url).compile(source)
    stored = connection(opa_server).stored(policy.policy_id)
    assert stored is not None
    assert stored.replace(f"package {policy.package}", "package policy", 1) == source.text
    assert source.digest in policy.policy_id
    assert policy.source is source


def test_a_server_that_lost_its_policies_gets_them_again(opa_server: OpaServer) -> None:
    policy = OpaEngine(opa_server.url).compile(
        PolicySource(PolicyKind.RELEASE, "package policy\n\nallow if input.restart\n")
    )
    for identifier in (f"{policy.policy_id}-result", policy.policy_id):
        connection(opa_server).delete_policy(identifier)
    assert policy.evaluate(b'{"restart": true}') == {"data.policy.allow": True}


def test_a_restarted_server_is_used_again() -> None:
    require_opa()
    port = free_port()
    with OpaServer(port=port) as server:
        policy = OpaEngine(server.url).compile(RELEASE)
        assert policy.evaluate(b'{"x": 1}') == {"data.policy.allow": True}
    with OpaServer(port=port):
        assert policy.evaluate(b'{"x": 1}') == {"data.policy.allow": True}


def test_connections_are_kept(opa_server: OpaServer) -> None:
    engine = OpaEngine(opa_server.url)
    policy = engine.compile(RELEASE)
    for _ in range(5):
        policy.evaluate(b"{}")
    session = engine._connection._client()._session
    pools = session.get_adapter(opa_server.url).poolmanager.pools
    assert [pools[key].num_connections for key in list(pools.keys())] == [1]


def test_what_opa_alone_refuses_is_refused_with_its_place(opa_server: OpaServer) -> None:
    with pytest.raises(PolicyRejected) as caught:
        connection(opa_server).put_policy("typed", "package typed\n\nx := count(1)\n")
    assert caught.value.details["line"] == 3


class _FakeServer:
    """Answers each method with a fixed status and body: what a broken or foreign server might send."""

    def __init__(self, answers: dict[str, tuple[int, bytes]], delay: float = 0.0) -> None:
        released = threading.Event()

        class Handler(http.server.BaseHTTPRequestHandler):
            def answer(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                self.rfile.read(length)
                released.wait(delay)
                status, body = answers[self.command]
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", "http://127.0.0.1:1/elsewhere")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_PUT = do_POST = do_DELETE = answer  # noqa: N815 (the base class's names)

            def log_message(self, *args: object) -> None:
                pass

            def handle(self) -> None:
                try:
                    super().handle()
                except OSError:
                    pass

        self._released = released
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> str:
        self._thread.start()
        return f"http://127.0.0.1:{self._server.server_port}"

    def __exit__(self, *_: object) -> None:
        self._released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _certificate(folder: Path, name: str) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate_file, key_file = folder / f"{name}.pem", folder / f"{name}.key"
    certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return certificate_file, key_file
