"""Claims of a verified report, as they go into the policy input.

Names that CoCo's ``snp`` verifier has (its attestation policies read them) are kept, with its spellings
and types: numbers are numbers, digests lower-case hex. Ours are added beside them: every TCB flat
(``committed_tcb_snp``) for reference values, and whole (``tcb.committed.snp``) for policies; ``fmc`` only
on products that have it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict

from verifier.snp import report as bits

if TYPE_CHECKING:
    from verifier.snp.chain import VerifiedChain
    from verifier.snp.platform import PlatformTcbs
    from verifier.snp.products import Product
    from verifier.snp.report import Report
    from verifier.tee import CommonClaims


class SnpClaims(TypedDict):
    """``input.snp``. Digests and identifiers are lower-case hex."""

    product: str
    report_version: int
    vmpl: int
    guest_svn: int
    family_id: str
    image_id: str
    measurement: str
    host_data: str
    id_key_digest: str
    author_key_digest: str
    author_key_enabled: bool
    report_id: str
    report_id_ma: str
    chip_id: str
    signing_key: str
    csp_id: str | None
    policy: int
    policy_abi_major: int
    policy_abi_minor: int
    policy_smt_allowed: bool
    policy_migrate_ma: bool
    policy_debug_allowed: bool
    policy_single_socket: bool
    policy_cxl_allowed: bool
    policy_mem_aes_256_xts: bool
    policy_rapl_disabled: bool
    policy_ciphertext_hiding: bool
    policy_page_swap_disabled: bool
    platform_info: str
    platform_smt_enabled: bool
    platform_tsme_enabled: bool
    platform_ecc_enabled: bool
    platform_rapl_disabled: bool
    platform_ciphertext_hiding: bool
    platform_alias_check_complete: bool
    platform_tio_enabled: bool
    platform_unknown_bits: str
    reported_tcb_bootloader: int
    reported_tcb_tee: int
    reported_tcb_snp: int
    reported_tcb_microcode: int
    reported_tcb_fmc: NotRequired[int]
    current_tcb_bootloader: int
    current_tcb_tee: int
    current_tcb_snp: int
    current_tcb_microcode: int
    current_tcb_fmc: NotRequired[int]
    committed_tcb_bootloader: int
    committed_tcb_tee: int
    committed_tcb_snp: int
    committed_tcb_microcode: int
    committed_tcb_fmc: NotRequired[int]
    launch_tcb_bootloader: int
    launch_tcb_tee: int
    launch_tcb_snp: int
    launch_tcb_microcode: int
    launch_tcb_fmc: NotRequired[int]
    tcb: dict[str, dict[str, int]]
    current_firmware: str
    committed_firmware: str
    cpuid_family: NotRequired[int]
    cpuid_model: NotRequired[int]
    cpuid_stepping: NotRequired[int]
    launch_mitigations: NotRequired[str]
    current_mitigations: NotRequired[str]


def snp_claims(
    report: Report, product: Product, tcbs: PlatformTcbs, chain: VerifiedChain
) -> dict[str, Any]:
    """The ``snp`` member of the policy input."""
    leaf = chain.leaf
    claims = {
        "product": str(product),
        "report_version": report.version,
        "vmpl": report.vmpl,
        "guest_svn": report.guest_svn,
        "family_id": report.family_id.hex(),
        "image_id": report.image_id.hex(),
        "measurement": report.measurement.hex(),
        "host_data": report.host_data.hex(),
        "id_key_digest": report.id_key_digest.hex(),
        "author_key_digest": report.author_key_digest.hex(),
        "author_key_enabled": bool(report.key_info & bits.KEY_AUTHOR_KEY_EN),
        "report_id": report.report_id.hex(),
        "report_id_ma": report.report_id_ma.hex(),
        "chip_id": report.chip_id.hex(),
        "signing_key": str(leaf.kind),
        "csp_id": leaf.csp_id,
    }
    claims |= _shared(report.policy, report.platform_info, tcbs)
    claims |= {
        "current_firmware": _version(report.current_version),
        "committed_firmware": _version(report.committed_version),
    }
    if report.cpuid is not None:
        claims["cpuid_family"], claims["cpuid_model"], claims["cpuid_stepping"] = report.cpuid
    if report.launch_mitigations is not None and report.current_mitigations is not None:
        claims["launch_mitigations"] = f"{report.launch_mitigations:016x}"
        claims["current_mitigations"] = f"{report.current_mitigations:016x}"
    return claims


def common_claims(report: Report, product: Product) -> CommonClaims:
    """What other TEEs say too (``verifier.tee.CommonClaims``).

    A VCEK or VLEK names the TCB it was made for, and AMD publishes no list of what is up to date: floors
    are the operator's (``[snp.tcb_floors]``), so there is no ``tcb_status``.
    """
    claims: CommonClaims = {
        "measurement": report.measurement.hex(),
        "launch_data": report.host_data.hex(),
        "debug": bool(report.policy & bits.POLICY_DEBUG),
        "migratable": bool(report.policy & bits.POLICY_MIGRATE_MA),
        "svn": report.guest_svn,
        "product": str(product),
    }
    if any(report.id_key_digest):
        claims["signer"] = report.id_key_digest.hex()
    return claims


@lru_cache(maxsize=1024)
def _shared(policy: int, platform_info: int, tcbs: PlatformTcbs) -> dict[str, Any]:
    """Claims that all guests of one kind on one platform share. Never changed by a caller."""
    claims: dict[str, Any] = {
        "policy": policy,
        "policy_abi_major": policy >> 8 & 0xFF,
        "policy_abi_minor": policy & 0xFF,
        "policy_smt_allowed": bool(policy & bits.POLICY_SMT),
        "policy_migrate_ma": bool(policy & bits.POLICY_MIGRATE_MA),
        "policy_debug_allowed": bool(policy & bits.POLICY_DEBUG),
        "policy_single_socket": bool(policy & bits.POLICY_SINGLE_SOCKET),
        "policy_cxl_allowed": bool(policy & bits.POLICY_CXL_ALLOW),
        "policy_mem_aes_256_xts": bool(policy & bits.POLICY_MEM_AES_256_XTS),
        "policy_rapl_disabled": bool(policy & bits.POLICY_RAPL_DIS),
        "policy_ciphertext_hiding": bool(policy & bits.POLICY_CIPHERTEXT_HIDING),
        "policy_page_swap_disabled": bool(policy & bits.POLICY_PAGE_SWAP_DISABLE),
        # Hex: a 64-bit number would not survive every JSON implementation.
        "platform_info": f"{platform_info:016x}",
        "platform_smt_enabled": bool(platform_info & bits.PLATFORM_SMT),
        "platform_tsme_enabled": bool(platform_info & bits.PLATFORM_TSME),
        "platform_ecc_enabled": bool(platform_info & bits.PLATFORM_ECC),
        "platform_rapl_disabled": bool(platform_info & bits.PLATFORM_RAPL_DIS),
        "platform_ciphertext_hiding": bool(platform_info & bits.PLATFORM_CIPHERTEXT_HIDING),
        "platform_alias_check_complete": bool(platform_info & bits.PLATFORM_ALIAS_CHECK),
        "platform_tio_enabled": bool(platform_info & bits.PLATFORM_TIO),
        "platform_unknown_bits": f"{platform_info & ~bits.PLATFORM_KNOWN:016x}",
    }
    whole = {}
    for name, tcb in tcbs.items():
        whole[name] = tcb.as_dict()
        claims |= {f"{name}_tcb_{component}": svn for component, svn in whole[name].items()}
    claims["tcb"] = whole
    return claims


def _version(version: tuple[int, int, int]) -> str:
    """Firmware version as ``major.minor.build``."""
    return f"{version[0]}.{version[1]}.{version[2]}"
