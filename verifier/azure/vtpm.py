"""The vTPM of a verified hardware report: its key, its quote, its registers.

Order: kind of the HCL report; the hash of the runtime claims in the hardware report; then, after the caller
has verified that report, the claims; the quote by the key in them; user data. Each failure raises.

The HCL report is made at boot, or whenever the guest writes user data: it is not fresh, and need not be.
What is fresh is the quote, whose key the report vouches for.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Any, Final

import msgspec

from common.runtime_data import fitted
from verifier.azure.runtime_claims import RuntimeClaims, parse_runtime_claims
from verifier.errors import AttestationKeyUntrusted, ReportDataMismatch, UnsupportedEvidence
from verifier.tpm.checks import CheckedQuote, check_quote

if TYPE_CHECKING:
    from collections.abc import Mapping

    from common.checks import Checks
    from verifier.azure.documents import VtpmDocument
    from verifier.azure.hcl import HclReport, ReportType
    from verifier.tpm.settings import TpmSettings

_HCL: Final = "Microsoft, Confidential VM guest attestation design (HCL report)"
_USER_DATA_BYTES: Final = 64


class VtpmExpectation(msgspec.Struct, frozen=True):
    """What the quote must be.

    Attributes:
        wanted: one of these is its extraData; None where nothing is expected.
        selection: bank to the registers that it must cover, exactly; None where nothing is expected.
    """

    wanted: tuple[bytes, ...] | None
    selection: Mapping[str, tuple[int, ...]] | None


class CheckedVtpm(msgspec.Struct, frozen=True):
    """A quote by a key that the hardware report vouches for.

    Attributes:
        claims: runtime claims of the paravisor.
        quote: the quote, its registers, its logs.
        fresh: whether the HCL report itself carries what the quote is bound to.
    """

    claims: RuntimeClaims
    quote: CheckedQuote
    fresh: bool

    def vtpm_claims(self) -> dict[str, Any]:
        """``tpm``, ``vm_configuration``, ``user_data`` and ``hcl_fresh``, which both kinds of VM have."""
        quote = self.quote.quote
        registers = self.quote.values.get("sha256", {})
        tpm: dict[str, Any] = {f"pcr{index:02d}": value.hex() for index, value in sorted(registers.items())}
        tpm["pcrs"] = {
            bank: {str(index): value.hex() for index, value in sorted(values.items())}
            for bank, values in self.quote.values.items()
        }
        tpm |= {
            "firmware_version": f"{quote.firmware_version:016x}",
            "reset_count": quote.reset_count,
            "restart_count": quote.restart_count,
            "clock": quote.clock,
            "safe": quote.safe,
        }
        user_data = self.claims.user_data
        return {
            "tpm": tpm | self.quote.logs,
            "vm_configuration": dict(self.claims.vm_configuration),
            "user_data": None if user_data is None else user_data.hex(),
            "hcl_fresh": self.fresh,
        }


def require_kind(hcl: HclReport, kind: ReportType, checks: Checks) -> None:
    """Demand the kind of hardware report that the evidence is said to be of.

    Raises:
        UnsupportedEvidence: another.
    """
    checks.require(
        "azure.hcl.report_type",
        hcl.type is kind,
        UnsupportedEvidence,
        expected=kind.name.lower(),
        observed=hcl.type.name.lower(),
        source=f"{_HCL}, 0x4C8",
    )


def require_runtime_claims(hcl: HclReport, report_data: bytes, checks: Checks) -> None:
    """Demand that the hardware report carries the hash of the runtime claims, and zeros after it.

    Raises:
        AttestationKeyUntrusted: it does not: nothing vouches for the key in the claims.
    """
    expected = hcl.expected_report_data()
    bound = hmac.compare_digest(expected, report_data)
    checks.require(
        "azure.hcl.runtime_claims",
        bound,
        AttestationKeyUntrusted,
        expected=expected.hex(),
        observed=report_data.hex(),
        source=f"{_HCL}, 0x4CC and 0x4D4 ({hcl.hash_name})",
        note="" if bound else "the hardware report does not vouch for the runtime claims",
    )


def check_vtpm(
    hcl: HclReport,
    document: VtpmDocument,
    expectation: VtpmExpectation,
    settings: TpmSettings,
    checks: Checks,
) -> CheckedVtpm:
    """Check the quote of a vTPM whose runtime claims a verified hardware report covers.

    Raises:
        InputError: claims, quote or logs cannot be parsed.
        EvidenceError: not signed by the key in the claims, not bound as expected, registers or logs
            disagree.
    """
    claims = parse_runtime_claims(hcl.runtime_claims)
    checks.require(
        "azure.hcl.attestation_key",
        ok=True,
        error=AttestationKeyUntrusted,
        expected="one HCLAkPub, RSA of at least 2048 bits",
        observed=f"RSA {claims.ak.key.key_size}",
        source=f"{_HCL}, runtime claims",
    )
    quote = check_quote(
        claims.ak,
        document.material(),
        wanted=expectation.wanted,
        selection=expectation.selection,
        settings=settings,
        checks=checks,
    )
    fresh = _user_data(claims, expectation.wanted, checks, demanded=document.fresh_report)
    return CheckedVtpm(claims, quote, fresh)


def _user_data(
    claims: RuntimeClaims, wanted: tuple[bytes, ...] | None, checks: Checks, *, demanded: bool
) -> bool:
    """Whether the report's user data are what the quote is bound to: all 64 bytes of them."""
    source = f"{_HCL}, runtime claims (user-data)"
    shown = claims.user_data or b""
    if wanted is None:
        checks.skip("azure.hcl.user_data", "no expectation was given", source=source)
        return False
    fields = [fitted(value, _USER_DATA_BYTES) for value in wanted]
    fresh = any(hmac.compare_digest(shown, field) for field in fields)
    if demanded:
        checks.require(
            "azure.hcl.user_data",
            fresh,
            ReportDataMismatch,
            expected=fields[0].hex(),
            observed=shown.hex(),
            source=source,
            note="" if fresh else "the HCL report was not made for this request",
        )
    elif not fresh:
        checks.skip("azure.hcl.user_data", "the HCL report is of an earlier time", source=source)
    return fresh
