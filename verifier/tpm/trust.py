"""Why an attestation key is trusted: an allow-list, its certificate, or an EK's and an opened credential.

An attestation key that is neither is refused: a quote by it says nothing, since anybody can make a key
and a TPMS_ATTEST. Keys that are not *restricted* are refused too: they sign what they are given.
"""

from __future__ import annotations

import hashlib
import hmac
from datetime import datetime  # noqa: TC003 (a property's type)
from typing import TYPE_CHECKING, Final

import msgspec

from common.encoding import b64url_decode
from verifier.errors import AttestationKeyUntrusted
from verifier.model import SessionBinding
from verifier.tpm.credential import credential_value
from verifier.tpm.device import KeyCertificate, verify_ak_certificate, verify_identity
from verifier.tpm.ek import EkCertificate, decode_chain, verify_ek_certificate
from verifier.tpm.endorsement import require_attestation_key
from verifier.tpm.names import name_of

if TYPE_CHECKING:
    from common.checks import Checks
    from verifier.model import Expectation
    from verifier.tpm.public import PublicArea
    from verifier.tpm.settings import TpmSettings
    from wire.evidence import TpmEvidence

_MAX_CREDENTIAL: Final = 64


class AttestationKeyTrust(msgspec.Struct, frozen=True):
    """Why an attestation key is trusted.

    Attributes:
        how: ``name``, ``key`` (allow-lists), ``certificate`` (the key's own) or ``credential`` (the EK's).
        name: the key's name.
        ek: the verified EK certificate, if that is how.
        certificate: the verified certificate of the key, if that is how.
        device: the device's verified identity, if it came along.
    """

    how: str
    name: bytes
    ek: EkCertificate | None = None
    certificate: KeyCertificate | None = None
    device: KeyCertificate | None = None

    @property
    def identity(self) -> str:
        """Which TPM it is.

        ``tpm-ek:<SHA-256 of the EK's SPKI>``; ``tpm-device:<hardware serial>`` of a key's certificate that
        names one; ``tpm-ak:<name>`` of any other key.
        """
        if self.certificate is not None and self.certificate.device is not None:
            return f"tpm-device:{self.certificate.device.serial}"
        if self.ek is not None:
            return f"tpm-ek:{self.ek.spki_sha256.hex()}"
        return f"tpm-ak:{self.name.hex()}"

    @property
    def endorsements(self) -> tuple[str, ...]:
        """SHA-256 of each certificate and list relied on, hex."""
        found = () if self.ek is None else self.ek.certificates
        for item in (self.certificate, self.device):
            found += () if item is None else item.endorsements
        return tuple(dict.fromkeys(found))

    @property
    def not_after(self) -> datetime | None:
        """Earliest end of validity of what was relied on; None: an allow-list alone."""
        ends = [item.not_after for item in (self.ek, self.certificate, self.device) if item is not None]
        return min(ends, default=None)


def trust_attestation_key(
    public: PublicArea,
    evidence: TpmEvidence,
    expected: Expectation,
    settings: TpmSettings,
    *,
    now: datetime,
    checks: Checks,
) -> AttestationKeyTrust:
    """Find a reason to trust the attestation key.

    Raises:
        AttestationKeyUntrusted: there is none, or its attributes are not those of one.
        EndorsementError: the EK certificate does not hold.
    """
    require_attestation_key(public, checks)
    name = name_of(public)
    source = "TPM 2.0 Library Part 1, section 24; settings: ak_names, ak_spki_sha256, ak_roots, ek_roots"
    if name in settings.ak_names:
        checks.require(
            "tpm.ak.trust", ok=True, error=AttestationKeyUntrusted, observed=name.hex(), source=source
        )
        return AttestationKeyTrust("name", name)
    spki = hashlib.sha256(public.spki).digest()
    if spki in settings.ak_spki_sha256:
        checks.require(
            "tpm.ak.trust", ok=True, error=AttestationKeyUntrusted, observed=spki.hex(), source=source
        )
        return AttestationKeyTrust("key", name)
    if evidence.ak_certificate is not None and (settings.ak_roots or evidence.ek_certificate is None):
        return _by_certificate(public, name, evidence, settings, now=now, checks=checks)
    if evidence.ek_certificate is None:
        checks.fail(
            "tpm.ak.trust",
            AttestationKeyUntrusted,
            expected="an allow-listed key, its certificate, or an EK certificate and the opened credential",
            observed=name.hex(),
            source=source,
            note="the attestation key is on no allow-list and comes without a certificate",
        )
    certificate = verify_ek_certificate(
        b64url_decode(evidence.ek_certificate, what="ek_certificate"),
        decode_chain(evidence.ek_chain),
        settings.ek_roots,
        now,
        checks,
        lists=settings.lists.current(),
        revocation=settings.revocation,
    )
    _require_credential(evidence, expected, name, certificate, checks)
    return AttestationKeyTrust("credential", name, certificate)


def _by_certificate(
    public: PublicArea,
    name: bytes,
    evidence: TpmEvidence,
    settings: TpmSettings,
    *,
    now: datetime,
    checks: Checks,
) -> AttestationKeyTrust:
    """Trust by the certificate of the key itself, and the device's identity if it comes along."""
    assert evidence.ak_certificate is not None
    leaf, chain = (
        b64url_decode(evidence.ak_certificate, what="ak_certificate"),
        decode_chain(evidence.ak_chain),
    )
    key = verify_ak_certificate(leaf, chain, public, settings, now=now, checks=checks)
    identity = None
    if evidence.idevid_certificate is not None:
        leaf = b64url_decode(evidence.idevid_certificate, what="idevid_certificate")
        chain = decode_chain(evidence.idevid_chain)
        identity = verify_identity(leaf, chain, key, settings, now=now, checks=checks)
    return AttestationKeyTrust("certificate", name, certificate=key, device=identity)


def _require_credential(
    evidence: TpmEvidence, expected: Expectation, name: bytes, ek: EkCertificate, checks: Checks
) -> None:
    secret = expected.credential_secret if isinstance(expected, SessionBinding) else None
    shown = b""
    if evidence.credential_secret is not None:
        shown = b64url_decode(evidence.credential_secret, what="credential_secret")
    ok = (
        secret is not None
        and 0 < len(shown) <= _MAX_CREDENTIAL
        and hmac.compare_digest(shown, credential_value(secret, name, ek.spki_sha256))
    )
    # The credential is single-use, but it stays out of the record all the same.
    checks.require(
        "tpm.ak.credential",
        ok,
        AttestationKeyUntrusted,
        expected="the credential that was made for this attestation key and this EK with the nonce",
        observed="matching" if ok else "absent" if not shown else "another",
        source="TPM 2.0 Library Part 1, section 24.4 (TPM2_ActivateCredential)",
        note="" if ok else "nothing proves that the attestation key lives in the TPM of the EK certificate",
    )
