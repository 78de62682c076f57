"""Fetching, on a TLS server of our own: what is refused, bounded, shared and remembered."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, ClassVar

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import FetchFailed, FetchForbidden, TouchstoneError
from common.fetch import Answer, FetchLimits, HttpFetcher, OfflineFetcher, answer_of

NAME = "collateral.test"


class Handler(BaseHTTPRequestHandler):
    """Answers by path."""

    protocol_version = "HTTP/1.1"
    seen: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.seen.append(f"{self.headers['Host']} {self.path}")
        getattr(self, f"answer_{self.path.strip('/').partition('?')[0]}", self.answer_missing)()

    def log_message(self, *_: object) -> None:
        return

    def send(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response_only(status)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def answer_good(self) -> None:
        self.send(200, b"collateral")

    def answer_missing(self) -> None:
        self.send(404, b"no")

    def answer_redirect(self) -> None:
        self.send(302, Location="https://169.254.169.254/latest/meta-data")

    def answer_busy(self) -> None:
        self.send(429, Retry_After="30")

    def answer_later(self) -> None:
        self.send(503, Date="Sat, 01 Jun 2030 10:00:00 GMT", Retry_After="Sat, 01 Jun 2030 10:01:00 GMT")

    def answer_sometime(self) -> None:
        self.send(503, Retry_After="sometime")

    def answer_chained(self) -> None:
        self.send(200, b"{}", TCB_Info_Issuer_Chain="-----BEGIN%20CERTIFICATE-----%0A")

    def answer_wordy(self) -> None:
        self.send(200, b"{}", **{f"X_{number}": "x" * 30_000 for number in range(3)})

    def answer_big(self) -> None:
        self.send(200, bytes(5000))

    def answer_endless(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            while True:
                self.wfile.write(b"1000\r\n" + bytes(0x1000) + b"\r\n")
        except OSError:
            self.close_connection = True

    def answer_short(self) -> None:
        self.send(200, b"part", Content_Length="100")
        self.close_connection = True

    def answer_packed(self) -> None:
        self.send(200, b"\x1f\x8b", Content_Encoding="gzip")

    def answer_slow(self) -> None:
        time.sleep(0.2)
        self.send(200, b"slow")

    def answer_trickle(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        try:
            for _ in range(1000):
                self.wfile.write(b"x")
                time.sleep(0.05)
        except OSError:
            self.close_connection = True


class Server:
    """The server, its port and its authority."""

    def __init__(self, folder: Path, name: str) -> None:
        self.ca_file = folder / "ca.pem"
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        start = datetime.now(UTC) - timedelta(hours=1)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(key.public_key())
            .serial_number(1)
            .not_valid_before(start)
            .not_valid_after(start + timedelta(days=2))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(key, hashes.SHA256())
        )
        self.ca_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        key_file = folder / "key.pem"
        key_file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.ca_file, key_file)
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.socket = context.wrap_socket(self.http.socket, server_side=True)
        self.http.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients that hang up
        self.port = self.http.server_address[1]
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def url(self, path: str) -> str:
        return f"https://{NAME}:{self.port}/{path}"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("tls"), NAME)
    yield server
    server.http.shutdown()
    server.http.server_close()


@pytest.fixture
def make(server: Server) -> Callable[..., HttpFetcher]:
    Handler.seen.clear()

    def build(**changes: Any) -> HttpFetcher:
        arguments: dict[str, Any] = {
            "ca_file": server.ca_file,
            "allow_private": True,
            "resolve": lambda _name, _port: ["127.0.0.1"],
            "limits": FetchLimits(timeout_s=5, max_bytes=4096),
        }
        return HttpFetcher([f"{NAME}:{server.port}"], **(arguments | changes))

    return build


Make = Callable[..., HttpFetcher]


def test_a_listed_host_is_fetched_from_its_checked_address(server: Server, make: Make) -> None:
    assert make().fetch(server.url("good?a=1")) == b"collateral"
    assert Handler.seen == [f"{NAME}:{server.port} /good?a=1"]


@pytest.mark.parametrize(
    "url",
    [
        "http://{host}/good",
        "https://other.test/good",
        "https://{name}/good",  # another port
        "https://{host}.other.test/good",
        "https://other.test@{host}/good",
        "https://{host}@other.test/good",
        "https://{host}/good#x",
        "https://{host}\\@other.test/good",
        "https://other.test/https://{host}/",
        "file:///etc/passwd",
        "https://169.254.169.254/metadata",
        "https://[::1",
        "https://{name}:99999/good",
        "//{host}/good",
        "https://{host}/go\nod",
        "https://{host}/go od\u00e9",
        "https://{host}/" + "a" * 3000,
        "",
    ],
)
def test_a_url_outside_the_allow_list_is_refused(server: Server, make: Make, url: str) -> None:
    with pytest.raises(FetchForbidden):
        make().fetch(url.replace("{host}", f"{NAME}:{server.port}").replace("{name}", NAME))
    assert Handler.seen == []


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["10.0.0.1"],
        ["169.254.169.254"],
        ["::1"],
        ["fe80::1%eth0"],
        ["fd00::1"],
        ["::ffff:127.0.0.1"],
        ["0.0.0.0"],  # noqa: S104
        ["224.0.0.1"],
        ["93.184.216.34", "192.168.0.1"],
        ["not an address"],
    ],
)
def test_a_name_that_points_inside_is_refused(server: Server, make: Make, addresses: list[str]) -> None:
    with pytest.raises(FetchForbidden):
        make(allow_private=False, resolve=lambda *_: addresses).fetch(server.url("good"))
    assert Handler.seen == []


def test_a_name_is_resolved_once_per_fetch(server: Server, make: Make) -> None:
    answers = iter([["127.0.0.1"], ["10.0.0.1"]])
    assert make(resolve=lambda *_: next(answers)).fetch(server.url("good")) == b"collateral"
    assert next(answers) == ["10.0.0.1"]


def test_a_name_that_does_not_resolve_is_a_failed_fetch(server: Server, make: Make) -> None:
    def fail(*_: object) -> list[str]:
        raise OSError

    for resolve in (fail, lambda *_: []):
        with pytest.raises(FetchFailed):
            make(resolve=resolve).fetch(server.url("good"))


def test_a_server_of_another_name_or_authority_is_refused(
    server: Server, make: Make, tmp_path: Path
) -> None:
    for fetcher in (
        make(ca_file=None),
        make(ca_file=Server(tmp_path, "elsewhere.test").ca_file),
    ):
        with pytest.raises(FetchFailed):
            fetcher.fetch(server.url("good"))
    other = HttpFetcher(
        [f"other.test:{server.port}"],
        ca_file=server.ca_file,
        allow_private=True,
        resolve=lambda *_: ["127.0.0.1"],
    )
    with pytest.raises(FetchFailed):
        other.fetch(f"https://other.test:{server.port}/good")
    assert Handler.seen == []


@pytest.mark.parametrize("path", ["missing", "redirect", "big", "endless", "short", "packed"])
def test_an_answer_that_is_not_a_good_one_fails(server: Server, make: Make, path: str) -> None:
    with pytest.raises(FetchFailed):
        make().fetch(server.url(path))
    assert len(Handler.seen) == 1  # a redirect is not followed


def test_the_status_is_in_the_error(server: Server, make: Make) -> None:
    with pytest.raises(FetchFailed) as caught:
        make().fetch(server.url("missing"))
    assert caught.value.details["status"] == 404


def test_a_slow_answer_is_given_up(server: Server, make: Make) -> None:
    fetcher = make(limits=FetchLimits(timeout_s=0.3, max_bytes=4096))
    started = time.monotonic()
    with pytest.raises(FetchFailed):
        fetcher.fetch(server.url("trickle"))
    assert time.monotonic() - started < 3


def test_answers_and_failures_are_remembered_for_their_time(server: Server, make: Make) -> None:
    moment = [0.0]
    limits = FetchLimits(timeout_s=5, keep_s=100, keep_failure_s=10)
    fetcher = make(clock=lambda: moment[0], limits=limits)
    for moment[0] in (0.0, 5.0, 11.0, 99.0, 101.0):
        assert fetcher.fetch(server.url("good")) == b"collateral"
        with pytest.raises(FetchFailed):
            fetcher.fetch(server.url("missing"))
    assert sum("good" in seen for seen in Handler.seen) == 2
    assert sum("missing" in seen for seen in Handler.seen) == 3


def test_a_busy_host_is_left_alone_for_as_long_as_it_asks(server: Server, make: Make) -> None:
    moment = [0.0]
    fetcher = make(clock=lambda: moment[0], limits=FetchLimits(keep_failure_s=0, keep_s=0))
    for moment[0], expected in ((0.0, FetchFailed), (1.0, FetchFailed), (29.0, FetchFailed), (31.0, None)):
        path = "busy" if moment[0] == 0 else "good"
        if expected is None:
            assert fetcher.fetch(server.url(path)) == b"collateral"
        else:
            with pytest.raises(expected):
                fetcher.fetch(server.url(path))
    assert [seen.rpartition("/")[2] for seen in Handler.seen] == ["busy", "good"]


@pytest.mark.parametrize(("path", "silence"), [("later", 60), ("sometime", 10)])
def test_silence_until_a_date_is_counted_by_the_hosts_own_clock(
    server: Server, make: Make, path: str, silence: int
) -> None:
    moment = [0.0]
    fetcher = make(clock=lambda: moment[0], limits=FetchLimits(keep_failure_s=0, keep_s=0))
    with pytest.raises(FetchFailed):
        fetcher.fetch(server.url(path))
    moment[0] = silence - 1.0
    with pytest.raises(FetchFailed, match="silence"):
        fetcher.fetch(server.url("good"))
    moment[0] = silence + 1.0
    assert fetcher.fetch(server.url("good")) == b"collateral"


def test_headers_come_with_the_answer_and_are_remembered_with_it(server: Server, make: Make) -> None:
    fetcher = make()
    for _ in range(2):
        answer = answer_of(fetcher, server.url("chained"))
        assert answer.body == b"{}"
        assert answer.headers["tcb-info-issuer-chain"] == "-----BEGIN%20CERTIFICATE-----%0A"
    assert len(Handler.seen) == 1


def test_too_many_headers_are_a_failed_fetch(server: Server, make: Make) -> None:
    with pytest.raises(FetchFailed, match="headers"):
        make().fetch(server.url("wordy"))


def test_a_fetcher_of_bodies_alone_gives_no_headers() -> None:
    class Bodies:
        def fetch(self, url: str) -> bytes:
            return url.encode()

    assert answer_of(Bodies(), "https://host/") == Answer(b"https://host/", {})


def test_concurrent_fetches_of_one_url_are_one_request(server: Server, make: Make) -> None:
    fetcher = make()
    answers: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: answers.append(fetcher.fetch(server.url("slow")))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=10)
    assert answers == [b"slow"] * 8
    assert len(Handler.seen) == 1


def test_nothing_listens_is_a_failed_fetch(make: Make) -> None:
    fetcher = HttpFetcher(
        ["closed.test:1"],
        allow_private=True,
        resolve=lambda *_: [str(IPv4Address("127.0.0.1"))],
    )
    with pytest.raises(FetchFailed):
        fetcher.fetch("https://closed.test:1/")


def test_a_mistyped_allow_list_is_refused() -> None:
    for host in ("host:", "host:port", ":443"):
        with pytest.raises(FetchForbidden):
            HttpFetcher([host])


def test_offline_nothing_is_fetched() -> None:
    with pytest.raises(FetchFailed, match="fetching is off"):
        OfflineFetcher().fetch("https://kdsintf.amd.com/vcek/v1/Milan/crl")


def _unreachable(*_: object) -> list[str]:
    pytest.fail("a URL off the allow-list was resolved")


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=80) | st.text(max_size=60).map(lambda text: f"https://{text}"))
def test_any_text_is_refused_typed_before_it_is_resolved(url: str) -> None:
    fetcher = HttpFetcher(["kdsintf.amd.com"], resolve=_unreachable)
    with pytest.raises(TouchstoneError):
        fetcher.fetch(url)
