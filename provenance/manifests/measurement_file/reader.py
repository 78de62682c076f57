"""Measurement files under a trust policy.

Order: outer document -> the signature: a Sigstore bundle by the policy's Sigstore roots (certificate or
managed key, log entry, time), or a detached signature by one of its ``manifest-key`` roots -> payload. A
file without a signature is read only if an ``unverified`` root names the document's SHA-256.

A bundle's signer, time and log entry are those of the bundle; a detached signature counts from now.

Sources: Sigstore client specification; sigstore_bundle.proto, ``message_signature``.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from common.checks import Checks
from provenance.errors import SignerUntrusted, StatementSignatureInvalid, StatementUnsigned
from provenance.manifests import values
from provenance.manifests.measurement_file import document
from provenance.manifests.roots import FormatRoots, accept_unverified, authentic_statement
from provenance.model import AuthenticStatement
from provenance.sigstore.reader import SigstoreReader
from provenance.steps import step

if TYPE_CHECKING:
    from datetime import datetime
    from typing import Any

    from provenance.model import Signer, Statement
    from provenance.reader import Received
    from provenance.trust import TrustPolicy

_SOURCE = "docs/formats.md, measurement files"


class MeasurementFileReader:
    """Reads measurement files. Thread-safe."""

    def __init__(self, trust: TrustPolicy) -> None:
        """Use the roots of ``trust`` that are for ``measurement-file``, and its Sigstore roots."""
        self._roots = FormatRoots(trust, "measurement-file")
        self._sigstore = SigstoreReader(trust)

    def recognises(self, received: Received) -> bool:
        """Whether it says that it is one."""
        return received.document is not None and received.document.get("format") == document.FORMAT

    def authenticate(self, received: Received, now: datetime) -> AuthenticStatement:
        """See ``Reader``."""
        checks = Checks()
        with step(checks, "measurement_file.document", source=_SOURCE):
            outer, payload = document.parse(received.document or {})
        signer: Signer | None = None
        unverified = self._roots.unverified(received.data)
        if unverified is not None:
            accept_unverified(unverified, checks)
        elif outer.bundle is not None:
            return self._bundled(received.data, outer.bundle, payload, now)
        else:
            with step(checks, "manifest.signature", source=_SOURCE):
                signer = self._signed(outer, payload, now)
        return authentic_statement(received.data, _statement(payload, checks), signer, checks, now)

    def _bundled(
        self, data: bytes, bundle: dict[str, Any], payload: bytes, now: datetime
    ) -> AuthenticStatement:
        verified = self._sigstore.verify_artifact(bundle, payload, now)
        checks = Checks()
        checks.extend(verified.checks)
        return AuthenticStatement(
            envelope=data,
            attestation=hashlib.sha256(data).hexdigest(),
            statement=_statement(payload, checks),
            signers=(verified.signer,),
            checks=checks.records,
            signed_at=verified.times.earliest,
            log_index=verified.times.log_index,
            log_id=verified.times.log_id,
            log_time=verified.times.earliest,
        )

    def _signed(self, outer: document.Outer, payload: bytes, now: datetime) -> Signer:
        if outer.signature is None:
            raise StatementUnsigned(
                "the measurement file is not signed, and no unverified root names its SHA-256"
            )
        signature, keyid = document.signature_bytes(outer.signature), outer.signature.keyid
        candidates = [
            item
            for item in self._roots.keys(now)
            if keyid is None or keyid in (item.root.keyid, item.key.spki_sha256)
        ]
        if not candidates:
            raise SignerUntrusted(
                "the measurement file's signature is by no key that the trust policy names"
            )
        for item in candidates:
            if item.key.verifies(signature, payload):
                return item.signer
        raise StatementSignatureInvalid("the measurement file's signature does not verify")


def _statement(payload: bytes, checks: Checks) -> Statement:
    with step(checks, "measurement_file.payload", source=_SOURCE):
        return values.statement_of(values.MEASUREMENT_FILE_TYPE, payload, document.manifest_of(payload))
