"""From the quoting enclave to a pinned root: attestation key, QE report, PCK, its authority, root.

Order: the chain's certificates against their profiles, names and signatures downwards; the PCK's signature
over the QE report; the attestation key's hash in that report. Dates and revocation are judged at every use,
so that all of this may be cached: a quoting enclave signs many quotes with one key and one report.

Source: Intel SGX ECDSA Quote Library API, appendix A.4.8 (QE report: REPORTDATA holds the SHA-256 of the
attestation key and the authentication data, then zeros); RFC 5280 section 6.
"""

from __future__ import annotations

import hashlib
from datetime import datetime  # noqa: TC003 (msgspec resolves it at run time)
from typing import TYPE_CHECKING, Final

import msgspec
from cryptography import x509  # noqa: TC002 (msgspec resolves it at run time)

from common.checks import Check, Checks
from common.errors import Malformed, TouchstoneError
from verifier.errors import CertificateInvalid, SignatureInvalid
from verifier.intel.certificates import (
    CA_NAMES,
    Anchor,
    Anchors,
    check_authority,
    common_name,
    load_chain,
    require_issued,
    sha256_of,
    validity,
    verify_raw,
)
from verifier.intel.enclave import EnclaveReport, parse_enclave_report
from verifier.intel.pck import PCK_NAME, Pck, check_pck

if TYPE_CHECKING:
    from verifier.intel.quote import QuoteSignature

_SOURCE: Final = "Intel SGX PCK Certificate Profile section 1.3; RFC 5280 section 6"
_QE_SOURCE: Final = "Intel SGX ECDSA Quote Library API appendix A.4.8"
_MAX_CHAIN: Final = 3
_MIN_CHAIN: Final = 2


class VerifiedQe(msgspec.Struct, frozen=True):
    """A quoting enclave whose platform Intel endorses. Dates and revocation are judged at each use.

    Attributes:
        report: the quoting enclave's report.
        pck: the PCK certificate.
        issuer: Platform or Processor CA.
        ca: ``platform`` or ``processor``.
        anchor: the root.
        not_before: latest start of the three.
        not_after: earliest end of the three.
        endorsements: SHA-256 of PCK, authority and root, hex.
        checks: records of what was verified.
    """

    report: EnclaveReport
    pck: Pck
    issuer: x509.Certificate
    ca: str
    anchor: Anchor
    not_before: datetime
    not_after: datetime
    endorsements: tuple[str, ...]
    checks: tuple[Check, ...]

    @property
    def certificates(self) -> tuple[tuple[str, x509.Certificate], ...]:
        """PCK, authority and root with their names."""
        return (("pck", self.pck.certificate), ("ca", self.issuer), ("root", self.anchor.certificate))


def verify_qe(proof: QuoteSignature, anchors: Anchors) -> VerifiedQe:
    """Verify everything about a quoting enclave that does not depend on the time or on the quote.

    Raises:
        Malformed, TooLarge: the chain cannot be parsed.
        CertificateInvalid: a certificate misses its profile, or is not signed by the next.
        RootUntrusted: the chain does not lead to an anchor.
        SignatureInvalid: the PCK did not sign the QE report, or that does not hold the attestation key.
    """
    checks = Checks()
    try:
        pck, issuer, anchor = _chain(proof.certification_data, anchors)
    except TouchstoneError as error:
        checks.fail(
            "intel.chain", type(error), expected=f"{PCK_NAME}, its authority, a pinned root",
            source=_SOURCE, note=error.message,
        )  # fmt: skip
    checks.require(
        "intel.chain", ok=True, error=CertificateInvalid, expected=anchor.sha256, observed=anchor.sha256,
        source=_SOURCE, note="" if anchor.intel else "an anchor trusted by explicit configuration",
    )  # fmt: skip
    checks.require(
        "intel.qe.signature", verify_raw(pck.key, proof.qe_signature, proof.qe_report), SignatureInvalid,
        expected=f"signed by PCK {pck.sha256}", source=_QE_SOURCE,
    )  # fmt: skip
    report = parse_enclave_report(proof.qe_report)
    wanted = hashlib.sha256(proof.attestation_key + proof.auth_data).digest().ljust(64, b"\0")
    checks.require(
        "intel.qe.attestation_key", wanted == report.report_data, SignatureInvalid,
        expected=wanted.hex(), observed=report.report_data.hex(), source=_QE_SOURCE,
    )  # fmt: skip
    certificates = (pck.certificate, issuer, anchor.certificate)
    not_before, not_after = validity(certificates)
    return VerifiedQe(
        report=report,
        pck=pck,
        issuer=issuer,
        ca=CA_NAMES[common_name(issuer.subject)],
        anchor=anchor,
        not_before=not_before,
        not_after=not_after,
        endorsements=(pck.sha256, sha256_of(issuer), anchor.sha256),
        checks=checks.records,
    )


def _chain(pem: bytes, anchors: Anchors) -> tuple[Pck, x509.Certificate, Anchor]:
    chain = load_chain(pem, "the PCK chain")
    if not _MIN_CHAIN <= len(chain) <= _MAX_CHAIN:
        raise Malformed("a PCK chain is PCK, authority and root")
    leaf, issuer = chain[0], chain[1]
    anchor = anchors.of_chain(chain[-1], "the PCK chain")
    name = common_name(issuer.subject)
    if name not in CA_NAMES:
        raise CertificateInvalid(f"{name} issues no PCK certificates")
    key = check_authority(issuer, name)
    require_issued(issuer, anchor.certificate, anchor.key, name)
    pck = check_pck(leaf)
    require_issued(leaf, issuer, key, PCK_NAME)
    return pck, issuer, anchor
