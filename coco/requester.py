"""Who asks for a resource: a verified attestation token, and the session that a release needs of it.

A token is ours when its header's ``kid`` is one of our keys, else it is of a trusted issuer, where any is
configured; which of the two is decided by the header before anything is verified, and then holds.

Ours must be bound to a session of ours: results for a relying party's own challenge, or without any,
release nothing. Of another issuer's token the TEE key and the submodules' status are taken; it rests on no
reference values of ours, and records name the issuer.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec

from common.encoding import b64url_decode
from kms.errors import SessionUnbound
from kms.session import Additions, AttestedSession

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

_CPU: Final = "cpu0"
CONTRAINDICATED: Final = "contraindicated"


class Requester(msgspec.Struct, frozen=True):
    """A guest that showed a token which holds.

    Attributes:
        session: for the release.
        statuses: submodule to EAR status.
        claims: of the token.
        payload: the token's payload, JSON bytes as signed: the resource policy's input.
        expires: end of the token, seconds since the epoch.
    """

    session: AttestedSession
    statuses: dict[str, str]
    claims: dict[str, Any]
    payload: bytes
    expires: int


class TokenVerifier(Protocol):
    """Verifies our own tokens (``verifier.coco_token.CocoVerifier``)."""

    def verify(self, token: str, now: datetime) -> dict[str, Any]:
        """The claims of a token that holds at ``now``.

        Raises:
            EarInvalid: it does not.
        """


class _Confirmation(msgspec.Struct, frozen=True):
    jwk: dict[str, Any]


class _Submodule(msgspec.Struct, frozen=True):
    status: str = msgspec.field(name="ear.status")
    trust_vector: dict[str, int] = msgspec.field(name="ear.trustworthiness-vector")


class _Policy(msgspec.Struct, frozen=True):
    id: str
    digest: str


class _Additions(Additions, frozen=True, kw_only=True):
    policies: dict[str, _Policy]


class _Claims(msgspec.Struct, frozen=True):
    jti: str
    exp: int
    eat_nonce: str
    cnf: _Confirmation
    submods: dict[str, _Submodule]
    touchstone: _Additions


def requester_of(payload: bytes, claims: dict[str, Any]) -> Requester:
    """The requester of a token of ours.

    Args:
        payload: of the token, which was verified.
        claims: what it says.

    Raises:
        SessionUnbound: not bound to a session of ours, or a claim that a release needs is absent.
    """
    try:
        parsed = msgspec.convert(claims, _Claims)
        cpu = parsed.submods[_CPU]
    except (msgspec.ValidationError, KeyError) as error:
        raise SessionUnbound("the attestation result lacks nonce, key or lineage") from error
    additions = parsed.touchstone
    additions.require_session()
    session = AttestedSession(
        jti=parsed.jti,
        jwk=parsed.cnf.jwk,
        nonce=parsed.eat_nonce,
        status=cpu.status,
        trust_vector=cpu.trust_vector,
        identity=additions.identity,
        evidence_digest=additions.evidence_digest,
        appraisal_policies=tuple((item.id, item.digest) for item in additions.policies.values()),
        snapshot=additions.snapshot,
        references=additions.references,
    )
    statuses = {name: submodule.status for name, submodule in parsed.submods.items()}
    return Requester(session, statuses, claims, payload, parsed.exp)


def foreign_requester(token: str, claims: dict[str, Any], jwk: Mapping[str, Any], issuer: str) -> Requester:
    """The requester of another issuer's token, whose claims were verified.

    Args:
        token: the token.
        claims: its claims.
        jwk: the TEE key that was found in them.
        issuer: the configured name of the issuer.

    Raises:
        SessionUnbound: it has no submodules with a status, or no expiry.
    """
    submodules = claims.get("submods")
    expires = claims.get("exp")
    if not isinstance(submodules, dict) or not submodules or not isinstance(expires, (int, float)):
        raise SessionUnbound("the token of the other issuer has no submodules, or no expiry")
    statuses = {str(name): str(_member(item, "ear.status")) for name, item in submodules.items()}
    digest = hashlib.sha256(token.encode("ascii")).hexdigest()
    vector = _member(submodules.get(_CPU), "ear.trustworthiness-vector")
    session = AttestedSession(
        jti=str(claims.get("jti") or digest[:32])[:64],
        jwk=dict(jwk),
        nonce="",
        status=statuses.get(_CPU, CONTRAINDICATED),
        trust_vector=vector if isinstance(vector, dict) else {},
        identity=f"issuer:{issuer}",
        evidence_digest=digest,
        appraisal_policies=(),
        snapshot="",
        references=frozenset(),
    )
    return Requester(session, statuses, claims, payload_of(token), int(expires))


def payload_of(token: str) -> bytes:
    """The payload of a compact JWS that was verified."""
    return b64url_decode(token.split(".")[1], what="payload")


def _member(value: object, name: str) -> object:
    return value.get(name) if isinstance(value, dict) else None
