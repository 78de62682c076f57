"""gRPC of the attestation agent and the confidential data hub, on Unix sockets or loopback ports.

Invariants:

* A socket is created with mode 0660 in a folder that exists or is made with 0755; one that another
  process answers on is not taken away from it.
* A request that finds every place taken is refused at once (RESOURCE_EXHAUSTED).
* Secure mount and image pull belong to the interface and are not served: UNIMPLEMENTED.

Only this module imports grpc. Source: Confidential Containers; ``wire/proto``.
"""

from __future__ import annotations

import grp
import logging
import os
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

import grpc

from common.errors import InvalidSetting, TouchstoneError
from guest_agent import resource_uri
from guest_agent.daemon.config_checks import socket_path
from guest_agent.daemon.statuses import document_of, status_of
from guest_agent.errors import AddressInUse
from guest_agent.measurements import Result
from wire.proto import (
    attestation_agent_pb2,
    attestation_agent_pb2_grpc,
    confidential_data_hub_pb2,
    confidential_data_hub_pb2_grpc,
    keyprovider_pb2,
    keyprovider_pb2_grpc,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from guest_agent.daemon.config import Grpc
    from guest_agent.daemon.services import GuestServices

_LOG: Final = logging.getLogger("touchstone.guest.rpc")
_SOCKET_MODE: Final = 0o660
_FOLDER_MODE: Final = 0o755
_PROBE_S: Final = 1.0
_MAX_MESSAGE: Final = 4 << 20
_RESULTS: Final = {
    Result.OK: attestation_agent_pb2.OK,
    Result.NOT_SUPPORTED: attestation_agent_pb2.NOT_SUPPORTED,
    Result.NOT_ENABLED: attestation_agent_pb2.NOT_ENABLED,
}


class RpcServers:
    """The running interfaces.

    Args:
        settings: where.
        services: what is asked for.

    Raises:
        AddressInUse: another process serves an address.
        InvalidSetting: a socket's folder cannot be made, or there is no such group.
    """

    def __init__(self, settings: Grpc, services: GuestServices) -> None:
        """Bind; nothing is answered yet."""
        self._servers: list[grpc.Server] = []
        self._sockets: list[Path] = []
        self._group = _group_id(settings.group)
        registrars: dict[str, list[Callable[[grpc.Server, GuestServices], None]]] = {}
        registrars.setdefault(settings.attestation_agent, []).append(_register_agent)
        registrars.setdefault(settings.confidential_data_hub, []).append(_register_hub)
        try:
            for where, register in registrars.items():
                self._bind(where, register, services, settings.max_requests)
        except TouchstoneError:
            self.stop(0)
            raise

    def start(self) -> None:
        """Answer from now on."""
        for server in self._servers:
            server.start()

    def stop(self, grace_s: float) -> None:
        """Accept nothing more, wait for what is being worked on, remove the sockets."""
        for stopped in [server.stop(grace_s) for server in self._servers]:
            stopped.wait()
        for path in self._sockets:
            path.unlink(missing_ok=True)

    def _bind(
        self,
        where: str,
        register: list[Callable[[grpc.Server, GuestServices], None]],
        services: GuestServices,
        max_requests: int,
    ) -> None:
        path = socket_path(where, what="grpc")
        if path is not None:
            _prepare(path)
        server = grpc.server(
            ThreadPoolExecutor(max_requests, thread_name_prefix="rpc"),
            maximum_concurrent_rpcs=max_requests,
            options=(
                ("grpc.max_receive_message_length", _MAX_MESSAGE),
                ("grpc.so_reuseport", 0),
            ),
        )
        for add in register:
            add(server, services)
        try:
            bound = server.add_insecure_port(where if path is None else f"unix:{path}")
        except RuntimeError as error:
            raise AddressInUse(f"cannot listen on {where}") from error
        if bound == 0:
            raise AddressInUse(f"cannot listen on {where}")
        self._servers.append(server)
        if path is not None:
            self._sockets.append(path)
            try:
                path.chmod(_SOCKET_MODE)
                if self._group is not None:
                    os.chown(path, -1, self._group)
            except OSError as error:
                raise InvalidSetting(f"cannot give {path} to its group ({error.strerror})") from error


class _Agent(attestation_agent_pb2_grpc.AttestationAgentServiceServicer):
    """``attestation_agent.AttestationAgentService``."""

    def __init__(self, services: GuestServices) -> None:
        self._services = services

    def GetEvidence(self, request: Any, context: grpc.ServicerContext) -> Any:
        evidence = _call(context, lambda: self._services.evidence(request.RuntimeData))
        return attestation_agent_pb2.GetEvidenceResponse(Evidence=evidence)

    def GetAdditionalEvidence(self, request: Any, context: grpc.ServicerContext) -> Any:
        evidence = _call(context, lambda: self._services.additional_evidence(request.RuntimeData))
        return attestation_agent_pb2.GetEvidenceResponse(Evidence=evidence)

    def GetToken(self, request: Any, context: grpc.ServicerContext) -> Any:
        token = _call(context, lambda: self._services.token(request.TokenType))
        return attestation_agent_pb2.GetTokenResponse(Token=token)

    def ExtendRuntimeMeasurement(self, request: Any, context: grpc.ServicerContext) -> Any:
        register = request.RegisterIndex if request.HasField("RegisterIndex") else None
        event = (request.Domain, request.Operation, request.Content, register)
        result = _call(context, lambda: self._services.extend(*event))
        return attestation_agent_pb2.ExtendRuntimeMeasurementResponse(Result=_RESULTS[result])

    def BindInitData(self, request: Any, context: grpc.ServicerContext) -> Any:
        _call(context, lambda: self._services.bind_init_data(request.Digest))
        return attestation_agent_pb2.BindInitDataResponse()

    def GetTeeType(self, _request: Any, context: grpc.ServicerContext) -> Any:
        return attestation_agent_pb2.GetTeeTypeResponse(tee=_call(context, lambda: self._services.tee))

    def GetAdditionalTees(self, _request: Any, context: grpc.ServicerContext) -> Any:
        tees = _call(context, lambda: self._services.additional_tees)
        return attestation_agent_pb2.GetAdditionalTeesResponse(additional_tees=tees)


class _SealedSecret(confidential_data_hub_pb2_grpc.SealedSecretServiceServicer):
    """``api.SealedSecretService``."""

    def __init__(self, services: GuestServices) -> None:
        self._services = services

    def UnsealSecret(self, request: Any, context: grpc.ServicerContext) -> Any:
        plaintext = _call(context, lambda: self._services.unseal(request.secret))
        return confidential_data_hub_pb2.UnsealSecretOutput(plaintext=plaintext)


class _GetResource(confidential_data_hub_pb2_grpc.GetResourceServiceServicer):
    """``api.GetResourceService``."""

    def __init__(self, services: GuestServices) -> None:
        self._services = services

    def GetResource(self, request: Any, context: grpc.ServicerContext) -> Any:
        def get() -> bytes:
            return self._services.resource(resource_uri.parse(request.ResourcePath))

        return confidential_data_hub_pb2.GetResourceResponse(Resource=_call(context, get))


class _KeyProvider(keyprovider_pb2_grpc.KeyProviderServiceServicer):
    """``keyprovider.KeyProviderService``."""

    def __init__(self, services: GuestServices) -> None:
        self._services = services

    def WrapKey(self, request: Any, context: grpc.ServicerContext) -> Any:
        return _key_output(_call(context, lambda: self._services.wrap_key(_key_input(request))))

    def UnWrapKey(self, request: Any, context: grpc.ServicerContext) -> Any:
        return _key_output(_call(context, lambda: self._services.unwrap_key(_key_input(request))))


class _SecureMount(confidential_data_hub_pb2_grpc.SecureMountServiceServicer):
    """``api.SecureMountService``: not served."""

    def SecureMount(self, _request: Any, context: grpc.ServicerContext) -> Any:
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "volumes are not mounted by this guest agent")


