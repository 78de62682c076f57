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
    if settings.policy.trust_policy_keys:
        return ()
    unsigned = (
        "[policy] trust_policy_keys pins none: whoever holds a token with policies:write decides whose"
        " builds are trusted"
    )
    return (unsigned,)


def listen_address(listen: str) -> tuple[str, int]:
    """Host and port of ``host:port`` or ``[ipv6]:port``.

    Raises:
        InvalidSetting: another shape.
    """
    host, separator, port = listen.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not separator or not host or not port.isascii() or not port.isdigit() or int(port) > _MAX_PORT:
        raise InvalidSetting("[server] listen is not host:port")
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
    if settings.snp.extra_anchors:
        yield "[snp] extra_anchors trusts test firmware as if it were AMD's"
    if settings.snp.enabled and settings.snp.revocation != "require":
        yield '[snp] revocation = "if-present" accepts revoked certificates where no list is at hand'
    if settings.coco.sample_tee:
        yield "[coco] sample_tee accepts evidence that anybody can make"
    if settings.coco.lift_release_floors:
        yield "[coco] lift_release_floors lets a policy release secrets to contraindicated guests"
    host, _ = listen_address(settings.server.listen)
    encrypted = settings.server.tls_key is not None or settings.server.behind_tls_proxy
    if not encrypted and not is_loopback(host):
        yield "[server] listens beyond loopback without TLS: admin tokens would be readable"
    if settings.policy.engine == "opa" and _is_clear(settings.policy.opa.url):
        yield "[policy.opa] url is plain HTTP beyond loopback: decisions could be forged"
    yield from insecure_switches_of_coco_admin(settings.coco.admin, settings.coco.plugins)


def _is_clear(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme != "https" and not is_loopback(parts.hostname or "")
