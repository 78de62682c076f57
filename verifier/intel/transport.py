"""What evidence documents of both TEEs carry as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.encoding import b64url_decode
from common.errors import TooLarge
from verifier.intel.endorsements import MAX_COLLATERAL_BYTES, FixedEndorsements

if TYPE_CHECKING:
    from datetime import datetime

    from verifier.intel.endorsements import IntelEndorsements, SignedDocument


class CarriedEndorsements:
    """A store first, and what came with the evidence where it has nothing.

    The store's high-water marks hold for both. What a guest carries raises none: anybody can have an early
    document, and would lock the store's own out.

    Args:
        store: the port.
        carried: what came with the evidence.
    """

    def __init__(self, store: IntelEndorsements, carried: FixedEndorsements) -> None:
        """Keep both."""
        self._store = store
        self._carried = carried
        self._carried_numbers: set[tuple[str, bytes]] = set()

    def tcb_info(self, tee: str, fmspc: bytes, now: datetime) -> SignedDocument | None:
        """The store's, or the carried one."""
        stored = self._store.tcb_info(tee, fmspc, now)
        if stored is None:
            self._carried_numbers.add((tee, fmspc))
            return self._carried.tcb_info(tee, fmspc, now)
        return stored

    def qe_identity(self, tee: str, now: datetime) -> SignedDocument | None:
        """The store's, or the carried one."""
        return self._store.qe_identity(tee, now) or self._carried.qe_identity(tee, now)

    def pck_crl(self, ca: str, now: datetime) -> SignedDocument | None:
        """The store's, or the carried one."""
        return self._store.pck_crl(ca, now) or self._carried.pck_crl(ca, now)

    def root_crl(self, now: datetime) -> bytes | None:
        """The store's, or the carried one."""
        return self._store.root_crl(now) or self._carried.root_crl(now)

    def evaluation_floor(self, tee: str, fmspc: bytes) -> int:
        """The store's."""
        return self._store.evaluation_floor(tee, fmspc)

    def note_evaluation(self, tee: str, fmspc: bytes, number: int) -> None:
        """Only of what the store gave."""
        if (tee, fmspc) not in self._carried_numbers:
            self._store.note_evaluation(tee, fmspc, number)


def decoded(text: str, what: str, most: int) -> bytes:
    """Bytes of base64url text, at most ``most``.

    Raises:
        TooLarge: more. Malformed: not base64url.
    """
    if len(text) > most * 4 // 3 + 4:
        raise TooLarge(f"the {what} has more than {most} bytes")
    return b64url_decode(text, what=what)


def carried_collateral(text: str | None) -> FixedEndorsements | None:
    """Collateral that came with evidence.

    Raises:
        InputError, CollateralInvalid: not of its form.
    """
    if text is None:
        return None
    return FixedEndorsements.from_json(decoded(text, "collateral", MAX_COLLATERAL_BYTES))
