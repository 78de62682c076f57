"""Who may administer over the KBS API: bearer tokens of identity providers, and our own.

Order of one admission: mode; path in plain (``coco.admin_rules``); ``Authorization`` header; then

* a token of ours (``ts_...``): its scopes must have the one that the call needs;
* else a JWT: header, provider by issuer, key by algorithm and key id, signature, times, issuer, audience,
  revocation, role; then a rule must give the role this method on this path.

Invariants:

* Nothing is allowed that is not configured: without a provider or a rule every call is refused.
* The algorithm is the key's (``coco.verifying_key``). A header that brings a key or extensions is refused.
* A refusal before the signature holds always reads the same, so that it tells nothing about the keys.
* One class, ``AdminDenied``, answers every refusal, for policies and resources alike; the reference
  implementation answers resources with a type of its start-up errors.

Sources: RFC 6750 section 2.1, RFC 7515, RFC 7519 section 4.1, RFC 8725; texts: Trustee's, as its client
shows them.
"""

from __future__ import annotations

import logging
import re
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec

from coco.admin_keys import Provider, ProviderKeys
from coco.admin_rules import METHODS, AclRule, Rules, endpoint, plain_path, scope
from coco.errors import AdminDenied
from coco.numeric_date import numeric_date
from common import strict_json
from common.encoding import b64url_decode
from common.errors import AccessError, InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from common.fetch import Fetcher

__all__ = ["AclRule", "Admin", "AdminGate", "AdminMode", "NativeAdmin", "NativeTokens", "Provider"]

_LOG: Final = logging.getLogger(__name__)
LEEWAY_S: Final = 60
_BEARER: Final = re.compile(r"[Bb]earer ([A-Za-z0-9._-]+)\Z")
_NATIVE: Final = "ts_"
_NATIVE_ROLE: Final = "touchstone"
_MAX_TOKEN: Final = 16 << 10
_JWS_PARTS: Final = 3
_MAX_NAME: Final = 200
# A key or URL in the header would be the sender's own; extensions change what the signature covers.
_REFUSED_HEADERS: Final = frozenset({"jwk", "jku", "x5u", "x5c", "crit", "b64", "zip"})
_NO_BEARER: Final = "Failed to parse HTTP Auth Bearer header"
_UNVERIFIED: Final = "Admin access denied: Cannot verify token with any of the issuers"
_NO_ROLE: Final = (
    "Admin access denied: Failed to parse claims from token:"
    ' AdminAccessDenied { reason: "Missing required `role` claim in JWT" }'
)


class AdminMode(StrEnum):
    """How administrative calls are admitted; the names are those of the KBS configuration."""

    AUTHENTICATED = "AuthenticatedAuthorization"
    DENY_ALL = "DenyAll"
    INSECURE_ALLOW_ALL = "InsecureAllowAll"


class Admin(msgspec.Struct, frozen=True):
    """Who was admitted.

    Attributes:
        name: as records name it.
        role: of its token; ``touchstone`` for tokens of ours.
    """

    name: str
    role: str


class NativeAdmin(msgspec.Struct, frozen=True):
    """The holder of one of our own tokens.

    Attributes:
        name: as records name it.
        scopes: what it may do (``resources:write``).
    """

    name: str
    scopes: frozenset[str]


class NativeTokens(Protocol):
    """Looks up a token of ours by the whole ``Authorization`` header."""

    def __call__(self, authorization: str, now: datetime) -> NativeAdmin:
        """The holder.

        Raises:
            AccessError: unknown, expired or revoked.
        """


