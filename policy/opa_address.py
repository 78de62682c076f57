"""Where an OPA server is, strictly: scheme, host and port, nothing else."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

import msgspec

from common.addresses import is_loopback
from common.errors import InvalidSetting

DEFAULT_PORT: Final = 8181


class OpaAddress(msgspec.Struct, frozen=True):
    """An OPA server's address.

    Attributes:
        host: name or address; IPv6 in brackets.
        port: TCP port.
        tls: HTTPS.
    """

    host: str
    port: int
    tls: bool


def parse_address(url: str) -> OpaAddress:
    """Parse ``https://host[:port]``; ``http`` only for loopback, since a token goes with each call.

    Raises:
        InvalidSetting: another scheme, plain HTTP beyond loopback, or a path, query or user.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise InvalidSetting("the OPA URL cannot be parsed") from error
    host = parts.hostname or ""
    if parts.scheme not in ("http", "https") or not host:
        raise InvalidSetting("the OPA URL is not http:// or https:// with a host")
    if parts.path not in ("", "/") or parts.query or parts.fragment or parts.username is not None:
        raise InvalidSetting("the OPA URL has more than scheme, host and port")
    if parts.scheme == "http" and not is_loopback(host):
        raise InvalidSetting(
            "plain HTTP to an OPA server beyond loopback: decisions could be forged",
            advice="Give OPA a certificate (--tls-cert-file) and use https://.",
        )
    shown = f"[{host}]" if ":" in host else host
    return OpaAddress(shown, port or DEFAULT_PORT, parts.scheme == "https")
