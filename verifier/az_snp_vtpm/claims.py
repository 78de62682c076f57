"""Claims of an Azure VM on SEV-SNP, as they go into the policy input.

The names of Confidential Containers have its spellings: every value is text (``"3"``, ``"true"``), and
``measurement``, ``report_data`` and ``init_data`` (HOST_DATA) are padded base64. A policy that compares
them with numbers or booleans never matches: ``snp`` beside them has the same values typed, as
``input.snp`` has them for a guest that talks to the hardware itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NotRequired, TypedDict

from common.encoding import b64_encode
from verifier.snp.claims import SnpClaims, snp_claims

if TYPE_CHECKING:
    from verifier.snp.verifier import CheckedReport

_TEXTS = (
    "policy_abi_major",
    "policy_abi_minor",
    "policy_smt_allowed",
    "policy_migrate_ma",
    "policy_debug_allowed",
    "policy_single_socket",
    "reported_tcb_bootloader",
    "reported_tcb_tee",
    "reported_tcb_snp",
    "reported_tcb_microcode",
    "platform_tsme_enabled",
    "platform_smt_enabled",
)


class AzSnpVtpmClaims(TypedDict):
    """``input["az-snp-vtpm"]``.

    Attributes:
        measurement: base64.
        report_data: of the SNP report, base64: the hash of the runtime claims.
        init_data: HOST_DATA, base64; not what init-data is bound to here (register 8 is).
        snp: the report, typed.
        tpm: registers (``pcr00`` to ``pcr23``, ``pcrs`` by bank), ``firmware_version``, ``reset_count``,
            ``restart_count``, ``clock``, ``safe``; ``event_log`` and ``ima`` where logs came.
        vm_configuration: of the runtime claims: ``secure-boot``, ``console-enabled``, ``tpm-enabled``,
            ``vmUniqueId`` and whatever else the paravisor states.
        user_data: of the runtime claims, hex.
        hcl_fresh: whether the hardware report was made for this request, not at an earlier time.
    """

    policy_abi_major: str
    policy_abi_minor: str
    policy_smt_allowed: str
    policy_migrate_ma: str
    policy_debug_allowed: str
    policy_single_socket: str
    reported_tcb_bootloader: str
    reported_tcb_tee: str
    reported_tcb_snp: str
    reported_tcb_microcode: str
    platform_tsme_enabled: str
    platform_smt_enabled: str
    measurement: str
    report_data: str
    init_data: str
    snp: SnpClaims
    tpm: dict[str, Any]
    vm_configuration: dict[str, Any]
    user_data: NotRequired[str | None]
    hcl_fresh: bool


def hardware_claims(checked: CheckedReport) -> dict[str, Any]:
    """The members of the claims that come from the SNP report."""
    report = checked.report
    typed = snp_claims(report, checked.product, checked.tcbs, checked.chain)
    return {name: _text(typed[name]) for name in _TEXTS} | {
        "measurement": b64_encode(report.measurement),
        "report_data": b64_encode(report.report_data),
        "init_data": b64_encode(report.host_data),
        "snp": typed,
    }


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
