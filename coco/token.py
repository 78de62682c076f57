"""The claims of a Confidential Containers attestation result: the reference's EAR, and ours beside it.

Members of the reference keep their names and forms. Ours are additional: ``jti``, ``eat_nonce``
and ``cnf`` (session results only), and ``touchstone``, which names per submodule the policy that decided,
and for the whole the evidence, endorsements, reference values with their lineage, and how it was bound.
``aud`` is left out on purpose: the reference key broker refuses a token that has one.

Source: attestation-service ``ear_token/broker.rs``; draft-ietf-rats-ear; RFC 9711.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec

from verifier.result_claims import lineage_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from coco.session import KbsSession
    from rvps.model import ReferenceValue
    from verifier.result import Appraisal


PROFILE: Final = "tag:github.com,2024:confidential-containers/Trustee"


class TokenNames(msgspec.Struct, frozen=True):
    """What every token says of itself; the defaults are the reference's, which its readers may compare.

    Attributes:
        issuer: ``iss``.
        developer: ``ear.verifier-id`` developer.
        build: ``ear.verifier-id`` build.
        profile: ``eat_profile``.
    """

    build: str
    issuer: str = "CoCo-Attestation-Service"
    developer: str = "https://confidentialcontainers.org"
    profile: str = PROFILE

    def claims(self) -> dict[str, Any]:
        """The constant members."""
        return {
            "eat_profile": self.profile,
            "iss": self.issuer,
            "ear.verifier-id": {"developer": self.developer, "build": self.build},
        }


class TokenSigner(Protocol):
    """Signs attestation results in the reference's form (``verifier.coco_token``)."""

    def sign_coco(self, claims: Mapping[str, Any], *, now: datetime, expires: datetime) -> str:
        """The claims, with ``iat`` and ``exp``, as a compact JWS."""


def combined_claims(
    results: Mapping[str, Appraisal], *, policy_id: str, jti: str, session: KbsSession | None
) -> dict[str, Any]:
    """Everything but the signer's constants and the times.

    Args:
        results: submodule name to what was judged; the CPU's first.
        policy_id: as requested, without the class: what readers of the reference's tokens expect.
        jti: the token's id.
        session: of ours, that all the evidence is bound to.
    """
    first = next(iter(results.values()))
    claims: dict[str, Any] = {
        "jti": jti,
        "submods": {name: _submodule(result, policy_id) for name, result in sorted(results.items())},
        "touchstone": _additions(results, first),
    }
    if session is not None:
        claims["eat_nonce"] = session.nonce
        claims["cnf"] = {"jwk": first.evidence.tee_pubkey}
    return claims


def _submodule(result: Appraisal, policy_id: str) -> dict[str, Any]:
    return {
        "ear.status": result.status,
        "ear.trustworthiness-vector": result.trust_vector,
        "ear.appraisal-policy-id": policy_id,
        "ear.veraison.annotated-evidence": result.evidence.claims,
    } | result.extensions


def _additions(results: Mapping[str, Appraisal], first: Appraisal) -> dict[str, Any]:
    every = list(results.values())
    additions: dict[str, Any] = {
        "tee": first.evidence.tee,
        # Composite evidence is bound as its weakest part.
        "bound": min((item.evidence.bound for item in every), key=_BOUND_ORDER.index),
        "init_data": first.evidence.init_data,
        "identity": first.evidence.identity,
        "evidence_digest": first.evidence.evidence_digest,
        "endorsements": [digest for item in every for digest in item.evidence.endorsements],
        "policies": {name: {"id": r.policy, "digest": r.policy_digest} for name, r in results.items()},
        "snapshot": first.selection.snapshot,
        "reference_values": _ids(value for item in every for value in item.relied_on),
        "lineage": lineage_of(value for item in every for value in item.relied_on),
    }
    unverified = _ids(value for item in every for value in item.relied_on_unverified)
    if unverified:
        # Apart, so that who counts reference values does not count these.
        additions["unverified_reference_values"] = unverified
    declared = list(dict.fromkeys(word.id for item in every for word in item.relied_on_declared))
    if declared:
        additions["declared_reference_values"] = declared
    return additions


_BOUND_ORDER = ("unbound", "report-data", "session")


def _ids(values: Iterable[ReferenceValue]) -> list[str]:
    return list(dict.fromkeys(value.id for value in values))
