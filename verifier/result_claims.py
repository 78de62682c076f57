"""The claims of an attestation result in the native form: one submodule for the machine, one per device.

What the result rests on (endorsements, reference values, lineage) is named once for the whole, in the
member ``touchstone`` (docs/formats.md); what is of one device alone, there under its submodule's name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rvps.model import ReferenceValue
    from verifier.result import Appraisal


def token_claims(result: Appraisal, nonce: str | None, audience: str) -> dict[str, Any]:
    """Everything but the signer's constants and the times.

    Args:
        result: of the machine, with its devices'.
        nonce: of the session; None for a relying party's own report data.
        audience: the relying party.
    """
    verified = result.evidence
    claims: dict[str, Any] = {
        "aud": audience,
        "jti": result.jti,
        "submods": {"cpu0": _submodule(result)}
        | {name: _submodule(device) for name, device in result.devices.items()},
        "touchstone": {
            "tee": verified.tee,
            "bound": verified.bound,
            "init_data": verified.init_data,
            "identity": verified.identity,
            "evidence_digest": verified.evidence_digest,
            "endorsements": _distinct(one for item in result.every for one in item.evidence.endorsements),
            "policy_digest": result.policy_digest,
            "snapshot": result.selection.snapshot,
            "reference_values": _distinct(one.id for item in result.every for one in item.relied_on),
            "lineage": lineage_of(
                {one.id: one for item in result.every for one in item.relied_on}.values()
            ),
        },
    }
    additions: dict[str, Any] = claims["touchstone"]
    if result.devices:
        additions["devices"] = {name: _device(device) for name, device in result.devices.items()}
    # Apart, so that who counts reference values does not count these.
    unverified = _distinct(one.id for item in result.every for one in item.relied_on_unverified)
    if unverified:
        additions["unverified_reference_values"] = unverified
    declared = _distinct(one.id for item in result.every for one in item.relied_on_declared)
    if declared:
        additions["declared_reference_values"] = declared
    if nonce is not None:
        claims["eat_nonce"] = nonce
    if verified.tee_pubkey is not None:
        claims["cnf"] = {"jwk": verified.tee_pubkey}
    return claims


def _submodule(result: Appraisal) -> dict[str, Any]:
    return {
        "ear.status": result.status,
        "ear.trustworthiness-vector": result.trust_vector,
        "ear.appraisal-policy-id": result.policy,
        "ear.veraison.annotated-evidence": result.evidence.claims,
    }


def _device(result: Appraisal) -> dict[str, Any]:
    """What a device's result rests on besides what stands for the whole."""
    return {
        "tee": result.evidence.tee,
        "identity": result.evidence.identity,
        "evidence_digest": result.evidence.evidence_digest,
        "snapshot": result.selection.snapshot,
    }


def _distinct(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))


def lineage_of(values: Iterable[ReferenceValue]) -> list[dict[str, Any]]:
    """One entry per attestation relied on: enough to walk from a token to commit and builder."""
    by_attestation: dict[str, dict[str, Any]] = {}
    for value in values:
        lineage = value.lineage
        entry = by_attestation.setdefault(
            lineage.attestation,
            {
                "attestation": lineage.attestation,
                "signer": lineage.signer,
                "builder": lineage.builder,
                "source_uri": lineage.source_uri,
                "source_revision": lineage.source_revision,
                "names": [],
            },
        )
        entry["names"].append(value.name)
    return list(by_attestation.values())
