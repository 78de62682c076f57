"""Claims of a verified report, as they go into the policy input. Digests are lower-case hex."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict

from verifier.sev import report as bits

if TYPE_CHECKING:
    from verifier.sev.chain import Platform
    from verifier.sev.products import Product
    from verifier.sev.report import SevReport


class SevClaims(TypedDict):
    """``input.sev``.

    Attributes:
        product: product line whose root the chain ended at.
        launch_digest: SHA-256 of what was launched.
        policy: guest policy, whole.
        policy_debug_allowed: the host may debug.
        policy_key_sharing_allowed: the guest's memory key may be shared with other guests.
        policy_es: registers are encrypted too.
        policy_send_allowed: the guest may be moved to another platform.
        policy_domain_only: only to one of the same owner.
        policy_sev_only: only to one with SEV.
        policy_api_major: lowest firmware API that the policy demands.
        policy_api_minor: likewise.
        pek_api_major: firmware API that made the PEK.
        pek_api_minor: likewise.
        nonce: of whoever asked the host for the report.
        chip: SHA-256 of the CEK: which chip.
        owner: SHA-256 of the OCA: whose platform.
        platform: SHA-256 of the PEK.
    """

    product: str
    launch_digest: str
    policy: int
    policy_debug_allowed: bool
    policy_key_sharing_allowed: bool
    policy_es: bool
    policy_send_allowed: bool
    policy_domain_only: bool
    policy_sev_only: bool
    policy_api_major: int
    policy_api_minor: int
    pek_api_major: int
    pek_api_minor: int
    nonce: str
    chip: str
    owner: str
    platform: str


def sev_claims(report: SevReport, platform: Platform, product: Product) -> SevClaims:
    """The ``sev`` member of the policy input."""
    policy = report.policy
    return {
        "product": product.value,
        "launch_digest": report.launch_digest.hex(),
        "policy": policy,
        "policy_debug_allowed": not policy & bits.POLICY_NODBG,
        "policy_key_sharing_allowed": not policy & bits.POLICY_NOKS,
        "policy_es": bool(policy & bits.POLICY_ES),
        "policy_send_allowed": not policy & bits.POLICY_NOSEND,
        "policy_domain_only": bool(policy & bits.POLICY_DOMAIN),
        "policy_sev_only": bool(policy & bits.POLICY_SEV),
        "policy_api_major": report.minimum_api[0],
        "policy_api_minor": report.minimum_api[1],
        "pek_api_major": platform.pek.api[0],
        "pek_api_minor": platform.pek.api[1],
        "nonce": report.nonce.hex(),
        "chip": platform.cek.key_digest,
        "owner": platform.oca.key_digest,
        "platform": platform.pek.key_digest,
    }


def common_claims(report: SevReport, product: Product) -> dict[str, Any]:
    """The ``common`` member: what SEV can say of what every TEE is asked."""
    return {
        "measurement": report.launch_digest.hex(),
        "debug": not report.policy & bits.POLICY_NODBG,
        "migratable": not report.policy & bits.POLICY_NOSEND,
        "product": f"AMD {product.value}",
    }
