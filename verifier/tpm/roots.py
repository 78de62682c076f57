"""Roots of TPM vendors: those that are shipped, by vendor, and those in a folder.

TPM vendors publish their roots on pages of their own; distributions and attestation projects collect them
in folders. Some are shipped, pinned by digest like every vendor certificate; none is trusted unless the
operator names its vendor. Of a folder every certificate is taken, none twice. Dates are not looked at here:
a chain to a root past its end is refused when it is verified.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from common.errors import InvalidSetting, Malformed
from common.files import read_limited
from verifier import vendor_roots
from verifier.reading import load_certificates

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from cryptography import x509

Vendor = Literal["globalsign", "google", "infineon", "intel", "nationz", "nuvoton", "stmicro"]

_SUFFIXES: Final = frozenset({".pem", ".crt", ".cer", ".der"})
_MAX_FILES: Final = 2048
_MAX_BYTES: Final = 256 << 10


def vendor_certificates(vendors: Iterable[Vendor]) -> tuple[x509.Certificate, ...]:
    """The shipped EK roots of ``vendors``, in the order of ``SOURCES.toml``; none named: none.

    Raises:
        InvalidSetting: a file is not the certificate that was recorded.
    """
    wanted = tuple(f"tpm/{vendor}-" for vendor in vendors)
    return tuple(
        vendor_roots.load(entry.file) for entry in vendor_roots.sources() if entry.file.startswith(wanted)
    )


def certificate_folder(folder: Path | None, *, what: str) -> tuple[x509.Certificate, ...]:
    """The certificates in the files of a folder, PEM (any number each) or DER; None: none.

    Raises:
        InvalidSetting: no such folder, too many files, one that holds no certificate.
    """
    if folder is None:
        return ()
    if not folder.is_dir():
        raise InvalidSetting(f"{what}: {folder} is no folder")
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES)
    if len(paths) > _MAX_FILES:
        raise InvalidSetting(f"{what}: {folder} holds more than {_MAX_FILES} files")
    found: dict[x509.Certificate, None] = {}
    for path in paths:
        try:
            data = read_limited(path, what=what, max_bytes=_MAX_BYTES)
            found |= dict.fromkeys(load_certificates(data, what=str(path)))
        except Malformed as error:
            raise InvalidSetting(f"{what}: {path} holds no certificate") from error
    return tuple(found)
