"""Events of TDX runtime registers, measured with SHA-384 from the artefacts that they name.

Every artefact must be used by some event, and every role that an event names must be given: nothing
attested is left unmeasured, nothing measured unattested.

Validated against event logs of real TDX machines: TD HOB (2 and 10 GiB), configuration volume of Debian's
OVMF, secure-boot variables, boot variables, separators, actions, partition tables, GRUB commands, AAEL.

Sources: ``tdx_shape``, ``measured_boot``, ``td_hob``, ``linux_boot``, ``runtime_events``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from common import tcg_log
from common.errors import InputError
from provenance.derivation.boot import measured_boot, uki
from provenance.derivation.boot.boot_events import commands, text_of, variable_event
from provenance.derivation.boot.boot_events import load_options as utf16
from provenance.derivation.boot.boot_shape import (
    Action,
    Authority,
    File,
    Image,
    SecureBoot,
    Separator,
    Variable,
)
from provenance.derivation.derived import data_of
from provenance.derivation.tdx import linux_boot, runtime_events, td_hob, tdvf
from provenance.derivation.tdx.tdvf import SectionType
from provenance.derivation.tdx.tdx_shape import (
    ConfigurationVolume,
    DstackEvents,
    Gpt,
    GrubCmdline,
    GrubCommands,
    LoadOptions,
    Logged,
    QemuKernel,
    QemuLoadOptions,
    RuntimeEvents,
    TdHob,
    UkiSections,
)
from provenance.errors import ArtifactInvalid, NotDerivable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provenance.derivation.boot.measured_boot import Measurement
    from provenance.derivation.subjects import BoundInput
    from provenance.derivation.tdx.tdx_shape import TdxEvent

BANK: Final = "sha384"
_BANKS: Final = (BANK,)
# A CCEL numbers MRTD 0 and RTMR0 to RTMR3 1 to 4 (UEFI 2.10, section 38.4.1).
_LOG_INDEX: Final = 1


class TdxArtifacts:
    """The artefacts of one TD, and which of them were measured.

    Args:
        inputs: by role, bound to subjects.
    """

    def __init__(self, inputs: Mapping[str, BoundInput]) -> None:
        """Nothing is measured yet."""
        self._inputs = inputs
        self._used: set[str] = set()
        self._logs: dict[str, tcg_log.EventLog] = {}  # a log may be taken over from in many runs

    def check_all_used(self) -> None:
        """Demand that every artefact was measured.

        Raises:
            NotDerivable: one was not.
        """
        unused = ", ".join(ascii(role[:64]) for role in sorted(self._inputs.keys() - self._used))
        if unused:
            raise NotDerivable(f"artefacts that no event of the launch shape measures: {unused}")

    def digests(self, register: int, event: TdxEvent, memory: int | None) -> tuple[bytes, ...]:
        """What an event extends its register with, 48 bytes each; most extend it once.

        Raises:
            ArtifactInvalid: an artefact cannot be read as what the event says.
            NotDerivable: an artefact is not given, or only its digest, or does not determine a digest.
            LaunchShapeInvalid: an unknown action; a variable with a guid missing or superfluous.
        """
        if isinstance(event, Logged):
            return self._logged(register, event)
        if isinstance(event, Image | QemuKernel):
            image = self._image(event, memory)
            return (measured_boot.measure_image(register, event.role, image, _BANKS).digests[BANK],)
        if isinstance(event, Separator | Action | SecureBoot | Variable | Authority):
            return (self._firmware_event(register, event).digests[BANK],)
        if isinstance(event, UkiSections):
            measured = uki.measure_sections(self._data(event.role), event.sections, _BANKS)
            return tuple(item.digests[BANK] for item in measured)
        if isinstance(event, GrubCommands | GrubCmdline | RuntimeEvents | DstackEvents):
            return tuple(measured_boot.digest(BANK, data) for data in self._texts(event))
        return (measured_boot.digest(BANK, self._bytes(event, memory)),)

    def _image(self, event: Image | QemuKernel, memory: int | None) -> bytes:
        if isinstance(event, QemuKernel):
            return self._kernel(event, memory)
        data = self._data(event.role)
        return data if event.section is None else uki.section(data, event.section)

    def _firmware_event(
        self, register: int, event: Separator | Action | SecureBoot | Variable | Authority
    ) -> Measurement:
        match event:
            case Separator():
                return measured_boot.separator(register, _BANKS)
            case Action(text=text):
                return measured_boot.efi_action(register, text, _BANKS)
            case SecureBoot(enabled=enabled):
                state = b"" if enabled is None else bytes([enabled])
                return variable_event(register, "SecureBoot", None, state, _BANKS)
            case Variable() | Authority():
                data = self._data(event.role) if event.role is not None else b""
                return variable_event(register, event.name, event.guid, data, _BANKS)

    def _texts(self, event: GrubCommands | GrubCmdline | RuntimeEvents | DstackEvents) -> list[bytes]:
        data = self._data(event.role)
        match event:
            case GrubCommands(terminated=terminated):
                return [text + b"\0" * terminated for text in commands(data)]
            case GrubCmdline(terminated=terminated):
                return [text_of(data) + b"\0" * terminated]
            case RuntimeEvents():
                return runtime_events.agent_events(data)
            case DstackEvents():
                return runtime_events.dstack_events(data)

    def _bytes(
        self,
        event: File | TdHob | ConfigurationVolume | QemuLoadOptions | LoadOptions | Gpt,
        memory: int | None,
    ) -> bytes:
        data = self._data(event.role)
        match event:
            case File():
                return data
            case TdHob():
                return td_hob.measured_list(tdvf.parse(data), memory or 0)
            case ConfigurationVolume():
                return tdvf.parse(data).one(SectionType.CFV).data or b""
            case QemuLoadOptions(initrd=initrd):
                return linux_boot.load_options(data, initrd=initrd)
            case LoadOptions():
                return utf16(data)
            case Gpt():
                return measured_boot.gpt_data(data)

    def _data(self, role: str) -> bytes:
        self._used.add(role)
        return data_of(self._inputs, role)

    def _kernel(self, event: QemuKernel, memory: int | None) -> bytes:
        return linux_boot.patched_kernel(
            self._data(event.role),
            initrd_size=len(self._data(event.initrd)) if event.initrd is not None else 0,
            cmdline=self._data(event.cmdline) if event.cmdline is not None else b"",
            memory=memory or 0,
            acpi_size=event.acpi_size,
        )

    def _logged(self, register: int, event: Logged) -> tuple[bytes, ...]:
        log = self._log(event.role)
        found = [
            item.digests[BANK]
            for item in log.events
            if item.type != tcg_log.EV_NO_ACTION and item.pcr == register + _LOG_INDEX
        ]
        if event.last >= len(found):
            raise NotDerivable(
                f"the event log extends RTMR{register} {len(found)} times: there is no event {event.last}"
            )
        return tuple(found[event.first : event.last + 1])

    def _log(self, role: str) -> tcg_log.EventLog:
        if role in self._logs:
            return self._logs[role]
        try:
            log = tcg_log.parse_event_log(self._data(role))
        except InputError as error:
            raise ArtifactInvalid(f"the event log cannot be read: {error}") from error
        if BANK not in log.banks:
            raise NotDerivable(f"the event log has no {BANK} digests, only {', '.join(log.banks)}")
        self._logs[role] = log
        return log
