"""AMD SEV and SEV-ES as the rest of the product sees them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from common.errors import TouchstoneError
from verifier.sev.claims import SevClaims
from verifier.sev.evidence import SevEvidence
from verifier.sev.section import SevSection, build, insecure
from verifier.sev.settings import SevSettings
from verifier.sev.verifier import BINDING_SIZE, SevVerifier, parse_evidence
from verifier.tee import Tee

if TYPE_CHECKING:
    from verifier.tee import Inspection


def offline(evidence: SevEvidence, inspection: Inspection) -> SevVerifier:
    """The verifier of one inspection: AMD's roots, default settings."""
    del evidence, inspection
    return SevVerifier(SevSettings())


def contents(evidence: SevEvidence) -> dict[str, Any]:
    """What evidence says of itself, before anything vouches for it; empty where it cannot be parsed."""
    try:
        report, _ = parse_evidence(evidence)
    except TouchstoneError:
        return {}
    return {
        "nonce": report.nonce.hex(),
        "launch_digest": report.launch_digest.hex(),
        "policy": f"{report.policy:#x}",
    }


TEE: Final = Tee(
    name="sev",
    title="AMD SEV and SEV-ES",
    evidence=SevEvidence,
    claims=SevClaims,
    binding_size=BINDING_SIZE,
    section=SevSection,
    build=build,
    offline=offline,
    contents=contents,
    reference_names={
        "sev_launch_digest": "launch_digest",
        "sev_policy": "policy",
        "sev_chip": "chip",
        "sev_owner": "owner",
    },
    identities=frozenset({"sev_chip", "sev_owner"}),
    insecure=insecure,
    checks=(
        (
            "chain: ARK and ASK pinned, CEK by ASK, OCA by itself, PEK by CEK and OCA, PDH by PEK",
            "AMD 55766 C.1",
        ),
        ("report: signature by the PEK over nonce, launch digest and policy", "AMD 55766 6.8"),
        ("nonce: all 16 bytes", "AMD 55766 6.8"),
        (
            "policy: no debugging, no key sharing, registers encrypted, no sending, by default",
            "AMD 55766 chapter 3",
        ),
        ("owner and chip, where the settings list them", "docs/verifier-sev.md"),
    ),
    unchecked=(
        "A report binds no key and no data of the guest: sessions are refused, identity is never affirmed.",
        "Memory has no integrity protection: hardware is at most 32, genuine with known vulnerabilities.",
        "AMD publishes no revocation of chip keys, and the certificates have no dates.",
    ),
)
