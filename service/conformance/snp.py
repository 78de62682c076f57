"""Runs ``snp`` and ``snp-synthetic`` cases, and mutations of them, on the SNP verifier.

What a case does not state is taken so that only what it is about decides:

* verification at the case's time; a revocation list is used if the case has one;
* the report must carry the case's ``report_data``; where that is all zero, nothing is expected;
* VMPL 0 to 2, any cloud provider, provisional firmware and platform bits without a known meaning are
  accepted; TCB floors are not set. Version 2 reports are of the case's ``generation``;
* an ``snp-synthetic`` case trusts the root in its own chain file, that case alone, and only until a
  mutation (``use_trust_anchor``) says that AMD's is meant.

How an outcome is judged: ``service.conformance.evidence``.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from common.encoding import b64url_encode, hex_decode
from common.errors import Malformed
from service.conformance.case_files import CaseFiles, UnknownOperation
from service.conformance.evidence import judged, raise_failed
from service.conformance.snp_claims import differing_claims
from verifier.model import ReportDataBinding, Unbound
from verifier.snp import BINDING_SIZE, SnpSettings, SnpVerifier
from verifier.snp.collateral import FixedCollateral
from verifier.snp.products import Product
from verifier.snp.report import KNOWN_VERSIONS, PLATFORM_KNOWN
from wire.evidence import SnpCertificate, SnpEvidence

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from service.conformance.outcome import Outcome
    from verifier.model import Expectation, VerifiedEvidence

KINDS: Final = ("snp", "snp-synthetic")
SYNTHETIC: Final = "snp-synthetic"
_U64: Final = (1 << 64) - 1
_VMPLS: Final = frozenset({0, 1, 2})


def run_case(case: Mapping[str, Any], folder: Path) -> Outcome:
    """Run one case (or mutation) of the evidence manifest."""

    def body(differing: list[str]) -> str:
        verified, claims = _verify(_prepared(case), folder)
        differing += differing_claims(_stated(case.get("expect", {})), claims)
        raise_failed(verified)
        return ""

    return judged(case, body)


def _prepared(case: Mapping[str, Any]) -> dict[str, Any]:
    """The case, with a ``use_trust_anchor`` mutation turned into a member: it changes no file."""
    mutation = case.get("mutation") or {}
    if mutation.get("op") != "use_trust_anchor":
        return dict(case)
    if not str(mutation.get("value", "")).startswith("real AMD "):
        raise UnknownOperation("the mutation names a trust anchor that is not known")
    return dict(case) | {"mutation": None, "amd_only": True}


def _verify(case: dict[str, Any], folder: Path) -> tuple[VerifiedEvidence, dict[str, Any]]:
    files = CaseFiles(case, folder)
    case = files.case
    product = Product(str(case["generation"]).title())
    evidence, chain = _evidence(files)
    anchors = [chain[-1]] if case["tee"] == SYNTHETIC and chain and not case.get("amd_only") else []
    roots = [certificate.fingerprint(SHA256()).hex() for certificate in chain[-1:]]
    crls = dict.fromkeys(roots, files.read("crl")) if files.has("crl") else {}
    verifier = SnpVerifier(settings_of(product), FixedCollateral(crls=crls), extra_anchors=anchors)
    at = datetime.fromisoformat(str(case["verification_time"]))
    verified = verifier.verify(evidence, _expectation(case), None, at)
    return verified, verified.claims | {"leaf": files.read("leaf"), "product": product}


def _evidence(files: CaseFiles) -> tuple[SnpEvidence, list[x509.Certificate]]:
    """The document that a guest would have sent, and the case's chain from intermediate to root."""
    leaf = files.read("leaf")
    # The file says which leaf it is; whether that is true, and fits the report, is for the verifier.
    kind = "VCEK" if b"SEV-VCEK" in leaf else "VLEK"
    entries = [SnpCertificate(kind, b64url_encode(leaf))]
    chain: list[x509.Certificate] = []
    if files.has("chain"):
        try:
            chain = x509.load_pem_x509_certificates(files.read("chain"))
        except ValueError as error:
            raise Malformed("the chain file holds no certificates") from error
        for role, certificate in zip(("ASK", "ARK"), chain, strict=False):
            entries.append(SnpCertificate(role, b64url_encode(certificate.public_bytes(Encoding.DER))))
    evidence = SnpEvidence(report=b64url_encode(files.read("evidence")), certificates=tuple(entries))
    return evidence, chain


def settings_of(product: Product) -> SnpSettings:
    """Settings under which only what a case is about decides (see the module)."""
    return SnpSettings(
        versions=frozenset(KNOWN_VERSIONS),
        v2_product=product,
        vmpls=_VMPLS,
        revocation="if-present",
        permit_provisional_firmware=True,
        csp_ids=None,
        platform_unknown_permitted=_U64 & ~PLATFORM_KNOWN,
    )


def _expectation(case: dict[str, Any]) -> Expectation:
    data = hex_decode(str(case["report_data"]), what="report_data")
    if not any(data):
        return Unbound()
    # A manifest may leave out trailing zeros; what is longer than the field stays longer and is refused.
    return ReportDataBinding(data.ljust(BINDING_SIZE, b"\0"))


def _stated(expect: Mapping[str, Any]) -> dict[str, Any]:
    stated = dict(expect.get("claims", {}))
    return stated | ({"cert": expect["cert"]} if "cert" in expect else {})
