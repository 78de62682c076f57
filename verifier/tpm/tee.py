"""TPM 2.0 as the rest of the product sees it."""

from __future__ import annotations

from typing import Final

import msgspec

from common.errors import InvalidSetting, Malformed
from verifier.tee import Inspection, Surroundings, Tee
from verifier.tpm.attest import PCR_COUNT
from verifier.tpm.claims import TpmClaims
from verifier.tpm.coco import TpmCocoForm
from verifier.tpm.section import TpmSection, tpm_settings
from verifier.tpm.settings import TpmSettings
from verifier.tpm.verifier import BINDING_SIZE, TpmVerifier
from wire.evidence import TpmEvidence

_SHA256_BYTES: Final = 32


def build(section: TpmSection, surroundings: Surroundings) -> TpmVerifier:
    """The configured verifier.

    Raises:
        ConfigurationError: a setting or a file that it names is not usable.
    """
    del surroundings
    return TpmVerifier(tpm_settings(section))


def offline(evidence: TpmEvidence, inspection: Inspection) -> TpmVerifier:
    """The verifier for an inspection.

    Raises:
        Malformed: the registers that the evidence states cannot be a selection.
    """
    keys = inspection.attestation_keys
    settings = TpmSettings(
        ek_roots=inspection.ek_roots,
        ak_names=frozenset(key for key in keys if len(key) != _SHA256_BYTES),
        ak_spki_sha256=frozenset(key for key in keys if len(key) == _SHA256_BYTES),
    )
    if inspection.report_data is None:
        return TpmVerifier(settings)  # unbound evidence is held against no selection
    selection = inspection.pcr_selection or _stated_selection(evidence)
    try:
        return TpmVerifier(msgspec.structs.replace(settings, pcr_selection=selection))
    except InvalidSetting as error:
        raise Malformed(f"the registers that the evidence states: {error.message}") from error


def _stated_selection(evidence: TpmEvidence) -> dict[str, tuple[int, ...]]:
    try:
        return {bank: tuple(sorted(map(int, values))) for bank, values in evidence.pcrs.items()}
    except ValueError as error:
        raise Malformed("a register of the evidence has no number") from error


TEE: Final = Tee(
    name="tpm",
    title="TPM 2.0",
    evidence=TpmEvidence,
    claims=TpmClaims,
    binding_size=BINDING_SIZE,
    section=TpmSection,
    build=build,
    offline=offline,
    inspects=frozenset({"ek_roots", "attestation_keys", "pcr_selection"}),
    coco=TpmCocoForm(),
    reference_names={f"tpm_pcr{index}": f"pcr{index:02d}" for index in range(PCR_COUNT)}
    | {f"tpm_pcr{index:02d}": f"pcr{index:02d}" for index in range(PCR_COUNT)}
    | {"trusted_aks": "ak_public"},
    identities=frozenset({"trusted_aks"}),
    checks=(
        (
            "attestation key: allow-list, its own certificate, or an EK's and an activated credential",
            "TPM 2.0 Part 1 section 24",
        ),
        ("device identity beside it: same hardware module, same roots", "TCG DevID 1.0; IEEE 802.1AR"),
        ("revocation: every list at hand of every issuer below the root", "RFC 5280 6.3"),
        ("key attributes: restricted signing key that cannot leave the TPM", "TPM 2.0 Part 1 section 25"),
        ("signature over the bytes received", "TPM 2.0 Part 2 section 11.3"),
        ("magic, type, extraData", "TPM 2.0 Part 2 section 10.12"),
        ("register selection, exactly; digest over exactly those values", "TPM 2.0 Part 2 section 10.12.1"),
        ("event log and IMA list replay to the quoted registers", "TCG PFP 1.05 section 10"),
        ("firmware version floor", "TPM 2.0 Part 2 section 10.12"),
    ),
    unchecked=(
        "A TPM says nothing about memory: `runtime-opaque` is never affirmed.",
        "A reset of the machine between two quotes is visible in the claims, not refused.",
    ),
)
