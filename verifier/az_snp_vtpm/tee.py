"""Azure confidential VMs on AMD SEV-SNP as the rest of the product sees them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from common.errors import TouchstoneError
from verifier.az_snp_vtpm.claims import AzSnpVtpmClaims
from verifier.az_snp_vtpm.coco import AzSnpVtpmCocoForm
from verifier.az_snp_vtpm.evidence import AzSnpVtpmEvidence
from verifier.az_snp_vtpm.section import SECTION, AzSnpVtpmSection, insecure_switches
from verifier.az_snp_vtpm.verifier import TEE_NAME, AzSnpVtpmVerifier
from verifier.azure.contents import hcl_contents
from verifier.azure.inspection import inspected_selection
from verifier.azure.section import vtpm_settings
from verifier.endorsements.amd import configured_store
from verifier.reading import certificate_files
from verifier.snp.section import snp_settings
from verifier.snp.settings import SnpSettings
from verifier.snp.tee import GivenCollateral
from verifier.snp.verifier import SnpVerifier
from verifier.tee import Inspection, Surroundings, Tee
from verifier.tpm.attest import PCR_COUNT
from verifier.tpm.binding import BINDING_SIZE
from verifier.tpm.settings import TpmSettings

if TYPE_CHECKING:
    from collections.abc import Mapping


def build(section: AzSnpVtpmSection, surroundings: Surroundings) -> AzSnpVtpmVerifier:
    """The configured verifier.

    Raises:
        ConfigurationError: a setting or a file that it names is not usable.
    """
    snp = SnpVerifier(
        snp_settings(section, SECTION),
        configured_store(surroundings, section.collateral_dir),
        extra_anchors=certificate_files(section.extra_anchors, what=f"[{SECTION}] extra_anchors"),
    )
    return AzSnpVtpmVerifier(snp, vtpm_settings(section))


def offline(evidence: AzSnpVtpmEvidence, inspection: Inspection) -> AzSnpVtpmVerifier:
    """The verifier for an inspection: without a revocation list none is consulted.

    Raises:
        Malformed: the registers that the evidence states cannot be a selection.
    """
    settings = SnpSettings(vmpls=inspection.vmpls, csp_ids=None, revocation="if-present")
    snp = SnpVerifier(settings, GivenCollateral(inspection), extra_anchors=inspection.anchors)
    return AzSnpVtpmVerifier(snp, TpmSettings(pcr_selection=inspected_selection(evidence, inspection)))


def contents(evidence: AzSnpVtpmEvidence) -> dict[str, Any]:
    """Fields of the HCL report; empty where it cannot be parsed."""
    try:
        return hcl_contents(evidence.hcl())
    except TouchstoneError:
        return {}


# Names of Confidential Containers' default policy (values are texts); ours say where they belong.
_COCO_NAMES: Final[Mapping[str, str]] = {
    "measurement": "measurement",
    "tcb_bootloader": "reported_tcb_bootloader",
    "tcb_microcode": "reported_tcb_microcode",
    "tcb_snp": "reported_tcb_snp",
    "tcb_tee": "reported_tcb_tee",
    "smt_enabled": "platform_smt_enabled",
    "tsme_enabled": "platform_tsme_enabled",
    "abi_major": "policy_abi_major",
    "abi_minor": "policy_abi_minor",
    "single_socket": "policy_single_socket",
    "smt_allowed": "policy_smt_allowed",
}
_OUR_NAMES: Final[Mapping[str, str]] = {
    "az_snp_id_key_digest": "snp.id_key_digest",
    "az_snp_guest_svn": "snp.guest_svn",
    "az_snp_family_id": "snp.family_id",
    "az_snp_launch_measurement": "snp.measurement",
}
_REGISTER_NAMES: Final[Mapping[str, str]] = {
    f"snp_pcr{index:02d}": f"tpm.pcr{index:02d}" for index in range(PCR_COUNT)
}

TEE: Final = Tee(
    name=TEE_NAME,
    title="Azure confidential VM (AMD SEV-SNP)",
    evidence=AzSnpVtpmEvidence,
    claims=AzSnpVtpmClaims,
    binding_size=BINDING_SIZE,
    section=AzSnpVtpmSection,
    build=build,
    offline=offline,
    inspects=frozenset({"crl", "anchors", "pcr_selection"}),
    contents=contents,
    coco=AzSnpVtpmCocoForm(),
    reference_names={**_COCO_NAMES, **_OUR_NAMES, **_REGISTER_NAMES},
    insecure=insecure_switches,
    checks=(
        ("HCL report: versions, sizes, report type, hash type, zeros after it", "Microsoft, HCL report"),
        ("hash of the runtime claims in REPORT_DATA, zeros after it", "Microsoft, HCL report"),
        ("the SNP report, as for `snp`: chain, revocation, TCB, chip, VMPL 0, debug", "AMD 56860, 57230"),
        ("exactly one HCLAkPub, RSA of 2048 bits or more, no duplicate members", "Microsoft, HCL report"),
        ("quote by that key: signature, extraData, register selection and digest", "TPM 2.0 Part 2, 3"),
        ("user-data of the runtime claims, where the guest renewed the report", "Microsoft, HCL report"),
        ("init-data by register 8", "CoCo, kbs/docs/initdata.md"),
    ),
    unchecked=(
        "The paravisor's source: its ID key and SVN are claims to hold against reference values.",
        "That the vTPM's state was not rolled back by the host: its clock and counters are claims.",
    ),
)
