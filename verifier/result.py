"""An attestation result, before it is signed and after."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from policy.claims import STATUS_ORDER

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from common.checks import Check
    from rvps.model import DeclaredReference, ReferenceValue, Selection
    from verifier.model import VerifiedEvidence


class Appraisal(msgspec.Struct, frozen=True):
    """An attestation result.

    Attributes:
        status: EAR status of the submodule.
        trust_vector: AR4SI claim to value, floors applied.
        token: the EAR, compact JWS; empty for an offline inspection without a signer.
        jti: its id.
        evidence: what the verifier said.
        policy: name of the policy that decided.
        policy_digest: SHA-256 of its source, hex.
        selection: the reference values the policy could see.
        relied_on: those of them that equal something in the evidence.
        relied_on_unverified: likewise, of the values that nobody signed and the policy asked for.
        checks: all checks, those of the policy stage last.
        explanation: built when asked for.
        extensions: what the policy's ``extensions`` rule came to: name to value.
        relied_on_declared: likewise, of what an administrator declared, where that counts.
        devices: submodule name to the result of each device beside the machine.
    """

    status: str
    trust_vector: dict[str, int]
    token: str
    jti: str
    evidence: VerifiedEvidence
    policy: str
    policy_digest: str
    selection: Selection
    relied_on: tuple[ReferenceValue, ...]
    checks: tuple[Check, ...]
    explanation: dict[str, Any] | None
    relied_on_unverified: tuple[ReferenceValue, ...] = ()
    extensions: dict[str, Any] = {}
    relied_on_declared: tuple[DeclaredReference, ...] = ()
    devices: dict[str, Appraisal] = {}

    @property
    def every(self) -> tuple[Appraisal, ...]:
        """The machine's result and those of its devices."""
        return (self, *self.devices.values())

    @property
    def worst(self) -> str:
        """The worst status of all."""
        return max((item.status for item in self.every), key=STATUS_ORDER.index)


def all_relied_on(result: Appraisal) -> tuple[str, ...]:
    """Ids of everything that the result rests on: verified, unverified and declared."""
    signed = tuple(value.id for value in (*result.relied_on, *result.relied_on_unverified))
    return (*signed, *(word.id for word in result.relied_on_declared))


def expiries(result: Appraisal) -> Iterable[datetime]:
    """When what the result rests on expires."""
    if result.evidence.not_after is not None:
        yield result.evidence.not_after
    for value in (*result.relied_on, *result.relied_on_unverified):
        if value.expires is not None:
            yield value.expires
    for word in result.relied_on_declared:
        yield word.expires