class AdminGate:
    """Admits administrators.

    Args:
        mode: how.
        providers: whose tokens are taken.
        rules: what roles may do.
        revoked: ``jti`` of tokens that are not taken any more.
        native: tokens of ours; None: they are not taken here.
        fetcher: for JWK Sets at URLs.

    Raises:
        CocoSetting: a provider or rule is not usable.
    """

    def __init__(
        self,
        mode: AdminMode,
        *,
        providers: Iterable[Provider] = (),
        rules: Iterable[AclRule] = (),
        revoked: Iterable[str] = (),
        native: NativeTokens | None = None,
        fetcher: Fetcher | None = None,
    ) -> None:
        """Keep the parts and compile the rules; key files are read when they are needed."""
        self._mode = mode
        self._providers = tuple(ProviderKeys(provider, fetcher) for provider in providers)
        self._rules = Rules(rules)
        self._revoked = frozenset(revoked)
        self._native = native

    def require_keys(self) -> None:
        """Demand that every provider has a usable key; for the start.

        Raises:
            CocoSetting: one has none.
        """
        for provider in self._providers:
            provider.require()

    def admit(self, authorization: str | None, method: str, target: str, now: datetime) -> Admin:
        """Admit one call.

        Args:
            authorization: the header's value; None if there is none. Two headers joined are refused.
            method: upper case.
            target: the request target as it was sent, nothing decoded, with or without its query.
            now: when.

        Raises:
            AdminDenied: not admitted; the message is fit for the caller.
        """
        path = plain_path(target)
        try:
            return self._admit(authorization, method, path, now)
        except _Denied as denied:
            raise AdminDenied(f"admin access denied for endpoint {endpoint(path)}: {denied}") from None

    def _admit(self, authorization: str | None, method: str, path: str, now: datetime) -> Admin:
        if self._mode is AdminMode.DENY_ALL or method not in METHODS:
            raise _Denied("Admin access denied: no administrative call is allowed here")
        if self._mode is AdminMode.INSECURE_ALLOW_ALL:
            return Admin("anyone (InsecureAllowAll)", "")
        found = _BEARER.match(authorization or "")
        if found is None or authorization is None or len(authorization) > _MAX_TOKEN:
            raise _Denied(_NO_BEARER)
        token = found.group(1)
        if token.startswith(_NATIVE):
            return self._admit_native(f"Bearer {token}", method, path, now)
        admin = self._authenticated(token, now)
        if not self._rules.allow(admin.role, method, path):
            raise _Denied("Admin access denied: no rule allows this role this call")
        return admin

    def _admit_native(self, authorization: str, method: str, path: str, now: datetime) -> Admin:
        if self._native is None:
            raise _Denied(_UNVERIFIED)
        try:
            holder = self._native(authorization, now)
        except AccessError:
            raise _Denied(_UNVERIFIED) from None
        needed = scope(method, path)
        if needed not in holder.scopes:
            raise _Denied(f"Admin access denied: this needs scope {needed}")
        return Admin(holder.name, _NATIVE_ROLE)

    def _authenticated(self, token: str, now: datetime) -> Admin:
        header, claims, signed, signature = _opened(token)
        for keys in self._providers:
            provider = keys.provider
            # Not authentic yet: they choose whose keys are asked, and are signed with the rest.
            if _is_for(claims, provider) and any(
                key.fits(header) and key.verifies(signature, signed) for key in keys.present()
            ):
                return self._holder(claims, provider, now)
        raise _unverified("no key of a provider for this issuer and audience verifies it")

    def _holder(self, claims: Mapping[str, Any], provider: Provider, now: datetime) -> Admin:
        _require_time(claims, now)
        self._require_unrevoked(claims)
        return Admin(_name(claims, provider), _role(claims))

    def _require_unrevoked(self, claims: Mapping[str, Any]) -> None:
        token_id = claims.get("jti")
        if token_id is not None and (not isinstance(token_id, str) or token_id in self._revoked):
            raise _unverified("it is revoked, or its id is no text")


class _Denied(Exception):
    """Why; ``AdminGate.admit`` puts the endpoint before it."""


def _unverified(reason: str) -> _Denied:
    """The refusal that reads the same for every reason; the log has the reason."""
    _LOG.info("an administrator's token is refused: %s", reason)
    return _Denied(_UNVERIFIED)


def _opened(token: str) -> tuple[Mapping[str, Any], Mapping[str, Any], bytes, bytes]:
    """Header, claims, what is signed, and the signature; nothing of it is authentic yet."""
    parts = token.split(".")
    if len(parts) != _JWS_PARTS:
        raise _unverified("it is not a compact JWS")
    try:
        header, claims, signature = (b64url_decode(part) for part in parts)
    except InputError:
        raise _unverified("it is not base64url") from None
    opened = _object(header)
    if not _REFUSED_HEADERS.isdisjoint(opened):
        raise _unverified("its header brings a key or an extension")
    return opened, _object(claims), ".".join(parts[:2]).encode("ascii"), signature


def _is_for(claims: Mapping[str, Any], provider: Provider) -> bool:
    """Whether issuer and audience are those that the provider is configured with."""
    stated = claims.get("aud")
    audiences = stated if isinstance(stated, list) else [stated]
    return (provider.issuer is None or claims.get("iss") == provider.issuer) and (
        provider.audience is None or provider.audience in audiences
    )


def _object(data: bytes) -> Mapping[str, Any]:
    try:
        document = strict_json.loads(data, what="token", max_bytes=_MAX_TOKEN)
    except InputError:
        raise _unverified("header or payload is not JSON") from None
    if not isinstance(document, dict):
        raise _unverified("header or payload is not an object")
    return document


def _require_time(claims: Mapping[str, Any], now: datetime) -> None:
    moment = now.timestamp()
    expires, begins = _numeric(claims, "exp"), _numeric(claims, "nbf")
    if expires is None or moment > expires + LEEWAY_S:
        raise _unverified("it has no exp, or has expired")
    if begins is not None and moment < begins - LEEWAY_S:
        raise _unverified("it is not valid yet")


def _numeric(claims: Mapping[str, Any], name: str) -> float | None:
    try:
        return numeric_date(claims, name)
    except InputError:
        raise _unverified(f"its {name} is not a time") from None


def _role(claims: Mapping[str, Any]) -> str:
    role = claims.get("role")
    if not isinstance(role, str) or not role:
        raise _Denied(_NO_ROLE)
    return role


def _name(claims: Mapping[str, Any], provider: Provider) -> str:
    subject = claims.get("sub")
    who = subject[:_MAX_NAME] if isinstance(subject, str) and subject else "unnamed"
    return f"{who} ({provider.name})"
