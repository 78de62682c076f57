"""What an operator decides about TPMs: whose attestation keys count, what must be quoted, what is old."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from cryptography import x509  # noqa: TC002 (msgspec resolves it at run time)

from common.errors import InvalidSetting
from verifier.tpm.algorithms import BANK_HASHES
from verifier.tpm.attest import PCR_COUNT
from verifier.tpm.revocation import Lists, Mode

if TYPE_CHECKING:
    from collections.abc import Mapping


# Firmware, boot loader, kernel and whatever else a TCG log usually extends (PFP section 3.3.4).
def default_selection() -> dict[str, tuple[int, ...]]:
    """SHA-256 registers 0 to 15."""
    return {"sha256": tuple(range(16))}


class TpmSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of the TPM verifier. The defaults trust no attestation key at all.

    Attributes:
        ak_names: names of trusted attestation keys (nameAlg and digest, TPM 2.0 Part 1 section 16).
            A name covers the key's attributes.
        ak_spki_sha256: SHA-256 of the SubjectPublicKeyInfo of trusted attestation keys. Covers the key
            alone: that it is restricted to TPM-made structures is the operator's word then.
        ek_roots: certificates at which an EK certificate's chain must end.
        ak_roots: certificates at which the chain of an attestation key's own certificate, and of a device's
            identity, must end. Whoever is trusted with this decides alone which keys are in a TPM.
        lists: revocation lists of all issuers.
        revocation: ``require`` a current list of every issuer below the roots, or use one ``if-present``.
        pcr_selection: bank to the registers that a quote must cover, exactly.
        allow_sha1_banks: whether ``pcr_selection`` may name the SHA-1 bank.
        require_event_log: refuse evidence without an event log.
        allow_unquoted_events: accept a log with events of registers that are not quoted. They are left
            out of the claims. Off: such a log is refused, since nothing vouches for those events.
        unlogged_pcrs: quoted registers that software extends outside the TCG log (IMA: 10;
            systemd: 11 to 13, 15). Their values are claims as quoted; a log does not have to explain them.
        minimum_firmware_version: lowest TPMS_ATTEST.firmwareVersion that is not contraindicated.
    """

    ak_names: frozenset[bytes] = frozenset()
    ak_spki_sha256: frozenset[bytes] = frozenset()
    ek_roots: tuple[x509.Certificate, ...] = ()
    ak_roots: tuple[x509.Certificate, ...] = ()
    lists: Lists = msgspec.field(default_factory=Lists)
    revocation: Mode = "if-present"
    pcr_selection: dict[str, tuple[int, ...]] = msgspec.field(default_factory=default_selection)
    allow_sha1_banks: bool = False
    require_event_log: bool = False
    allow_unquoted_events: bool = False
    unlogged_pcrs: frozenset[int] = frozenset()
    minimum_firmware_version: int | None = None

    def __post_init__(self) -> None:
        """Refuse a selection that cannot be met.

        Raises:
            InvalidSetting: an unknown bank, the SHA-1 bank without its opt-in, no or unordered
                registers, a register that does not exist.
        """
        check_selection(self.pcr_selection, allow_sha1=self.allow_sha1_banks)


def check_selection(selection: Mapping[str, tuple[int, ...]], *, allow_sha1: bool) -> None:
    """Refuse a PCR selection that cannot be met or that should not be relied on.

    Raises:
        InvalidSetting: see ``TpmSettings``.
    """
    if not selection:
        raise InvalidSetting("the PCR selection is empty: a quote over nothing says nothing")
    for bank, indexes in selection.items():
        if bank not in BANK_HASHES or (bank == "sha1" and not allow_sha1):
            raise InvalidSetting(f"PCR bank {bank!r} may not be selected")
        if not indexes or list(indexes) != sorted(set(indexes)):
            raise InvalidSetting(f"the {bank} selection is empty, unordered or names a register twice")
        if not 0 <= indexes[0] <= indexes[-1] < PCR_COUNT:
            raise InvalidSetting(f"the {bank} selection names a register that does not exist")
