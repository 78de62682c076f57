"""Google Cloud Build provenance under a trust policy with roots of kind ``google-cloud-build``.

Order, per document: shape -> the first signature that verifies with a key of the policy's roots -> the
payload type -> the payload, strictly -> everything unsigned around it (``provenance.gcb.consistency``).

* A keyid decides which key is asked; without a known keyid nothing is tried. What that key signs (payload
  or pre-authentication encoding, which predicate type) follows from its name.
* A document may hold several provenances, and a provenance several signatures, of which others may be
  broken or by keys that are retired: the first that holds is the one that is read, and it is one signer.
* Nothing proves when it was signed. It counts as signed now, and a trust policy with ``max_age_seconds``
  refuses it.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from common import strict_json
from common.checks import Checks
from common.errors import InputError, StatementError
from provenance import statement as in_toto
from provenance.errors import (
    EnvelopeMalformed,
    PayloadTypeWrong,
    PredicateUnexpected,
    SignerUntrusted,
    StatementMalformed,
    StatementSignatureInvalid,
    StatementUnsigned,
)
from provenance.gcb import consistency, document, signing_keys
from provenance.model import AuthenticStatement, Signer
from provenance.predicates import gcb_binding
from provenance.steps import step
from provenance.trust.model import GoogleCloudBuildRoot

if TYPE_CHECKING:
    from datetime import datetime

    from provenance.dsse import DsseEnvelope, DsseSignature
    from provenance.gcb.document import Description, Occurrence
    from provenance.gcb.signing_keys import SigningKey
    from provenance.model import Statement
    from provenance.reader import Received
    from provenance.trust import TrustPolicy

_SOURCE: Final = "slsa-verifier v2.7.1, verifiers/internal/gcb"
# Of several refusals the one that says most is given: tampering before a stranger before an omission.
_GRAVITY: Final[tuple[type[StatementError], ...]] = (
    StatementSignatureInvalid,
    PredicateUnexpected,
    PayloadTypeWrong,
    SignerUntrusted,
    EnvelopeMalformed,
)


class GoogleCloudBuildReader:
    """Reads what ``gcloud`` prints. Thread-safe."""

    def __init__(self, trust: TrustPolicy) -> None:
        """Load the keys of the policy's roots."""
        self._keys = signing_keys.by_keyid(
            [
                (root.name, key)
                for root in trust.document.roots
                if isinstance(root, GoogleCloudBuildRoot)
                for key in signing_keys.keys_of(root)
            ]
        )

    def recognises(self, received: Received) -> bool:
        """Whether it is an image description of ``gcloud``."""
        return received.document is not None and document.recognises(received.document)

    def authenticate(self, received: Received, now: datetime) -> AuthenticStatement:
        """See ``Reader``."""
        described = document.parse(received.document or {})
        checks = Checks()
        with step(checks, "gcb.signature", source=_SOURCE):
            root, key, occurrence, statement = self._first_that_holds(described)
        consistency.require(described, occurrence, statement, checks)
        return AuthenticStatement(
            envelope=received.data,
            attestation=hashlib.sha256(received.data).hexdigest(),
            statement=statement,
            signers=(
                Signer(
                    kind="key",
                    identity=key.keyid,
                    root=root,
                    claims={gcb_binding.CLAIM: key.predicate_type},
                    key=key.key.spki_sha256,
                ),
            ),
            checks=checks.records,
            signed_at=now,
        )

    def _first_that_holds(self, described: Description) -> tuple[str, SigningKey, Occurrence, Statement]:
        refusals: list[StatementError] = []
        for occurrence in described.occurrences:
            try:
                envelope = document.envelope_of(occurrence)
                _require_payload_type(envelope)
            except StatementError as error:
                refusals.append(error)
                continue
            for signature in envelope.signatures:
                try:
                    root, key = self._verify(envelope, signature)
                    statement = _signed_statement(envelope.payload)
                    _require_predicate_type(key, statement)
                except StatementMalformed:
                    raise  # Google's own signature over what cannot be read: nothing else will help
                except StatementError as error:
                    refusals.append(error)
                else:
                    return root, key, occurrence, statement
        raise _gravest(refusals)

    def _verify(self, envelope: DsseEnvelope, signature: DsseSignature) -> tuple[str, SigningKey]:
        """The root and key that made this signature."""
        if not signature.keyid:
            raise SignerUntrusted("a signature names no key")
        found = self._keys.get(signature.keyid)
        if found is None:
            raise SignerUntrusted("a signature names a key that is not the trust policy's")
        signed = envelope.payload if found[1].signs_payload else envelope.pae
        if not signature.signature or not found[1].key.verifies(signature.signature, signed):
            raise StatementSignatureInvalid("a signature does not verify with the key that it names")
        return found


def _require_payload_type(envelope: DsseEnvelope) -> None:
    if envelope.payload_type != in_toto.PAYLOAD_TYPE:
        raise PayloadTypeWrong(f"the payload type is not {in_toto.PAYLOAD_TYPE}")


def _signed_statement(payload: bytes) -> Statement:
    """The statement in a payload; v0.1 has its predicate twice, and both must be one."""
    try:
        value = strict_json.loads(payload, what="the statement", max_bytes=in_toto.MAX_STATEMENT_BYTES)
    except InputError as error:
        raise StatementMalformed(error.message) from error
    if not isinstance(value, dict):
        raise StatementMalformed("the statement is not an object")
    copy = value.pop(consistency.TEXT_PREDICATE, None)
    if copy is not None and copy != value.get("predicate"):
        raise StatementMalformed("predicate and slsaProvenance of the payload differ")
    return in_toto.from_document(value)


def _require_predicate_type(key: SigningKey, statement: Statement) -> None:
    if statement.predicate_type != key.predicate_type:
        raise PredicateUnexpected(f"{key.name} signs {key.predicate_type} and nothing else")


def _gravest(refusals: list[StatementError]) -> StatementError:
    for kind in _GRAVITY:
        for error in refusals:
            if isinstance(error, kind):
                return error
    return StatementUnsigned("no provenance has a signature")
