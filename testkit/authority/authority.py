"""The authority as a whole: one trusted root, and bundles that verify with it.

Every knob of ``SigningOptions`` makes one thing wrong, or one thing older, so that a test can say which
check refuses it. With the defaults unmodified sigstore accepts the bundle.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import msgspec
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from common import strict_json
from common.encoding import b64_encode
from provenance.dsse import DsseEnvelope, DsseSignature
from provenance.sigstore.bundle_format import V01, V02, V03
from provenance.statement import PAYLOAD_TYPE
from testkit.authority.certificates import CertificateAuthority, spki
from testkit.authority.log import TransparencyLog
from testkit.authority.statements import GITHUB_ISSUER, github_claims

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cryptography import x509

    from testkit.authority.keys import TestKey

_ROOT_MEDIA_TYPE: Final = "application/vnd.dev.sigstore.trustedroot+json;version=0.1"
_KEY_DETAILS: Final = "PKIX_ECDSA_P256_SHA_256"


class SigningOptions(msgspec.Struct, frozen=True):
    """How a bundle is made.

    Attributes:
        lifetime: of the certificate.
        logged_after: from the certificate's start to the log's integrated time.
        proof: the log entry has an inclusion proof.
        promise: the log entry has a signed entry timestamp.
        log_kind: ``dsse`` (0.0.1) or ``intoto`` (0.0.2).
        media_type: version of the bundle.
        payload_type: of the envelope.
        code_signing: the certificate's extended key usage is code signing.
        logged_payload: what the log entry says was signed, if not the statement.
        include_root: the certificate chain of an old bundle carries the root.
    """

    lifetime: timedelta = timedelta(minutes=10)
    logged_after: timedelta = timedelta(seconds=5)
    proof: bool = True
    promise: bool = True
    log_kind: str = "dsse"
    media_type: str = V03
    payload_type: str = PAYLOAD_TYPE
    code_signing: bool = True
    logged_payload: bytes | None = None
    include_root: bool = False


class TestAuthority:
    """A private Sigstore in memory.

    Args:
        name: organisation in its certificates and origin of its log.
        start: when its keys and certificates become valid; a day ago otherwise.
    """

    __test__ = False  # not a test class, whatever pytest makes of its name

    def __init__(self, name: str = "touchstone-test", *, start: datetime | None = None) -> None:
        """Make fresh keys."""
        self.start = start or datetime.now(UTC).replace(microsecond=0) - timedelta(days=1)
        self.ca = CertificateAuthority(name, self.start)
        self.log = TransparencyLog(f"{name}.log")

    def trusted_root_json(self) -> bytes:
        """The ``trusted_root.json`` that trusts this authority."""
        return strict_json.canonical(self.trusted_root())

    def trusted_root(self) -> dict[str, Any]:
        """The same, as a document."""
        chain = [{"rawBytes": _der(item)} for item in (self.ca.intermediate, self.ca.root)]
        window = {"start": self.start.isoformat()}
        return {
            "mediaType": _ROOT_MEDIA_TYPE,
            "tlogs": [_log_document(self.log.key, self.log.log_id, f"https://{self.log.origin}", window)],
            "ctlogs": [
                _log_document(
                    self.ca.ct_key,
                    hashlib.sha256(spki(self.ca.ct_key)).digest(),
                    "https://ct.test.invalid",
                    window,
                )
            ],
            "certificateAuthorities": [
                {
                    "subject": {"organization": "test", "commonName": "test"},
                    "uri": "https://ca.test.invalid",
                    "certChain": {"certificates": chain},
                    "validFor": window,
                }
            ],
            "timestampAuthorities": [],
        }

    def sign_statement(
        self,
        statement: bytes,
        *,
        identity: str,
        now: datetime,
        issuer: str = GITHUB_ISSUER,
        claims: Mapping[str, str] | None = None,
        options: SigningOptions | None = None,
        log: TransparencyLog | None = None,
    ) -> bytes:
        """A bundle with a DSSE envelope over ``statement``.

        Args:
            statement: the payload.
            identity: subject alternative name: a URI or an e-mail address.
            now: when the certificate is issued.
            issuer: OIDC issuer.
            claims: certificate claims by name (``provenance.sigstore.fulcio``); those of a GitHub job
                with this identity, if None and the issuer is GitHub's.
            options: how.
            log: another log than the authority's.
        """
        how = options or SigningOptions()
        key, certificate = self._certificate(identity, issuer, claims, now, how)
        envelope = DsseEnvelope(how.payload_type, statement, (DsseSignature(b"unsigned"),))
        signature = key.sign(envelope.pae, ec.ECDSA(hashes.SHA256()))
        logged = statement if how.logged_payload is None else how.logged_payload
        body = _BODIES[how.log_kind](logged, signature, _pem(certificate), how.payload_type)
        content = _envelope(statement, signature, how.payload_type)
        return self._bundle(content, body, certificate, now=now, how=how, log=log)

    def sign_statement_with_key(self, statement: bytes, key: TestKey, *, now: datetime) -> bytes:
        """A bundle whose signer is a managed key: logged and timed, without a certificate."""
        envelope = DsseEnvelope(PAYLOAD_TYPE, statement, (DsseSignature(b"unsigned"),))
        signature = key.sign(envelope.pae)
        verifier = b64_encode(key.public_pem.encode("ascii"))
        body = _dsse_body(statement, signature, verifier, PAYLOAD_TYPE)
        document = {
            "mediaType": V03,
            "verificationMaterial": {
                "tlogEntries": [self.log.append(body, moment=now)],
                "publicKey": {"hint": key.spki_sha256},
            },
            **_envelope(statement, signature, PAYLOAD_TYPE),
        }
        return strict_json.canonical(document)

    def sign_artifact(
        self,
        artifact: bytes,
        *,
        identity: str,
        now: datetime,
        issuer: str = GITHUB_ISSUER,
        claims: Mapping[str, str] | None = None,
        options: SigningOptions | None = None,
    ) -> bytes:
        """A bundle with a message signature over ``artifact`` (``hashedrekord`` 0.0.1)."""
        how = options or SigningOptions()
        key, certificate = self._certificate(identity, issuer, claims, now, how)
        signature = key.sign(artifact, ec.ECDSA(hashes.SHA256()))
        digest = hashlib.sha256(artifact)
        body = {
            "apiVersion": "0.0.1",
            "kind": "hashedrekord",
            "spec": {
                "data": {"hash": {"algorithm": "sha256", "value": digest.hexdigest()}},
                "signature": {
                    "content": b64_encode(signature),
                    "publicKey": {"content": _pem(certificate)},
                },
            },
        }
        content = {
            "messageSignature": {
                "messageDigest": {"algorithm": "SHA2_256", "digest": b64_encode(digest.digest())},
                "signature": b64_encode(signature),
            }
        }
        return self._bundle(content, body, certificate, now=now, how=how)

    def _certificate(
        self,
        identity: str,
        issuer: str,
        claims: Mapping[str, str] | None,
        now: datetime,
        how: SigningOptions,
    ) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
        if claims is None:
            claims = github_claims(identity) if issuer == GITHUB_ISSUER else {}
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self.ca.issue(
            key.public_key(),
            identity=identity,
            issuer=issuer,
            claims=claims,
            not_before=now,
            lifetime=how.lifetime,
            code_signing=how.code_signing,
        )
        return key, certificate

    def _bundle(
        self,
        content: dict[str, Any],
        body: dict[str, Any],
        certificate: x509.Certificate,
        *,
        now: datetime,
        how: SigningOptions,
        log: TransparencyLog | None = None,
    ) -> bytes:
        entry = (log or self.log).append(
            body, moment=now + how.logged_after, proof=how.proof, promise=how.promise
        )
        material: dict[str, Any] = {"tlogEntries": [entry]}
        if how.media_type in (V01, V02):
            chain = (certificate, self.ca.root) if how.include_root else (certificate,)
            material["x509CertificateChain"] = {
                "certificates": [{"rawBytes": _der(item)} for item in chain]
            }
        else:
            material["certificate"] = {"rawBytes": _der(certificate)}
        document = {"mediaType": how.media_type, "verificationMaterial": material, **content}
        return strict_json.canonical(document)


def _envelope(payload: bytes, signature: bytes, payload_type: str) -> dict[str, Any]:
    return {
        "dsseEnvelope": {
            "payload": b64_encode(payload),
            "payloadType": payload_type,
            "signatures": [{"sig": b64_encode(signature)}],
        }
    }


def _dsse_body(payload: bytes, signature: bytes, verifier: str, _: str) -> dict[str, Any]:
    return {
        "apiVersion": "0.0.1",
        "kind": "dsse",
        "spec": {
            "envelopeHash": {"algorithm": "sha256", "value": hashlib.sha256(signature).hexdigest()},
            "payloadHash": {"algorithm": "sha256", "value": hashlib.sha256(payload).hexdigest()},
            "signatures": [{"signature": b64_encode(signature), "verifier": verifier}],
        },
    }


def _intoto_body(payload: bytes, signature: bytes, verifier: str, payload_type: str) -> dict[str, Any]:
    # The schema holds the base64 of the envelope's base64 text.
    twice = b64_encode(b64_encode(signature).encode())
    return {
        "apiVersion": "0.0.2",
        "kind": "intoto",
        "spec": {
            "content": {
                "envelope": {
                    "payloadType": payload_type,
                    "signatures": [{"publicKey": verifier, "sig": twice}],
                },
                "hash": {"algorithm": "sha256", "value": hashlib.sha256(signature).hexdigest()},
                "payloadHash": {"algorithm": "sha256", "value": hashlib.sha256(payload).hexdigest()},
            }
        },
    }


_BODIES: Final = {"dsse": _dsse_body, "intoto": _intoto_body}


def _log_document(
    key: ec.EllipticCurvePrivateKey, log_id: bytes, url: str, window: dict[str, str]
) -> dict[str, Any]:
    return {
        "baseUrl": url,
        "hashAlgorithm": "SHA2_256",
        "publicKey": {"rawBytes": b64_encode(spki(key)), "keyDetails": _KEY_DETAILS, "validFor": window},
        "logId": {"keyId": b64_encode(log_id)},
    }


def _der(certificate: x509.Certificate) -> str:
    return b64_encode(certificate.public_bytes(serialization.Encoding.DER))


def _pem(certificate: x509.Certificate) -> str:
    return b64_encode(certificate.public_bytes(serialization.Encoding.PEM))
