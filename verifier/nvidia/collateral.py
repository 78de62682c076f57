"""Where the NVIDIA verifier gets what evidence does not carry: OCSP responses, CRLs, reference manifests.

Folder, below the endorsement store::

    nvidia/ocsp/<SHA-256 of a certificate's DER, hex>.der     OCSP response about that certificate
    nvidia/crl/l1-root.crl, nvidia/crl/l2-gh100.crl ...       by the last part of NVIDIA's addresses
    nvidia/rim/<id of a manifest>.xml, or .swidtag            NV_GPU_DRIVER_GH100_550.90.07.xml

Nothing from here is trusted before it is verified: the folder is a cache, not a root of trust. File names
are made of digests, of addresses in certificates that lead to a pinned root, and of ids; what is not of
their alphabet is not looked for.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Protocol

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from common.errors import NotFound
from common.files import read_limited
from verifier.nvidia.certificates import UNREADABLE, extension
from verifier.nvidia.revocation import MAX_CRL_BYTES, MAX_OCSP_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MAX_RIM_BYTES: Final = 1 << 20
_FOLDER: Final = "nvidia"
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}\Z")
_MANIFEST_SUFFIXES: Final = (".xml", ".swidtag")


class NvidiaCollateral(Protocol):
    """Revocation data and manifests, as bytes."""

    def ocsp(self, certificate: x509.Certificate) -> tuple[bytes, ...]:
        """OCSP responses that may be about a certificate."""

    def crls(self, certificate: x509.Certificate) -> tuple[bytes, ...]:
        """Revocation lists that may be of a certificate's issuer."""

    def rim(self, name: str) -> bytes | None:
        """The reference manifest with an id; None: none at hand."""


class FixedCollateral:
    """Collateral that is given once, in memory.

    Args:
        ocsp: responses, about whatever certificates.
        crls: lists, of whatever issuers.
        rims: id to manifest.
    """

    def __init__(
        self,
        *,
        ocsp: tuple[bytes, ...] = (),
        crls: tuple[bytes, ...] = (),
        rims: Mapping[str, bytes] | None = None,
    ) -> None:
        """Keep what is given."""
        self._ocsp = ocsp
        self._crls = crls
        self._rims = dict(rims or {})

    def ocsp(self, certificate: x509.Certificate) -> tuple[bytes, ...]:  # noqa: ARG002 (NvidiaCollateral)
        """All responses."""
        return self._ocsp

    def crls(self, certificate: x509.Certificate) -> tuple[bytes, ...]:  # noqa: ARG002 (NvidiaCollateral)
        """All lists."""
        return self._crls

    def rim(self, name: str) -> bytes | None:
        """The manifest of an id."""
        return self._rims.get(name)


class FolderCollateral:
    """Collateral in the endorsement store's folder, read at every use.

    Args:
        folder: the endorsement store's.
        extra: looked at where the folder has nothing.
    """

    def __init__(self, folder: Path, extra: NvidiaCollateral | None = None) -> None:
        """Read nothing yet."""
        self._folder = folder / _FOLDER
        self._extra = extra or FixedCollateral()

    def ocsp(self, certificate: x509.Certificate) -> tuple[bytes, ...]:
        """The response about a certificate.

        Raises:
            TooLarge: the file is larger than a response may be.
        """
        name = f"{certificate.fingerprint(SHA256()).hex()}.der"
        found = self._read("ocsp", name, "OCSP response", MAX_OCSP_BYTES)
        return self._extra.ocsp(certificate) if found is None else (found,)

    def crls(self, certificate: x509.Certificate) -> tuple[bytes, ...]:
        """The lists that a certificate's distribution points name.

        Raises:
            TooLarge: a file is larger than a list may be.
        """
        found = [
            data
            for name in _list_names(certificate)
            if (data := self._read("crl", name, "revocation list", MAX_CRL_BYTES)) is not None
        ]
        return tuple(found) or self._extra.crls(certificate)

    def rim(self, name: str) -> bytes | None:
        """The manifest of an id.

        Raises:
            TooLarge: the file is larger than a manifest may be.
        """
        for suffix in _MANIFEST_SUFFIXES:
            found = self._read("rim", f"{name}{suffix}", "reference manifest", MAX_RIM_BYTES)
            if found is not None:
                return found
        return self._extra.rim(name)

    def _read(self, kind: str, name: str, what: str, limit: int) -> bytes | None:
        if not _NAME.match(name) or ".." in name:
            return None
        try:
            return read_limited(self._folder / kind / name, what=what, max_bytes=limit)
        except NotFound:
            return None


def _list_names(certificate: x509.Certificate) -> tuple[str, ...]:
    """Last parts of the addresses of a certificate's revocation lists."""
    try:
        points = extension(certificate, x509.CRLDistributionPoints)
    except UNREADABLE:
        return ()
    return tuple(
        name.value.rpartition("/")[2]
        for point in points or ()
        for name in point.full_name or ()
        if isinstance(name, x509.UniformResourceIdentifier)
    )
