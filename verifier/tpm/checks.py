"""The checks of a TPM quote, one function each, in the order in which ``TpmVerifier`` makes them.

1. ``trust_attestation_key``: allow-list, or EK certificate and an activated credential.
2. ``verify_quote``: signature over the bytes received, then magic, type and fields.
3. ``require_extra_data``: length and content, in constant time.
4. ``require_pcrs``: selection, values, digest.
5. ``replay_event_log``: the log against every quoted register.
6. ``assess_platform``: firmware floor, clock.

Sources: TPM 2.0 Library Parts 1 to 3 and the TCG PC Client Platform Firmware Profile, cited at each check.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, Any, Final

import msgspec
from cryptography.hazmat.primitives import hashes

from common.encoding import b64url_decode, hex_decode
from common.errors import Malformed
from verifier.errors import (
    AttestationKeyUntrusted,
    EventLogMismatch,
    PcrMismatch,
    ReportDataMismatch,
    SignatureInvalid,
    TcbBelowFloor,
    UnsupportedEvidence,
)
from verifier.model import SessionBinding
from verifier.tpm.algorithms import BANK_HASHES, HASH_SIZES, SIGNATURE_HASHES
from verifier.tpm.attest import PCR_COUNT, Quote, Signature, parse_quote, parse_signature, verify_signature
from verifier.tpm.credential import credential_value
from verifier.tpm.ek import EkCertificate, decode_chain, require_attestation_key, verify_ek_certificate
from verifier.tpm.eventlog import extended_registers, parse_event_log, replay
from verifier.tpm.events import event_log_claims
from verifier.tpm.names import name_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from common.checks import Checks
    from verifier.model import Expectation
    from verifier.tpm.public import PublicArea
    from verifier.tpm.settings import TpmSettings
    from wire.evidence import TpmEvidence

PcrValues = dict[str, dict[int, bytes]]
_INDEXES: Final = {str(index): index for index in range(PCR_COUNT)}
_MAX_CREDENTIAL: Final = 64


class AttestationKeyTrust(msgspec.Struct, frozen=True):
    """Why an attestation key is trusted.

    Attributes:
        how: ``name``, ``key`` (allow-lists) or ``credential`` (EK certificate).
        name: the key's name.
        ek: the verified EK certificate, if that is how.
    """

    how: str
    name: bytes
    ek: EkCertificate | None = None

    @property
    def identity(self) -> str:
        """``tpm-ek:<SHA-256 of the EK's SPKI>``, or ``tpm-ak:<name>`` of an allow-listed key."""
        if self.ek is not None:
            return f"tpm-ek:{self.ek.spki_sha256.hex()}"
        return f"tpm-ak:{self.name.hex()}"


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
    source = "TPM 2.0 Library Part 1, section 24; settings: ak_names, ak_spki_sha256, ek_roots"
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
    if evidence.ek_certificate is None:
        checks.fail(
            "tpm.ak.trust",
            AttestationKeyUntrusted,
            expected="an allow-listed key, or an EK certificate and the opened credential",
            observed=name.hex(),
            source=source,
            note="the attestation key is on no allow-list and comes without an EK certificate",
        )
    certificate = verify_ek_certificate(
        b64url_decode(evidence.ek_certificate, what="ek_certificate"),
        decode_chain(evidence.ek_chain),
        settings.ek_roots,
        now,
        checks,
    )
    _require_credential(evidence, expected, name, certificate, checks)
    return AttestationKeyTrust("credential", name, certificate)


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


