"""Sigstore trusted roots: which logs, certificate authorities and timestamp authorities, and when.

A root is a document (``trusted_root.json``) inside a trust policy, or the public-good instance's, which
comes from the locked ``sigstore`` package and is pinned here by digest: a changed package cannot change
whom we trust. Nothing is fetched here. A newer one comes by TUF (``provenance.sigstore.tuf_refresh``); the
pinned one stands in where there is none or it does not hold.

Every key and authority has a validity window, ends included; it is held against the time at which the
thing was signed, not against now.

Source: sigstore/protobuf-specs, protos/sigstore_trustroot.proto (TrustedRoot, v0.1 and v0.2) and
sigstore_common.proto (TimeRange: both ends included; PublicKey).
"""

from __future__ import annotations

import hashlib
from datetime import datetime  # noqa: TC003 (msgspec resolves it at run time)
from functools import lru_cache
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

import msgspec
from cryptography import x509

from common import strict_json
from common.encoding import b64_decode
from common.errors import InputError
from provenance import instants
from provenance.errors import TrustPolicyInvalid

if TYPE_CHECKING:
    from collections.abc import Iterable

# SHA-256 of the public-good instance's trusted root, as sigstore 4.5.1 ships it (file
# sigstore/_store/https%3A%2F%2Ftuf-repo-cdn.sigstore.dev/trusted_root.json), delivered there from the
# TUF repository https://tuf-repo-cdn.sigstore.dev.
PUBLIC_GOOD_SHA256: Final = "6494e21ea73fa7ee769f85f57d5a3e6a08725eae1e38c755fc3517c9e6bc0b66"
PUBLIC_GOOD_FOLDER: Final = "https%3A%2F%2Ftuf-repo-cdn.sigstore.dev"
MAX_ROOT_BYTES: Final = 1 << 20
_MEDIA_TYPES: Final = (
    "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
    "application/vnd.dev.sigstore.trustedroot.v0.2+json",
)


class Window(msgspec.Struct, frozen=True):
    """A validity window, both ends included (sigstore_common.proto, TimeRange)."""

    start: datetime | None = None
    end: datetime | None = None

    def contains(self, moment: datetime) -> bool:
        """Whether ``moment`` is inside."""
        return (self.start is None or self.start <= moment) and (self.end is None or moment <= self.end)


class LogKey(msgspec.Struct, frozen=True):
    """The key of a transparency log (Rekor or CT).

    Attributes:
        log_id: as entries and SCTs name it.
        key: SubjectPublicKeyInfo, DER (PKCS#1 for old RSA logs).
        details: ``PublicKeyDetails`` name, which fixes the algorithm.
        window: when the log signed with it.
    """

    log_id: bytes
    key: bytes
    details: str
    window: Window


class Authority(msgspec.Struct, frozen=True):
    """A certificate or timestamp authority.

    Attributes:
        certificates: leaf-most first, root last.
        window: when it issued.
    """

    certificates: tuple[x509.Certificate, ...]
    window: Window


class SigstoreRoot(msgspec.Struct, frozen=True):
    """A parsed trusted root.

    Attributes:
        digest: SHA-256 of the canonical document, hex.
        logs: Rekor logs.
        ct_logs: certificate-transparency logs.
        authorities: Fulcio certificate authorities.
        timestamp_authorities: RFC 3161 authorities.
    """

    digest: str
    logs: tuple[LogKey, ...]
    ct_logs: tuple[LogKey, ...]
    authorities: tuple[Authority, ...]
    timestamp_authorities: tuple[Authority, ...]


class PublicGood(msgspec.Struct, frozen=True):
    """What stands for the public-good instance's root, and why (``provenance.sigstore.tuf_refresh``).

    Attributes:
        root: the root.
        refreshed: it came by TUF; the pinned one otherwise.
        version: of the TUF targets metadata that named it.
        warning: why a refreshed root was not taken, for check records and the log.
    """

    root: SigstoreRoot
    refreshed: bool = False
    version: int | None = None
    warning: str = ""


def find_logs(logs: Iterable[LogKey], log_id: bytes) -> tuple[LogKey, ...]:
    """The logs that an id names; more than one only where a log re-used its id for a new window."""
    return tuple(log for log in logs if log.log_id == log_id)


def window(start: str | None, end: str | None, *, what: str) -> Window:
    """A window from RFC 3339 texts.

    Raises:
        TrustPolicyInvalid: a bound is not RFC 3339 with an offset.
    """
    return Window(start=_moment(start, what), end=_moment(end, what))


