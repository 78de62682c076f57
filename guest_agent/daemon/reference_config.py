"""The reference components' own files, read as they are: ``aa.toml`` and ``cdh.toml``.

What each member means here is in the two tables below. A member of a part that bears on security which is
not in them is an error, not a guess: ignoring it could weaken what its author meant. Other unknown members
are named in a warning.

Source: Confidential Containers, attestation agent and confidential data hub, configuration.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from common.errors import InvalidSetting
from guest_agent.daemon.boot import require_kbc
from guest_agent.errors import Unsupported

if TYPE_CHECKING:
    from collections.abc import Callable

_LEVELS: Final = {
    "trace": "debug",
    "debug": "debug",
    "info": "info",
    "warn": "warning",
    "warning": "warning",
    "error": "error",
}
# Parts of which every member counts; what stands elsewhere is warned about.
_STRICT: Final = ("token_configs", "eventlog_config", "kbc", "credentials")
_QUIET: Final = ("aa", "socket")


class Reading(msgspec.Struct, frozen=True):
    """What a file says in our terms.

    Attributes:
        members: a part of our configuration.
        ignored: dotted names of members that nothing here reads.
    """

    members: dict[str, Any]
    ignored: tuple[str, ...]


def attestation_agent(document: dict[str, Any]) -> Reading:
    """An ``aa.toml``.

    Raises:
        InvalidSetting: a member is of another type.
        Unsupported: a member that bears on security and that we do not have.
    """
    return _read(document, _AGENT)


def data_hub(document: dict[str, Any]) -> Reading:
    """A ``cdh.toml``; errors as for ``attestation_agent``."""
    if isinstance(kbc := document.get("kbc"), dict) and "name" in kbc:
        require_kbc(_text(kbc["name"]))
    return _read(document, _HUB)


def _read(document: dict[str, Any], table: dict[str, tuple[str, Callable[[Any], Any]]]) -> Reading:
    members: dict[str, Any] = {}
    ignored: list[str] = []
    for name, value in _leaves(document):
        part = name.partition(".")[0]
        if name in table:
            target, convert = table[name]
            if target:
                _put(members, target, convert(value))
        elif part in _STRICT:
            raise Unsupported(
                f"the member {name} is not known here, and leaving it out could weaken what it is for",
                advice="Remove it, or say what it does in Touchstone's own file: docs/guest-agent.md.",
            )
        elif part not in _QUIET:
            ignored.append(name)
    return Reading(members, tuple(ignored))


def _leaves(document: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in document.items():
        if isinstance(value, dict):
            found += _leaves(value, f"{prefix}{name}.")
        else:
            found.append((prefix + name, value))
    return found


def _put(members: dict[str, Any], target: str, value: Any) -> None:
    *parts, last = target.split(".")
    for part in parts:
        members = members.setdefault(part, {})
    members[last] = value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise InvalidSetting("a member of the configuration is not a string")
    return value


def _url(value: Any) -> str:
    return _text(value).rstrip("/")


def _same(value: Any) -> Any:
    return value


def _level(value: Any) -> str:
    level = _LEVELS.get(_text(value).lower())
    if level is None:
        raise InvalidSetting("log.level is error, warn, info, debug or trace")
    return level


_AGENT: Final[dict[str, tuple[str, Callable[[Any], Any]]]] = {
    "token_configs.kbs.url": ("kbs.url", _url),
    "token_configs.kbs.cert": ("kbs.certificate", _text),
    "token_configs.kbs.tee_key_algorithm": ("kbs.key_algorithm", _text),
    "token_configs.coco_as.url": ("attestation_service.url", _url),
    "eventlog_config.init_pcr": ("event_log.register", _same),
    "eventlog_config.enable_eventlog": ("event_log.enabled", _same),
    "log.level": ("log.level", _level),
}
_HUB: Final[dict[str, tuple[str, Callable[[Any], Any]]]] = {
    "kbc.name": ("", _text),  # checked before
    "kbc.url": ("kbs.url", _url),
    "kbc.kbs_cert": ("kbs.certificate", _text),
    "credentials": ("credentials", _same),
    "skip_sealed_secret_verification": ("sealed_secrets.skip_verification", _same),
    "socket": ("grpc.confidential_data_hub", _text),
    "log.level": ("log.level", _level),
}
