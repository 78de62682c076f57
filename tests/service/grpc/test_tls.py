"""TLS of the gRPC servers: certificates of both sides, replaced while it runs."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
from cryptography import x509

from common.errors import InvalidSetting, NotFound
from policy.port import PolicyKind
from service import settings
from service.grpc.server import GrpcServers
from service.grpc.supervisor import GrpcSupervisor
from testkit.daemon import free_port
from tests.service.conftest import MakeServices
from tests.service.grpc.certificates import TestAuthority
from tests.service.grpc.conftest import Client, Running, Serve, refusal
from tests.service.grpc.test_methods import message, query, register, set_policy

Connect = Callable[..., Client]
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


@pytest.fixture
def authority() -> TestAuthority:
    return TestAuthority()


def mutual(serve: Serve, authority: TestAuthority, folder: Path, clients: TestAuthority) -> Running:
    ca = folder / "clients.pem"
    ca.write_bytes(clients.pem)
    return serve(**authority.write(folder), tls_client_ca=str(ca))


def presented(address: str) -> x509.Certificate:
    """The certificate that a new connection is shown."""
    host, port = address.split(":")
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection((host, int(port)), timeout=10) as plain,
        context.wrap_socket(plain) as connection,
    ):
        der = connection.getpeercert(binary_form=True)
    assert der is not None
    return x509.load_der_x509_certificate(der)


def test_calls_over_tls_and_no_plain_ones(
    serve: Serve, connect: Connect, authority: TestAuthority, tmp_path: Path
) -> None:
    running = serve(**authority.write(tmp_path))
    for address in (running.address, running.reference_address):
        client = connect(address, authority.credentials())
        register(client, message(), running.admin)
        assert query(client, "snp_smt_enabled") is True
        assert refusal(lambda address=address: query(connect(address), "x")).code() is UNAVAILABLE
    stranger = connect(running.address, TestAuthority().credentials())
    assert refusal(lambda: query(stranger, "x")).code() is UNAVAILABLE


def test_client_certificate_may_write_and_is_named(
    serve: Serve, connect: Connect, authority: TestAuthority, tmp_path: Path
) -> None:
    clients = TestAuthority("clients")
    running = mutual(serve, authority, tmp_path, clients)
    client = connect(running.address, authority.credentials(clients.pair("kbs.example")))
    register(client, message())
    set_policy(client, "mine_cpu")
    version = running.services.policy_store.active(PolicyKind.APPRAISAL, "mine_cpu")
    assert version.created_by == "kbs.example (client certificate)"


def test_without_a_certificate_of_the_authority_nothing_is_answered(
    serve: Serve, connect: Connect, authority: TestAuthority, tmp_path: Path
) -> None:
    clients = TestAuthority("clients")
    running = mutual(serve, authority, tmp_path, clients)
    strangers = (None, TestAuthority("clients").pair("kbs.example"), authority.pair("kbs.example"))
    for pair in strangers:
        stranger = connect(running.address, authority.credentials(pair))
        assert refusal(lambda stranger=stranger: query(stranger, "x")).code() is UNAVAILABLE


def test_wrong_token_is_refused_also_with_a_certificate(
    serve: Serve, connect: Connect, authority: TestAuthority, tmp_path: Path
) -> None:
    clients = TestAuthority("clients")
    running = mutual(serve, authority, tmp_path, clients)
    client = connect(running.address, authority.credentials(clients.pair("kbs.example")))
    error = refusal(lambda: register(client, message(), (("authorization", "Bearer x.y.z"),)))
    assert error.code() is grpc.StatusCode.UNAUTHENTICATED


def test_replaced_files_are_taken_up_and_bad_ones_are_not(
    serve: Serve, connect: Connect, authority: TestAuthority, tmp_path: Path
) -> None:
    running = serve(**authority.write(tmp_path))
    first = connect(running.address, authority.credentials())
    assert query(first, "x") is None
    before = presented(running.address)
    (tmp_path / "grpc.pem").write_bytes(b"no certificate")
    time.sleep(1.1)
    assert presented(running.address) == before
    successor = TestAuthority("next authority")
    successor.write(tmp_path)
    time.sleep(1.1)
    presented(running.address)
    assert presented(running.address).issuer == successor.certificate.subject
    assert query(connect(running.address, successor.credentials()), "x") is None
    assert query(first, "x") is None  # its connection stays


@pytest.mark.parametrize(
    ("grpc_settings", "words"),
    [
        ({"attestation": "0.0.0.0:50004"}, "beyond loopback without TLS"),
        ({"reference_values": "[::]:50003"}, "beyond loopback without TLS"),
        ({"attestation": "127.0.0.1"}, "not host:port"),
        ({"attestation": "127.0.0.1:1", "reference_values": "127.0.0.1:1"}, "one address"),
        ({"attestation": "127.0.0.1:1", "tls_key": "k"}, "go together"),
        ({"attestation": "127.0.0.1:1", "tls_client_ca": "k"}, "needs tls_certificate"),
    ],
)
def test_settings_that_contradict_or_weaken_are_refused(grpc_settings: dict[str, str], words: str) -> None:
    with pytest.raises(InvalidSetting, match=words):
        settings.build({"grpc": grpc_settings})


def test_unusable_tls_files_are_found_before_anything_is_started(
    authority: TestAuthority, tmp_path: Path
) -> None:
    given = authority.write(tmp_path)
    built = settings.build({"grpc": {"attestation": "127.0.0.1:1", **given}})
    (tmp_path / "grpc.key").chmod(0o644)
    with pytest.raises(InvalidSetting, match="read by others"):
        GrpcSupervisor(built)
    (tmp_path / "grpc.key").unlink()
    with pytest.raises(NotFound):
        GrpcSupervisor(built)


def test_address_in_use_is_an_error_and_is_not_shared(make_services: MakeServices) -> None:
    address = f"127.0.0.1:{free_port()}"
    services = make_services(grpc={"attestation": address})
    first = GrpcServers(services)
    first.start()
    try:
        with pytest.raises(InvalidSetting, match="cannot listen"):
            GrpcServers(services)
    finally:
        first.stop(0)
