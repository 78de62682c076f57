"""Errors of the verifier room. Codes are grouped as in docs/errors.md."""

from __future__ import annotations

from common.errors import (
    AccessError,
    ConfigurationError,
    EndorsementError,
    EvidenceError,
    UnavailableError,
)


class UnsupportedEvidence(EvidenceError):
    """A version, algorithm or field value that this verifier does not accept."""

    code = "evidence.unsupported"
    advice = "Check the format's version and algorithm against docs/verifier.md."


class SignatureInvalid(EvidenceError):
    """The evidence's signature does not verify."""

    code = "evidence.signature"
    advice = "The evidence was altered, or the certificate belongs to another chip or TCB."


class ReportDataMismatch(EvidenceError):
    """The evidence is not bound to the expected nonce, key and audience."""

    code = "evidence.report_data"
    advice = "Take a fresh challenge and hash exactly the documented binding into the evidence."


class InitDataMismatch(EvidenceError):
    """The launch data that came with the request is not what the TEE was launched with."""

    code = "evidence.init_data"
    advice = "Send the init-data the guest was launched with, and its algorithm."


class DebugEnabled(EvidenceError):
    """The guest may be debugged from outside: nothing in it is confidential."""

    code = "evidence.debug"
    advice = "Launch the guest with the debug bit of its policy off."


class PolicyViolation(EvidenceError):
    """The guest or platform has a property that the verifier's settings exclude."""

    code = "evidence.policy"
    advice = "The check names the setting; change the launch, or the setting if it is meant."


class TcbBelowFloor(EvidenceError):
    """A component of the platform's TCB is older than the configured floor."""

    code = "evidence.tcb_floor"
    advice = "Update the platform firmware."


class TcbMismatch(EvidenceError):
    """The certificate's TCB is not the one the report states."""

    code = "evidence.tcb_mismatch"
    advice = "Fetch the certificate for the reported TCB."


class ChipIdMismatch(EvidenceError):
    """The certificate belongs to another chip than the report states."""

    code = "evidence.chip_id"
    advice = "Send the certificate of the chip that made the report."


class PcrMismatch(EvidenceError):
    """Quoted PCR digest, selection and values do not agree."""

    code = "evidence.pcr"
    advice = "Quote exactly the challenge's selection and send exactly those values."


class EventLogMismatch(EvidenceError):
    """The event log does not replay to the quoted registers."""

    code = "evidence.event_log"
    advice = "Send the complete log as the firmware and kernel left it."


class AttestationKeyUntrusted(EvidenceError):
    """Nothing proves that the attestation key lives in a genuine TPM."""

    code = "evidence.attestation_key"
    advice = "Enrol through the EK certificate (credential activation), or allow-list the AK."


class NonceUnknown(EvidenceError):
    """The nonce was not issued here, has expired, or was spent already."""

    code = "evidence.nonce"
    advice = "Take a fresh challenge; each nonce serves one appraisal."


class CertificateInvalid(EndorsementError):
    """A certificate does not meet its profile, or the chain does not link."""

    code = "endorsement.chain"
    advice = "Send the vendor's certificates unmodified, leaf and intermediates of one product."


class RootUntrusted(EndorsementError):
    """The chain does not end at a pinned root."""

    code = "endorsement.root"
    advice = "Only the vendor roots this product carries are trusted; test roots need configuration."


class CertificateExpired(EndorsementError):
    """A certificate had expired at the verification time."""

    code = "endorsement.expired"
    advice = "Fetch a current certificate."


class CertificateNotYetValid(EndorsementError):
    """A certificate was not yet valid at the verification time."""

    code = "endorsement.not_yet_valid"
    advice = "Check the clock of the verifier."


class CertificateRevoked(EndorsementError):
    """A certificate is on its issuer's revocation list."""

    code = "endorsement.revoked"
    advice = "The platform must be re-endorsed by its vendor."


class EndorsementOutdated(EndorsementError):
    """An item for the endorsement store is expired, not yet in force, or older than the one at hand."""

    code = "endorsement.outdated"
    advice = "Fetch the current one from its vendor; the one at hand stays as it is."


class CrlMissing(EndorsementError):
    """No revocation list, and the settings demand one."""

    code = "endorsement.crl_missing"
    advice = "Put the CRL into the collateral folder, or allow fetching from the vendor."


class CrlExpired(EndorsementError):
    """The revocation list is past its next update."""

    code = "endorsement.crl_expired"
    advice = "Fetch a current CRL."


class CrlInvalid(EndorsementError):
    """The revocation list is not signed by the right issuer, or cannot be parsed."""

    code = "endorsement.crl_invalid"
    advice = "Take the CRL from the vendor's address named in docs/verifier.md."


class EndorsementMissing(EndorsementError):
    """A certificate that the evidence needs is neither in it nor in the store."""

    code = "endorsement.missing"
    advice = "Send the certificate with the evidence, or put it into the collateral folder."


class CollateralInvalid(EndorsementError):
    """Signed collateral (TCB info, QE identity) is not signed by its vendor, or cannot be parsed."""

    code = "endorsement.collateral_invalid"
    advice = "Take the collateral from the vendor's service, byte for byte as it was signed."


class CollateralExpired(EndorsementError):
    """Signed collateral is not current at the verification time."""

    code = "endorsement.collateral_expired"
    advice = "Fetch current collateral."


class CollateralMismatch(EndorsementError):
    """Signed collateral is for another platform, or for another kind of TEE."""

    code = "endorsement.collateral_mismatch"
    advice = "Fetch the collateral of this platform: the check names which is meant."


class CollateralRolledBack(EndorsementError):
    """Signed collateral is of an older evaluation than one that was seen, or than the settings demand."""

    code = "endorsement.collateral_rollback"
    advice = "The source of the collateral serves old data: fetch it from the vendor."


class TcbNotSupported(EvidenceError):
    """The vendor's statement about the platform has no level that this TCB meets."""

    code = "evidence.tcb_not_supported"
    advice = "Update the platform: firmware, microcode, TDX module, quoting enclave."


class TcbStatusRefused(EvidenceError):
    """The vendor gives the platform's TCB a status that the settings do not accept."""

    code = "evidence.tcb_status"
    advice = "Update the platform as the shortfall says, or accept the status in the settings."


class SecondOpinionDiffers(EvidenceError):
    """A second implementation refuses what the first one verified."""

    code = "evidence.second_opinion"
    advice = "Keep the evidence and report it: one of the two implementations is wrong."


class RimInvalid(EndorsementError):
    """A vendor's reference manifest is not signed by the vendor, or is not of the device's firmware."""

    code = "endorsement.rim"
    advice = "Take the manifest unmodified from the vendor, for the version that the device states."


class EarInvalid(AccessError):
    """The attestation result token does not verify, is not for us, or is out of its time."""

    code = "access.ear"
    advice = "Attest again: take a challenge, have fresh evidence appraised, and send that token."


class TokenCertificateExpired(ConfigurationError):
    """The certificate of the token-signing key has expired: no relying party would accept its tokens."""

    code = "configuration.token_certificate"
    advice = "Replace [token] certificate_chain; a certificate of the local CA is renewed by the server."


class TooManyChallenges(UnavailableError):
    """More unspent challenges are outstanding than the limit allows."""

    code = "unavailable.challenges"
    advice = "Retry later; raise [limits] outstanding_challenges if the load is real."
