"""Which claim a well-known reference name is meant for; used for explanations, never for a decision.

The names are those of CoCo's default attestation policy where it has one, ours otherwise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

_SNP = {
    "snp_launch_measurement": "measurement",
    "snp_bootloader": "reported_tcb_bootloader",
    "snp_microcode": "reported_tcb_microcode",
    "snp_snp_svn": "reported_tcb_snp",
    "snp_tee_svn": "reported_tcb_tee",
    "snp_smt_enabled": "platform_smt_enabled",
    "snp_tsme_enabled": "platform_tsme_enabled",
    "snp_guest_abi_major": "policy_abi_major",
    "snp_guest_abi_minor": "policy_abi_minor",
    "snp_single_socket": "policy_single_socket",
    "snp_smt_allowed": "policy_smt_allowed",
    "snp_host_data": "host_data",
    "snp_id_key_digest": "id_key_digest",
    "snp_author_key_digest": "author_key_digest",
    "snp_family_id": "family_id",
    "snp_image_id": "image_id",
    "snp_guest_svn": "guest_svn",
    "snp_policy": "policy",
}
_PCRS = 24
# Names that say which machine or key it is, not which release.
IDENTITIES = frozenset({"trusted_aks"})

_CLAIMS: Mapping[str, tuple[str, str]] = (
    {name: ("snp", claim) for name, claim in _SNP.items()}
    | {f"tpm_pcr{index}": ("tpm", f"pcr{index:02d}") for index in range(_PCRS)}
    | {f"tpm_pcr{index:02d}": ("tpm", f"pcr{index:02d}") for index in range(_PCRS)}
    | {"trusted_aks": ("tpm", "ak_public")}
)


def observed_value(name: str, claims: Mapping[str, Any]) -> tuple[str, Any] | None:
    """Claim path and value that a reference name is held against, if the name is well known."""
    path = _CLAIMS.get(name)
    if path is None:
        return None
    section = claims.get(path[0])
    if not isinstance(section, dict) or path[1] not in section:
        return None
    return f"{path[0]}.{path[1]}", section[path[1]]
