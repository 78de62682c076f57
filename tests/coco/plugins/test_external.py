"""Requests go to real gRPC servers; one that fails in any way gives an error, never an assumption."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from coco.errors import CocoSetting, PluginFailed, PluginUnavailable, PluginUnknown
from coco.plugins.external import ExternalBackend, ExternalPlugin
from coco.plugins.port import PluginCall
from kms.errors import AuditUnavailable
from testkit.daemon import free_port
from testkit.kbs_plugin import HANG_S, KbsPluginServer


class _Authority:
    """A certificate authority of a test."""

    def __init__(self, name):
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        self.pem = self._certificate(self._name, self._key.public_key(), None)

    def issue(self, host):
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
        pem = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return self._certificate(name, key.public_key(), host), pem

    def _certificate(self, name, key, host):
        start = datetime.now(UTC) - timedelta(hours=1)
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(start + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=host is None, path_length=None), critical=True)
        )
        if host is not None:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False
            )
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


@pytest.fixture(scope="module")
def server():
    with KbsPluginServer() as running:
        yield running


@pytest.fixture
def make(audit):
    made = []

    def plugin(*backends):
        made.append(ExternalPlugin(backends, audit))
        return made[-1]

    yield plugin
    for each in made:
        each.close()


@pytest.fixture
def plugin(make, server):
    return make(ExternalBackend("demo", server.endpoint, timeout_ms=3000))


def _call(*path, method="GET", body=b"", **query):
    return PluginCall(method, path, query, body)


def test_a_request_arrives_whole_and_without_the_name(plugin, events, now):
    answer = plugin.handle(_call("demo", "a", "b", method="POST", body=b"body", q="1"), by="alice", now=now)
    assert json.loads(answer.body) == {
        "method": "POST",
        "path": ["a", "b"],
        "query": {"q": "1"},
        "body": "body",
    }
    assert (answer.status, answer.content_type) == (200, "application/json")
    assert events() == [("plugin.call", "external/demo/a/b", "alice")]


def test_the_server_says_who_may_call_and_what_is_encrypted(plugin):
    assert plugin.validate_auth(_call("demo", "admin", "x")) is True
    assert plugin.validate_auth(_call("demo", "x")) is False
    assert plugin.needs_encryption(_call("demo", "x")) is True
    assert plugin.needs_encryption(_call("demo", "open")) is False


@pytest.mark.parametrize("status", ["199", "300", "302", "404", "500", "-1", "7"])
def test_a_refusal_of_the_server_is_one_of_ours_without_its_words(plugin, status, now):
    with pytest.raises(PluginFailed) as refusal:
        plugin.handle(_call("demo", "status", status), by="a", now=now)
    assert refusal.value.details == {"status": int(status)}
    assert "says" not in refusal.value.message


@pytest.mark.parametrize(("status", "expected"), [("0", 200), ("200", 200), ("201", 201), ("299", 299)])
def test_success_passes_with_its_status(plugin, status, expected, now):
    answer = plugin.handle(_call("demo", "status", status), by="a", now=now)
    assert (answer.status, answer.content_type) == (expected, "application/octet-stream")


def test_a_content_type_that_would_split_the_answer_does_not_pass(plugin, now):
    html = plugin.handle(_call("demo", "type", "html"), by="a", now=now)
    assert html.content_type == "text/html; charset=utf-8"
    split = plugin.handle(_call("demo", "type", "split"), by="a", now=now)
    assert split.content_type == "application/octet-stream"


@pytest.mark.parametrize("path", [(), ("nosuch",), ("nosuch", "a"), ("",), ("Demo",)])
def test_an_unknown_backend_is_unknown_to_each_question(plugin, path, now, events):
    call = _call(*path)
    for ask in (plugin.validate_auth, plugin.needs_encryption, lambda c: plugin.handle(c, by="a", now=now)):
        with pytest.raises(PluginUnknown):
            ask(call)
    assert events() == []


def test_text_that_is_none_is_refused(plugin, now, events):
    for call in (_call("demo", "\udc80"), _call("demo", q="\udc80")):
        with pytest.raises(PluginFailed):
            plugin.handle(call, by="a", now=now)
    assert events() == []


def _all_fail(plugin, call, now, grpc_status):
    for ask in (plugin.validate_auth, plugin.needs_encryption, lambda c: plugin.handle(c, by="a", now=now)):
        with pytest.raises(PluginUnavailable) as failure:
            ask(call)
        assert failure.value.details["grpc"] in grpc_status
        assert "4711" not in str(failure.value)


def test_a_crash_in_the_server_is_an_error_without_its_words(plugin, now):
    _all_fail(plugin, _call("demo", "crash"), now, {"UNKNOWN"})


def test_a_server_that_hangs_is_an_error_in_time(make, server, now):
    plugin = make(ExternalBackend("demo", server.endpoint, timeout_ms=200))
    begin = time.monotonic()
    _all_fail(plugin, _call("demo", "hang"), now, {"DEADLINE_EXCEEDED"})
    assert time.monotonic() - begin < HANG_S


def test_an_answer_over_the_limit_is_an_error(plugin, now):
    with pytest.raises(PluginUnavailable) as failure:
        plugin.handle(_call("demo", "big"), by="a", now=now)
    assert failure.value.details["grpc"] == "RESOURCE_EXHAUSTED"


def test_a_server_that_is_away_is_an_error_and_its_return_is_seen(make, now):
    port = free_port()
    plugin = make(ExternalBackend("demo", f"http://localhost:{port}", timeout_ms=2000))
    _all_fail(plugin, _call("demo", "x"), now, {"UNAVAILABLE", "DEADLINE_EXCEEDED"})
    with KbsPluginServer(port=port):
        deadline = time.monotonic() + 20
        while True:
            try:
                assert plugin.validate_auth(_call("demo", "admin")) is True
                break
            except PluginUnavailable:
                assert time.monotonic() < deadline
                time.sleep(0.1)
    _all_fail(plugin, _call("demo", "x"), now, {"UNAVAILABLE", "CANCELLED"})


def test_a_call_that_cannot_be_recorded_is_not_made(plugin, database, now):
    with database.write() as connection:
        connection.exec_driver_sql("DROP TABLE audit_head")
    with pytest.raises(AuditUnavailable):
        plugin.handle(_call("demo", "x"), by="a", now=now)


def test_the_environments_proxy_is_not_used(make, server, now, monkeypatch):
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("no_grpc_proxy", "")
    plugin = make(ExternalBackend("demo", server.endpoint))
    assert plugin.handle(_call("demo", "x"), by="a", now=now).status == 200


# TLS.


@pytest.fixture(scope="module")
def authorities():
    return _Authority("plugins"), _Authority("another")


def _files(folder, **contents):
    for name, data in contents.items():
        path = folder / name
        path.touch(0o600)
        path.write_bytes(data)
    return {name: folder / name for name in contents}


def test_tls_takes_the_authoritys_servers_only(make, authorities, tmp_path, now):
    ours, another = authorities
    files = _files(tmp_path, ours=ours.pem, another=another.pem)
    with KbsPluginServer(certificate=ours.issue("localhost")) as running:
        good = make(ExternalBackend("demo", running.endpoint, files["ours"]))
        assert good.handle(_call("demo", "x"), by="a", now=now).status == 200
        bad = make(ExternalBackend("demo", running.endpoint, files["another"], timeout_ms=1500))
        _all_fail(bad, _call("demo", "x"), now, {"UNAVAILABLE", "DEADLINE_EXCEEDED"})
    with KbsPluginServer(certificate=ours.issue("elsewhere.example")) as running:
        bad = make(ExternalBackend("demo", running.endpoint, files["ours"], timeout_ms=1500))
        _all_fail(bad, _call("demo", "x"), now, {"UNAVAILABLE", "DEADLINE_EXCEEDED"})


def test_tls_against_a_plain_server_is_an_error(make, authorities, server, tmp_path, now):
    files = _files(tmp_path, ours=authorities[0].pem)
    endpoint = server.endpoint.replace("http://", "https://")
    plugin = make(ExternalBackend("demo", endpoint, files["ours"], timeout_ms=1500))
    _all_fail(plugin, _call("demo", "x"), now, {"UNAVAILABLE", "DEADLINE_EXCEEDED"})


def test_a_client_certificate_is_presented_where_one_is_configured(make, authorities, tmp_path, now):
    ours, another = authorities
    chain, key = ours.issue("touchstone")
    foreign_chain, foreign_key = another.issue("touchstone")
    files = _files(
        tmp_path, ca=ours.pem, chain=chain, key=key, foreign_chain=foreign_chain, foreign_key=foreign_key
    )
    with KbsPluginServer(certificate=ours.issue("localhost"), client_ca=ours.pem) as running:

        def backend(**certificates):
            return ExternalBackend("demo", running.endpoint, files["ca"], timeout_ms=1500, **certificates)

        good = make(backend(client_certificate=files["chain"], client_key=files["key"]))
        assert good.handle(_call("demo", "x"), by="a", now=now).status == 200
        foreign = {"client_certificate": files["foreign_chain"], "client_key": files["foreign_key"]}
        for bad in (backend(), backend(**foreign)):
            _all_fail(make(bad), _call("demo", "x"), now, {"UNAVAILABLE", "DEADLINE_EXCEEDED"})


def test_certificates_that_cannot_be_read_give_an_error(make, authorities, server, tmp_path):
    files = _files(tmp_path, ca=authorities[0].pem, chain=b"x", key=b"x")
    files["key"].chmod(0o644)
    endpoint = server.endpoint.replace("http://", "https://")
    for certificates in (
        {"ca_certificate": tmp_path / "missing"},
        {"ca_certificate": files["ca"], "client_certificate": files["chain"], "client_key": files["key"]},
    ):
        plugin = make(ExternalBackend("demo", endpoint, timeout_ms=500, **certificates))
        with pytest.raises(PluginUnavailable):
            plugin.validate_auth(_call("demo", "x"))


CA = Path("ca.pem")


@pytest.mark.parametrize(
    "backend",
    [
        ExternalBackend("", "http://localhost:1"),
        ExternalBackend("a/b", "http://localhost:1"),
        ExternalBackend("..", "http://localhost:1"),
        ExternalBackend("a", "localhost:1"),
        ExternalBackend("a", "unix:/run/plugin.sock"),
        ExternalBackend("a", "http://localhost"),
        ExternalBackend("a", "http://localhost:99999"),
        ExternalBackend("a", "http://user:pw@localhost:1"),
        ExternalBackend("a", "http://localhost:1/path"),
        ExternalBackend("a", "http://localhost:1?x"),
        ExternalBackend("a", "https://localhost:1"),
        ExternalBackend("a", "http://localhost:1", CA),
        ExternalBackend("a", "https://localhost:1", CA, client_certificate=CA),
        ExternalBackend("a", "https://localhost:1", CA, client_key=CA),
        ExternalBackend("a", "http://localhost:1", timeout_ms=0),
    ],
    ids=str,
)
def test_a_backend_that_is_not_clear_stops_the_start(audit, backend):
    with pytest.raises(CocoSetting):
        ExternalPlugin([backend], audit)


def test_backends_have_names_of_their_own(audit):
    backend = ExternalBackend("a", "http://localhost:1")
    for backends in ([], [backend, backend]):
        with pytest.raises(CocoSetting):
            ExternalPlugin(backends, audit)


_FORK = """
import os, sys
from coco.plugins.external import ExternalBackend, ExternalPlugin
from coco.plugins.port import PluginCall
plugin = ExternalPlugin([ExternalBackend("demo", sys.argv[1])], None)
call = PluginCall("GET", ("demo", "admin"))
children = []
for _ in range(2):  # as workers are forked before the first call
    child = os.fork()
    if child == 0:
        os._exit(0 if plugin.validate_auth(call) else 1)
    children.append(child)
for child in children:
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert plugin.validate_auth(call)
"""


def test_each_forked_worker_makes_its_own_channel(server):
    run = subprocess.run(
        [sys.executable, "-c", _FORK, server.endpoint],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[3])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stderr
