"""TLS of the real server: files replaced while it runs, client certificates, what is refused at start."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from common import watch as watch_module
from common.errors import InvalidSetting, NotFound
from service import settings as settings_module
from service.client import read_token
from service.settings import build
from service.tls import TlsContexts, TlsWatch, read_pair
from tests.service.running import Authority, RunningServer
from tests.service.tls_files import TlsAuthority, replace

real_server = pytest.mark.xdist_group("server")
ADMIN_ROUTE = "/v1/policies"
_REPLACED_WITHIN_S = 15


class Files(Authority):
    """For ``RunningServer``: the server's certificate comes from an authority."""

    def __init__(self, authority: TlsAuthority) -> None:
        self.authority = authority

    def write(self, folder: Path) -> Path:
        self.authority.server(folder)
        return self.authority.write(folder / "ca.pem")


class Client:
    """Connects to one server, trusting one authority, perhaps with a certificate."""

    def __init__(self, server: RunningServer, certificate: Path | None = None) -> None:
        self._server = server
        self._certificate = certificate

    def connect(self, **versions: Any) -> http.client.HTTPSConnection:
        context = ssl.create_default_context(cafile=str(self._server.ca_file))
        for name, value in versions.items():
            setattr(context, name, value)
        if self._certificate is not None:
            context.load_cert_chain(self._certificate)
        connection = http.client.HTTPSConnection(
            "127.0.0.1", self._server.port, context=context, timeout=10
        )
        connection.connect()
        return connection

    def get(self, path: str, connection: http.client.HTTPSConnection | None = None) -> tuple[int, Any]:
        own = connection or self.connect()
        token = read_token(self._server.folder / "data" / "admin.token")
        try:
            own.request("GET", path, headers={"Authorization": f"Bearer {token}"})
            answer = own.getresponse()
            body = answer.read()
        finally:
            if connection is None:
                own.close()
        return answer.status, json.loads(body) if body.startswith((b"{", b"[")) else body.decode()

    def serial(self) -> int:
        """Of the certificate that a fresh connection is shown."""
        connection = self.connect()
        der = connection.sock.getpeercert(binary_form=True)
        connection.close()
        return x509.load_der_x509_certificate(der).serial_number


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _REPLACED_WITHIN_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@contextmanager
def running(tmp_path: Path, authority: TlsAuthority, *, client: Path | None = None, **options: Any) -> Any:
    engine = options.pop("engine", "gunicorn")
    server = RunningServer(tmp_path, {}, tls=Files(authority), engine=engine, server=options)
    server.client_certificate = client
    with server:
        yield server


@real_server
@pytest.mark.parametrize("threads", [4, 1])
def test_replaced_certificate_is_seen_by_new_connections_and_open_ones_go_on(
    tmp_path: Path, threads: int
) -> None:
    authority = TlsAuthority()
    with running(tmp_path, authority, threads=threads) as server:
        client = Client(server)
        first = client.serial()
        kept = client.connect()
        if threads > 1:
            assert client.get("/healthz", kept)[0] == 200
        second = authority.server(tmp_path)
        until(lambda: client.serial() == second != first)
        # Every worker, not only the one that was asked; each looks by itself.
        until(lambda: {client.serial() for _ in range(10)} == {second})
        assert client.get("/healthz", kept)[0] == 200
        kept.close()
        assert "new TLS files taken up" in server.log_text()


@real_server
def test_broken_files_leave_the_former_certificate_with_an_error_and_a_metric(tmp_path: Path) -> None:
    authority = TlsAuthority()
    with running(tmp_path, authority) as server:
        client = Client(server)
        first = client.serial()
        other = tmp_path / "other"
        other.mkdir()
        authority.server(other)
        replace(tmp_path / "tls.pem", (other / "tls.pem").read_bytes())  # the key is still the old one
        until(lambda: bool(client.serial()) and "former ones stay" in server.log_text())
        assert client.serial() == first
        assert 'touchstone_reload_failures_total{what="tls"}' in client.get("/metrics")[1]
        replace(tmp_path / "tls.key", (other / "tls.key").read_bytes())
        until(lambda: client.serial() != first)


