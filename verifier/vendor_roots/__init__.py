"""Vendor certificates that the product carries, pinned by digest (docs/adr/0008-pinned-roots.md).

One PEM per certificate lies beside ``SOURCES.toml``, which names for each the registry package it was
read from and the SHA-256 of its DER. ``load`` compares that digest at every load, so that a file changed
on disk is refused instead of trusted; ``load_raw`` does so for formats that are no X.509, which lie
here in base64. Nothing is ever fetched into here at run time.
"""

from __future__ import annotations

import base64
import hashlib
import tomllib
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from common.errors import InvalidSetting

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

_SOURCES: Final = "SOURCES.toml"


class VendorCertificate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One entry of ``SOURCES.toml``.

    Attributes:
        file: PEM file, relative to this folder.
        subject: common name of the subject.
        package: registry package it was read from.
        version: of that package.
        registry: which registry.
        licence: SPDX identifier of the package's licence.
        path: file inside the package.
        sha256: SHA-256 of the certificate's DER, lower-case hex.
    """

    file: str
    subject: str
    package: str
    version: str
    registry: str
    licence: str
    path: str
    sha256: str


@cache
def sources() -> tuple[VendorCertificate, ...]:
    """Every certificate carried, with its source."""
    return _recorded("certificate")


@cache
def raw_sources() -> tuple[VendorCertificate, ...]:
    """Every certificate carried that is no X.509, with its source; ``sha256`` is of its bytes."""
    return _recorded("raw")


@cache
def load_raw(file: str) -> bytes:
    """The bytes of a certificate that is no X.509 (Hygon, AMD), their digest compared.

    Raises:
        InvalidSetting: not listed, unreadable, or not the bytes that were recorded.
    """
    entry = next((source for source in raw_sources() if source.file == file), None)
    if entry is None:
        raise InvalidSetting(f"no vendor certificate {file} is recorded")
    try:
        data = base64.b64decode((_folder() / file).read_bytes().replace(b"\n", b""), validate=True)
    except ValueError as error:
        raise InvalidSetting(f"vendor certificate {file} cannot be parsed") from error
    return check_raw(data, entry)


def check_raw(data: bytes, entry: VendorCertificate) -> bytes:
    """Compare the SHA-256 of ``data`` with ``entry``; returns ``data``.

    Raises:
        InvalidSetting: it is another.
    """
    digest = hashlib.sha256(data).hexdigest()
    if digest != entry.sha256:
        raise _altered(entry, digest)
    return data


@cache
def load(file: str) -> x509.Certificate:
    """The certificate in ``file``, its digest compared with the recorded one.

    Raises:
        InvalidSetting: not listed, unreadable, or not the certificate that was recorded.
    """
    entry = next((source for source in sources() if source.file == file), None)
    if entry is None:
        raise InvalidSetting(f"no vendor certificate {file} is recorded")
    return check((_folder() / file).read_bytes(), entry)


def check(pem: bytes, entry: VendorCertificate) -> x509.Certificate:
    """Parse one PEM and compare the SHA-256 of its DER with ``entry``.

    Raises:
        InvalidSetting: not one certificate, or another than the recorded one.
    """
    try:
        certificate = x509.load_pem_x509_certificate(pem)
    except ValueError as error:
        raise InvalidSetting(f"vendor certificate {entry.file} cannot be parsed") from error
    digest = hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest()
    if digest != entry.sha256:
        raise _altered(entry, digest)
    return certificate


def _recorded(table: str) -> tuple[VendorCertificate, ...]:
    document = tomllib.loads((_folder() / _SOURCES).read_text(encoding="utf-8"))
    return msgspec.convert(tuple(document[table]), tuple[VendorCertificate, ...])


def _altered(entry: VendorCertificate, digest: str) -> InvalidSetting:
    return InvalidSetting(
        f"vendor certificate {entry.file} has digest {digest}, recorded is {entry.sha256}",
        advice="The installation was altered: install the package again.",
    )


def _folder() -> Traversable:
    return files(__name__)
