"""What the production profile refuses, and what a development server must say loudly.

Each switch that weakens a verdict is named once here. ``enforce`` refuses them in production at start;
``insecure_switches`` lists those that are on, for the log at start and for ``/healthz``.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from common.errors import InvalidSetting
from service.sections_coco_admin import insecure_switches as insecure_switches_of_coco_admin
from verifier.tees import TEES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from service.settings import Settings

_MAX_PORT = 65_535


def enforce(settings: Settings) -> None:
    """Refuse contradictions, and in production every insecure switch.

    Raises:
        InvalidSetting: naming the switches.
    """
    listen_address(settings.server.listen)
    _require_whole(settings)
    grpc_listeners(settings)
    switches = insecure_switches(settings)
    if settings.profile == "production" and switches:
        raise InvalidSetting(
            f"the production profile refuses: {'; '.join(switches)}",
            advice='Remove the setting, or use profile = "development" where nothing is at stake.',
        )


def _require_whole(settings: Settings) -> None:
    """Refuse what is configured by half."""
    server, token = settings.server, settings.token
    if (server.tls_certificate is None) != (server.tls_key is None):
        raise InvalidSetting("[server] tls_certificate and tls_key go together")
    if (server.tls_client_ca is None) != (server.tls_client_certificates == "off"):
        raise InvalidSetting("[server] tls_client_ca and tls_client_certificates go together")
    if server.tls_client_ca is not None and server.tls_certificate is None:
        raise InvalidSetting("[server] client certificates need tls_certificate and tls_key")
    if server.engine == "granian" and server.tls_client_certificates == "admin":
        raise InvalidSetting(
            '[server] tls_client_certificates = "admin": granian does not say who connects',
            advice='Use engine = "gunicorn", or "required".',
        )
    if token.certificate_chain is not None and token.signing_key is None:
        raise InvalidSetting("[token] certificate_chain goes with signing_key")


def insecure_switches(settings: Settings) -> tuple[str, ...]:
    """Each insecure switch that is on, as one phrase; the development profile itself is none."""
    return tuple(_switches(settings))


def warnings(settings: Settings) -> tuple[str, ...]:
    """What weakens no verdict by itself and should still be known; said at start in every profile."""
    found = []
    if not settings.policy.trust_policy_keys:
        found.append(
            "[policy] trust_policy_keys pins none: whoever holds a token with policies:write decides whose"
            " builds are trusted"
        )
    if settings.grpc.enabled and settings.grpc.unauthenticated_writes == "loopback":
        found.append(
            '[grpc] unauthenticated_writes = "loopback": every program on this machine, and whoever reaches'
            " it through a proxy on it, decides what is trusted"
        )
    return tuple(found)


def grpc_listeners(settings: Settings) -> tuple[tuple[str, str, int], ...]:
    """The gRPC services that are configured: key of ``[grpc]``, host, port.

    Raises:
        InvalidSetting: an address that is none, or both services at one; TLS configured by half.
    """
    grpc = settings.grpc
    if (grpc.tls_certificate is None) != (grpc.tls_key is None):
        raise InvalidSetting("[grpc] tls_certificate and tls_key go together")
    if grpc.tls_client_ca is not None and grpc.tls_certificate is None:
        raise InvalidSetting("[grpc] tls_client_ca needs tls_certificate and tls_key")
    if grpc.attestation is not None and grpc.attestation == grpc.reference_values:
        raise InvalidSetting(
            "[grpc] attestation and reference_values have one address",
            advice="The attestation service answers for reference values too: leave reference_values out.",
        )
    given = (("attestation", grpc.attestation), ("reference_values", grpc.reference_values))
    return tuple(
        (key, *listen_address(listen, f"[grpc] {key}")) for key, listen in given if listen is not None
    )


def listen_address(listen: str, what: str = "[server] listen") -> tuple[str, int]:
    """Host and port of ``host:port`` or ``[ipv6]:port``.

    Raises:
        InvalidSetting: another shape.
    """
    host, separator, port = listen.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not separator or not host or not port.isascii() or not port.isdigit() or int(port) > _MAX_PORT:
        raise InvalidSetting(f"{what} is not host:port")
    return host, int(port)


def is_loopback(host: str) -> bool:
    """Whether a host literal is this machine's own."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


def _switches(settings: Settings) -> Iterator[str]:
    for tee in TEES.values():
        yield from tee.insecure(settings.tee_section(tee.name))
    if settings.coco.lift_release_floors:
        yield "[coco] lift_release_floors lets a policy release secrets to contraindicated guests"
    host, _ = listen_address(settings.server.listen)
    encrypted = settings.server.tls_key is not None or settings.server.behind_tls_proxy
    if not encrypted and not is_loopback(host):
        yield "[server] listens beyond loopback without TLS: admin tokens would be readable"
    if settings.coco.attestation.unauthenticated_writes:
        yield "[coco.attestation] unauthenticated_writes lets anybody decide what is trusted"
    if settings.grpc.tls_key is None and not all(
        is_loopback(host) for _, host, _ in grpc_listeners(settings)
    ):
        yield "[grpc] listens beyond loopback without TLS: tokens and results could be read and forged"
    if settings.policy.engine == "opa" and _is_clear(settings.policy.opa.url):
        yield "[policy.opa] url is plain HTTP beyond loopback: decisions could be forged"
    yield from insecure_switches_of_coco_admin(settings.coco.admin, settings.coco.plugins)


def _is_clear(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme != "https" and not is_loopback(parts.hostname or "")