def verify_quote(
    public: PublicArea, quote: bytes, signature: bytes, checks: Checks
) -> tuple[Quote, Signature]:
    """Verify the signature over ``quote`` and parse it.

    Raises:
        Malformed, UnsupportedEvidence: either structure cannot be read.
        SignatureInvalid: the signature does not verify with the key and its scheme.
    """
    parsed = parse_signature(signature)
    try:
        verify_signature(public.key, parsed, quote, scheme=public.scheme, scheme_hash=public.scheme_hash)
    except SignatureInvalid as error:
        checks.fail(
            "tpm.quote.signature",
            SignatureInvalid,
            source="TPM 2.0 Library Part 2, section 11.3.4; Part 3, section 18.4",
            note=error.message,
        )
    checks.require(
        "tpm.quote.signature",
        ok=True,
        error=SignatureInvalid,
        observed=SIGNATURE_HASHES[parsed.hash_algorithm].name,
        source="TPM 2.0 Library Part 2, section 11.3.4; Part 3, section 18.4",
    )
    result = parse_quote(quote)
    checks.require(
        "tpm.quote.structure",
        ok=True,
        error=UnsupportedEvidence,
        expected="TPM_GENERATED_VALUE, TPM_ST_ATTEST_QUOTE",
        source="TPM 2.0 Library Part 2, section 10.12.12",
    )
    return result, parsed


def require_extra_data(quote: Quote, wanted: bytes | None, checks: Checks) -> None:
    """Demand that the quote was made over ``wanted``, all of it and nothing else.

    Raises:
        ReportDataMismatch: another length or content.
    """
    source = "TPM 2.0 Library Part 2, section 10.12.12 (extraData)"
    if wanted is None:
        checks.skip(
            "tpm.quote.extra_data", "no expectation was given: the quote may be of any time", source=source
        )
        return
    checks.require(
        "tpm.quote.extra_data",
        hmac.compare_digest(quote.extra_data, wanted),
        ReportDataMismatch,
        expected=wanted.hex(),
        observed=quote.extra_data.hex(),
        source=source,
        note=""
        if quote.extra_data == wanted
        else "the quote is not bound to the expected nonce, key and audience",
    )


def parse_pcr_values(values: Mapping[str, Mapping[str, str]]) -> PcrValues:
    """Bank to index to value, from their texts.

    Raises:
        Malformed: an unknown bank, an index that is not 0 to 23 in plain decimal, a value that is not
            lower-case hex of the bank's size.
    """
    result: PcrValues = {}
    for bank, texts in values.items():
        size = HASH_SIZES.get(bank)
        if size is None or bank not in BANK_HASHES:
            raise Malformed("pcrs names an unknown bank")
        parsed: dict[int, bytes] = {}
        for text, value in texts.items():
            index = _INDEXES.get(text)
            if index is None:
                raise Malformed(f"pcrs: a {bank} index is not a number from 0 to {PCR_COUNT - 1}")
            parsed[index] = hex_decode(value, what=f"{bank} PCR {index}", length=size)
        result[bank] = parsed
    return result


def require_pcrs(
    quote: Quote,
    signature: Signature,
    values: PcrValues,
    selection: Mapping[str, tuple[int, ...]] | None,
    *,
    allow_sha1: bool,
    checks: Checks,
) -> None:
    """Demand the requested selection, values for exactly it, and their digest.

    Args:
        quote: the signed structure.
        signature: its signature; its hash is the digest's (Part 3 section 18.4).
        values: what the evidence says the registers held.
        selection: what had to be quoted, exactly; None where nothing was asked (inspection).
        allow_sha1: whether the SHA-1 bank may be relied on.
        checks: where the checks are recorded.

    Raises:
        PcrMismatch: they do not agree.
    """
    quoted = {item.bank: item.indexes for item in quote.selections}
    shown = [[item.bank, list(item.indexes)] for item in quote.selections]
    source = "TPM 2.0 Library Part 2, section 10.6.2 (TPMS_PCR_SELECTION); Part 3, section 18.4"
    checks.require(
        "tpm.pcr.selection_form",
        bool(quoted)
        and len(quoted) == len(quote.selections)
        and all(quoted.values())
        and (allow_sha1 or "sha1" not in quoted),
        PcrMismatch,
        expected="each bank once, with registers, and none of SHA-1"
        if not allow_sha1
        else "each bank once",
        observed=shown,
        source=source,
    )
    if selection is None:
        checks.skip("tpm.pcr.selection", "no selection was asked for", source=source)
    else:
        checks.require(
            "tpm.pcr.selection",
            quoted == dict(selection),
            PcrMismatch,
            expected=[[bank, list(indexes)] for bank, indexes in selection.items()],
            observed=shown,
            source=source,
        )
    checks.require(
        "tpm.pcr.values",
        {bank: tuple(sorted(given)) for bank, given in values.items()} == quoted,
        PcrMismatch,
        expected=shown,
        observed=[[bank, sorted(given)] for bank, given in values.items()],
        source=source,
    )
    digest = hashes.Hash(SIGNATURE_HASHES[signature.hash_algorithm])
    for item in quote.selections:
        for index in item.indexes:
            digest.update(values[item.bank][index])
    computed = digest.finalize()
    checks.require(
        "tpm.pcr.digest",
        hmac.compare_digest(computed, quote.pcr_digest),
        PcrMismatch,
        expected=quote.pcr_digest.hex(),
        observed=computed.hex(),
        source="TPM 2.0 Library Part 3, section 18.4 (pcrDigest by the scheme's hash)",
    )


