"""Cosign image signatures under a trust policy.

Order: the document -> its proof -> the payload, which is read only when it is proven. With a bundle: as
every Sigstore bundle over an artefact (``provenance.sigstore``), by the roots whose log it names; with
the log's promise alone only where the root says ``legacy_bundles``. With a bare signature: by a key of
the policy that names no log. A certificate without a log entry is incomplete, as for DSSE envelopes.

Not done: the claimed docker reference is not compared with anything; who pulls compares the digest.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from cryptography import x509

from common.checks import Checks
from provenance import keys
from provenance.errors import (
    EnvelopeMalformed,
    SignerUntrusted,
    StatementIncomplete,
    StatementSignatureInvalid,
)
from provenance.model import AuthenticStatement, Signer
from provenance.oci import signature
from provenance.sigstore.reader import SigstoreReader
from provenance.steps import step
from provenance.trust import key_window
from provenance.trust.model import KeyRoot

if TYPE_CHECKING:
    from datetime import datetime

    from provenance.oci.signature import SignatureDocument
    from provenance.reader import Received
    from provenance.trust import TrustPolicy

_SOURCE = "sigstore/cosign specs/SIGNATURE_SPEC.md"


class CosignSignatureReader:
    """Reads ``urn:touchstone:cosign-signature:v1`` documents. Thread-safe."""

    def __init__(self, trust: TrustPolicy) -> None:
        """Use the roots of ``trust``."""
        self._sigstore = SigstoreReader(trust)
        self._keys = [
            (root, keys.from_pem(root.algorithm, root.key))
            for root in trust.document.roots
            if isinstance(root, KeyRoot) and root.log is None
        ]

    def recognises(self, received: Received) -> bool:
        """Whether it says that it is one."""
        return received.document is not None and received.document.get("format") == signature.FORMAT

    def authenticate(self, received: Received, now: datetime) -> AuthenticStatement:
        """See ``Reader``."""
        document = signature.parse_document(received.document or {})
        if document.bundle is None:
            return self._by_key(received, document, now)
        verified = self._sigstore.verify_artifact(document.bundle, document.payload, now)
        checks = Checks()
        checks.extend(verified.checks)
        return _statement(
            received,
            document,
            checks,
            signer=verified.signer,
            signed_at=verified.times.earliest,
            log_index=verified.times.log_index,
            log_time=verified.times.earliest,
        )

    def _by_key(self, received: Received, document: SignatureDocument, now: datetime) -> AuthenticStatement:
        assert document.signature is not None  # parse_document lets exactly one of the two through
        checks = Checks()
        if document.certificate is not None:
            _refuse_unlogged(document.certificate, document.signature, document.payload, checks)
        counted = [(root, key) for root, key in self._keys if key_window(root).contains(now)]
        found = next(
            ((root, key) for root, key in counted if key.verifies(document.signature, document.payload)),
            None,
        )
        if found is None and not counted:
            raise SignerUntrusted("the signature is by a key, and the trust policy names none for it")
        checks.require(
            "signature.key", found is not None, StatementSignatureInvalid, source=_SOURCE,
            note="" if found else "the signature verifies with no key of the trust policy",
        )  # fmt: skip
        assert found is not None
        root, key = found
        signer = Signer(kind="key", identity=f"key:{key.spki_sha256}", root=root.name)
        return _statement(received, document, checks, signer=signer, signed_at=now)


def _statement(
    received: Received,
    document: SignatureDocument,
    checks: Checks,
    *,
    signer: Signer,
    signed_at: datetime,
    log_index: int | None = None,
    log_time: datetime | None = None,
) -> AuthenticStatement:
    with step(checks, "statement.shape", source=f"{_SOURCE}, Simple Signing"):
        signed = signature.parse_payload(document.payload)
    return AuthenticStatement(
        envelope=received.data,
        attestation=hashlib.sha256(received.data).hexdigest(),
        statement=signature.statement_of(signed),
        signers=(signer,),
        checks=checks.records,
        signed_at=signed_at,
        log_index=log_index,
        log_time=log_time,
    )


def _refuse_unlogged(pem: str, signed: bytes, payload: bytes, checks: Checks) -> None:
    try:
        certificate = x509.load_pem_x509_certificate(pem.encode("utf-8"))
    except (ValueError, x509.InvalidVersion) as error:
        raise EnvelopeMalformed("the certificate beside the signature cannot be read") from error
    checks.require(
        "signature.certificate",
        keys.from_certificate(certificate).verifies(signed, payload),
        StatementSignatureInvalid,
        source=_SOURCE,
        note="the signature does not verify with the certificate beside it",
    )
    checks.fail(
        "log.entry",
        StatementIncomplete,
        expected="a transparency-log entry",
        observed="a certificate without one",
        source="sigstore client specification",
        note="the signature carries a certificate and no log entry: nothing proves when it was made",
    )