class _ImagePull(confidential_data_hub_pb2_grpc.ImagePullServiceServicer):
    """``api.ImagePullService``: not served."""

    def PullImage(self, _request: Any, context: grpc.ServicerContext) -> Any:
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "images are not pulled by this guest agent")


def _register_agent(server: grpc.Server, services: GuestServices) -> None:
    attestation_agent_pb2_grpc.add_AttestationAgentServiceServicer_to_server(_Agent(services), server)  # type: ignore[no-untyped-call]


def _register_hub(server: grpc.Server, services: GuestServices) -> None:
    hub = confidential_data_hub_pb2_grpc
    hub.add_SealedSecretServiceServicer_to_server(_SealedSecret(services), server)  # type: ignore[no-untyped-call]
    hub.add_GetResourceServiceServicer_to_server(_GetResource(services), server)  # type: ignore[no-untyped-call]
    hub.add_SecureMountServiceServicer_to_server(_SecureMount(), server)  # type: ignore[no-untyped-call]
    hub.add_ImagePullServiceServicer_to_server(_ImagePull(), server)  # type: ignore[no-untyped-call]
    keyprovider_pb2_grpc.add_KeyProviderServiceServicer_to_server(_KeyProvider(services), server)  # type: ignore[no-untyped-call]


def _key_input(request: Any) -> bytes:
    return bytes(request.KeyProviderKeyWrapProtocolInput)


def _key_output(output: bytes) -> Any:
    return keyprovider_pb2.keyProviderKeyWrapProtocolOutput(KeyProviderKeyWrapProtocolOutput=output)


def _call(context: grpc.ServicerContext, function: Callable[[], Any]) -> Any:
    """The function's result; its error as a status with what may leave."""
    try:
        return function()
    except TouchstoneError as error:
        _, name = status_of(error)
        code = document_of(error)["code"]
        _LOG.info("refused", extra={"fields": {"status": name, "code": code}})
        return context.abort(grpc.StatusCode[name], f"{error.message} [{code}] {error.advice}")
    except Exception:  # noqa: BLE001 (whatever it is, nothing of it leaves)
        _LOG.exception("a call failed")
        return context.abort(grpc.StatusCode.INTERNAL, "the guest agent failed; its log says how")


def _prepare(path: Path) -> None:
    """A folder for the socket, and no dead socket in it."""
    try:
        for folder in reversed(path.parents):
            if not folder.exists():
                folder.mkdir()
                folder.chmod(_FOLDER_MODE)  # whatever the mask says
    except OSError as error:
        raise InvalidSetting(f"cannot make {path.parent} ({error.strerror})") from error
    if path.is_symlink() or (path.exists() and not path.is_socket()):
        raise AddressInUse(f"{path} is there and is no socket")
    if path.exists():
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(_PROBE_S)
            try:
                probe.connect(str(path))
            except (ConnectionRefusedError, FileNotFoundError):
                path.unlink(missing_ok=True)
                return
            except OSError as error:
                raise AddressInUse(f"cannot tell whether {path} is served ({error.strerror})") from error
        raise AddressInUse(f"another process serves {path}")


def _group_id(name: str | None) -> int | None:
    if name is None:
        return None
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError as error:
        raise InvalidSetting("grpc.group is not a group of this system") from error
