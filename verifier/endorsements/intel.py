"""Intel's items as its verifiers want them (``verifier.intel.endorsements.IntelEndorsements``).

Order of a look-up: memory, folder; the sources, where a fetcher is given and nothing at hand is in force.

Invariants, besides those of ``verifier.endorsements.store``:

* Nothing is asked for while what is at hand is in force and no older than it may be: refreshing is for
  ``touchstone collateral refresh`` and the server's background work.
* What is at hand and no longer in force is still given where nothing better can be had: the verifier says
  what is wrong with it. Where there is nothing at all, the failure of the sources is raised.
* A PCCS is transport. What it serves late is refused by the high-water mark and the greatest age.
"""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from common.errors import EndorsementError, FetchFailed, FetchForbidden, InputError, Malformed
from verifier.endorsements import intel_addresses as addresses
from verifier.endorsements import intel_kinds
from verifier.endorsements.fetching import Origin, fetch
from verifier.endorsements.kinds import Ask, Sources
from verifier.endorsements.marks import EvaluationMarks
from verifier.endorsements.store import EndorsementStore
from verifier.errors import EndorsementMissing

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path

    from common.fetch import Fetcher
    from verifier.endorsements.kinds import Item
    from verifier.intel.certificates import Anchor
    from verifier.intel.endorsements import IntelEndorsements, SignedDocument
    from verifier.tee import Surroundings

_TEES: Final = ("tdx", "sgx")
_RETRY: Final = timedelta(minutes=1)


def intel_endorsements(
    folder: Path | None,
    fetcher: Fetcher | None = None,
    *,
    sources: Sources | None = None,
    anchor: Anchor | None = None,
) -> IntelEndorsements:
    """Intel's endorsements in a folder.

    Args:
        folder: of the endorsement store; None keeps everything in memory.
        fetcher: gets what is missing; None stays offline.
        sources: whom it asks (``intel``); Intel's own service by default.
        anchor: root that items must lead to; Intel's pinned one by default.
    """
    return FolderEndorsements(folder, fetcher, sources or Sources(), anchor)


def configured_endorsements(surroundings: Surroundings, folder: Path | None) -> IntelEndorsements:
    """Intel's endorsements for a configured verifier, in the folder of its section if that names one."""
    return intel_endorsements(
        folder or surroundings.collateral, surroundings.fetcher, sources=surroundings.sources
    )


class FolderEndorsements:
    """Implements ``IntelEndorsements``; see ``intel_endorsements``."""

    def __init__(
        self, folder: Path | None, fetcher: Fetcher | None, sources: Sources, anchor: Anchor | None
    ) -> None:
        """Read nothing yet."""
        found = [kind for tee in _TEES for kind in intel_kinds.kinds(tee, anchor)]
        self._store = EndorsementStore(folder, found)
        self._marks = EvaluationMarks(folder)
        self._sources = sources
        self._origin = None if fetcher is None else Origin(fetcher, sources)
        self._lock = threading.Lock()
        self._asked: dict[str, datetime] = {}

    def tcb_info(self, tee: str, fmspc: bytes, now: datetime) -> SignedDocument | None:
        """The TCB info of a platform; None: none at hand, and no source has it.

        Raises:
            FetchFailed, FetchForbidden, EndorsementError: nothing is at hand, and the sources failed.
            InvalidSetting: the folder cannot be written, or the marks cannot be read.
        """
        name = addresses.tcb_name(_tee(tee), fmspc)
        return _document(self._item(name, now, lambda: addresses.tcb_ask(tee, fmspc, self._sources)))

    def qe_identity(self, tee: str, now: datetime) -> SignedDocument | None:
        """The identity of the quoting enclave; as ``tcb_info``."""
        name = addresses.qe_name(_tee(tee))
        return _document(self._item(name, now, lambda: addresses.qe_ask(tee, self._sources)))

    def pck_crl(self, ca: str, now: datetime) -> SignedDocument | None:
        """The list of a PCK authority, DER, with that authority's chain; as ``tcb_info``."""
        if ca not in addresses.CAS:
            raise Malformed(f"a PCK authority is one of {', '.join(addresses.CAS)}")
        name = addresses.pck_crl_name(ca)
        return _document(self._item(name, now, lambda: addresses.pck_crl_ask(ca, self._sources)))

    def root_crl(self, now: datetime) -> bytes | None:
        """The root's list, DER; as ``tcb_info``."""
        item = self._item(addresses.ROOT_CRL, now, lambda: addresses.root_crl_ask(self._sources))
        return None if item is None else item.data

    def evaluation_floor(self, tee: str, fmspc: bytes) -> int:
        """The highest evaluation number that was seen for a platform, by any process; 0: none.

        Raises:
            InvalidSetting: the marks cannot be read.
        """
        return self._marks.floor(_tee(tee), fmspc)

    def note_evaluation(self, tee: str, fmspc: bytes, number: int) -> None:
        """Raise the mark of a platform.

        Raises:
            InvalidSetting: the marks cannot be written.
        """
        self._marks.note(_tee(tee), fmspc, number)

    def _item(self, name: str, now: datetime, ask: Callable[[], Ask]) -> Item | None:
        held = self._store.held(name)
        if self._origin is None or (held is not None and self._is_good(name, now)):
            return None if held is None else held.item
        if held is not None and not self._may_ask(name, now):
            return held.item
        try:
            fetch(self._store, self._origin, ask(), now, stale=lambda _: not self._is_good(name, now))
        except EndorsementMissing:
            return None if held is None else held.item
        except (FetchFailed, FetchForbidden, EndorsementError, InputError):
            if held is None:
                raise
            return held.item
        fresh = self._store.held(name)
        return None if fresh is None else fresh.item

    def _is_good(self, name: str, now: datetime) -> bool:
        facts = self._store.facts(name, now)
        if facts is None or not facts.in_force(now):
            return False
        oldest = self._sources.max_age.get(addresses.VENDOR)
        if oldest is None or facts.issued is None or not self._store.kind_of(name).renewed_often:
            return True
        return now - facts.issued <= oldest

    def _may_ask(self, name: str, now: datetime) -> bool:
        with self._lock:
            asked = self._asked.get(name)
            if asked is not None and timedelta(0) <= now - asked < _RETRY:
                return False
            self._asked[name] = now
            return True


def _tee(name: str) -> str:
    if name not in _TEES:
        raise Malformed(f"{name[:16]} is no TEE of Intel's")
    return name


def _document(item: Item | None) -> SignedDocument | None:
    return None if item is None else addresses.document_of(item)
