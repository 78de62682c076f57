"""Bare DSSE envelopes under a trust policy: its keys verify, and nothing else.

Old SLSA builders put a certificate beside the signature and the log entry nowhere. Such an envelope is
*incomplete*: its signature may be good, but nothing says when it was made (``statement.incomplete``);
a bad signature is still called bad.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from cryptography import x509

from common.checks import Checks
from common.x509_names import with_names
from provenance import dsse, keys
from provenance.errors import EnvelopeMalformed, StatementIncomplete, StatementSignatureInvalid
from provenance.model import AuthenticStatement, Signer
from provenance.reader import signed_statement
from provenance.steps import step
from provenance.trust import key_window
from provenance.trust.model import KeyRoot

if TYPE_CHECKING:
    from datetime import datetime

    from provenance.reader import Received
    from provenance.trust import TrustPolicy


class DsseReader:
    """Reads bare envelopes with the keys of a trust policy that name no log. Thread-safe."""

    def __init__(self, trust: TrustPolicy) -> None:
        """Load the keys."""
        self._keys = [
            (root, keys.from_pem(root.algorithm, root.key))
            for root in trust.document.roots
            if isinstance(root, KeyRoot) and root.log is None
        ]

    def recognises(self, received: Received) -> bool:
        """Whether it is a JSON object: asked last, it names what is missing of an envelope."""
        return received.document is not None

    def authenticate(self, received: Received, now: datetime) -> AuthenticStatement:
        """See ``Reader``. A bare envelope has no time of its own: it counts as signed now."""
        parsed = dsse.parse(received.document or {})
        if any(item.certificate is not None for item in parsed.signatures):
            _refuse_embedded(parsed)
        counted = {
            key.spki_sha256: (root, key) for root, key in self._keys if key_window(root).contains(now)
        }
        names = {digest: digest for digest in counted}
        names |= {root.keyid: digest for digest, (root, _) in counted.items() if root.keyid is not None}
        checks = Checks()
        with step(checks, "envelope.signatures", source="DSSE protocol.md"):
            signed = dsse.verify_with_keys(parsed, {name: key for name, (_, key) in counted.items()}, names)
        return AuthenticStatement(
            envelope=received.data,
            attestation=hashlib.sha256(received.data).hexdigest(),
            statement=signed_statement(parsed.payload_type, parsed.payload, checks),
            signers=tuple(
                Signer(kind="key", identity=f"key:{digest}", root=counted[digest][0].name)
                for digest in signed
            ),
            checks=checks.records,
            signed_at=now,
        )


def _refuse_embedded(envelope: dsse.DsseEnvelope) -> None:
    """Old SLSA envelopes: a good signature is incomplete, a bad one is a bad one."""
    checks = Checks()
    for item in envelope.signatures:
        if item.certificate is None:
            continue
        try:
            certificate = with_names(x509.load_pem_x509_certificate(item.certificate.encode("utf-8")))
        except (ValueError, x509.InvalidVersion) as error:
            raise EnvelopeMalformed("the certificate beside a signature cannot be read") from error
        checks.require(
            "envelope.signatures",
            keys.from_certificate(certificate).verifies(item.signature, envelope.pae),
            StatementSignatureInvalid,
            source="DSSE protocol.md",
            note="the signature does not verify with the certificate beside it",
        )
    checks.fail(
        "log.entry",
        StatementIncomplete,
        expected="a transparency-log entry",
        observed="a certificate without one",
        source="sigstore client specification",
        note="the envelope carries a certificate and no log entry: nothing proves when it was signed",
    )