def replay_event_log(
    data: bytes | None, values: PcrValues, settings: TpmSettings, checks: Checks
) -> dict[str, Any] | None:
    """Replay the log and compare it with every quoted register; gives its claims.

    Raises:
        InputError: the log cannot be parsed or is too large.
        EventLogMismatch: absent though demanded; a register differs; events of unquoted registers.
    """
    source = "TCG PC Client Platform Firmware Profile 1.06, sections 3.3.4 and 10.2"
    if data is None:
        if settings.require_event_log:
            checks.fail(
                "tpm.event_log",
                EventLogMismatch,
                expected="an event log",
                observed=None,
                source="settings: require_event_log",
                note="the evidence has no event log",
            )
        checks.skip("tpm.event_log", "the evidence has no event log", source=source)
        return None
    log = parse_event_log(data)
    for bank, quoted in values.items():
        replayed = replay(log, bank)
        compared = [index for index in sorted(quoted) if index not in settings.unlogged_pcrs]
        differing = [index for index in compared if replayed[index] != quoted[index]]
        checks.require(
            f"tpm.event_log.{bank}",
            not differing,
            EventLogMismatch,
            expected={str(index): quoted[index].hex() for index in differing},
            observed={str(index): replayed[index].hex() for index in differing},
            source=source,
            note="" if not differing else f"the log does not replay to {bank} registers {differing}",
        )
    quoted_anywhere = frozenset().union(*values.values())
    unquoted = sorted(extended_registers(log) - quoted_anywhere)
    checks.require(
        "tpm.event_log.unquoted",
        settings.allow_unquoted_events or not unquoted,
        EventLogMismatch,
        expected=[],
        observed=unquoted,
        source="settings: allow_unquoted_events",
        note=f"the log extends registers {unquoted} that are not quoted" if unquoted else "",
    )
    bank = "sha256" if "sha256" in values else next(iter(values))
    return event_log_claims(log, bank, frozenset(values[bank]) - settings.unlogged_pcrs)


def assess_platform(quote: Quote, settings: TpmSettings, checks: Checks) -> bool:
    """Record the firmware floor and the clock; gives whether the firmware is old enough to trust.

    A clock that is not *safe* may have run backwards after a power loss (Part 1 section 36.3.3), so
    that it orders nothing; it decides nothing here and is a claim.
    """
    if not quote.safe:
        checks.warn("tpm.quote.clock", observed=quote.clock, note="the clock may have run backwards")
    floor = settings.minimum_firmware_version
    if floor is None:
        return True
    return checks.expect(
        "tpm.quote.firmware_version",
        quote.firmware_version >= floor,
        TcbBelowFloor,
        expected=f"at least {floor:016x}",
        observed=f"{quote.firmware_version:016x}",
        source="settings: minimum_firmware_version; TPM 2.0 Library Part 2, section 10.12.12",
    )
