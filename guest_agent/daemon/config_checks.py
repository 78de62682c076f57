"""What no type can say of the configuration: addresses, settings that exclude each other, protection.

Whoever reaches an interface gets this guest's secrets, so that an address beyond loopback is refused unless
the networks that may ask are named.
"""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from common.addresses import is_loopback
from common.errors import InvalidSetting, TouchstoneError
from guest_agent import resource_uri
from guest_agent.daemon.config import UNIX
from guest_agent.errors import DevelopmentOnly

if TYPE_CHECKING:
    from guest_agent.daemon.config import Rest, Settings

_MAX_PORT: Final = 65535
_ADVICE: Final = "Correct the named setting; docs/guest-agent.md lists every one."


def check(settings: Settings, *, development: bool) -> None:
    """What no type can say.

    Raises:
        DevelopmentOnly: a setting that takes protection away.
        InvalidSetting: two settings that exclude each other, or an address that is not allowed.
    """
    if not development:
        _check_protection(settings)
    if settings.kbs.ca_file is not None and settings.kbs.certificate is not None:
        raise InvalidSetting("kbs.ca_file and kbs.certificate are both set", advice=_ADVICE)
    if settings.init_data.file is not None and settings.init_data.digest is not None:
        raise InvalidSetting("init_data.file and init_data.digest are both set", advice=_ADVICE)
    for section in (settings.rest, settings.grpc):
        if section.enabled and section.max_requests <= settings.max_waiting:
            raise InvalidSetting("max_waiting is not smaller than max_requests", advice=_ADVICE)
    _check_rest(settings.rest)
    for name in ("attestation_agent", "confidential_data_hub"):
        socket_path(getattr(settings.grpc, name), what=f"grpc.{name}")
    _check_credentials(settings)


def _check_protection(settings: Settings) -> None:
    if settings.sealed_secrets.skip_verification:
        raise DevelopmentOnly("sealed_secrets.skip_verification accepts secrets that nobody signed")
    if settings.allow_sample or settings.allow_sample_device:
        raise DevelopmentOnly("allow_sample and allow_sample_device make evidence that proves nothing")


def address(text: str, *, what: str) -> tuple[str, int]:
    """``host:port`` or ``[v6]:port`` in its parts; the host is an IP address.

    Raises:
        InvalidSetting: not of the form.
    """
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    try:
        ipaddress.ip_address(host)
    except ValueError as error:
        raise InvalidSetting(f"{what} is ADDRESS:PORT with a numeric address", advice=_ADVICE) from error
    if not port.isascii() or not port.isdigit() or int(port) > _MAX_PORT:
        raise InvalidSetting(f"{what} has no port of 0 to {_MAX_PORT}", advice=_ADVICE)
    return host, int(port)


def networks(rest: Rest) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
    """The networks whose callers are answered besides loopback.

    Raises:
        InvalidSetting: one is not a network.
    """
    try:
        return tuple(ipaddress.ip_network(peer) for peer in rest.peers)
    except ValueError as error:
        raise InvalidSetting(
            "rest.peers is a list of networks, such as 10.0.0.0/24", advice=_ADVICE
        ) from error


def socket_path(text: str, *, what: str) -> Path | None:
    """The path of a ``unix://`` address; None for a loopback address and port.

    Raises:
        InvalidSetting: neither.
    """
    if text.startswith(UNIX):
        path = Path(text.removeprefix(UNIX))
        if not path.is_absolute() or ".." in path.parts:
            raise InvalidSetting(f"{what} is unix:///absolute/path", advice=_ADVICE)
        return path
    host, _ = address(text, what=what)
    if not is_loopback(host):
        raise InvalidSetting(
            f"{what} is not a loopback address: whoever reaches it gets this guest's secrets",
            advice=_ADVICE,
        )
    return None


def _check_credentials(settings: Settings) -> None:
    for credential in settings.credentials:
        try:
            resource_uri.parse(credential.resource_uri)
        except TouchstoneError as error:
            raise InvalidSetting("a credential's resource_uri is not kbs:///repository/type/tag") from error


def _check_rest(rest: Rest) -> None:
    host, _ = address(rest.listen, what="rest.listen")
    if not networks(rest) and not is_loopback(host):
        raise InvalidSetting(
            "rest.listen is not a loopback address: whoever reaches it gets this guest's secrets",
            advice="Listen on 127.0.0.1, or name in rest.peers the networks that may ask.",
        )
