"""What a release needs of an attestation result, taken out of its verified claims with types checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from kms.errors import SessionUnbound
from policy.claims import STATUS_ORDER

if TYPE_CHECKING:
    from collections.abc import Mapping

_SESSION = "session"
UNIDENTIFIED = "unidentified"


class AttestedSession(msgspec.Struct, frozen=True):
    """A guest that attested to us: its key, what it is, and what that verdict rests on.

    Attributes:
        jti: the result's id.
        jwk: the guest's public key, bound by the evidence.
        nonce: our nonce, bound by the evidence, base64url.
        status: EAR status; with devices beside the machine, the worst of all.
        trust_vector: AR4SI claim to value.
        identity: hardware identity, if proven.
        evidence_digest: SHA-256, hex.
        appraisal_policies: name and digest (SHA-256, hex) of each appraisal policy that decided; none where
            another issuer decided.
        snapshot: reference-value snapshot that it decided on.
        references: ids of the reference values relied on, those that nobody signed included.
    """

    jti: str
    jwk: dict[str, Any]
    nonce: str
    status: str
    trust_vector: dict[str, int]
    identity: str | None
    evidence_digest: str
    appraisal_policies: tuple[tuple[str, str], ...]
    snapshot: str
    references: frozenset[str]

    @property
    def appraisal_policy_digest(self) -> str:
        """Digest of the policy that judged the CPU; empty where another issuer decided."""
        return self.appraisal_policies[0][1] if self.appraisal_policies else ""

    @property
    def actor(self) -> str:
        """How audit records name the guest."""
        return self.identity or UNIDENTIFIED


class _Confirmation(msgspec.Struct, frozen=True):
    """``cnf`` (RFC 7800 section 3.2)."""

    jwk: dict[str, Any]


class _Submodule(msgspec.Struct, frozen=True):
    """An EAR appraisal (draft-ietf-rats-ear section 3.2)."""

    status: str = msgspec.field(name="ear.status")
    policy: str = msgspec.field(name="ear.appraisal-policy-id")
    trust_vector: dict[str, int] = msgspec.field(name="ear.trustworthiness-vector")


class Additions(msgspec.Struct, frozen=True, kw_only=True):
    """What a release needs of our member ``touchstone`` (docs/formats.md), in every form of token."""

    bound: str
    evidence_digest: str
    snapshot: str
    reference_values: tuple[str, ...]
    unverified_reference_values: tuple[str, ...] = ()
    declared_reference_values: tuple[str, ...] = ()
    identity: str | None = None

    @property
    def references(self) -> frozenset[str]:
        """Ids of all that the result rests on, signed by somebody or not."""
        return frozenset(
            (
                *self.reference_values,
                *self.unverified_reference_values,
                *self.declared_reference_values,
            )
        )

    def require_session(self) -> None:
        """Demand evidence that was bound to a nonce of ours and a key of the guest.

        Raises:
            SessionUnbound: it was not.
        """
        if self.bound != _SESSION:
            raise SessionUnbound("the evidence was not bound to a session of ours")


class _Additions(Additions, frozen=True, kw_only=True):
    policy_digest: str


class _Claims(msgspec.Struct, frozen=True):
    jti: str
    eat_nonce: str
    cnf: _Confirmation
    submods: dict[str, _Submodule]
    touchstone: _Additions


def session_of(claims: Mapping[str, Any]) -> AttestedSession:
    """The session of a result whose signature, issuer, audience and time were verified.

    Raises:
        SessionUnbound: not bound to a nonce of ours and a key of the guest (a relying party's own
            report data, an offline inspection), or a claim that a release needs is absent.
    """
    try:
        token = msgspec.convert(claims, _Claims)
        appraisal = token.submods["cpu0"]
    except (msgspec.ValidationError, KeyError) as error:
        raise SessionUnbound("the attestation result lacks nonce, key or lineage") from error
    additions = token.touchstone
    additions.require_session()
    return AttestedSession(
        jti=token.jti,
        jwk=token.cnf.jwk,
        nonce=token.eat_nonce,
        status=_worst(token.submods),
        trust_vector=appraisal.trust_vector,
        identity=additions.identity,
        evidence_digest=additions.evidence_digest,
        appraisal_policies=((appraisal.policy, additions.policy_digest),),
        snapshot=additions.snapshot,
        references=additions.references,
    )


def _worst(submods: Mapping[str, _Submodule]) -> str:
    """The worst status of all; one that is not EAR's is worse than any."""
    statuses = [one.status for one in submods.values()]
    foreign = [one for one in statuses if one not in STATUS_ORDER]
    return foreign[0] if foreign else max(statuses, key=STATUS_ORDER.index)
