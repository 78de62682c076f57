"""Claims of a verified enclave, as they go into the policy input: CoCo's nesting and names, and ours.

CoCo spells every field in hex as it stands in the quote, also numbers (``isv_svn`` is ``0a01`` for 266),
and has members with a dot in their names (``attributes.flags``). The same as numbers and booleans stand
beside.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NotRequired, TypedDict

from verifier.intel import enclave as bits
from verifier.intel.claims import HeaderClaims, PlatformClaims, header_claims, platform_claims, tcb_common
from verifier.intel.quote import SGX_VERSION

if TYPE_CHECKING:
    from verifier.intel.enclave import EnclaveReport
    from verifier.intel.verify import CheckedQuote
    from verifier.tee import CommonClaims

_TYPE_AND_SIZE = ("0100", "80010000")


class EnclaveHeaderClaims(HeaderClaims):
    """Header fields; QE and PCE SVN in version 3 alone, TEE type and reserved later."""

    att_key_data_0: NotRequired[str]
    qe_svn: NotRequired[str]
    pce_svn: NotRequired[str]
    tee_type: NotRequired[str]
    reserved: NotRequired[str]


# Members with a dot in their names need the functional form.
EnclaveBodyClaims = TypedDict(
    "EnclaveBodyClaims",
    {
        "cpu_svn": str,
        "misc_select": str,
        "reserved1": str,
        "isv_ext_prod_id": str,
        "attributes.flags": str,
        "attributes.xfrm": str,
        "mr_enclave": str,
        "reserved2": str,
        "mr_signer": str,
        "reserved3": str,
        "config_id": str,
        "isv_prod_id": str,
        "isv_svn": str,
        "config_svn": str,
        "reserved4": str,
        "isv_family_id": str,
        "report_data": str,
    },
)


class EnclaveClaims(TypedDict):
    """What CoCo has in hex, as numbers and booleans."""

    debug: bool
    initialised: bool
    mode64: bool
    provision_key: bool
    kss: bool
    isv_prod_id: int
    isv_svn: int
    config_svn: int


class SgxClaims(PlatformClaims):
    """``input.sgx``."""

    header: EnclaveHeaderClaims
    body: EnclaveBodyClaims
    enclave: EnclaveClaims
    type: NotRequired[str]
    size: NotRequired[str]


def sgx_claims(checked: CheckedQuote, report: EnclaveReport) -> dict[str, Any]:
    """The ``sgx`` member of the policy input."""
    claims: dict[str, Any] = {
        "header": _header(checked),
        "body": _body(report),
        "enclave": enclave_claims(report),
        **platform_claims(checked),
    }
    if checked.quote.body_type is not None:
        claims["type"], claims["size"] = _TYPE_AND_SIZE
    return claims


def enclave_claims(report: EnclaveReport) -> EnclaveClaims:
    """Flags and numbers."""
    flags = report.flag_bits
    return {
        "debug": bool(flags & bits.DEBUG),
        "initialised": bool(flags & bits.INIT),
        "mode64": bool(flags & bits.MODE64BIT),
        "provision_key": bool(flags & bits.PROVISION_KEY),
        "kss": bool(flags & bits.KSS),
        "isv_prod_id": report.isv_prod_id,
        "isv_svn": report.isv_svn,
        "config_svn": report.config_svn,
    }


def common_claims(checked: CheckedQuote, report: EnclaveReport) -> CommonClaims:
    """What other TEEs say too."""
    return {
        **tcb_common(checked),
        "measurement": report.mr_enclave.hex(),
        "signer": report.mr_signer.hex(),
        "launch_data": report.config_id.hex(),
        "debug": bool(report.flag_bits & bits.DEBUG),
        "svn": report.isv_svn,
    }


def _header(checked: CheckedQuote) -> dict[str, str]:
    header = checked.quote.header
    claims = header_claims(checked)
    kind = header.tee_type.to_bytes(4, "little").hex()
    if header.version == SGX_VERSION:
        # What later versions call the TEE type is reserved in this one.
        return claims | {
            "att_key_data_0": kind,
            "qe_svn": header.field_08.hex(),
            "pce_svn": header.field_0a.hex(),
        }
    return claims | {"tee_type": kind, "reserved": (header.field_08 + header.field_0a).hex()}


def _body(report: EnclaveReport) -> dict[str, str]:
    return {
        "cpu_svn": report.cpu_svn.hex(),
        "misc_select": report.misc_select.hex(),
        "reserved1": report.reserved1.hex(),
        "isv_ext_prod_id": report.isv_ext_prod_id.hex(),
        "attributes.flags": report.flags.hex(),
        "attributes.xfrm": report.xfrm.hex(),
        "mr_enclave": report.mr_enclave.hex(),
        "reserved2": report.reserved2.hex(),
        "mr_signer": report.mr_signer.hex(),
        "reserved3": report.reserved3.hex(),
        "config_id": report.config_id.hex(),
        "isv_prod_id": report.isv_prod_id.to_bytes(2, "little").hex(),
        "isv_svn": report.isv_svn.to_bytes(2, "little").hex(),
        "config_svn": report.config_svn.to_bytes(2, "little").hex(),
        "reserved4": report.reserved4.hex(),
        "isv_family_id": report.isv_family_id.hex(),
        "report_data": report.report_data.hex(),
    }
