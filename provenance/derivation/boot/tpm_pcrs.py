"""Rule ``tpm-pcrs``: boot artefacts and a boot shape to TPM registers 4, 7, 8, 9, 11 and 12.

Order: boot shape -> artefacts bound to subjects -> every event measured, in the shape's order -> one
value per register; for register 11 one per boot phase.

* Every artefact must be measured by some event of the shape, and every role of the shape must be given.
* PE images are measured by their Authenticode digest, files by their hash (a digest of the statement
  suffices), variables whole, command lines as their loader hands them on.
* Registers that firmware alone decides (0 to 3, 5, 6) are not derived: take a golden event log
  (``provenance.derivation.boot.event_log_prediction``).

Sources: ``provenance.derivation.boot.boot_shape``, ``measured_boot``, ``uki``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from provenance.derivation.boot import boot_shape, measured_boot, uki
from provenance.derivation.boot.boot_events import BANKS, BootArtifacts
from provenance.derivation.boot.boot_shape import BANK, BootShape
from provenance.derivation.derived import Output
from provenance.derivation.subjects import bind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provenance.model import AdmittedStatement, Artifact, DerivationRequest, DerivedValue

NAME: Final = "tpm-pcrs"
VERSION: Final = 1


def apply(
    admitted: AdmittedStatement, request: DerivationRequest, artifacts: Sequence[Artifact]
) -> tuple[DerivedValue, ...]:
    """The rule (``registry.Rule``): ``tpm_pcr04``, ``tpm_pcr07`` ... for what the shape states.

    Raises:
        LaunchShapeInvalid, ExpiryInvalid: the request is malformed.
        SubjectMismatch: an artefact is not a subject of the statement.
        ArtifactInvalid: an image, a command line or a list of commands cannot be read.
        NotDerivable: an artefact is missing or superfluous, or does not determine what is measured.
    """
    shape = boot_shape.parse(request.launch)
    output = Output(admitted, request, f"{NAME}/{VERSION}")
    boot = BootArtifacts(bind(admitted, request, artifacts))
    values = _values(shape, boot)
    boot.check_all_used()
    recorded = boot.record() | {"launch": dict(request.launch)}
    return tuple(
        output.value(f"tpm_pcr{register:02d}", value.hex(), "tpm", recorded | own)
        for register, value, own in values
    )


def _values(shape: BootShape, boot: BootArtifacts) -> list[tuple[int, bytes, dict[str, Any]]]:
    """Register, value, and what of the inputs is this value's own."""
    found: list[tuple[int, bytes, dict[str, Any]]] = []
    for register, events in sorted(shape.events.items()):
        measured = [each for event in events for each in boot.measure(register, event)]
        found.append((register, measured_boot.registers(BANK, measured)[register], {}))
    if shape.kernel is None:
        return found
    image = boot.data(shape.kernel.role)
    sections = uki.measure_sections(image, shape.kernel.sections, BANKS)
    version = uki.stub_version(image)
    for path in shape.kernel.phases:
        events_so_far = (*sections, *uki.measure_phases(path, BANKS))
        value = measured_boot.registers(BANK, events_so_far)[uki.KERNEL_BOOT_PCR]
        own: dict[str, Any] = {"phase": path} | ({"stub": version} if version else {})
        found.append((uki.KERNEL_BOOT_PCR, value, own))
    return found
