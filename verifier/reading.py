"""Reading what settings and command lines name: certificates and sets of hexadecimal values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cryptography import x509

from common.encoding import hex_decode
from common.errors import InputError, InvalidSetting, Malformed
from common.files import read_limited
from common.x509_names import with_names

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_MAX_PEM_BYTES: Final = 1 << 20
_PEM: Final = b"-----BEGIN"


def load_certificates(data: bytes, *, what: str) -> tuple[x509.Certificate, ...]:
    """Certificates in PEM or DER.

    Raises:
        Malformed: neither.
    """
    try:
        if data.lstrip().startswith(_PEM):
            return tuple(map(with_names, x509.load_pem_x509_certificates(data)))
        return (with_names(x509.load_der_x509_certificate(data)),)
    except ValueError as error:
        raise Malformed(f"{what} holds no certificate") from error


def certificate_files(paths: Iterable[Path], *, what: str) -> tuple[x509.Certificate, ...]:
    """Every certificate in the PEM files that a setting names.

    Raises:
        InvalidSetting: a file without a certificate, or with something that is none.
        NotFound: a file does not exist.
    """
    found: list[x509.Certificate] = []
    for path in paths:
        data = read_limited(path, what=what, max_bytes=_MAX_PEM_BYTES)
        try:
            found.extend(x509.load_pem_x509_certificates(data))
        except ValueError as error:
            raise InvalidSetting(f"{what}: {path} holds no PEM certificate") from error
    return tuple(found)


def hex_set(texts: Iterable[str], what: str, length: int | None = None) -> frozenset[bytes]:
    """The values of a setting that lists hexadecimal texts.

    Raises:
        InvalidSetting: not hexadecimal, or not of ``length`` bytes.
    """
    try:
        return frozenset(hex_decode(text, what=what, length=length) for text in texts)
    except InputError as error:
        raise InvalidSetting(error.message) from error
