"""TPM 2.0 attester: quotes over the challenge's registers, bound to the challenge's digest.

Order: the endorsement key is created from its TCG template (the same key each time); an attestation key
is created below it, or a provisioned one is used by handle; ``endorsement`` shows both to the verifier;
``collect`` opens the verifier's credential (which proves to it that both keys are in one TPM), quotes,
and adds register values and the firmware's event log. Logs are read after the quote: an IMA list
grows meanwhile, and the verifier counts what the quote reaches.

Sources: TCG EK Credential Profile 2.5, annex B (templates), section 2.2.1.4 (NV indexes of the
certificates); TPM 2.0 Library Part 3, sections 12.5 (ActivateCredential) and 18.4 (Quote). The programs
are those of tpm2-tools 5.

Not done: endorsement hierarchies with an authorisation value; EK nonces and templates in NV.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from common.closing import Closing
from common.encoding import b64url_decode, b64url_encode
from common.errors import InvalidSetting, Malformed
from common.files import read_limited
from guest_agent.attesters.tpm2_tools import Tpm2Tools
from guest_agent.errors import EvidenceNotMade
from wire.evidence import TpmEvidence
from wire.rcar import TpmEndorsement

if TYPE_CHECKING:
    from wire.rcar import Challenge, Credential

BINDING_SIZE: Final = 32
KERNEL_EVENT_LOG: Final = Path("/sys/kernel/security/tpm0/binary_bios_measurements")

_BANK_SIZES: Final = {"sha1": 20, "sha256": 32, "sha384": 48, "sha512": 64}
_PCR_COUNT: Final = 24
_MAX_LOG: Final = 4 << 20
_MAX_CHAIN: Final = 64 << 10
# Container that tpm2_activatecredential reads: magic, version, then the two TPM2B (tpm2-tools,
# lib/files.c, file header).
_CREDENTIAL_HEADER: Final = bytes.fromhex("badcc0de00000001")
_DER_LONG_FORM: Final = 0x82  # length in two bytes: every certificate


class EkKind(msgspec.Struct, frozen=True):
    """One of the endorsement keys that TPMs come with.

    Attributes:
        algorithm: name that tpm2_createek gives it.
        nv_index: where its certificate is (EK Credential Profile, section 2.2.1.4).
        by_policy: whether its use is authorised by PolicySecret(endorsement) alone (low-range
            templates), not by its empty authorisation value (high-range templates).
    """

    algorithm: str
    nv_index: str
    by_policy: bool


EK_KINDS: Final = {
    "rsa2048": EkKind("rsa", "0x01c00002", by_policy=True),
    "ecc256": EkKind("ecc", "0x01c0000a", by_policy=True),
    "ecc384": EkKind("ecc384", "0x01c00016", by_policy=False),
    "rsa3072": EkKind("rsa3072", "0x01c0001c", by_policy=False),
}
# Attestation keys: algorithm and signing scheme, by the names that tpm2-tools give them.
AK_KINDS: Final = {
    "ecc256": ("ecc", "ecdsa"),
    "rsa2048": ("rsa", "rsassa"),
    "rsa2048-pss": ("rsa", "rsapss"),
}
_AK_HASH: Final = "sha256"


class TpmAttester(Closing):
    """Makes TPM evidence (``guest_agent.attesters.Attester``). Close it: it owns a private folder.

    Args:
        tcti: how the tools reach the TPM; None for their default (/dev/tpmrm0 first).
        ek: kind of endorsement key, a name of ``EK_KINDS``.
        ak: kind of attestation key, a name of ``AK_KINDS``; all use SHA-256.
        ak_handle: persistent handle of a provisioned attestation key, instead of creating one (an
            allow-listed key must outlive the agent).
        ek_certificate: DER file of the EK certificate; None to read it from the TPM.
        ek_chain: PEM file of the EK certificate's intermediates, the leaf's issuer first.
        event_log: the event log; None for the kernel's, if it has one.
        ima_log: the IMA measurement list to send; None for none.
        endorse: whether to ask for a credential; off for an allow-listed key.

    Raises:
        InvalidSetting: an unknown kind of key.
    """

    def __init__(
        self,
        *,
        tcti: str | None = None,
        ek: str = "rsa2048",
        ak: str = "ecc256",
        ak_handle: str | None = None,
        ek_certificate: Path | None = None,
        ek_chain: Path | None = None,
        event_log: Path | None = None,
        ima_log: Path | None = None,
        endorse: bool = True,
    ) -> None:
        """Keep the settings; the TPM is not touched yet."""
        if ek not in EK_KINDS or ak not in AK_KINDS:
            raise InvalidSetting(f"TPM keys: ek is one of {sorted(EK_KINDS)}, ak one of {sorted(AK_KINDS)}")
        self._ek_kind = EK_KINDS[ek]
        self._ak_algorithm, self._ak_scheme = AK_KINDS[ak]
        self._ak_handle = ak_handle
        self._ek_certificate_file = ek_certificate
        self._ek_chain_file = ek_chain
        self._event_log = event_log
        self._ima_log = ima_log
        self._endorse = endorse
        self._ak_public: bytes | None = None
        self._tools = Tpm2Tools(tcti)

    @property
    def tee(self) -> str:
        """``tpm``."""
        return "tpm"

    @property
    def binding_size(self) -> int:
        """32: what every TPM 2.0 takes as qualifying data."""
        return BINDING_SIZE

    def close(self) -> None:
        """Remove the private folder."""
        self._tools.close()

    def endorsement(self) -> TpmEndorsement | None:
        """EK certificate and attestation key; None without an EK certificate, or if not to endorse.

        Raises:
            DependencyMissing: tpm2-tools is not installed.
            TeeUnavailable, EvidenceNotMade: the TPM does not answer, or refuses.
        """
        certificate = self._ek_certificate() if self._endorse else None
        if certificate is None:
            return None
        return TpmEndorsement(
            ek_certificate=b64url_encode(certificate),
            ek_chain=self._ek_chain(),
            ak_public=b64url_encode(self.ak_public()),
        )

    def collect(self, report_data: bytes, challenge: Challenge) -> TpmEvidence:
        """Quote the challenge's registers over ``report_data``.

        Raises:
            Malformed: ``report_data`` has another size than 32, or the challenge names no registers.
            DependencyMissing, TeeUnavailable, EvidenceNotMade: as ``endorsement``.
        """
        if len(report_data) != BINDING_SIZE:
            raise Malformed(
                f"a TPM quote takes {BINDING_SIZE} bytes of report data, not {len(report_data)}"
            )
        selection = _selection(challenge)
        ak_public = self.ak_public()
        secret = None if challenge.credential is None else self._activate(challenge.credential)
        certificate = None if secret is None else self._ek_certificate()
        quote, signature, values = self._quote(report_data, selection)
        return TpmEvidence(
            quote=b64url_encode(quote),
            signature=b64url_encode(signature),
            ak_public=b64url_encode(ak_public),
            pcrs=values,
            event_log=self._read_event_log(),
            ima_log=None if self._ima_log is None else _read_log(self._ima_log, "IMA list"),
            ek_certificate=None if certificate is None else b64url_encode(certificate),
            ek_chain=() if certificate is None else self._ek_chain(),
            credential_secret=None if secret is None else b64url_encode(secret),
        )

    def ak_public(self) -> bytes:
        """TPMT_PUBLIC of the attestation key, which is created on first use.

        Raises:
            DependencyMissing, TeeUnavailable, EvidenceNotMade: as ``endorsement``.
        """
        if self._ak_public is None:
            self._create_ek()
            if self._ak_handle is None:
                arguments = ["-C", "ek.ctx", "-c", "ak.ctx", "-u", "ak.pub"]
                arguments += ["-G", self._ak_algorithm, "-g", _AK_HASH, "-s", self._ak_scheme]
                self._tools.run("tpm2_createak", arguments, failure="create the attestation key")
            else:
                arguments = ["-c", self._ak_handle, "-f", "tss", "-o", "ak.pub"]
                self._tools.run("tpm2_readpublic", arguments, failure="read the attestation key")
            self._ak_public = _without_size(self._tools.read("ak.pub"))
        return self._ak_public

    @property
    def _ak_context(self) -> str:
        return self._ak_handle or "ak.ctx"

    def _create_ek(self) -> None:
        arguments = ["-c", "ek.ctx", "-G", self._ek_kind.algorithm, "-u", "ek.pub"]
        self._tools.run("tpm2_createek", arguments, failure="create the endorsement key")

    def _ek_certificate(self) -> bytes | None:
        if self._ek_certificate_file is not None:
            return read_limited(self._ek_certificate_file, what="EK certificate", max_bytes=_MAX_CHAIN)
        if not self._tools.succeeds("tpm2_nvread", (self._ek_kind.nv_index, "-o", "ek.crt")):
            return None
        return _der_prefix(self._tools.read("ek.crt"))

    def _ek_chain(self) -> tuple[str, ...]:
        if self._ek_chain_file is None:
            return ()
        pem = read_limited(self._ek_chain_file, what="EK chain", max_bytes=_MAX_CHAIN)
        try:
            certificates = x509.load_pem_x509_certificates(pem)
        except ValueError as error:
            raise InvalidSetting(f"{self._ek_chain_file} is not a PEM file of certificates") from error
        return tuple(b64url_encode(item.public_bytes(Encoding.DER)) for item in certificates)

    def _activate(self, credential: Credential) -> bytes:
        """TPM2_ActivateCredential; gives the credential's secret."""
        blob = b64url_decode(credential.credential_blob, what="credential_blob")
        encrypted = b64url_decode(credential.encrypted_secret, what="encrypted_secret")
        self._tools.write("credential.in", _CREDENTIAL_HEADER + blob + encrypted)
        arguments = ["-c", self._ak_context, "-C", "ek.ctx", "-i", "credential.in", "-o", "credential.out"]
        failure = "open the verifier's credential"
        try:
            if self._ek_kind.by_policy:
                self._start_policy_session()
                arguments += ["-P", "session:session.ctx"]
            self._tools.run("tpm2_activatecredential", arguments, failure=failure)
            return self._tools.read("credential.out")
        finally:
            self._tools.remove("credential.out")
            if self._tools.path("session.ctx").exists():
                self._tools.succeeds("tpm2_flushcontext", ("session.ctx",))
                self._tools.remove("session.ctx")

    def _start_policy_session(self) -> None:
        # PolicySecret with the endorsement hierarchy: the policy of the low-range EK templates.
        failure = "authorise the use of the endorsement key"
        self._tools.run("tpm2_startauthsession", ("--policy-session", "-S", "session.ctx"), failure=failure)
        self._tools.run("tpm2_policysecret", ("-S", "session.ctx", "-c", "e"), failure=failure)

    def _quote(
        self, report_data: bytes, selection: dict[str, list[int]]
    ) -> tuple[bytes, bytes, dict[str, dict[str, str]]]:
        banks = "+".join(f"{bank}:{','.join(map(str, indexes))}" for bank, indexes in selection.items())
        arguments = ["-c", self._ak_context, "-l", banks, "-q", report_data.hex()]
        arguments += ["-g", _AK_HASH, "--scheme", self._ak_scheme]
        arguments += ["-m", "quote.msg", "-s", "quote.sig", "-o", "quote.pcrs", "-F", "values"]
        self._tools.run("tpm2_quote", arguments, failure="quote the registers")
        values = _values(self._tools.read("quote.pcrs"), selection)
        return self._tools.read("quote.msg"), self._tools.read("quote.sig"), values

    def _read_event_log(self) -> str | None:
        path = self._event_log
        if path is None:
            if not KERNEL_EVENT_LOG.exists():
                return None
            path = KERNEL_EVENT_LOG
        return _read_log(path, "event log")


