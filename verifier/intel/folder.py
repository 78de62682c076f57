"""Intel's collateral in a folder, as it was put there.

Folder::

    intel/root-ca.crl                                       the root's revocation list, DER
    intel/pck-<ca>.crl + intel/pck-<ca>.chain.pem           of the platform or processor CA
    intel/<tee>/tcb-<fmspc, hex>.json + .chain.pem          TCB info, exactly as Intel's service returned it
    intel/<tee>/qe-identity.json + .chain.pem               QE identity, likewise

Read at every use, so that a file that is replaced counts at once; verified by who asks. High-water marks of
evaluation numbers are kept in memory. Names are built of parsed evidence (hex) and constants.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from common.errors import NotFound
from common.files import read_limited
from verifier.intel.certificates import MAX_CHAIN_BYTES
from verifier.intel.endorsements import SignedDocument
from verifier.intel.revocation import MAX_CRL_BYTES
from verifier.intel.signed_json import MAX_BODY_BYTES

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

_FOLDER: Final = "intel"


class FolderEndorsements:
    """Implements ``verifier.intel.endorsements.IntelEndorsements`` over a folder.

    Args:
        folder: the collateral folder; None: nothing is at hand.
    """

    def __init__(self, folder: Path | None) -> None:
        """Keep the folder; nothing is read yet."""
        self._folder = None if folder is None else folder / _FOLDER
        self._floors: dict[tuple[str, bytes], int] = {}

    def tcb_info(self, tee: str, fmspc: bytes, now: datetime) -> SignedDocument | None:  # noqa: ARG002 (the port)
        """The platform's TCB info."""
        return self._signed(f"{tee}/tcb-{fmspc.hex()}", "json", MAX_BODY_BYTES)

    def qe_identity(self, tee: str, now: datetime) -> SignedDocument | None:  # noqa: ARG002 (the port)
        """The quoting enclave's identity."""
        return self._signed(f"{tee}/qe-identity", "json", MAX_BODY_BYTES)

    def pck_crl(self, ca: str, now: datetime) -> SignedDocument | None:  # noqa: ARG002 (the port)
        """A PCK authority's revocation list."""
        return self._signed(f"pck-{ca}", "crl", MAX_CRL_BYTES)

    def root_crl(self, now: datetime) -> bytes | None:  # noqa: ARG002 (the port)
        """The root's revocation list."""
        return self._read("root-ca.crl", MAX_CRL_BYTES)

    def evaluation_floor(self, tee: str, fmspc: bytes) -> int:
        """The highest that was noted."""
        return self._floors.get((tee, fmspc), 0)

    def note_evaluation(self, tee: str, fmspc: bytes, number: int) -> None:
        """Keep the highest."""
        self._floors[tee, fmspc] = max(number, self.evaluation_floor(tee, fmspc))

    def _signed(self, name: str, suffix: str, most: int) -> SignedDocument | None:
        body = self._read(f"{name}.{suffix}", most)
        chain = self._read(f"{name}.chain.pem", MAX_CHAIN_BYTES)
        return None if body is None or chain is None else SignedDocument(body, chain)

    def _read(self, name: str, most: int) -> bytes | None:
        if self._folder is None:
            return None
        try:
            return read_limited(self._folder / name, what="Intel collateral", max_bytes=most)
        except NotFound:
            return None
