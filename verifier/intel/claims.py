"""Claims that both of Intel's TEEs make of the platform: those that Confidential Containers has, and ours.

CoCo's come from Intel's verification library (``sgx_ql_qv_supplemental_t``); names and types are theirs.
The ``_current`` ones are under the TCB that the platform has now, which differs from the other for TD 1.5
alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NotRequired, TypedDict

from verifier.intel.status import COMMON

if TYPE_CHECKING:
    from datetime import datetime

    from verifier.intel.evaluation import Part
    from verifier.intel.verify import CheckedQuote
    from verifier.tee import CommonClaims

# Expired collateral is refused, so that CoCo's claim about it has one value.
_NOT_EXPIRED = "0"


class HeaderClaims(TypedDict):
    """Header fields, hex as they stand in the quote."""

    version: str
    att_key_type: str
    vendor_id: str
    user_data: str


class Shortfall(TypedDict):
    """What a TCB component lacks to the best level that Intel publishes."""

    have: int
    need: int
    what: NotRequired[str]


class PlatformClaims(TypedDict):
    """Of the platform and its collateral. Times are RFC 3339."""

    tcb_status: str
    tcb_date: str
    advisory_ids: list[str]
    tcb_status_current: str
    tcb_date_current: str
    advisory_ids_current: list[str]
    platform_status: str
    module_status: str | None
    qe_status: str
    tcb_shortfall: dict[str, Shortfall]
    collateral_expiration_status: str
    earliest_issue_date: str
    latest_issue_date: str
    earliest_expiration_date: str
    tcb_eval_num: int
    qe_identity_eval_num: int
    pck_crl_num: int | None
    root_ca_crl_num: int | None
    root_key_id: str
    platform_provider_id: str
    platform_instance_id: NotRequired[str]
    sgx_type: str
    is_cached_keys: bool | None
    is_dynamic_platform: bool | None
    is_smt_enabled: bool | None
    fmspc: str
    pceid: str
    pck_ca: str
    pck_tcb: list[int]
    pce_svn: int
    pck_cpu_svn: str


def header_claims(checked: CheckedQuote) -> dict[str, str]:
    """The fields that the header has in every version."""
    header = checked.quote.header
    return {
        "version": header.version.to_bytes(2, "little").hex(),
        "att_key_type": header.key_type.to_bytes(2, "little").hex(),
        "vendor_id": header.vendor_id.hex(),
        "user_data": header.user_data.hex(),
    }


def platform_claims(checked: CheckedQuote) -> dict[str, Any]:
    """Platform, status and collateral."""
    tcb, pck, collateral = checked.tcb, checked.qe.pck, checked.collateral
    issued = (
        *collateral.issue_dates,
        *(certificate.not_valid_before_utc for _, certificate in checked.qe.certificates),
        collateral.info.signer.issued,
        collateral.identity.signer.issued,
    )
    claims: dict[str, Any] = {
        "tcb_status": str(tcb.status),
        "tcb_date": instant(tcb.date),
        "advisory_ids": list(tcb.advisories),
        **_current(tcb.current),
        "platform_status": str(tcb.platform.status),
        "module_status": None if tcb.module is None else str(tcb.module.status),
        "qe_status": str(tcb.qe.status),
        "tcb_shortfall": tcb.shortfall,
        "collateral_expiration_status": _NOT_EXPIRED,
        "earliest_issue_date": instant(min(issued)),
        "latest_issue_date": instant(max(issued)),
        "earliest_expiration_date": instant(checked.not_after),
        "tcb_eval_num": collateral.info.evaluation_number,
        "qe_identity_eval_num": collateral.identity.evaluation_number,
        "pck_crl_num": collateral.pck_list.crl.number,
        "root_ca_crl_num": collateral.root_crl.number,
        "root_key_id": checked.qe.anchor.key_id,
        "platform_provider_id": pck.ppid.hex(),
        "sgx_type": pck.sgx_type,
        "is_cached_keys": pck.cached_keys,
        "is_dynamic_platform": pck.dynamic_platform,
        "is_smt_enabled": pck.smt_enabled,
        "fmspc": pck.fmspc.hex(),
        "pceid": pck.pceid.hex(),
        "pck_ca": checked.qe.ca,
        "pck_tcb": list(pck.tcb.components),
        "pce_svn": pck.tcb.pcesvn,
        "pck_cpu_svn": pck.tcb.cpusvn.hex(),
    }
    if pck.platform_instance_id is not None:
        claims["platform_instance_id"] = pck.platform_instance_id.hex()
    return claims


def tcb_common(checked: CheckedQuote) -> CommonClaims:
    """What other TEEs say of their TCB too."""
    tcb = checked.tcb
    return {
        "tcb_status": COMMON[tcb.status],
        "tcb_date": instant(tcb.date),
        "advisories": list(tcb.advisories),
        "product": checked.qe.pck.fmspc.hex(),
    }


def instant(at: datetime) -> str:
    """RFC 3339, UTC, whole seconds."""
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def _current(part: Part) -> dict[str, Any]:
    return {
        "tcb_status_current": str(part.status),
        "tcb_date_current": instant(part.date),
        "advisory_ids_current": list(part.advisories),
    }