def _read_log(path: Path, what: str) -> str:
    return b64url_encode(read_limited(path, what=what, max_bytes=_MAX_LOG))


def _selection(challenge: Challenge) -> dict[str, list[int]]:
    """The challenge's registers, checked: they become an argument of a program.

    Raises:
        Malformed: none, an unknown bank, or a register that does not exist.
    """
    selection = challenge.pcr_selection or {}
    for bank, indexes in selection.items():
        if bank not in _BANK_SIZES or not indexes or list(indexes) != sorted(set(indexes)):
            raise Malformed("the challenge's register selection has an unknown bank or unordered registers")
        if not 0 <= indexes[0] <= indexes[-1] < _PCR_COUNT:
            raise Malformed("the challenge selects a register that does not exist")
    if not selection:
        raise Malformed("the challenge names no registers to quote")
    return selection


def _values(data: bytes, selection: dict[str, list[int]]) -> dict[str, dict[str, str]]:
    """Register values as tpm2_quote wrote them: concatenated, in the order of the selection."""
    sizes = [(bank, index, _BANK_SIZES[bank]) for bank, indexes in selection.items() for index in indexes]
    if sum(size for _, _, size in sizes) != len(data):
        raise EvidenceNotMade(
            "the TPM has not quoted every register of the challenge",
            advice="A bank of the selection is not active: enable it in the firmware, or select others.",
        )
    values: dict[str, dict[str, str]] = {bank: {} for bank in selection}
    position = 0
    for bank, index, size in sizes:
        values[bank][str(index)] = data[position : position + size].hex()
        position += size
    return values


def _without_size(public: bytes) -> bytes:
    """TPMT_PUBLIC of a TPM2B_PUBLIC (two bytes of big-endian size before it)."""
    if int.from_bytes(public[:2], "big") != len(public) - 2:
        raise EvidenceNotMade("tpm2-tools wrote a public area of another size than it states")
    return public[2:]


def _der_prefix(data: bytes) -> bytes:
    """The certificate at the start of an NV index, without the padding that some TPMs have after it."""
    head = data[:4]
    if len(head) < 4 or head[:2] != bytes([0x30, _DER_LONG_FORM]):  # noqa: PLR2004 (X.690 section 8.1)
        raise EvidenceNotMade("the EK certificate index of the TPM holds no DER certificate")
    size = 4 + int.from_bytes(head[2:4], "big")
    if size > len(data):
        raise EvidenceNotMade("the EK certificate in the TPM is cut short")
    return data[:size]
