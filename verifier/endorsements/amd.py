"""AMD's items, and the SNP verifier's view of the store (``verifier.snp.collateral.SnpCollateral``).

Names (of VCEKs as CoCo's offline store has them, so that one folder serves both)::

    crl/vcek-Milan.crl, crl/vlek-Milan.crl ...     AMD's lists, DER or PEM
    crl/<SHA-256 of an ARK, hex>.crl               list of an extra anchor
    vcek/<hardware id, hex>/bl04_tee00_snp23_ucode213_vcek.der     (Turin: ..._fmc01_vcek.der)
    vcek/<hardware id, hex>/vcek.der               where one TCB is all there is

Order of a look-up: memory, folder, fetch (if there is a fetcher). A file that changes is read again.

Invariants, besides those of ``verifier.endorsements.store``:

* A VCEK belongs to one chip and TCB for ever: it is kept without end, and never asked for again.
* A list that is at hand and in force is not asked for in a request: ``service.collateral_watch`` and
  ``touchstone collateral refresh`` renew it in time. One that has ended is asked for, at most every ten
  minutes.
* A failed fetch of a list leaves the one at hand in force until its own next update; a failed fetch of a
  VCEK raises. Neither is ever taken for "not revoked" or "not needed".
* URLs are built from constants, configured bases and parsed evidence (hex and small numbers).
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.serialization import Encoding

from common.errors import EndorsementError, FetchFailed, FetchForbidden, InputError
from verifier.endorsements import amd_kinds
from verifier.endorsements.amd_kinds import amd_roots, list_file, vcek_file, vcek_url
from verifier.endorsements.fetching import Origin, fetch
from verifier.endorsements.kinds import Ask, Sources
from verifier.endorsements.store import EndorsementStore
from verifier.errors import CertificateInvalid, EndorsementMissing
from verifier.snp.certificates import load_certificate
from verifier.snp.products import Product, SigningKey, Tcb
from verifier.snp.vek import check_vek

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from pathlib import Path

    from common.fetch import Fetcher
    from verifier.endorsements.store import Held
    from verifier.snp.chain import Anchor
    from verifier.tee import Surroundings

__all__ = ["CollateralStore", "amd_roots", "configured_store", "list_file", "vcek_file", "vcek_url"]

_LOG: Final = logging.getLogger(__name__)
_RETRY: Final = timedelta(minutes=10)
_MAX_LEAVES: Final = 1024


def configured_store(surroundings: Surroundings, folder: Path | None) -> CollateralStore:
    """The store of a configured verifier, in the folder of its own section if that names one."""
    return CollateralStore(
        folder or surroundings.collateral, surroundings.fetcher, sources=surroundings.sources
    )


class CollateralStore:
    """Implements ``verifier.snp.collateral.SnpCollateral``.

    Args:
        folder: see the module; None keeps everything in memory.
        fetcher: asks AMD for what is missing; None stays offline.
        roots: product to the root whose lists are fetched; AMD's pinned ones by default.
        sources: where AMD's service is asked; itself by default.
    """

    def __init__(
        self,
        folder: Path | None,
        fetcher: Fetcher | None = None,
        *,
        roots: Mapping[Product, Anchor] | None = None,
        sources: Sources | None = None,
    ) -> None:
        """Read nothing yet."""
        self._roots = dict(roots) if roots is not None else amd_roots()
        self._store = EndorsementStore(folder, amd_kinds.kinds(self._roots))
        self._sources = sources or Sources()
        self._origin = None if fetcher is None else Origin(fetcher, self._sources)
        self._lock = threading.Lock()
        self._asked: dict[str, datetime] = {}
        self._leaves: OrderedDict[tuple[bytes, Tcb], bytes] = OrderedDict()

    def crl(self, product: Product, kind: SigningKey, anchor: str, now: datetime) -> bytes | None:
        """The revocation list of a slot below an anchor; None where there is none.

        Raises:
            InvalidSetting: a fetched list cannot be written.
        """
        root = self._roots.get(product)
        if root is None or root.sha256 != anchor:
            found = self._store.held(f"crl/{anchor}.crl")
            return None if found is None else found.item.data
        name = amd_kinds.list_name(product, kind)
        found = self._store.held(name)
        old = None if found is None else found.item.data
        if self._origin is None or (found is not None and not self._is_stale(found, now)):
            return old
        with self._lock:
            asked = self._asked.get(name)
            if asked is not None and timedelta(0) <= now - asked < _RETRY:
                return old
            self._asked[name] = now
        return self._refreshed(self._origin, (product, kind), old, now)

    def vcek(self, product: Product, hardware_id: bytes, tcb: Tcb, now: datetime) -> bytes | None:
        """The VCEK of a chip at a TCB; None where there is none and nothing may be fetched.

        Raises:
            FetchFailed, FetchForbidden: it had to be fetched and could not be.
            EndorsementMissing: AMD knows no such chip or TCB, or what it gave is not the certificate.
            InvalidSetting: it cannot be written.
        """
        key = (hardware_id, tcb)
        with self._lock:
            if (known := self._leaves.get(key)) is not None:
                self._leaves.move_to_end(key)
                return known
        der = self._leaf(product, hardware_id, tcb)
        if der is None and self._origin is not None:
            der = self._fetched_leaf(self._origin, product, hardware_id, tcb, now)
        if der is None:
            return None
        with self._lock:
            self._leaves[key] = der
            while len(self._leaves) > _MAX_LEAVES:
                self._leaves.popitem(last=False)
        return der

    def _is_stale(self, known: Held, now: datetime) -> bool:
        facts = self._store.facts(known.item.name, now)
        return facts is None or facts.ends_within(timedelta(0), now)

    def _refreshed(
        self, origin: Origin, slot: tuple[Product, SigningKey], old: bytes | None, now: datetime
    ) -> bytes | None:
        name = amd_kinds.list_name(*slot)
        try:
            ask = amd_kinds.list_ask(*slot, self._sources)
            fetch(self._store, origin, ask, now, stale=lambda held: self._is_stale(held, now))
        except (FetchFailed, FetchForbidden, EndorsementError, InputError) as error:
            _LOG.warning("revocation list %s stays as it is: %s", name, error.code)
            return old
        fresh = self._store.held(name)
        return old if fresh is None else fresh.item.data

    def _leaf(self, product: Product, hardware_id: bytes, tcb: Tcb) -> bytes | None:
        for file in (vcek_file(tcb), "vcek.der"):
            try:
                held = self._store.held(f"vcek/{hardware_id.hex()}/{file}")
            except InputError:
                continue
            der = None if held is None else _fitting(held.item.data, product, hardware_id, tcb)
            if der is not None:
                return der
        return None

    def _fetched_leaf(
        self, origin: Origin, product: Product, hardware_id: bytes, tcb: Tcb, now: datetime
    ) -> bytes:
        ask: Ask = amd_kinds.vcek_ask(product, hardware_id, tcb, self._sources)
        try:
            fetch(self._store, origin, ask, now)
        except EndorsementMissing as error:
            raise EndorsementMissing("AMD has no VCEK for this product, chip and TCB") from error
        except (EndorsementError, InputError) as error:
            raise EndorsementMissing(
                f"what was fetched is no VCEK of this product, chip and TCB: {error.message}"
            ) from error
        der = self._leaf(product, hardware_id, tcb)
        if der is None:
            raise EndorsementMissing("what was fetched is no VCEK of this product, chip and TCB")
        return der


def _fitting(data: bytes, product: Product, hardware_id: bytes, tcb: Tcb) -> bytes | None:
    """DER of a VCEK for this product, chip and TCB, or None. Its signature is for the verifier to check."""
    try:
        der = load_certificate(data, "the VCEK").public_bytes(Encoding.DER)
        leaf = check_vek(der, SigningKey.VCEK, product)
    except (CertificateInvalid, InputError):
        return None
    return der if (leaf.hardware_id, leaf.tcb) == (hardware_id, tcb) else None
