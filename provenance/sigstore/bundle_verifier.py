"""Sigstore bundles, verified offline: from bytes to what was signed, by whom and when.

Order (each step stops at a failure and leaves a record):

1. parse (``bundle_format``);
2. log entry and time (``signing_time``);
3. signing certificate at those times, with its SCT (``signing_certificate``), or the managed key that
   the trust policy names;
4. the signature over the envelope's PAE or over the artefact (``keys``: one algorithm per key);
5. the log entry is about this signature (``log_body``).

What comes back is proven, not trusted: the signer's identity is returned, never compared here. A bundle
is a pure function of its bytes and its root, so results are cached; ``now`` enters after the cache.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from datetime import timedelta
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

import msgspec
from cryptography.hazmat.primitives import serialization

from common.checks import Check, Checks
from provenance import keys
from provenance.errors import (
    EnvelopeMalformed,
    LogEntryInvalid,
    SignerUntrusted,
    StatementSignatureInvalid,
    SubjectMismatch,
)
from provenance.model import Signer
from provenance.sigstore import bundle_format, fulcio, log_body, signing_certificate, signing_time
from provenance.sigstore.signing_time import SigningTime  # noqa: TC001 (msgspec resolves it at run time)
from provenance.steps import step

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from provenance.keys import VerificationKey
    from provenance.sigstore.trust_root import SigstoreRoot

# A log's clock may run ahead of ours by this much.
CLOCK_SKEW: Final = timedelta(minutes=10)
_CACHE_SIZE: Final = 256


class Anchor(msgspec.Struct, frozen=True):
    """What a bundle is verified against.

    Attributes:
        name: of the trust root in the policy.
        root: logs and authorities.
        legacy: take version 0.1 bundles as their writers made them: with the log's promise and no
            inclusion proof, and with the root certificate (ignored) in the chain.
        key: a managed key that signs bundles of this anchor, instead of certificates.
    """

    name: str
    root: SigstoreRoot
    legacy: bool = False
    key: VerificationKey | None = None

    @property
    def identity(self) -> tuple[str, str, bool, str]:
        """What the outcome depends on, for caching."""
        key = "" if self.key is None else f"{self.key.algorithm}:{self.key.spki_sha256}"
        return (self.name, self.root.digest, self.legacy, key)


class VerifiedBundle(msgspec.Struct, frozen=True):
    """A verified bundle.

    Attributes:
        signer: proven by certificate or key.
        times: verified times.
        checks: every check made.
        payload_type: of the envelope, None for an artefact signature.
        payload: of the envelope, None for an artefact signature.
    """

    signer: Signer
    times: SigningTime
    checks: tuple[Check, ...]
    payload_type: str | None
    payload: bytes | None


class BundleVerifier:
    """Verifies bundles against one anchor. Thread-safe; holds the last verified bundles."""

    def __init__(self, anchor: Anchor) -> None:
        """Use ``anchor`` for every bundle."""
        self.anchor = anchor
        self._verified: OrderedDict[bytes, VerifiedBundle] = OrderedDict()
        self._lock = Lock()

    def verify_envelope(self, data: bytes, document: Mapping[str, Any], now: datetime) -> VerifiedBundle:
        """Verify a bundle that holds a DSSE envelope.

        Args:
            data: the bytes of the bundle, for the cache.
            document: the same, decoded (``dsse.load_json``).
            now: a signature from the future is refused.

        Raises:
            StatementError: one of its classes, by the step that failed.
        """
        digest = hashlib.sha256(data).digest()
        with self._lock:
            found = self._verified.get(digest)
        if found is None:
            bundle = bundle_format.parse(dict(document), legacy=self.anchor.legacy)
            if bundle.envelope is None:
                raise EnvelopeMalformed("the bundle signs an artefact, not a statement")
            found = _verify(bundle, bundle.envelope.pae, self.anchor)
            self._remember(digest, found)
        _require_past(found.times, now)
        return found

    def verify_artifact(
        self, document: Mapping[str, Any], artifact: bytes, now: datetime
    ) -> VerifiedBundle:
        """Verify a bundle that holds a signature over an artefact.

        Raises:
            SubjectMismatch: the bundle states another digest than the artefact's.
            StatementError: one of its other classes, by the step that failed.
        """
        bundle = bundle_format.parse(dict(document), legacy=self.anchor.legacy)
        if bundle.message is None:
            raise EnvelopeMalformed("the bundle holds an envelope, not an artefact's signature")
        stated = bundle.message.digest
        if stated is not None and stated != hashlib.sha256(artifact).digest():
            raise SubjectMismatch("the bundle's message digest is not the artefact's")
        verified = _verify(bundle, artifact, self.anchor)
        _require_past(verified.times, now)
        return verified

    def _remember(self, digest: bytes, verified: VerifiedBundle) -> None:
        with self._lock:
            self._verified[digest] = verified
            while len(self._verified) > _CACHE_SIZE:
                self._verified.popitem(last=False)


def _verify(bundle: bundle_format.Bundle, signed: bytes, anchor: Anchor) -> VerifiedBundle:
    checks = Checks()
    times = signing_time.establish(bundle, anchor.root, promise_suffices=anchor.legacy, checks=checks)
    signer, key, verifier_der = _signer(bundle, anchor, times, checks)
    checks.require(
        "bundle.signature",
        key.verifies(bundle.signature, signed),
        StatementSignatureInvalid,
        expected=key.algorithm,
        source="DSSE protocol.md" if bundle.envelope else "sigstore_bundle.proto, message_signature",
    )
    logged = f"{bundle.entry.kind} {bundle.entry.version}"
    with step(checks, "log.body", observed=logged, source="sigstore/rekor pkg/types"):
        log_body.check(bundle, signed, verifier_der)
    envelope = bundle.envelope
    return VerifiedBundle(
        signer=signer,
        times=times,
        checks=checks.records,
        payload_type=None if envelope is None else envelope.payload_type,
        payload=None if envelope is None else envelope.payload,
    )


def _signer(
    bundle: bundle_format.Bundle, anchor: Anchor, times: SigningTime, checks: Checks
) -> tuple[Signer, VerificationKey, bytes]:
    """The signer, the key to verify with, and the verifier's DER as logs hold it."""
    certificate = bundle.certificate
    if certificate is None:
        return _managed_key(anchor, checks)
    if anchor.key is not None:
        raise SignerUntrusted("this trust root names a key; the bundle is signed with a certificate")
    signing_certificate.verify(certificate, anchor.root, times.all, checks)
    with step(checks, "certificate.claims", source="sigstore/fulcio docs/oid-info.md"):
        signer = fulcio.signer_of(certificate, anchor.name)
        key = keys.from_certificate(certificate)
    return signer, key, certificate.public_bytes(serialization.Encoding.DER)


def _managed_key(anchor: Anchor, checks: Checks) -> tuple[Signer, VerificationKey, bytes]:
    # The hint in the bundle is unauthenticated and decides nothing: the policy's key does.
    key = anchor.key
    if key is None:
        raise SignerUntrusted("the bundle is signed with a key, and this trust root names none")
    checks.require(
        "signer.key", ok=True, error=SignerUntrusted, observed=key.spki_sha256, source="trust policy, roots"
    )
    return Signer(kind="key", identity=f"key:{key.spki_sha256}", root=anchor.name), key, key.der


def _require_past(times: SigningTime, now: datetime) -> None:
    if max(times.all) > now + CLOCK_SKEW:
        raise LogEntryInvalid(
            "the signature's time lies in the future",
            advice="Check this machine's clock.",
            details={"signed": max(times.all).isoformat(), "now": now.isoformat()},
        )
