"""The claims of a TDX or SGX case as the evidence manifest spells them, compared with what was read.

A claim that the manifest states and the verifier has no counterpart for counts as differing: it is never
passed over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

# The manifest's name of a claim to ours, where the values are spelt alike.
_TD: Final = {
    "tee_tcb_svn": "tcb_svn",
    "mr_signer_seam": "mrsigner_seam",
    "rtmr0": "rtmr_0",
    "rtmr1": "rtmr_1",
    "rtmr2": "rtmr_2",
    "rtmr3": "rtmr_3",
}
_ABSENT: Final = object()


def differing_claims(expect: Mapping[str, Any], claims: Mapping[str, Any]) -> list[str]:
    """Names of stated claims that are not what was read.

    Args:
        expect: ``expect`` of the case.
        claims: ``input.tdx`` or ``input.sgx`` of the verified evidence.
    """
    known = _tdx(claims) if "quote" in claims else _sgx(claims)
    stated = {**expect.get("claims", {}), **_stated_of_platform(expect)}
    known |= _platform(claims)
    return sorted(name for name, value in stated.items() if known.get(name, _ABSENT) != value)


def _stated_of_platform(expect: Mapping[str, Any]) -> dict[str, Any]:
    pck = expect.get("pck", {})
    stated = {name: pck[name] for name in ("fmspc", "pceid", "pce_svn", "pck_tcb", "issuer") if name in pck}
    if "tcb_eval_data_number" in expect:
        stated["tcb_eval_data_number"] = expect["tcb_eval_data_number"]
    if expect.get("tcb_status") is not None:
        stated["tcb_status"] = expect["tcb_status"]
        stated["advisories"] = sorted(expect.get("advisories", []))
    return stated


def _platform(claims: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "fmspc": claims["fmspc"].upper(),
        "pceid": claims["pceid"],
        "pce_svn": claims["pce_svn"],
        "pck_tcb": claims["pck_tcb"],
        "issuer": f"Intel SGX PCK {claims['pck_ca'].title()} CA",
        "tcb_eval_data_number": claims["tcb_eval_num"],
        "tcb_status": claims["tcb_status"],
        "advisories": sorted(claims["advisory_ids"]),
    }


def _tdx(claims: Mapping[str, Any]) -> dict[str, Any]:
    body = claims["quote"]["body"]
    attributes = claims["td_attributes"]
    return (
        dict(body)
        | {name: body[ours] for name, ours in _TD.items()}
        | {
            "debug": attributes["debug"],
            "sept_ve_disable": attributes["septve_disable"],
            "pks": attributes["protection_keys"],
        }
    )


def _sgx(claims: Mapping[str, Any]) -> dict[str, Any]:
    body, enclave = claims["body"], claims["enclave"]
    return dict(body) | {
        "attributes": body["attributes.flags"] + body["attributes.xfrm"],
        "debug": enclave["debug"],
        "init": enclave["initialised"],
        "mode64": enclave["mode64"],
        # The manifest leaves a CONFIGID of zeros empty.
        "config_id": body["config_id"] if any(bytes.fromhex(body["config_id"])) else "",
        "isv_prod_id": enclave["isv_prod_id"],
        "isv_svn": enclave["isv_svn"],
    }