@real_server
def test_granian_takes_up_replaced_files_by_replacing_its_workers(tmp_path: Path) -> None:
    authority = TlsAuthority()
    with running(tmp_path, authority, engine="granian") as server:
        client = Client(server)
        first = client.serial()
        second = authority.server(tmp_path)
        until(lambda: client.serial() == second != first)
        assert client.get("/healthz")[0] == 200


@real_server
@pytest.mark.parametrize("engine", ["gunicorn", "granian"])
def test_lowest_version_is_kept(tmp_path: Path, engine: str) -> None:
    with running(tmp_path, TlsAuthority(), engine=engine, tls_min_version="1.3") as server:
        with closing(Client(server).connect()) as connection:
            assert connection.sock.version() == "TLSv1.3"
        with pytest.raises((ssl.SSLError, ConnectionError)):
            Client(server).connect(maximum_version=ssl.TLSVersion.TLSv1_2)


@real_server
@pytest.mark.parametrize("threads", [4, 1])
def test_admin_mode_wants_a_certificate_on_admin_routes_alone(tmp_path: Path, threads: int) -> None:
    authority, clients, strangers = TlsAuthority(), TlsAuthority("clients"), TlsAuthority("clients")
    options = {
        "threads": threads,
        "tls_client_certificates": "admin",
        "tls_client_ca": str(clients.write(tmp_path / "clients.pem")),
        "metrics": "token",
    }
    with running(tmp_path, authority, **options) as server:
        guest = Client(server)
        admin = Client(server, clients.client(tmp_path / "admin.pem"))
        assert guest.get("/healthz")[0] == 200
        assert guest.get("/.well-known/jwks.json")[0] == 200
        for path in (ADMIN_ROUTE, "/metrics", "/v1/audit"):
            status, problem = guest.get(path)
            assert (status, problem["code"]) == (403, "access.client_certificate")
            assert admin.get(path)[0] == 200
        # The KBS API answers in its own form; a guest of it needs none.
        for path in ("/kbs/v0/resource-policy", "/kbs/v0/reference-value/x"):
            status, problem = guest.get(path)
            assert (status, "client certificate" in problem["detail"]) == (401, True)
            assert "client certificate" not in str(admin.get(path)[1])
        assert "client certificate" not in guest.get("/kbs/v0/resource/a/b/c")[1]["detail"]
        # One that another authority signed, of the same name, ends the handshake, on every route.
        with pytest.raises((ssl.SSLError, ConnectionError, http.client.RemoteDisconnected)):
            Client(server, strangers.client(tmp_path / "stranger.pem")).get("/healthz")
        # The server's own certificate is none for clients.
        assert guest.get("/healthz")[0] == 200


@real_server
@pytest.mark.parametrize("engine", ["gunicorn", "granian"])
def test_required_mode_serves_nobody_without_a_certificate(tmp_path: Path, engine: str) -> None:
    authority, clients = TlsAuthority(), TlsAuthority("clients")
    options = {
        "tls_client_certificates": "required",
        "tls_client_ca": str(clients.write(tmp_path / "clients.pem")),
    }
    certificate = clients.client(tmp_path / "admin.pem")
    with running(tmp_path, authority, engine=engine, client=certificate, **options) as server:
        assert Client(server, certificate).get(ADMIN_ROUTE)[0] == 200
        stranger = TlsAuthority("clients").client(tmp_path / "stranger.pem")
        for refused in (None, stranger):
            with pytest.raises((ssl.SSLError, ConnectionError, http.client.RemoteDisconnected)):
                Client(server, refused).get("/healthz")


