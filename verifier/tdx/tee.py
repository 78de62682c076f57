"""Intel TDX as the rest of the product sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from common.encoding import b64url_encode
from verifier.endorsements import intel_kinds
from verifier.endorsements.intel import configured_endorsements
from verifier.intel.inspection import COLLATERAL, given_endorsements, looks_like, quote_contents
from verifier.intel.quote import TDX
from verifier.reading import certificate_files
from verifier.tdx.claims import TdxClaims
from verifier.tdx.coco import TdxCocoForm
from verifier.tdx.evidence import TdxEvidence
from verifier.tdx.inspection import OfflineTdxVerifier
from verifier.tdx.section import TdxSection, insecure_switches, tdx_settings
from verifier.tdx.verifier import BINDING_SIZE, TdxVerifier
from verifier.tee import Tee

if TYPE_CHECKING:
    from verifier.tee import Inspection, Surroundings


def build(section: TdxSection, surroundings: Surroundings) -> TdxVerifier:
    """The configured verifier.

    Raises:
        ConfigurationError: a setting or a file that it names is not usable.
    """
    return TdxVerifier(
        tdx_settings(section),
        configured_endorsements(surroundings, section.collateral_dir),
        extra_anchors=certificate_files(section.extra_anchors, what="[tdx] extra_anchors"),
    )


def offline(evidence: TdxEvidence, inspection: Inspection) -> OfflineTdxVerifier:
    """The verifier for an inspection.

    Raises:
        InputError, CollateralInvalid: the collateral given is not of its form.
    """
    del evidence
    return OfflineTdxVerifier(given_endorsements(inspection), inspection)


def recognise(data: bytes) -> TdxEvidence | None:
    """A raw quote: told by its header."""
    return TdxEvidence(quote=b64url_encode(data)) if looks_like(data, TDX) else None


def contents(evidence: TdxEvidence) -> dict[str, Any]:
    """Header and body of the quote; empty where it cannot be parsed."""
    return quote_contents(evidence.quote)


TEE: Final = Tee(
    name="tdx",
    title="Intel TDX",
    evidence=TdxEvidence,
    claims=TdxClaims,
    binding_size=BINDING_SIZE,
    section=TdxSection,
    build=build,
    offline=offline,
    inspects=frozenset({"anchors", f"files.{COLLATERAL}", "files.event-log"}),
    recognise=recognise,
    contents=contents,
    coco=TdxCocoForm(),
    reference_names={
        "mr_td": "quote.body.mr_td",
        "mr_seam": "quote.body.mr_seam",
        "rtmr_0": "quote.body.rtmr_0",
        "rtmr_1": "quote.body.rtmr_1",
        "rtmr_2": "quote.body.rtmr_2",
        "rtmr_3": "quote.body.rtmr_3",
        "xfam": "quote.body.xfam",
        "mr_config_id": "quote.body.mr_config_id",
        "tdx_mr_config_id": "quote.body.mr_config_id",
        "mr_servicetd": "quote.body.mr_servicetd",
    },
    insecure=insecure_switches,
    collateral=intel_kinds.kinds("tdx"),
    checks=(
        ("lengths, version, algorithm, quoting enclave's vendor", "Intel DCAP quote format"),
        ("the attestation key's signature over the bytes received", "FIPS 186-5 section 6.4.2"),
        (
            "chain to the pinned root by Platform or Processor CA: names, algorithms, dates, CA rules",
            "Intel SGX PCK Certificate Profile",
        ),
        ("QE report: signed by the PCK, holds the attestation key", "Intel DCAP quote format, A.4.8"),
        (
            "TCB info and QE identity: signer, signature, dates, FMSPC, PCEID, evaluation number",
            "Intel PCS API version 4",
        ),
        ("revocation of PCK, authorities and signers of collateral", "RFC 5280 section 6.3"),
        ("quoting enclave: signer, product, attributes, version", "Intel PCS API version 4, QE identity"),
        ("TDX module: signer, attributes, version", "Intel PCS API version 4, tdxModuleIdentities"),
        ("status of platform, module and quoting enclave, converged", "Intel DCAP QVL"),
        (
            "TDATTRIBUTES, XFAM, MRSERVICETD, MROWNER, MROWNERCONFIG, MRSEAM",
            "Intel TDX Module ABI Specification",
        ),
        ("REPORTDATA, MRCONFIGID", "Intel TDX Module ABI Specification"),
        ("event log against RTMR0 to RTMR3", "UEFI 2.11 section 38; TCG PFP section 10"),
    ),
    unchecked=(
        "Physical attacks on memory and interposers: no verifier sees them.",
        "Certification data without a PCK chain (types 1 to 4, 7): such quotes are refused.",
    ),
)
