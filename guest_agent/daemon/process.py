"""``touchstone-guest serve``: compose, check, bind, fetch credentials, answer, stop.

Order of the start: log; TEE; init-data against the platform; clients; addresses (so that a second process
fails before it attests); credentials; answer; tell the service manager. A failure before that ends the
process with a typed error and leaves no socket behind.

SIGTERM and SIGINT end it: nothing new is accepted, what is being worked on has ``_GRACE_S``, files are
whole or not there.
"""

from __future__ import annotations

import base64
import binascii
import logging
import os
import signal
import tempfile
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from common import init_data
from common.errors import Malformed
from common.files import read_limited
from guest_agent.coco.detection import detect, detect_devices
from guest_agent.daemon import credentials, logs
from guest_agent.daemon.attestation_service import AttestationServiceTokens
from guest_agent.daemon.notify import notify
from guest_agent.daemon.rest import RestServer
from guest_agent.daemon.routes import Routes
from guest_agent.daemon.services import GuestServices, require_init_data
from guest_agent.daemon.tokens import KbsTokens
from guest_agent.errors import NotConfigured
from guest_agent.kbs_client import KbsClient
from guest_agent.kbs_hosts import KbsHosts
from guest_agent.measurements import EVENT_LOG, RuntimeMeasurements

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import FrameType

    from guest_agent.coco import CocoAttester
    from guest_agent.daemon.config import Settings
    from guest_agent.daemon.services import Secrets, Tokens
    from guest_agent.resource_uri import ResourceUri

_LOG: Final = logging.getLogger("touchstone.guest")
_GRACE_S: Final = 10.0
_FILE_MASK: Final = 0o077


class _Interface(Protocol):
    def start(self) -> None:
        """Answer."""

    def stop(self, grace_s: float) -> None:
        """Answer no more."""


class _KbsSecrets:
    """Resources from the KBS that their URI names."""

    def __init__(self, hosts: KbsHosts) -> None:
        self._hosts = hosts

    def resource(self, uri: ResourceUri) -> bytes:
        return self._hosts.get_resource(uri)


def run(settings: Settings, *, warnings: tuple[str, ...] = (), root: Path = Path("/")) -> None:
    """Serve until a signal says otherwise.

    Args:
        settings: checked.
        warnings: what the reading of settings left to say.
        root: where the system's devices are found.

    Raises:
        TouchstoneError: the start fails.
    """
    logs.configure(settings.log.level)
    for warning in warnings:
        _LOG.warning(warning)
    os.umask(_FILE_MASK)
    stopping = _stop_on_signals()
    with ExitStack() as stack:
        services, secrets = compose(settings, root, stack)
        interfaces = _interfaces(settings, services, stack)
        _fetch(settings, secrets, stopping)
        if not stopping.is_set():
            for interface in interfaces:
                interface.start()
            _LOG.info("ready", extra={"fields": {"tee": services.tee}})
            notify("READY=1")
        stopping.wait()
        notify("STOPPING=1")
        _LOG.info("stopping")


def compose(settings: Settings, root: Path, stack: ExitStack) -> tuple[GuestServices, Secrets | None]:
    """The services, from the machine and the settings.

    Args:
        settings: checked.
        root: where the system's devices are found.
        stack: ends what lives as long as the services.

    Raises:
        TouchstoneError: no TEE, other init-data than the platform's, or a setting that cannot be used.
    """
    attester = detect(root, allow_sample=settings.allow_sample)
    devices = detect_devices(
        root, primary=attester, with_tpm=settings.tpm_device, allow_sample=settings.allow_sample_device
    )
    text = _init_data(settings, attester)
    tokens: dict[str, Tokens] = {}
    secrets: Secrets | None = None
    if settings.kbs.url is not None:
        hosts = _kbs(settings, attester, devices, text, stack)
        secrets = _KbsSecrets(hosts)
        tokens["kbs"] = KbsTokens(hosts.default)
    service = settings.attestation_service
    if service.url is not None:
        ca_file = None if service.ca_file is None else Path(service.ca_file)
        tokens["coco_as"] = AttestationServiceTokens(
            service.url, attester, ca_file=ca_file, timeout_s=service.timeout_s
        )
    services = GuestServices(
        attester,
        devices=devices,
        measurements=RuntimeMeasurements(
            attester,
            enabled=settings.event_log.enabled,
            default_register=settings.event_log.register,
            log=root / EVENT_LOG.relative_to("/"),
        ),
        secrets=secrets,
        tokens=tokens,
        key_dir=Path(settings.sealed_secrets.key_dir),
        verify_sealed=not settings.sealed_secrets.skip_verification,
        waiting=settings.max_waiting,
    )
    if settings.sealed_secrets.skip_verification:
        _LOG.warning("sealed secrets are opened without their signature: development only")
    return services, secrets


