"""Rule ``tdx-rtmr``: boot artefacts and a launch shape to TDX runtime registers RTMR0 to RTMR3.

Order: launch shape -> artefacts bound to subjects -> every event measured, in the shape's order -> one
value per register, and per memory size where the register depends on it.

A register starts at zero and is extended with SHA-384. Sizes of memory that lead to one value give it once.

What no artefact determines is said in docs/derivation.md: ACPI tables are the VMM's (they are given as
artefacts, dumped from a machine of the same shape), closed firmware measures what it likes (take its
events over from an attested log), and what a running system extends is known only from a list.

Sources: Intel TDX Module ABI specification, TDG.MR.RTMR.EXTEND; ``tdx_shape``, ``tdx_events``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from provenance.derivation.boot import measured_boot
from provenance.derivation.derived import Output, record
from provenance.derivation.subjects import bind
from provenance.derivation.tdx import tdx_shape
from provenance.derivation.tdx.tdx_events import BANK, TdxArtifacts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provenance.derivation.tdx.tdx_shape import RtmrShape
    from provenance.model import AdmittedStatement, Artifact, DerivationRequest, DerivedValue

NAME: Final = "tdx-rtmr"
VERSION: Final = 1


def apply(
    admitted: AdmittedStatement, request: DerivationRequest, artifacts: Sequence[Artifact]
) -> tuple[DerivedValue, ...]:
    """The rule (``registry.Rule``): ``rtmr_0`` to ``rtmr_3`` for the registers that the shape states.

    Raises:
        LaunchShapeInvalid, ExpiryInvalid: the request is malformed.
        SubjectMismatch: an artefact is not a subject of the statement.
        ArtifactInvalid: an artefact cannot be read as what its event says.
        NotDerivable: an artefact is missing or superfluous, or does not determine what is measured.
    """
    shape = tdx_shape.parse(request.launch)
    output = Output(admitted, request, f"{NAME}/{VERSION}")
    inputs = bind(admitted, request, artifacts)
    boot = TdxArtifacts(inputs)
    values = _values(shape, boot)
    boot.check_all_used()
    recorded: dict[str, Any] = record(inputs)
    events = {name: value for name, value in request.launch.items() if name != "memory"}
    return tuple(
        output.value(
            f"rtmr_{register}",
            value.hex(),
            "tdx",
            recorded | {"launch": events | ({"memory": memory} if memory else {})},
        )
        for register, value, memory in values
    )


def _values(shape: RtmrShape, boot: TdxArtifacts) -> list[tuple[int, bytes, list[int]]]:
    """Register, value, and the memory sizes that lead to it."""
    found: dict[tuple[int, bytes], list[int]] = {}
    for register, events in sorted(shape.events.items()):
        for memory in shape.memory_of(register):
            digests = [each for event in events for each in boot.digests(register, event, memory)]
            sizes = found.setdefault((register, measured_boot.replay(BANK, digests)), [])
            if memory is not None:
                sizes.append(memory)
    return [(register, value, sizes) for (register, value), sizes in found.items()]
