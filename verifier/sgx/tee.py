"""Intel SGX as the rest of the product sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from common.encoding import b64url_encode
from verifier.endorsements import intel_kinds
from verifier.endorsements.intel import configured_endorsements
from verifier.intel.inspection import COLLATERAL, given_endorsements, looks_like, quote_contents
from verifier.intel.quote import SGX
from verifier.reading import certificate_files
from verifier.sgx.claims import SgxClaims
from verifier.sgx.coco import SgxCocoForm
from verifier.sgx.evidence import SgxEvidence
from verifier.sgx.section import SgxSection, insecure_switches, sgx_settings
from verifier.sgx.settings import SgxSettings
from verifier.sgx.verifier import BINDING_SIZE, SgxVerifier
from verifier.tee import Tee

if TYPE_CHECKING:
    from verifier.tee import Inspection, Surroundings


def build(section: SgxSection, surroundings: Surroundings) -> SgxVerifier:
    """The configured verifier.

    Raises:
        ConfigurationError: a setting or a file that it names is not usable.
    """
    return SgxVerifier(
        sgx_settings(section),
        configured_endorsements(surroundings, section.collateral_dir),
        extra_anchors=certificate_files(section.extra_anchors, what="[sgx] extra_anchors"),
    )


def offline(evidence: SgxEvidence, inspection: Inspection) -> SgxVerifier:
    """The verifier for an inspection, under the default settings.

    Raises:
        InputError, CollateralInvalid: the collateral given is not of its form.
    """
    del evidence
    return SgxVerifier(SgxSettings(), given_endorsements(inspection), extra_anchors=inspection.anchors)


def recognise(data: bytes) -> SgxEvidence | None:
    """A raw quote: told by its header."""
    return SgxEvidence(quote=b64url_encode(data)) if looks_like(data, SGX) else None


def contents(evidence: SgxEvidence) -> dict[str, Any]:
    """Header and body of the quote; empty where it cannot be parsed."""
    return quote_contents(evidence.quote)


TEE: Final = Tee(
    name="sgx",
    title="Intel SGX",
    evidence=SgxEvidence,
    claims=SgxClaims,
    binding_size=BINDING_SIZE,
    section=SgxSection,
    build=build,
    offline=offline,
    inspects=frozenset({"anchors", f"files.{COLLATERAL}"}),
    recognise=recognise,
    contents=contents,
    coco=SgxCocoForm(),
    reference_names={
        "sgx_mr_enclave": "body.mr_enclave",
        "sgx_mr_signer": "body.mr_signer",
        "sgx_isv_prod_id": "enclave.isv_prod_id",
        "sgx_isv_svn": "enclave.isv_svn",
        "sgx_config_id": "body.config_id",
        "sgx_isv_family_id": "body.isv_family_id",
        "sgx_isv_ext_prod_id": "body.isv_ext_prod_id",
    },
    insecure=insecure_switches,
    collateral=intel_kinds.kinds("sgx"),
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
        ("status of platform and quoting enclave, converged", "Intel DCAP QVL"),
        ("debug, initialisation, provisioning and launch keys, KSS", "SDM volume 3D table 38-3"),
        ("MRENCLAVE, or MRSIGNER with product and version", "SDM volume 3D table 38-21"),
        ("REPORTDATA, CONFIGID, CONFIGSVN", "SDM volume 3D table 38-21"),
    ),
    unchecked=(
        "Physical attacks on memory and interposers: no verifier sees them.",
        "Certification data without a PCK chain (types 1 to 4, 7): such quotes are refused.",
        "EPID quotes (linkable and unlinkable signatures): Intel ended that service.",
    ),
)