def _kbs(
    settings: Settings,
    attester: CocoAttester,
    devices: Mapping[str, CocoAttester],
    text: str | None,
    stack: ExitStack,
) -> KbsHosts:
    section = settings.kbs
    ca_file = None if section.ca_file is None else Path(section.ca_file)
    if section.certificate is not None:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="touchstone-guest-"))
        ca_file = Path(folder) / "kbs.pem"
        ca_file.write_text(section.certificate, encoding="utf-8")

    def make(url: str) -> KbsClient:
        return KbsClient(
            url,
            attester,
            devices=devices,
            init_data=text,
            ca_file=ca_file,
            key_algorithm=section.key_algorithm,
            timeout_s=section.timeout_s,
        )

    assert section.url is not None
    return KbsHosts(section.url, make, kbs_hosts=section.hosts)


def _init_data(settings: Settings, attester: CocoAttester) -> str | None:
    """The text of the init-data, after comparing it, or its digest, with the platform's."""
    section = settings.init_data
    if section.digest is not None:
        try:
            digest = base64.b64decode(section.digest, validate=True)
        except (binascii.Error, ValueError) as error:
            raise Malformed("init_data.digest is not base64") from error
        require_init_data(attester, digest)
    if section.file is None:
        return None
    raw = read_limited(Path(section.file), what="init-data", max_bytes=init_data.MAX_BYTES)
    require_init_data(attester, init_data.parse(raw))
    return raw.decode("utf-8")


def _interfaces(settings: Settings, services: GuestServices, stack: ExitStack) -> list[_Interface]:
    """Bound interfaces; ``stack`` stops them."""
    found: list[_Interface] = []
    if settings.grpc.enabled:
        try:
            from guest_agent.daemon.rpc import RpcServers  # noqa: PLC0415 (needs the extra `guest`)
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] not in {"grpc", "google"}:
                raise
            _LOG.warning("gRPC is not served: grpcio and protobuf are not installed (extra `guest`)")
        else:
            found.append(RpcServers(settings.grpc, services))
            stack.callback(found[-1].stop, _GRACE_S)
    if settings.rest.enabled:
        rest = RestServer(settings.rest, Routes(services, settings.rest.features))
        _LOG.info("REST", extra={"fields": {"url": rest.url, "features": settings.rest.features}})
        found.append(rest)
        stack.callback(rest.stop, _GRACE_S)
    if not found:
        raise NotConfigured("neither REST nor gRPC is served", advice="Enable [rest] or [grpc].")
    return found


def _fetch(settings: Settings, secrets: Secrets | None, stopping: threading.Event) -> None:
    if not settings.credentials:
        return
    if secrets is None:
        raise NotConfigured("credentials are to be fetched and there is no KBS", advice="Set [kbs] url.")
    folder = Path(settings.credentials_dir)
    number = credentials.fetch(settings.credentials, folder, secrets, stopping.is_set)
    _LOG.info("credentials fetched", extra={"fields": {"number": number}})


def _stop_on_signals() -> threading.Event:
    """An event that SIGTERM and SIGINT set."""
    stopping = threading.Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    return stopping
