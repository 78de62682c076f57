"""The checks of a TPM quote, one function each; ``check_quote`` makes them in their order.

1. signature over the bytes received, by the scheme of the key; then magic, type and fields;
2. binding: length and content of extraData, in constant time;
3. registers: selection, values, digest;
4. logs: event log and IMA list against every quoted register (``verifier.tpm.logs``).

Before them stands the trust in the key (``verifier.tpm.trust``), after them ``assess_platform``.

Sources: TPM 2.0 Library Parts 1 to 3, cited at each check.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Any, Final

import msgspec
from cryptography.hazmat.primitives import hashes

from common.encoding import hex_decode
from common.errors import Malformed
from verifier.errors import (
    PcrMismatch,
    ReportDataMismatch,
    SignatureInvalid,
    TcbBelowFloor,
    UnsupportedEvidence,
)
from verifier.tpm.algorithms import BANK_HASHES, HASH_SIZES, SIGNATURE_HASHES
from verifier.tpm.attest import PCR_COUNT, Quote, Signature, parse_quote, parse_signature, verify_signature
from verifier.tpm.logs import replay_logs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from common.checks import Checks
    from verifier.tpm.public import PublicArea
    from verifier.tpm.settings import TpmSettings

PcrValues = dict[str, dict[int, bytes]]
_INDEXES: Final = {str(index): index for index in range(PCR_COUNT)}


class QuoteMaterial(msgspec.Struct, frozen=True):
    """A quote and what goes with it, as received.

    Attributes:
        quote: TPMS_ATTEST bytes.
        signature: TPMT_SIGNATURE bytes.
        pcrs: bank to index (decimal) to value (hex).
        event_log: TCG event log.
        ima_log: Linux IMA measurement list.
    """

    quote: bytes
    signature: bytes
    pcrs: Mapping[str, Mapping[str, str]]
    event_log: bytes | None = None
    ima_log: bytes | None = None


class CheckedQuote(msgspec.Struct, frozen=True):
    """A quote that passed.

    Attributes:
        quote: the signed structure.
        values: the quoted registers.
        logs: claims of the logs, by name.
    """

    quote: Quote
    values: PcrValues
    logs: dict[str, Any]


def check_quote(
    public: PublicArea,
    material: QuoteMaterial,
    *,
    wanted: tuple[bytes, ...] | None,
    selection: Mapping[str, tuple[int, ...]] | None,
    settings: TpmSettings,
    checks: Checks,
) -> CheckedQuote:
    """Make every check of a quote by a key that is trusted already.

    Args:
        public: the attestation key.
        material: what was received.
        wanted: one of these is the quote's extraData; None where nothing is expected.
        selection: bank to the registers that must be quoted; None where nothing is expected.
        settings: SHA-1, event log and firmware rules.
        checks: where the checks are recorded.

    Raises:
        InputError: something cannot be parsed or is too large.
        EvidenceError: a check failed.
    """
    quote, signature = verify_quote(public, material.quote, material.signature, checks)
    require_extra_data(quote, wanted, checks)
    values = parse_pcr_values(material.pcrs)
    allow_sha1 = settings.allow_sha1_banks
    require_pcrs(quote, signature, values, selection, allow_sha1=allow_sha1, checks=checks)
    logs = replay_logs(material.event_log, material.ima_log, values, settings, checks)
    return CheckedQuote(quote, values, logs)


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


def require_extra_data(quote: Quote, wanted: tuple[bytes, ...] | None, checks: Checks) -> None:
    """Demand that the quote was made over one of ``wanted``, all of it and nothing else.

    Raises:
        ReportDataMismatch: another length or content.
    """
    source = "TPM 2.0 Library Part 2, section 10.12.12 (extraData)"
    if wanted is None:
        checks.skip(
            "tpm.quote.extra_data", "no expectation was given: the quote may be of any time", source=source
        )
        return
    matches = any(hmac.compare_digest(quote.extra_data, value) for value in wanted)
    checks.require(
        "tpm.quote.extra_data",
        matches,
        ReportDataMismatch,
        expected=wanted[0].hex(),
        observed=quote.extra_data.hex(),
        source=source,
        note="" if matches else "the quote is not bound to the expected nonce, key and audience",
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


def assess_platform(quote: Quote, settings: TpmSettings, checks: Checks) -> bool:
    """Record the firmware floor and the clock; gives whether the firmware is old enough to trust.

    A clock that is not *safe* may have run backwards after a power loss (Part 1 section 36, timing), so
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