def parse_document(document: dict[str, Any]) -> SigstoreRoot:
    """Parse a decoded ``trusted_root.json``.

    Raises:
        TrustPolicyInvalid: not of that schema, or a key or certificate cannot be read.
    """
    try:
        canonical = strict_json.canonical(document)
    except InputError as error:
        raise TrustPolicyInvalid(f"trusted root: {error.message}") from error
    return _parse_canonical(canonical)


@lru_cache(maxsize=1)
def public_good() -> SigstoreRoot:
    """The public-good instance's root, pinned.

    Raises:
        TrustPolicyInvalid: the installed ``sigstore`` package carries another root than the pinned one.
    """
    folder = resources.files("sigstore._store").joinpath(PUBLIC_GOOD_FOLDER)
    data = folder.joinpath("trusted_root.json").read_bytes()
    if hashlib.sha256(data).hexdigest() != PUBLIC_GOOD_SHA256:
        raise TrustPolicyInvalid(
            "the installed sigstore package carries another public-good root than the pinned one",
            advice="Install the locked version of sigstore, or name a trusted_root in the policy.",
        )
    return parse_document(strict_json.loads(data, what="trusted root"))


class _Wire(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    pass


class _Range(_Wire):
    start: str | None = None
    end: str | None = None


class _PublicKey(_Wire):
    raw_bytes: str
    key_details: str
    valid_for: _Range | None = None


class _LogId(_Wire):
    key_id: str


class _Log(_Wire):
    base_url: str
    hash_algorithm: str
    public_key: _PublicKey
    log_id: _LogId
    checkpoint_key_id: _LogId | None = None
    operator: str | None = None


class _Certificate(_Wire):
    raw_bytes: str


class _Chain(_Wire):
    certificates: tuple[_Certificate, ...]


class _Subject(_Wire):
    organization: str = ""
    common_name: str = ""


class _Authority(_Wire):
    cert_chain: _Chain
    valid_for: _Range
    subject: _Subject = msgspec.field(default_factory=_Subject)
    uri: str | None = None
    operator: str | None = None


class _Root(_Wire):
    media_type: str
    tlogs: tuple[_Log, ...] = ()
    certificate_authorities: tuple[_Authority, ...] = ()
    ctlogs: tuple[_Log, ...] = ()
    timestamp_authorities: tuple[_Authority, ...] = ()


@lru_cache(maxsize=64)
def _parse_canonical(data: bytes) -> SigstoreRoot:
    if len(data) > MAX_ROOT_BYTES:
        raise TrustPolicyInvalid(f"trusted root: more than {MAX_ROOT_BYTES} bytes")
    try:
        root = msgspec.json.decode(data, type=_Root)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise TrustPolicyInvalid(f"trusted root: {error}") from error
    if root.media_type not in _MEDIA_TYPES:
        raise TrustPolicyInvalid("trusted root: mediaType is not a trusted root's")
    return SigstoreRoot(
        digest=hashlib.sha256(data).hexdigest(),
        logs=tuple(map(_log, root.tlogs)),
        ct_logs=tuple(map(_log, root.ctlogs)),
        authorities=tuple(map(_authority, root.certificate_authorities)),
        timestamp_authorities=tuple(map(_authority, root.timestamp_authorities)),
    )


def _log(log: _Log) -> LogKey:
    return LogKey(
        log_id=_bytes(log.log_id.key_id),
        key=_bytes(log.public_key.raw_bytes),
        details=log.public_key.key_details,
        window=_window(log.public_key.valid_for),
    )


def _authority(authority: _Authority) -> Authority:
    if not authority.cert_chain.certificates:
        raise TrustPolicyInvalid("trusted root: an authority has no certificate")
    try:
        certificates = tuple(
            x509.load_der_x509_certificate(_bytes(item.raw_bytes))
            for item in authority.cert_chain.certificates
        )
    except ValueError as error:
        raise TrustPolicyInvalid("trusted root: a certificate cannot be read") from error
    return Authority(certificates=certificates, window=_window(authority.valid_for))


def _window(value: _Range | None) -> Window:
    if value is None:
        return Window()
    return window(value.start, value.end, what="trusted root")


def _moment(text: str | None, what: str) -> datetime | None:
    if text is None:
        return None
    moment = instants.rfc3339(text)
    if moment is None:
        raise TrustPolicyInvalid(f"{what}: a time is not RFC 3339")
    return moment


def _bytes(text: str) -> bytes:
    try:
        return b64_decode(text, what="trusted root: a value")
    except InputError as error:
        raise TrustPolicyInvalid(error.message) from error
