"""Claims of a verified TD, as they go into the policy input: CoCo's nesting and names, ours beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NotRequired, TypedDict

from verifier.intel import td as bits
from verifier.intel.claims import HeaderClaims, PlatformClaims, header_claims, platform_claims, tcb_common

if TYPE_CHECKING:
    from verifier.intel.td import TdBody
    from verifier.tdx.verifier import CheckedTdQuote
    from verifier.tee import CommonClaims

# Body type and size of version 5, little endian as they stand in the quote.
_TYPED: Final = {2: ("0200", "48020000"), 3: ("0300", "88020000")}


class TdHeaderClaims(HeaderClaims):
    """Header fields of versions 4 and 5."""

    tee_type: str
    reserved: str


class TdBodyClaims(TypedDict):
    """Fields of the body, hex."""

    tcb_svn: str
    mr_seam: str
    mrsigner_seam: str
    seam_attributes: str
    td_attributes: str
    xfam: str
    mr_td: str
    mr_config_id: str
    mr_owner: str
    mr_owner_config: str
    rtmr_0: str
    rtmr_1: str
    rtmr_2: str
    rtmr_3: str
    report_data: str
    tee_tcb_svn2: NotRequired[str]
    mr_servicetd: NotRequired[str]


class QuoteClaims(TypedDict):
    """Header and body; type and size in version 5 alone."""

    header: TdHeaderClaims
    body: TdBodyClaims
    type: NotRequired[str]
    size: NotRequired[str]


class AttributeClaims(TypedDict):
    """TDATTRIBUTES, bit by bit."""

    debug: bool
    key_locker: bool
    perfmon: bool
    protection_keys: bool
    septve_disable: bool
    migratable: bool
    lass: bool
    icssd: bool
    tpa: bool


class TdxClaims(PlatformClaims):
    """``input.tdx``."""

    quote: QuoteClaims
    td_attributes: AttributeClaims
    seam_major_version: int
    seam_isv_svn: int
    uefi_event_logs: NotRequired[list[dict[str, Any]]]
    event_log: NotRequired[dict[str, Any]]
    ima: NotRequired[dict[str, Any]]


def tdx_claims(checked: CheckedTdQuote) -> dict[str, Any]:
    """The ``tdx`` member of the policy input, without the event log's."""
    quote, body = checked.checked.quote, checked.body
    header: dict[str, Any] = header_claims(checked.checked)
    header["tee_type"] = quote.header.tee_type.to_bytes(4, "little").hex()
    header["reserved"] = (quote.header.field_08 + quote.header.field_0a).hex()
    document: dict[str, Any] = {"header": header, "body": _body(body)}
    if quote.body_type is not None:
        document["type"], document["size"] = _TYPED[quote.body_type]
    return {
        "quote": document,
        "td_attributes": attribute_claims(body.attribute_bits),
        "seam_major_version": body.tee_tcb_svn[1],
        "seam_isv_svn": body.tee_tcb_svn[0],
        **platform_claims(checked.checked),
    }


def attribute_claims(attributes: int) -> AttributeClaims:
    """TDATTRIBUTES, bit by bit."""
    return {
        "debug": bool(attributes & bits.TD_DEBUG),
        "key_locker": bool(attributes & bits.TD_KEY_LOCKER),
        "perfmon": bool(attributes & bits.TD_PERFMON),
        "protection_keys": bool(attributes & bits.TD_PKS),
        "septve_disable": bool(attributes & bits.TD_SEPT_VE_DISABLE),
        "migratable": bool(attributes & bits.TD_MIGRATABLE),
        "lass": bool(attributes & bits.TD_LASS),
        "icssd": bool(attributes & bits.TD_ICSSD),
        "tpa": bool(attributes & bits.TD_TPA),
    }


def common_claims(checked: CheckedTdQuote) -> CommonClaims:
    """What other TEEs say too."""
    body = checked.body
    return {
        **tcb_common(checked.checked),
        "measurement": body.mr_td.hex(),
        "registers": {str(index): register.hex() for index, register in enumerate(registers(body))},
        "launch_data": body.mr_config_id.hex(),
        "debug": bool(body.attribute_bits & bits.TD_DEBUG),
        "migratable": bool(body.attribute_bits & bits.TD_MIGRATABLE),
    }


def registers(body: TdBody) -> tuple[bytes, bytes, bytes, bytes]:
    """RTMR0 to RTMR3."""
    return body.rtmr_0, body.rtmr_1, body.rtmr_2, body.rtmr_3


def _body(body: TdBody) -> dict[str, str]:
    claims = {
        "tcb_svn": body.tee_tcb_svn.hex(),
        "mr_seam": body.mr_seam.hex(),
        "mrsigner_seam": body.mr_signer_seam.hex(),
        "seam_attributes": body.seam_attributes.hex(),
        "td_attributes": body.td_attributes.hex(),
        "xfam": body.xfam.hex(),
        "mr_td": body.mr_td.hex(),
        "mr_config_id": body.mr_config_id.hex(),
        "mr_owner": body.mr_owner.hex(),
        "mr_owner_config": body.mr_owner_config.hex(),
        "rtmr_0": body.rtmr_0.hex(),
        "rtmr_1": body.rtmr_1.hex(),
        "rtmr_2": body.rtmr_2.hex(),
        "rtmr_3": body.rtmr_3.hex(),
        "report_data": body.report_data.hex(),
    }
    if body.tee_tcb_svn2 is not None and body.mr_servicetd is not None:
        claims |= {"tee_tcb_svn2": body.tee_tcb_svn2.hex(), "mr_servicetd": body.mr_servicetd.hex()}
    return claims
