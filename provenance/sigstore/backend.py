"""The one module that imports ``sigstore``: proofs, promises, SCTs and timestamps by the library's code.

Imported late (it costs about 100 MB and a second); the rest of the room reads plain structs. The
library's functions take bytes that a stranger chose and raise many types, so each call is closed off:
whatever it raises is a refusal with our code. Its log output is silenced, not configured: a library
must not write what a stranger sent into our log.

Differences from ``sigstore.verify.Verifier`` (4.5.1), on purpose:

* a log or CT key is the one whose id the entry or SCT names; the others are not tried;
* key and authority windows of the trusted root are enforced, both ends included;
* the checkpoint's tree size must be the proof's.

No function here opens a connection.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from cryptography import x509
from rfc3161_client import VerifierBuilder, decode_timestamp_response
from sigstore._internal.rekor.checkpoint import SignedCheckpoint
from sigstore._internal.sct import verify_sct as _verify_sct
from sigstore._internal.trust import CTKeyring, Keyring, RekorKeyring
from sigstore._utils import KeyID
from sigstore.models import TransparencyLogEntry
from sigstore_models.common import v1 as common_v1
from sigstore_models.rekor import v1 as rekor_v1

from common import strict_json
from common.encoding import b64_encode
from common.errors import TouchstoneError
from provenance.errors import LogEntryInvalid, SignerCertificateInvalid
from provenance.sigstore.trust_root import find_logs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from provenance.sigstore.bundle_format import LogEntry
    from provenance.sigstore.trust_root import Authority, LogKey, SigstoreRoot

_LIBRARY_LOG = logging.getLogger("sigstore")
_LIBRARY_LOG.addHandler(logging.NullHandler())
_LIBRARY_LOG.propagate = False

_MIN_TSA_CERTIFICATES = 2  # the signing certificate and a root


def verify_inclusion(entry: LogEntry, logs: tuple[LogKey, ...]) -> None:
    """Verify inclusion proof, signed checkpoint and, where present, the promise (RFC 6962 section 2.1).

    Args:
        entry: with proof and checkpoint.
        logs: the keys that the entry's log id names.

    Raises:
        LogEntryInvalid: any of them does not hold.
    """
    with _closed(LogEntryInvalid, "the log entry's proof or checkpoint does not verify"):
        inner = rekor_v1.TransparencyLogEntry.from_dict(entry.document)
        TransparencyLogEntry(inner)._verify(RekorKeyring(_keyring(logs)))  # noqa: SLF001
        checkpoint = inner.inclusion_proof.checkpoint
        size = (
            -1
            if checkpoint is None
            else SignedCheckpoint.from_text(checkpoint.envelope).checkpoint.log_size
        )
    if size != inner.inclusion_proof.tree_size:
        raise LogEntryInvalid("the checkpoint is of another tree size than the inclusion proof")


def verify_promise(entry: LogEntry, logs: tuple[LogKey, ...]) -> None:
    """Verify the signed entry timestamp alone.

    The signed bytes are the RFC 8785 form of body, integratedTime, logID and logIndex
    (sigstore/rekor, openapi.yaml, ``signedEntryTimestamp``).

    Raises:
        LogEntryInvalid: there is none, or it does not verify.
    """
    if entry.promise is None or entry.integrated_time is None:
        raise LogEntryInvalid("the log entry has no inclusion promise with a time")
    signed = strict_json.canonical(
        {
            "body": b64_encode(entry.body),
            "integratedTime": entry.integrated_time,
            "logID": entry.log_id.hex(),
            "logIndex": entry.log_index,
        }
    )
    with _closed(LogEntryInvalid, "the log entry's inclusion promise does not verify"):
        _keyring(logs).verify(key_id=KeyID(entry.log_id), signature=entry.promise, data=signed)


def verify_sct(certificate: x509.Certificate, chain: list[x509.Certificate], root: SigstoreRoot) -> None:
    """Verify the certificate's one embedded SCT (RFC 6962 section 3.2) by the log that it names.

    Raises:
        SignerCertificateInvalid: no SCT, more than one, an unknown log, a time outside the log's
            window, or a signature that does not verify.
    """
    with _closed(SignerCertificateInvalid, "the signing certificate has no valid SCT"):
        extension = certificate.extensions.get_extension_for_class(
            x509.PrecertificateSignedCertificateTimestamps
        )
        (sct,) = extension.value
        issued = sct.timestamp.replace(tzinfo=UTC)
        logs = tuple(log for log in find_logs(root.ct_logs, sct.log_id) if log.window.contains(issued))
        if not logs:
            raise SignerCertificateInvalid("the SCT is by a log that the trust root does not name then")
        _verify_sct(certificate, chain, CTKeyring(_keyring(logs)))


def verified_timestamp(
    response: bytes, signed: bytes, authorities: tuple[Authority, ...]
) -> datetime | None:
    """The time of an RFC 3161 response over ``signed``, if an authority of the root made it.

    Args:
        response: TimeStampResp, DER.
        signed: the bytes that the timestamp covers: the signature.
        authorities: timestamp authorities; certificates leaf first, root last.

    Raises:
        LogEntryInvalid: the response cannot be read.
    """
    with _closed(LogEntryInvalid, "a timestamp cannot be read"):
        parsed = decode_timestamp_response(response)
        moment = parsed.tst_info.gen_time
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    for authority in authorities:
        if authority.window.contains(moment) and _made_by(authority, parsed, signed):
            return moment
    return None


def _made_by(authority: Authority, response: Any, signed: bytes) -> bool:
    if len(authority.certificates) < _MIN_TSA_CERTIFICATES:
        return False
    leaf, *intermediates, root = authority.certificates
    verifier = VerifierBuilder(tsa_certificate=leaf, intermediates=intermediates, roots=[root]).build()
    try:
        return verifier.verify_message(response, signed)
    except Exception:  # noqa: BLE001 (whatever it is, the timestamp is not proven)
        return False


def _keyring(logs: tuple[LogKey, ...]) -> Keyring:
    return Keyring([_public_key(log.key, log.details) for log in logs])


@lru_cache(maxsize=256)
def _public_key(key: bytes, details: str) -> common_v1.PublicKey:
    # The model decodes base64 itself.
    return common_v1.PublicKey(
        raw_bytes=b64_encode(key).encode("ascii"), key_details=common_v1.PublicKeyDetails(details)
    )


@contextmanager
def _closed(error: type[TouchstoneError], message: str) -> Iterator[None]:
    """Turn whatever the library raises on foreign bytes into one typed refusal."""
    try:
        yield
    except TouchstoneError:
        raise
    except Exception as cause:
        raise error(message) from cause
