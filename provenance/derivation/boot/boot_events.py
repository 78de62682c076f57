"""Events of a boot shape, measured from the artefacts that they name.

Every artefact must be used by some event, and every role that an event names must be given
(``check_all_used``, ``NotDerivable``): nothing attested is left unmeasured, nothing measured unattested.

Sources: TCG PC Client Platform Firmware Profile 1.05, section 10.4.1; GRUB, grub-core/commands/tpm.c
(what a command, a command line and a file are measured as); Linux,
drivers/firmware/efi/libstub/efi-stub-helper.c (load options).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from common import strict_json
from common.errors import InputError
from provenance.derivation.boot import cmdline, measured_boot, uki
from provenance.derivation.boot.boot_shape import (
    BANK,
    Action,
    Authority,
    BootEvent,
    Commands,
    File,
    Image,
    KernelCmdline,
    LoadOptions,
    Section,
    SecureBoot,
    Separator,
    Variable,
)
from provenance.derivation.boot.measured_boot import Measurement
from provenance.derivation.derived import data_of, record
from provenance.errors import ArtifactInvalid, LaunchShapeInvalid, NotDerivable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from provenance.derivation.subjects import BoundInput

BANKS: Final = (BANK,)
MAX_COMMANDS: Final = 4096
MAX_COMMANDS_BYTES: Final = 1 << 20
# Variables whose vendor GUID the standards fix; any other needs its own.
_GUIDS: Final = {
    "SecureBoot": measured_boot.EFI_GLOBAL_VARIABLE,
    "PK": measured_boot.EFI_GLOBAL_VARIABLE,
    "KEK": measured_boot.EFI_GLOBAL_VARIABLE,
    "db": measured_boot.EFI_IMAGE_SECURITY_DATABASE,
    "dbx": measured_boot.EFI_IMAGE_SECURITY_DATABASE,
    "dbt": measured_boot.EFI_IMAGE_SECURITY_DATABASE,
    "dbr": measured_boot.EFI_IMAGE_SECURITY_DATABASE,
    "Shim": measured_boot.SHIM_LOCK,
    "MokList": measured_boot.SHIM_LOCK,
    "SbatLevel": measured_boot.SHIM_LOCK,
}


class BootArtifacts:
    """The artefacts of one boot, and which of them were measured.

    Args:
        inputs: by role, bound to subjects.
    """

    def __init__(self, inputs: Mapping[str, BoundInput]) -> None:
        """Nothing is measured yet."""
        self._inputs = inputs
        self._used: set[str] = set()

    def measure(self, register: int, event: BootEvent) -> list[Measurement]:
        """What an event extends its register with: one digest, or one for each command of a list.

        Raises:
            LaunchShapeInvalid: an unknown action; a guid missing, superfluous or malformed.
            ArtifactInvalid: an artefact cannot be read as what the event says.
            NotDerivable: an artefact is not given, or only its digest; the image does not determine one.
        """
        if isinstance(event, Commands | KernelCmdline | File | LoadOptions):
            return self._measure_loader(register, event)
        if isinstance(event, Image | Section):
            return [self._measure_image(register, event)]
        return [self._measure_firmware(register, event)]

    def data(self, role: str) -> bytes:
        """The bytes of an artefact, which counts as used.

        Raises:
            NotDerivable: it is not given, or only its digest.
        """
        self._input(role)
        return data_of(self._inputs, role)

    def check_all_used(self) -> None:
        """Demand that every artefact was measured.

        Raises:
            NotDerivable: one was not.
        """
        unused = ", ".join(ascii(role[:64]) for role in sorted(self._inputs.keys() - self._used))
        if unused:
            raise NotDerivable(f"artefacts that no event of the boot shape measures: {unused}")

    def record(self) -> dict[str, Any]:
        """Role to SHA-256, for lineage."""
        return record(self._inputs)

    def _input(self, role: str) -> BoundInput:
        if role not in self._inputs:
            raise NotDerivable(f"the boot shape measures an artefact that is not given: {role[:64]!a}")
        self._used.add(role)
        return self._inputs[role]

    def _measure_loader(
        self, register: int, event: Commands | KernelCmdline | File | LoadOptions
    ) -> list[Measurement]:
        match event:
            case File(role=role):
                # The digest that is extended is the very one that the statement attests.
                return [Measurement(register, role, {BANK: self._input(role).sha256})]
            case Commands(role=role):
                texts = commands(self.data(role))
                return [measured_boot.measure(register, "command", text, BANKS) for text in texts]
            case KernelCmdline(role=role):
                return [measured_boot.measure(register, "command line", text_of(self.data(role)), BANKS)]
            case LoadOptions(role=role):
                return [
                    measured_boot.measure(register, "load options", load_options(self.data(role)), BANKS)
                ]

    def _measure_image(self, register: int, event: Image | Section) -> Measurement:
        data = self.data(event.role)
        if event.section is not None:
            data = uki.section(data, event.section)
        if isinstance(event, Section):
            return measured_boot.measure(register, event.role, data, BANKS)
        return measured_boot.measure_image(register, event.role, data, BANKS)

    def _measure_firmware(
        self, register: int, event: Separator | Action | SecureBoot | Variable | Authority
    ) -> Measurement:
        match event:
            case Separator():
                return measured_boot.separator(register, BANKS)
            case Action(text=text):
                return measured_boot.efi_action(register, text, BANKS)
            case SecureBoot():
                return variable_event(register, "SecureBoot", None, event.content)
            case Variable() | Authority():
                data = self.data(event.role) if event.role is not None else b""
                return variable_event(register, event.name, event.guid, data)


def text_of(data: bytes) -> bytes:
    """A command line as GRUB measures it: the text itself.

    Raises:
        ArtifactInvalid: empty, not UTF-8, over 4096 bytes, or with control characters.
    """
    cmdline.check(data)
    if not data:
        raise ArtifactInvalid("a command line that a loader measures is empty")
    return data


def load_options(data: bytes) -> bytes:
    """A command line as the kernel's EFI stub measures its load options: UTF-16 with NUL.

    Raises:
        ArtifactInvalid: as ``text_of``.
    """
    return (text_of(data).decode("utf-8") + "\0").encode("utf-16-le")


def commands(data: bytes) -> tuple[bytes, ...]:
    """The measured texts of an artefact that lists GRUB commands (a strict JSON list of texts).

    Raises:
        ArtifactInvalid: anything else, or more than 4096.
    """
    try:
        listed = strict_json.loads(data, what="the list of commands", max_bytes=MAX_COMMANDS_BYTES)
    except InputError as error:
        raise ArtifactInvalid(f"the list of commands cannot be read: {error}") from error
    if not isinstance(listed, list) or not 1 <= len(listed) <= MAX_COMMANDS:
        raise ArtifactInvalid(f"a list of commands has 1 to {MAX_COMMANDS} texts")
    if not all(isinstance(item, str) and "\0" not in item for item in listed):
        raise ArtifactInvalid("a command of the list is not a text, or has a NUL")
    try:
        return tuple(item.encode("utf-8") for item in listed)
    except UnicodeEncodeError as error:
        raise ArtifactInvalid("a command of the list is not UTF-8") from error


def variable_event(
    register: int, name: str, guid: str | None, data: bytes, banks: Iterable[str] = BANKS
) -> Measurement:
    """A variable, measured whole; ``guid`` exactly where the standards do not fix it.

    Raises:
        LaunchShapeInvalid: a guid missing, superfluous or malformed.
        ArtifactInvalid: as ``measured_boot.variable_data``.
    """
    known = _GUIDS.get(name)
    if (known is None) == (guid is None):
        raise LaunchShapeInvalid(
            "launch shape: a variable that the standards name has no guid, and any other needs one"
        )
    if known is None:
        assert guid is not None
        try:
            known = UUID(guid)
        except ValueError as error:
            raise LaunchShapeInvalid("launch shape: the guid of a variable is not one") from error
        if str(known) != guid:
            raise LaunchShapeInvalid("launch shape: a guid is written in lower case, with hyphens")
    return measured_boot.variable(register, known, name, data, banks)
