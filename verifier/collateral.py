"""Collateral of the SNP verifier on disk, with optional fetching from AMD's key distribution service.

Folder (names of VCEKs as CoCo's offline store has them, so that one folder serves both)::

    crl/vcek-Milan.crl, crl/vlek-Milan.crl ...     AMD's lists, DER or PEM
    crl/<SHA-256 of an ARK, hex>.crl               list of an extra anchor
    vcek/<hardware id, hex>/bl04_tee00_snp23_ucode213_vcek.der     (Turin: ..._fmc01_vcek.der)
    vcek/<hardware id, hex>/vcek.der               where one TCB is all there is

Order of a look-up: memory, folder, fetch (if there is a fetcher). A file that changes is read again.

Invariants:

* What is fetched is verified (list: signed by the pinned ARK and not older than the one at hand; VCEK:
  profile, chip and TCB) before it is written or used, so that a bad answer replaces nothing. It is
  verified again when it is used: this folder is a cache, not a root of trust.
* A VCEK belongs to one chip and TCB for ever: it is kept without end. A list is asked for again once it
  is a day old or nears its next update, and at most every ten minutes.
* A failed fetch of a list leaves the one at hand in force until its own next update; a failed fetch of a
  VCEK raises. Neither is ever taken for "not revoked" or "not needed".
* URLs are built from constants and parsed evidence (hex and small numbers), never taken from evidence.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import OrderedDict
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
from cryptography.hazmat.primitives.serialization import Encoding

from common.errors import FetchFailed, FetchForbidden, InputError, InvalidSetting
from common.files import read_limited, write_public
from verifier.errors import CertificateInvalid, CrlInvalid, EndorsementMissing
from verifier.snp.certificates import MAX_CERTIFICATE_BYTES, load_certificate
from verifier.snp.chain import KDS, Anchor, Anchors, crl_url
from verifier.snp.products import Product, SigningKey, Tcb
from verifier.snp.revocation import MAX_CRL_BYTES, RevocationList, verify_list
from verifier.snp.vek import check_vek

if TYPE_CHECKING:
    from collections.abc import Mapping

    from common.fetch import Fetcher

_LOG: Final = logging.getLogger(__name__)
_MAX_AGE: Final = timedelta(days=1)
_AHEAD: Final = timedelta(days=7)
_RETRY: Final = timedelta(minutes=10)
_MAX_LEAVES: Final = 1024
_MAX_LISTS: Final = 32
_NOT_FOUND: Final = 404


class _List(msgspec.Struct):
    """A revocation list at hand, and when it was got."""

    data: bytes
    stamp: tuple[int, int]  # modification time and size of its file
    got: datetime


class CollateralStore:
    """Implements ``verifier.snp.collateral.SnpCollateral``.

    Args:
        folder: see the module; None keeps everything in memory.
        fetcher: asks AMD for what is missing; None stays offline.
        roots: product to the root whose lists are fetched; AMD's pinned ones by default.
    """

    def __init__(
        self,
        folder: Path | None,
        fetcher: Fetcher | None = None,
        *,
        roots: Mapping[Product, Anchor] | None = None,
    ) -> None:
        """Read nothing yet."""
        self._folder = folder
        self._fetcher = fetcher
        self._roots = dict(roots) if roots is not None else amd_roots()
        self._verified = lru_cache(maxsize=_MAX_LISTS)(self._verify)
        self._lock = threading.Lock()
        self._lists: dict[str, _List] = {}
        self._asked: dict[str, datetime] = {}
        self._paths: dict[str, str] = {}
        self._leaves: OrderedDict[tuple[bytes, Tcb], bytes] = OrderedDict()

    def crl(self, product: Product, kind: SigningKey, anchor: str, now: datetime) -> bytes | None:
        """The revocation list of a slot below an anchor; None where there is none.

        Raises:
            InvalidSetting: a fetched list cannot be written.
        """
        root = self._roots.get(product)
        if root is None or root.sha256 != anchor:
            found = self._from_folder(f"{anchor}.crl")
            return None if found is None else found.data
        name = list_file(product, kind)
        found = self._from_folder(name)
        old = None if found is None else found.data
        if self._fetcher is None or (found is not None and not self._is_stale(found, product, now)):
            return old
        asked = self._asked.get(name)
        if asked is not None and timedelta(0) <= now - asked < _RETRY:
            return old
        self._asked[name] = now
        return self._refreshed(self._fetcher, (product, kind), old, now)

    def vcek(self, product: Product, hardware_id: bytes, tcb: Tcb, now: datetime) -> bytes | None:  # noqa: ARG002 (SnpCollateral)
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
        der = self._leaf_from_folder(product, hardware_id, tcb)
        if der is None and self._fetcher is not None:
            der = self._fetched_leaf(self._fetcher, product, hardware_id, tcb)
        if der is None:
            return None
        with self._lock:
            self._leaves[key] = der
            while len(self._leaves) > _MAX_LEAVES:
                self._leaves.popitem(last=False)
        return der

    def _from_folder(self, name: str) -> _List | None:
        """The list of a file, read again when the file changed; without a folder, from memory."""
        known = self._lists.get(name)
        if self._folder is None:
            return known
        path = self._paths.get(name)
        if path is None:
            path = self._paths[name] = str(self._folder / "crl" / name)
        try:
            status = os.stat(path)  # noqa: PTH116 (on the hot path)
        except OSError:
            return None
        stamp = (status.st_mtime_ns, status.st_size)
        if known is None or known.stamp != stamp:
            data = read_limited(Path(path), what="revocation list", max_bytes=MAX_CRL_BYTES)
            known = _List(data, stamp, datetime.fromtimestamp(status.st_mtime, UTC))
            self._lists[name] = known
        return known

    def _is_stale(self, known: _List, product: Product, now: datetime) -> bool:
        if now - known.got > _MAX_AGE:
            return True
        verified = self._verified(known.data, product)
        return verified is None or verified.next_update - now < _AHEAD

    def _refreshed(
        self, fetcher: Fetcher, slot: tuple[Product, SigningKey], old: bytes | None, now: datetime
    ) -> bytes | None:
        product, kind = slot
        name = list_file(product, kind)
        try:
            data = fetcher.fetch(crl_url(kind, product))
        except (FetchFailed, FetchForbidden) as error:
            _LOG.warning("revocation list %s not fetched: %s", name, error.code)
            return old
        fresh = self._verified(data, product)
        before = None if old is None else self._verified(old, product)
        if fresh is None or (before is not None and fresh.this_update < before.this_update):
            _LOG.warning("revocation list %s as fetched is not valid, or older than the one at hand", name)
            return old
        self._keep(name, data, now)
        return data

    def _keep(self, name: str, data: bytes, now: datetime) -> None:
        if self._folder is None:
            self._lists[name] = _List(data, (0, len(data)), now)
            return
        path = self._folder / "crl" / name
        _make_folder(path.parent)
        write_public(path, data)
        status = path.stat()
        self._lists[name] = _List(data, (status.st_mtime_ns, status.st_size), now)

    def _verify(self, data: bytes, product: Product) -> RevocationList | None:
        try:
            return verify_list(data, self._roots[product])
        except CrlInvalid:
            return None

    def _leaf_from_folder(self, product: Product, hardware_id: bytes, tcb: Tcb) -> bytes | None:
        if self._folder is None:
            return None
        folder = self._folder / "vcek" / hardware_id.hex()
        for path in (folder / vcek_file(tcb), folder / "vcek.der"):
            try:
                data = read_limited(path, what="VCEK", max_bytes=MAX_CERTIFICATE_BYTES)
            except InputError:
                continue
            if (der := _fitting(data, product, hardware_id, tcb)) is not None:
                return der
        return None

    def _fetched_leaf(self, fetcher: Fetcher, product: Product, hardware_id: bytes, tcb: Tcb) -> bytes:
        try:
            data = fetcher.fetch(vcek_url(product, hardware_id, tcb))
        except FetchFailed as error:
            if error.details.get("status") == _NOT_FOUND:
                raise EndorsementMissing("AMD has no VCEK for this product, chip and TCB") from error
            raise
        der = _fitting(data, product, hardware_id, tcb)
        if der is None:
            raise EndorsementMissing("what was fetched is no VCEK of this product, chip and TCB")
        if self._folder is not None:
            path = self._folder / "vcek" / hardware_id.hex() / vcek_file(tcb)
            _make_folder(path.parent)
            write_public(path, der)
        return der


def amd_roots() -> dict[Product, Anchor]:
    """AMD's pinned root of every product."""
    anchors = Anchors()
    return {product: anchors.amd(product) for product in Product}


