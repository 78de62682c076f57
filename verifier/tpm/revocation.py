"""Revocation lists of TPM vendors and device makers: those that lie in a folder, held against a chain.

Few vendors publish lists, so that by default a list is used where its issuer has one in the folder
(``if-present``); ``require`` demands one of every issuer. A list that is at hand and does not hold is never
passed over: one that has expired refuses, whichever the setting.

Sources: RFC 5280 sections 5 and 6.3; TCG EK Credential Profile 2.5, section 3.2.12 (CRL distribution).
"""

from __future__ import annotations

import hashlib
from datetime import datetime  # noqa: TC003 (msgspec resolves it at run time)
from itertools import pairwise
from typing import TYPE_CHECKING, Final, Literal

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes

from common.errors import TooLarge
from common.files import read_limited
from verifier.errors import CertificateRevoked, CrlExpired, CrlInvalid, CrlMissing

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from common.checks import Checks

MAX_LIST_BYTES: Final = 16 << 20
_MAX_FILES: Final = 512
_PEM: Final = b"-----BEGIN"
_HASHES: Final = (hashes.SHA256, hashes.SHA384, hashes.SHA512)
_SOURCE: Final = "RFC 5280 section 6.3"
Mode = Literal["if-present", "require"]


class ReliedList(msgspec.Struct, frozen=True):
    """A list that a verdict rests on."""

    sha256: str
    next_update: datetime


class Lists:
    """Revocation lists that are given once."""

    def __init__(self, lists: Sequence[x509.CertificateRevocationList] = ()) -> None:
        """Keep them."""
        self._lists = tuple(lists)

    def current(self) -> tuple[x509.CertificateRevocationList, ...]:
        """All of them."""
        return self._lists


class FolderLists(Lists):
    """The lists in a folder, one per file, DER or PEM; read anew when a file came, went or changed."""

    def __init__(self, folder: Path) -> None:
        """Keep the folder."""
        super().__init__()
        self._folder = folder
        self._seen: tuple[tuple[str, int, int], ...] | None = None

    def current(self) -> tuple[x509.CertificateRevocationList, ...]:
        """What lies there.

        Raises:
            TooLarge: more than 512 files, or one over 16 MiB.
            CrlInvalid: a file that is no revocation list.
        """
        paths = sorted(path for path in self._folder.glob("*") if path.is_file())
        if len(paths) > _MAX_FILES:
            raise TooLarge(f"{self._folder} holds more than {_MAX_FILES} files")
        seen = tuple((path.name, path.stat().st_mtime_ns, path.stat().st_size) for path in paths)
        if seen != self._seen:
            read = (read_limited(path, what="revocation list", max_bytes=MAX_LIST_BYTES) for path in paths)
            self._lists = tuple(load_list(data) for data in read)
            self._seen = seen
        return self._lists


def load_list(data: bytes) -> x509.CertificateRevocationList:
    """Parse one list, DER or PEM.

    Raises:
        TooLarge: over 16 MiB. CrlInvalid: it cannot be parsed.
    """
    if len(data) > MAX_LIST_BYTES:
        raise TooLarge(f"revocation list of {len(data)} bytes, the limit is {MAX_LIST_BYTES}")
    try:
        load = x509.load_pem_x509_crl if data.lstrip().startswith(_PEM) else x509.load_der_x509_crl
        crl = load(data)
        _ = (crl.issuer, crl.extensions, crl.last_update_utc, crl.next_update_utc)
        _ = crl.signature_hash_algorithm
    except (
        ValueError,
        TypeError,
        UnsupportedAlgorithm,
        x509.InvalidVersion,
        x509.DuplicateExtension,
    ) as error:
        raise CrlInvalid("a revocation list cannot be parsed") from error
    return crl


def require_not_revoked(
    path: Sequence[x509.Certificate],
    lists: Sequence[x509.CertificateRevocationList],
    mode: Mode,
    *,
    name: str,
    now: datetime,
    checks: Checks,
) -> tuple[ReliedList, ...]:
    """Hold every certificate of a verified path, but its root, against the lists of its issuer.

    Args:
        path: leaf first, root last, every link verified.
        lists: all at hand.
        mode: whether every issuer must have one.
        name: prefix of the records (``tpm.ek``).
        now: instant of verification.
        checks: where the checks are recorded.

    Raises:
        CrlMissing: none of an issuer, and one is demanded.
        CrlInvalid: none in its name that it signed and that is whole. CrlExpired: none that is current.
        CertificateRevoked: a certificate is on one.
    """
    relied: list[ReliedList] = []
    for depth, (certificate, issuer) in enumerate(pairwise(path)):
        place = f"{name}.crl.{depth}"
        found = [crl for crl in lists if crl.issuer == issuer.subject]
        if not found and mode == "if-present":
            checks.skip(place, "no revocation list of its issuer is at hand", source=_SOURCE)
            continue
        checks.require(
            place, bool(found), CrlMissing,
            expected=f"a list of {issuer.subject.rfc4514_string()}", observed=len(found), source=_SOURCE,
        )  # fmt: skip
        good = [crl for crl in found if _holds(crl, issuer)]
        checks.require(f"{place}.signature", bool(good), CrlInvalid, observed=len(found), source=_SOURCE)
        current = [crl for crl in good if _is_current(crl, now)]
        checks.require(
            f"{place}.current", bool(current), CrlExpired, expected=now.isoformat(), source=_SOURCE
        )
        serial = certificate.serial_number
        revoked = any(crl.get_revoked_certificate_by_serial_number(serial) is not None for crl in current)
        checks.require(
            f"{place}.revocation", not revoked, CertificateRevoked,
            expected="on no list", observed=f"{serial:x}", source=_SOURCE,
        )  # fmt: skip
        relied += [_relied(crl) for crl in current]
    return tuple(relied)


def _holds(crl: x509.CertificateRevocationList, issuer: x509.Certificate) -> bool:
    """Whether an issuer signed a list that is whole: neither delta nor indirect."""
    if any(item.critical for item in crl.extensions):
        return False
    key = issuer.public_key()
    try:
        return isinstance(crl.signature_hash_algorithm, _HASHES) and crl.is_signature_valid(key)  # type: ignore[arg-type]
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return False


def _is_current(crl: x509.CertificateRevocationList, now: datetime) -> bool:
    end = crl.next_update_utc
    return end is not None and crl.last_update_utc <= now <= end


def _relied(crl: x509.CertificateRevocationList) -> ReliedList:
    assert crl.next_update_utc is not None
    return ReliedList(hashlib.sha256(crl.tbs_certlist_bytes).hexdigest(), crl.next_update_utc)
