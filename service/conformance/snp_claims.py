"""The claims of an SNP case as the evidence manifest spells them, compared with what the verifier read.

A claim that the manifest states and the verifier has no counterpart for counts as differing: it is
never passed over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from verifier.snp.products import Product, SigningKey, Tcb, encode_tcb
from verifier.snp.vek import check_vek

if TYPE_CHECKING:
    from collections.abc import Mapping

# The manifest's name of a claim to ours, where the values are spelt alike.
_SAME: Final[Mapping[str, str]] = {
    "version": "report_version",
    "guest_svn": "guest_svn",
    "family_id": "family_id",
    "image_id": "image_id",
    "vmpl": "vmpl",
    "signing_key": "signing_key",
    "author_key_en": "author_key_enabled",
    "measurement": "measurement",
    "host_data": "host_data",
    "id_key_digest": "id_key_digest",
    "author_key_digest": "author_key_digest",
    "report_id": "report_id",
    "report_id_ma": "report_id_ma",
    "chip_id": "chip_id",
    "cpuid_fam": "cpuid_family",
    "cpuid_mod": "cpuid_model",
    "cpuid_step": "cpuid_stepping",
    "generation": "product",
}
_POLICY: Final[Mapping[str, str]] = {
    "abi_minor": "policy_abi_minor",
    "abi_major": "policy_abi_major",
    "smt": "policy_smt_allowed",
    "migrate_ma": "policy_migrate_ma",
    "debug": "policy_debug_allowed",
    "single_socket": "policy_single_socket",
    "cxl_allow": "policy_cxl_allowed",
    "mem_aes_256_xts": "policy_mem_aes_256_xts",
    "rapl_dis": "policy_rapl_disabled",
    "ciphertext_hiding": "policy_ciphertext_hiding",
}
_ECDSA_P384_SHA384: Final = 1
_ABSENT: Final = object()


def differing_claims(stated: Mapping[str, Any], claims: Mapping[str, Any]) -> list[str]:
    """Names of the manifest's claims that differ from the verifier's.

    Args:
        stated: ``expect.claims``, with ``expect.cert``, if there is one, under ``cert``.
        claims: the policy input of the verified evidence, with the leaf's DER under ``leaf`` and the
            case's product under ``product``.
    """
    known = _known(claims)
    return sorted(name for name, value in stated.items() if known.get(name, _ABSENT) != value)


def _known(claims: Mapping[str, Any]) -> dict[str, Any]:
    snp: Mapping[str, Any] = claims["snp"]
    product = Product(snp["product"])
    kind = SigningKey(snp["signing_key"])
    known: dict[str, Any] = {name: snp.get(ours) for name, ours in _SAME.items()}
    known |= {f"{name}_tcb": tcb for name, tcb in snp["tcb"].items()}
    for name in ("current", "committed"):
        version, _, build = snp[f"{name}_firmware"].rpartition(".")
        known |= {f"{name}_version": version, f"{name}_build": int(build)}
    for name in ("launch", "current"):
        vector = snp.get(f"{name}_mitigations")
        known[f"{name}_mit_vector"] = None if vector is None else bytes.fromhex(vector)[::-1].hex()
    return known | {
        "policy": hex(snp["policy"]),
        # The parser refuses a policy without bit 17, a masked key and another algorithm.
        "policy_bits": {name: snp[ours] for name, ours in _POLICY.items()} | {"reserved17": True},
        "sig_algo": _ECDSA_P384_SHA384,
        "mask_chip_key": False,
        "key_info": hex((kind is SigningKey.VLEK) << 2 | snp["author_key_enabled"]),
        "platform_info": hex(int(snp["platform_info"], 16)),
        "report_data": claims["report_data"],
        "reported_tcb_raw": encode_tcb(Tcb(**snp["tcb"]["reported"]), product).hex(),
        "cert": _certificate(claims["leaf"], kind, product),
    }


def _certificate(der: bytes, kind: SigningKey, product: Product) -> dict[str, Any]:
    leaf = check_vek(der, kind, product)
    known: dict[str, Any] = leaf.tcb.as_dict()
    known |= {"product": leaf.product_name, "struct": leaf.struct_version}
    if leaf.hardware_id is not None:
        known["hwid"] = leaf.hardware_id.hex()
    if leaf.csp_id is not None:
        known["csp"] = leaf.csp_id
    return known
