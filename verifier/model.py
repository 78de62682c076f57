"""What every TEE verifier takes and returns.

A TEE is one folder (``verifier/snp``, ``verifier/tpm``): parse (bytes to typed evidence), endorse
(chain, collateral, revocation), bind (nonce, key, init-data), claims. It exposes one ``TeeVerifier``.
"""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 (msgspec resolves it at run time)
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import msgspec

from common.checks import Check  # noqa: TC001 (msgspec resolves it at run time)
from common.runtime_data import fitted

if TYPE_CHECKING:
    from wire.evidence import Evidence


class SessionBinding(msgspec.Struct, frozen=True):
    """Evidence must be bound to a nonce of ours and to the guest's key (``common.binding``).

    Attributes:
        nonce: the challenge's nonce.
        tee_pubkey: the guest's public JWK.
        audience: our identity as relying party.
        credential_secret: TPM: what the guest must have got from TPM2_ActivateCredential.
        pcr_selection: TPM: bank to the indexes that must be quoted, exactly.
        devices: digest of the devices' documents in the machine's binding (``common.binding``), if any.
    """

    nonce: bytes
    tee_pubkey: dict[str, str]
    audience: str
    credential_secret: bytes | None = None
    pcr_selection: dict[str, tuple[int, ...]] | None = None
    devices: bytes = b""


class ReportDataBinding(msgspec.Struct, frozen=True):
    """Evidence must hold exactly these bytes; freshness is the relying party's own."""

    report_data: bytes


class RuntimeDataBinding(msgspec.Struct, frozen=True):
    """Evidence must hold this value, fitted to its field as Confidential Containers does.

    See ``common.runtime_data``.

    Attributes:
        data: digest of the runtime data, or the bytes that the relying party gave; None: it asked for no
            binding, the field is not looked at, and the result says so.
        nonce: of our session, base64 as sent; None: a relying party's own.
        tee_pubkey: the guest's public JWK inside the runtime data; None without a session of ours.
    """

    data: bytes | None
    nonce: str | None = None
    tee_pubkey: dict[str, str] | None = None


class Unbound(msgspec.Struct, frozen=True):
    """No expectation: offline inspection only. Never affirms instance-identity, never releases."""


Expectation = SessionBinding | ReportDataBinding | RuntimeDataBinding | Unbound


class InitDataClaim(msgspec.Struct, frozen=True):
    """Init-data that must stand in the evidence.

    Attributes:
        digest: of the plain init-data, by the algorithm it names.
        data: the plain init-data; empty where only the digest is known.
        fitted: the field holds the digest padded with zeros or cut off (Confidential Containers); the
            digest itself otherwise.
    """

    digest: bytes
    data: bytes
    fitted: bool = False

    def in_field(self, size: int) -> bytes:
        """What a field of ``size`` bytes must hold."""
        return fitted(self.digest, size) if self.fitted else self.digest


class VerifiedEvidence(msgspec.Struct, frozen=True):
    """Authentic evidence with its claims. Only a verifier makes one, after every authenticity check.

    Attributes:
        tee: ``snp``, ``tpm``.
        evidence_digest: SHA-256 of the signed evidence bytes, hex.
        claims: what goes into the policy input, at its top level (``{"snp": {...}, "report_data": ...}``).
        comparable: members of ``claims`` that hold values a reference value may equal (not
            per-session ones), e.g. ``("snp",)``.
        checks: every check, in order; failed policy expectations among them.
        floors: AR4SI claim to the worst value that a policy can no longer improve (debug and the like).
        not_after: earliest expiry of what was relied on (certificates, CRLs); None if unbounded.
        bound: ``session``, ``report-data`` or ``unbound``.
        init_data: ``bound``, ``absent`` or ``unsupported``.
        identity: hardware identity (``snp-chip:<hex>``, ``snp-csp:<id>``, ``tpm-ek:<sha256>``), if proven.
        endorsements: SHA-256 of each certificate and CRL relied on, hex.
        tee_pubkey: the guest key that was bound, if any.
    """

    tee: str
    evidence_digest: str
    claims: dict[str, Any]
    comparable: tuple[str, ...]
    checks: tuple[Check, ...]
    floors: dict[str, int]
    bound: str
    init_data: str
    endorsements: tuple[str, ...]
    not_after: datetime | None = None
    identity: str | None = None
    tee_pubkey: dict[str, str] | None = None


class CocoForm(Protocol):
    """How Confidential Containers spells one TEE's evidence and claims."""

    def evidence_of(self, document: Any) -> Evidence:
        """Our evidence document of theirs.

        Raises:
            InputError: it has not the form that is published for this TEE.
        """

    def claims_of(self, verified: VerifiedEvidence) -> dict[str, Any]:
        """The claims as a policy written for their attestation service expects them: theirs, and ours."""


@runtime_checkable
class Challenger(Protocol):
    """A verifier whose evidence answers a challenge of its own making (IBM Secure Execution)."""

    @property
    def coco_hash(self) -> str:
        """The hash of the runtime data that a challenge for Confidential Containers asks for."""

    def coco_challenge(self, now: datetime) -> tuple[str, str]:
        """The text that takes the nonce's place, and ``coco_hash``.

        Raises:
            ConfigurationError, EndorsementError: it cannot be made.
        """


class TeeVerifier(Protocol):
    """One TEE's verifier. Pure: no clock, no network, no file; ``now`` comes in."""

    @property
    def tee(self) -> str:
        """The ``tee`` tag of its evidence documents."""

    def verify(
        self,
        evidence: Evidence,
        expected: Expectation,
        init_data: InitDataClaim | None,
        now: datetime,
    ) -> VerifiedEvidence:
        """Verify.

        Raises:
            InputError: the document cannot be parsed.
            EvidenceError: not authentic, or not bound as expected.
            EndorsementError: certificates, revocation data or their dates do not hold.
        """
