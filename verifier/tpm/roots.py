"""A folder of vendors' roots: every certificate in it, none twice, nothing else beside them.

TPM vendors publish their roots on pages of their own; distributions and attestation projects collect them
in folders of this form. None is shipped here: which vendors count is the operator's to decide.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from common.errors import InvalidSetting, Malformed
from common.files import read_limited
from verifier.reading import load_certificates

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography import x509

_SUFFIXES: Final = frozenset({".pem", ".crt", ".cer", ".der"})
_MAX_FILES: Final = 2048
_MAX_BYTES: Final = 256 << 10


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
