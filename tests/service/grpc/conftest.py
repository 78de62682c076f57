"""Real gRPC servers in this process, over services with the test's clock; real clients."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest

from service.composition import Services
from service.grpc.server import GrpcServers
from testkit.daemon import free_port
from testkit.snp_firmware import SnpFirmware
from tests.service.conftest import MakeServices
from tests.service.world import firmware_settings
from wire.proto.attestation_pb2_grpc import AttestationServiceStub
from wire.proto.reference_pb2_grpc import ReferenceValueProviderServiceStub


@dataclass
class Client:
    """A channel and its stubs."""

    channel: grpc.Channel
    attestation: Any = field(init=False)
    reference: Any = field(init=False)

    def __post_init__(self) -> None:
        self.attestation = AttestationServiceStub(self.channel)
        self.reference = ReferenceValueProviderServiceStub(self.channel)


@dataclass
class Running:
    """Started servers."""

    services: Services
    servers: GrpcServers
    address: str
    reference_address: str

    @property
    def token(self) -> str:
        return (self.services.settings.storage.data_dir / "admin.token").read_text("ascii").strip()

    @property
    def admin(self) -> tuple[tuple[str, str], ...]:
        """Metadata of an administrator."""
        return (("authorization", f"Bearer {self.token}"),)


Serve = Callable[..., Running]


@pytest.fixture
def serve(make_services: MakeServices, firmware: SnpFirmware, tmp_path: Path) -> Iterator[Serve]:
    """Starts servers with settings of ``[grpc]`` and others laid over those of the test firmware."""
    started: list[GrpcServers] = []

    def start(*, sections: dict[str, Any] | None = None, **settings: Any) -> Running:
        address, reference_address = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
        values = firmware_settings(firmware, tmp_path) | {"coco": {"declared_reference_values": True}}
        values |= sections or {}
        values["grpc"] = {"attestation": address, "reference_values": reference_address} | settings
        services = make_services(**values)
        servers = GrpcServers(services)
        servers.start()
        started.append(servers)
        return Running(services, servers, address, reference_address)

    yield start
    for servers in started:
        servers.stop(0)


@pytest.fixture
def running(serve: Serve) -> Running:
    return serve()


@pytest.fixture
def connect() -> Iterator[Callable[..., Client]]:
    """Connects a client; plain unless credentials are given."""
    channels: list[grpc.Channel] = []

    def connect_to(
        address: str, credentials: grpc.ChannelCredentials | None = None, **options: int
    ) -> Client:
        given = [(f"grpc.{name}", value) for name, value in options.items()]
        if credentials is None:
            channel = grpc.insecure_channel(address, options=given)
        else:
            channel = grpc.secure_channel(address, credentials, options=given)
        channels.append(channel)
        return Client(channel)

    yield connect_to
    for channel in channels:
        channel.close()


@pytest.fixture
def client(running: Running, connect: Callable[..., Client]) -> Client:
    return connect(running.address)


def refusal(call: Callable[[], object]) -> grpc.RpcError:
    """The error that a call ends with."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value


def code_in(error: Any) -> str | None:
    """The stable code in the trailing metadata."""
    return dict(error.trailing_metadata() or ()).get("touchstone-code")
