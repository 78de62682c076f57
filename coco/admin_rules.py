"""What an administrator may do: rules over role, method and path, and the scopes of our own tokens.

A path is judged as it was sent. One with a percent sign, an empty, ``.`` or ``..`` segment, or a character
outside the plain ones is refused before any rule sees it, so that no rule and no router can read it in two
ways. The query is not matched.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import msgspec

from coco.endpoint_pattern import MAX_PATH, EndpointPattern
from coco.errors import AdminDenied, CocoSetting
from wire.kbs import BASE_PATH

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

METHODS: Final = frozenset({"GET", "POST", "PUT", "DELETE"})
_PATH: Final = re.compile(re.escape(BASE_PATH) + r"((?:/[A-Za-z0-9_.~:@!,=+-]+)+)\Z")
_ENDPOINT: Final = re.compile(r"[a-z][a-z0-9-]{0,63}\Z")
_UNNAMED: Final = "unknown"
# Scopes of our own tokens (`touchstone token create`), by first segment: to read, and to change.
_SCOPES: Final[Mapping[str, tuple[str, str]]] = {
    "resource": ("resources:read", "resources:write"),
    "resource-policy": ("policies:read", "policies:write"),
    "attestation-policy": ("policies:read", "policies:write"),
    "reference-value": ("reference-values:read", "attestations:write"),
}
# What a plugin does is its own affair; it deals in secrets, so its calls ask for the right to write them.
_PLUGIN_SCOPE: Final = "resources:write"
_RETRACT: Final = "retract"


class AclRule(msgspec.Struct, frozen=True):
    """A rule, as it is configured.

    Attributes:
        role: the exact ``role`` of the token.
        allowed_endpoints: ``coco.endpoint_pattern`` over the path.
        methods: the methods that it allows.
    """

    role: str
    allowed_endpoints: str
    methods: frozenset[str] = METHODS


class Rules:
    """Rules, read.

    Args:
        rules: any of them allows.

    Raises:
        CocoSetting: a pattern or method is not usable.
    """

    def __init__(self, rules: Iterable[AclRule]) -> None:
        """Compile the patterns."""
        self._rules = tuple((rule, EndpointPattern(rule.allowed_endpoints)) for rule in rules)
        for rule, _ in self._rules:
            if not rule.role or not rule.methods or not rule.methods <= METHODS:
                raise CocoSetting(f"a rule has a role, and methods out of {', '.join(sorted(METHODS))}")

    def allow(self, role: str, method: str, path: str) -> bool:
        """Whether a rule gives the role this method on this path."""
        return any(
            rule.role == role and method in rule.methods and pattern.matches(path)
            for rule, pattern in self._rules
        )


def plain_path(target: str) -> str:
    """The path of a request target, if it can be read in one way only.

    Raises:
        AdminDenied: encoded, relative, not below ``/kbs/v0``, or too long.
    """
    path = target.partition("?")[0]
    match = _PATH.match(path) if len(path) <= MAX_PATH else None
    if match is None or any(segment in {".", ".."} for segment in segments(path)):
        raise AdminDenied(
            f"admin access denied for endpoint {endpoint(target)}:"
            " the path is encoded, relative or not one of the KBS"
        )
    return path


def segments(path: str) -> Sequence[str]:
    """What stands after ``/kbs/v0/``, by segment."""
    return path.removeprefix(BASE_PATH + "/").split("/")


def endpoint(target: str) -> str:
    """The first segment after ``/kbs/v0/``, for messages; a fixed word where it is not a plain name."""
    first = segments(target.partition("?")[0])[0]
    return first if target.startswith(BASE_PATH) and _ENDPOINT.match(first) else _UNNAMED


def scope(method: str, path: str) -> str:
    """The scope that one of our own tokens needs for this call."""
    first = segments(path)[0]
    if first not in _SCOPES:
        return _PLUGIN_SCOPE
    if first == "reference-value" and method == "DELETE":
        return _RETRACT
    read, write = _SCOPES[first]
    return read if method == "GET" else write