def list_file(product: Product, kind: SigningKey) -> str:
    """File name of one of AMD's revocation lists (``vcek-Milan.crl``)."""
    return f"{kind.lower()}-{product}.crl"


def vcek_file(tcb: Tcb) -> str:
    """File name of a VCEK, as CoCo's offline store spells it (decimal, two digits at least)."""
    name = f"bl{tcb.bootloader:02}_tee{tcb.tee:02}_snp{tcb.snp:02}_ucode{tcb.microcode:02}"
    return f"{name}_vcek.der" if tcb.fmc is None else f"{name}_fmc{tcb.fmc:02}_vcek.der"


def vcek_url(product: Product, hardware_id: bytes, tcb: Tcb) -> str:
    """Address of a VCEK (AMD 57230 section 4.1): decimal SVNs, ``fmcSPL`` first where there is one."""
    fmc = "" if tcb.fmc is None else f"fmcSPL={tcb.fmc:02}&"
    parts = f"blSPL={tcb.bootloader:02}&teeSPL={tcb.tee:02}&snpSPL={tcb.snp:02}&ucodeSPL={tcb.microcode:02}"
    return f"{KDS}/vcek/v1/{product}/{hardware_id.hex()}?{fmc}{parts}"


def _fitting(data: bytes, product: Product, hardware_id: bytes, tcb: Tcb) -> bytes | None:
    """DER of a VCEK for this product, chip and TCB, or None. Its signature is for the verifier to check."""
    try:
        der = load_certificate(data, "the VCEK").public_bytes(Encoding.DER)
        leaf = check_vek(der, SigningKey.VCEK, product)
    except (CertificateInvalid, InputError):
        return None
    return der if (leaf.hardware_id, leaf.tcb) == (hardware_id, tcb) else None


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidSetting(f"cannot make the collateral folder {folder} ({error.strerror})") from error