@real_server
def test_replaced_client_authority_counts_for_new_connections(tmp_path: Path) -> None:
    authority, clients, successors = TlsAuthority(), TlsAuthority("old"), TlsAuthority("new")
    path = clients.write(tmp_path / "clients.pem")
    options = {"tls_client_certificates": "admin", "tls_client_ca": str(path)}
    with running(tmp_path, authority, **options) as server:
        old = Client(server, clients.client(tmp_path / "old.pem"))
        new = Client(server, successors.client(tmp_path / "new.pem"))
        assert old.get(ADMIN_ROUTE)[0] == 200
        successors.write(path)

        def turned() -> bool:
            try:
                return bool(new.get(ADMIN_ROUTE)[0] == 200)
            except (ssl.SSLError, ConnectionError, http.client.RemoteDisconnected):
                return False

        until(turned)
        time.sleep(1.1)  # the other worker looks at the files at its next connection, a second later
        for _ in range(6):
            with pytest.raises((ssl.SSLError, ConnectionError, http.client.RemoteDisconnected)):
                old.get(ADMIN_ROUTE)


@real_server
def test_plain_http_and_garbage_on_the_tls_port_do_no_harm(tmp_path: Path) -> None:
    with running(tmp_path, TlsAuthority()) as server:
        for data in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff" + b"x" * 100, b"\x00" * 10):
            with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
                connection.sendall(data)
        assert Client(server).get("/healthz")[0] == 200


@pytest.mark.parametrize(
    ("server", "message"),
    [
        ({"tls_certificate": "a"}, "go together"),
        ({"tls_client_ca": "c"}, "go together"),
        ({"tls_client_certificates": "admin"}, "go together"),
        ({"tls_client_certificates": "required", "tls_client_ca": "c"}, "need tls_certificate"),
        (
            {
                "engine": "granian",
                "tls_certificate": "a",
                "tls_key": "b",
                "tls_client_ca": "c",
                "tls_client_certificates": "admin",
            },
            "granian",
        ),
    ],
)
def test_half_configured_tls_is_refused(server: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidSetting, match=message):
        build({"server": server})


def test_chain_without_key_is_refused() -> None:
    with pytest.raises(InvalidSetting, match="signing_key"):
        settings_module.build({"token": {"certificate_chain": "chain.pem"}})


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    TlsAuthority().server(tmp_path)
    return tmp_path / "tls.pem", tmp_path / "tls.key"


def test_unusable_files_are_refused(files: tuple[Path, Path], tmp_path: Path) -> None:
    certificate, key = files
    assert read_pair(certificate, key).client_ca is None
    assert b"PRIVATE" not in repr(read_pair(certificate, key)).encode()
    with pytest.raises(NotFound):
        read_pair(certificate, tmp_path / "none")
    empty = tmp_path / "empty.pem"
    empty.touch(mode=0o600)
    for arguments in ((empty, key), (certificate, empty), (certificate, key, empty)):
        with pytest.raises(InvalidSetting):
            read_pair(*arguments)
    other = tmp_path / "other"
    other.mkdir()
    TlsAuthority().server(other)
    with pytest.raises(InvalidSetting, match="not the key"):
        read_pair(certificate, other / "tls.key")
    key.chmod(0o644)
    with pytest.raises(InvalidSetting, match="read by others"):
        read_pair(certificate, key)


def test_watch_gives_each_good_set_once(files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_module, "CHECK_INTERVAL_S", 0.0)
    watch = TlsWatch(*files)
    first = watch.changed()
    assert first == watch.current()
    assert watch.changed() is None
    replace(files[0], b"broken")
    assert watch.changed() is None
    assert watch.current() is first
    TlsAuthority().server(files[0].parent)
    second = watch.changed()
    assert second is not None
    assert second.certificate_chain != first.certificate_chain
    assert watch.changed() is None


def test_context_is_made_once_a_set(files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_module, "CHECK_INTERVAL_S", 0.0)
    contexts = TlsContexts(TlsWatch(*files), minimum="1.2", clients="off")
    first = contexts.current()
    assert contexts.current() is first
    assert first.minimum_version == ssl.TLSVersion.TLSv1_2
    TlsAuthority().server(files[0].parent)
    assert contexts.current() is not first
