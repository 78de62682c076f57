"""Azure confidential VMs on Intel TDX as the rest of the product sees them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from common.errors import TouchstoneError
from verifier.az_tdx_vtpm.claims import AzTdxVtpmClaims
from verifier.az_tdx_vtpm.coco import AzTdxVtpmCocoForm
from verifier.az_tdx_vtpm.evidence import AzTdxVtpmEvidence
from verifier.az_tdx_vtpm.section import SECTION, AzTdxVtpmSection, insecure_switches
from verifier.az_tdx_vtpm.verifier import TEE_NAME, AzTdxVtpmVerifier
from verifier.azure.contents import hcl_contents
from verifier.azure.inspection import inspected_selection
from verifier.azure.section import vtpm_settings
from verifier.endorsements.intel import configured_endorsements
from verifier.intel.inspection import COLLATERAL, given_endorsements
from verifier.reading import certificate_files
from verifier.tdx.section import tdx_settings
from verifier.tdx.settings import TdxSettings
from verifier.tdx.verifier import TdxVerifier
from verifier.tee import Tee
from verifier.tpm.attest import PCR_COUNT
from verifier.tpm.binding import BINDING_SIZE
from verifier.tpm.settings import TpmSettings

if TYPE_CHECKING:
    from verifier.tee import Inspection, Surroundings


def build(section: AzTdxVtpmSection, surroundings: Surroundings) -> AzTdxVtpmVerifier:
    """The configured verifier.

    Raises:
        ConfigurationError: a setting or a file that it names is not usable.
    """
    tdx = TdxVerifier(
        tdx_settings(section),
        configured_endorsements(surroundings, section.collateral_dir),
        extra_anchors=certificate_files(section.extra_anchors, what=f"[{SECTION}] extra_anchors"),
    )
    return AzTdxVtpmVerifier(tdx, vtpm_settings(section))


def offline(evidence: AzTdxVtpmEvidence, inspection: Inspection) -> AzTdxVtpmVerifier:
    """The verifier for an inspection.

    Raises:
        Malformed: the registers that the evidence states cannot be a selection.
        InputError, CollateralInvalid: the collateral given is not of its form.
    """
    tdx = TdxVerifier(TdxSettings(), given_endorsements(inspection), extra_anchors=inspection.anchors)
    return AzTdxVtpmVerifier(tdx, TpmSettings(pcr_selection=inspected_selection(evidence, inspection)))


def contents(evidence: AzTdxVtpmEvidence) -> dict[str, Any]:
    """Fields of the HCL report; empty where it cannot be parsed."""
    try:
        return hcl_contents(evidence.hcl())
    except TouchstoneError:
        return {}


TEE: Final = Tee(
    name=TEE_NAME,
    title="Azure confidential VM (Intel TDX)",
    evidence=AzTdxVtpmEvidence,
    claims=AzTdxVtpmClaims,
    binding_size=BINDING_SIZE,
    section=AzTdxVtpmSection,
    build=build,
    offline=offline,
    inspects=frozenset({"anchors", f"files.{COLLATERAL}", "pcr_selection"}),
    contents=contents,
    coco=AzTdxVtpmCocoForm(),
    reference_names={f"tdx_pcr{index:02d}": f"tpm.pcr{index:02d}" for index in range(PCR_COUNT)}
    | {"az_tdx_mr_td": "quote.body.mr_td", "az_tdx_xfam": "quote.body.xfam"},
    insecure=insecure_switches,
    checks=(
        ("HCL report: versions, sizes, report type, hash type, zeros after it", "Microsoft, HCL report"),
        ("hash of the runtime claims in the TDREPORT, zeros after it", "Microsoft, HCL report"),
        (
            "the TD quote, as for `tdx`: signature, chain, collateral, status, attributes",
            "Intel DCAP quote format",
        ),
        ("REPORTDATA and MRTD of quote and TDREPORT are the same", "Intel TDX Module ABI Specification"),
        ("exactly one HCLAkPub, RSA of 2048 bits or more, no duplicate members", "Microsoft, HCL report"),
        ("quote by that key: signature, extraData, register selection and digest", "TPM 2.0 Part 2, 3"),
        ("user-data of the runtime claims, where the guest renewed the report", "Microsoft, HCL report"),
        ("init-data by register 8", "CoCo, kbs/docs/initdata.md"),
    ),
    unchecked=(
        "The TDREPORT's MAC: only its own machine can check it. What is relied on is in the quote.",
        "That the vTPM's state was not rolled back by the host: its clock and counters are claims.",
    ),
)
