"""Runs ``tpm`` and ``eventlog-tcg`` cases on the TPM verifier's checks.

The cases come from other projects, so that their nonces have any length: the checks below
``TpmVerifier`` are called, in its order. Nothing in a case proves where its attestation key lives: the
case's own key is what an operator would put on the allow-list, and is trusted for that case alone.

Three layouts of ``tpm`` evidence are read: CoCo's JSON, single files (with EK certificate, event log and
IMA list), and the Attestation protobuf of go-tpm-tools. Where a case carries a SubjectPublicKeyInfo
instead of a TPMT_PUBLIC, the public area is completed from the template of a restricted signing key, and
compared with the case's key name where there is one.

A refusal agrees when its code stands for one of the manifest's error classes.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from common import strict_json
from common.checks import Checks
from common.errors import Malformed
from service.conformance.case_files import CaseFiles, lenient_base64
from service.conformance.evidence import judged
from service.conformance.protobuf import bytes_of, fields_of, int_of
from verifier.errors import AttestationKeyUntrusted, EventLogMismatch, PcrMismatch
from verifier.tpm.algorithms import HASHES
from verifier.tpm.attest import parse_quote
from verifier.tpm.checks import CheckedQuote, QuoteMaterial, check_quote
from verifier.tpm.ek import verify_ek_certificate
from verifier.tpm.endorsement import require_attestation_key
from verifier.tpm.eventlog import parse_event_log, replay
from verifier.tpm.names import name_of
from verifier.tpm.public import PublicArea, parse_public
from verifier.tpm.settings import TpmSettings
from verifier.tpm.spki import public_of_spki, spki_of_pem

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from service.conformance.outcome import Outcome

KINDS: Final = ("tpm", "eventlog-tcg")
# Beside what they stand for elsewhere (``service.conformance.evidence``).
_MORE_CLASSES: Final[Mapping[str, frozenset[str]]] = {
    "evidence.unsupported": frozenset({"parse_error"}),
    "endorsement.root": frozenset({"chain_invalid"}),
}
_IMA_PCR: Final = 10
# go-tpm-tools, proto/attest.proto (Attestation) and proto/tpm.proto (Quote, PCRs).
_ATTESTATION_AK, _ATTESTATION_QUOTES = 1, 2
_QUOTE_MESSAGE, _QUOTE_SIGNATURE, _QUOTE_PCRS = 1, 2, 3
_PCRS_HASH, _PCRS_VALUES = 1, 2
_MAP_KEY, _MAP_VALUE = 1, 2


def run_case(case: Mapping[str, Any], folder: Path) -> Outcome:
    """Run one case (or mutation) of the evidence manifest."""

    def body(differing: list[str]) -> str:
        del differing  # a claim that differs is an error of its own here
        files = CaseFiles(case, folder)
        return _run_event_log(files) if case.get("tee") == "eventlog-tcg" else _run_tpm(files)

    return judged(case, body, _MORE_CLASSES)


def _run_event_log(files: CaseFiles) -> str:
    """A log alone: it must replay to the registers that the manifest states."""
    log = parse_event_log(files.read("eventlog"))
    claims = files.case["expect"]["claims"]
    for member in ("pcrs_expected_by_source", "pcrs_replayed"):
        for bank, registers in claims.get(member, {}).items():
            replayed = replay(log, bank)
            differing = [index for index, value in registers.items() if replayed[int(index)].hex() != value]
            if differing:
                raise EventLogMismatch(f"{bank} registers {', '.join(differing)} differ from {member}")
    return f"{log.records} records, manifest {claims.get('events')}"


def _run_tpm(files: CaseFiles) -> str:
    evidence = files.read("evidence")
    if files.has("signature"):
        return _run_files(files, evidence)
    if evidence.lstrip()[:1] == b"{":
        return _run_json(files, evidence)
    return _run_protobuf(files, evidence)


def _run_json(files: CaseFiles, evidence: bytes) -> str:
    """CoCo's TPM evidence: SubjectPublicKeyInfo, and register values by position."""
    document = strict_json.loads(evidence, what="TPM evidence")
    try:
        quote, spki = document["tpm_quote"], lenient_base64(document["ak_public"])
        material = QuoteMaterial(
            quote=lenient_base64(quote["message"]),
            signature=lenient_base64(quote["signature"]),
            pcrs={"sha256": {str(index): value for index, value in enumerate(quote["pcrs"])}},
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise Malformed("not CoCo TPM evidence") from error
    _check(files, public_of_spki(spki), material, _selection(files, material.quote), frozenset())
    return "CoCo JSON"


def _run_files(files: CaseFiles, evidence: bytes) -> str:
    """Single files: the quote, and a second one by an RSA key where the case has it."""
    pcrs = strict_json.loads(files.read("pcrs"), what="pcrs")
    selection = _selection(files, evidence)
    _check_ek(files)
    material = QuoteMaterial(
        quote=evidence,
        signature=files.read("signature"),
        pcrs={bank: {str(i): pcrs[bank][str(i)] for i in indexes} for bank, indexes in selection.items()},
        event_log=files.read("eventlog") if files.has("eventlog") else None,
        ima_log=files.read("ima_binary") if files.has("ima_binary") else None,
    )
    public = public_of_spki(spki_of_pem(files.read("ak_public")))
    _check(files, public, material, selection, frozenset())
    _check_every_bank(files)
    if files.has("ak_name") and name_of(public) != files.read("ak_name"):
        raise AttestationKeyUntrusted("the key's name is not the one of the case")
    if not files.has("rsa_quote"):
        return "files"
    _run_rsa_quote(files, pcrs)
    return "files, both quotes"


def _check_every_bank(files: CaseFiles) -> None:
    """The log against the registers that the case states for banks which its quote does not cover."""
    if not files.has("eventlog"):
        return
    log = parse_event_log(files.read("eventlog"))
    for bank, registers in files.case["expect"]["claims"].get("pcrs", {}).items():
        replayed = replay(log, bank)
        stated = {int(index): value for index, value in registers.items() if int(index) != _IMA_PCR}
        differing = [index for index, value in stated.items() if replayed[index].hex() != value]
        if differing:
            raise EventLogMismatch(f"the log does not replay to {bank} registers {differing}")


def _run_rsa_quote(files: CaseFiles, pcrs: dict[str, dict[str, str]]) -> None:
    quote = files.read("rsa_quote")
    selection = {item.bank: item.indexes for item in parse_quote(quote).selections}
    material = QuoteMaterial(
        quote=quote,
        signature=files.read("rsa_signature"),
        pcrs={bank: {str(i): pcrs[bank][str(i)] for i in indexes} for bank, indexes in selection.items()},
    )
    public = public_of_spki(spki_of_pem(files.read("rsa_ak_public")))
    require_attestation_key(public, Checks())
    check_quote(
        public,
        material,
        wanted=(bytes.fromhex(str(files.case["nonce"])),),
        selection=selection,
        settings=TpmSettings(allow_sha1_banks=True),
        checks=Checks(),
    )


def _run_protobuf(files: CaseFiles, evidence: bytes) -> str:
    """An Attestation message of go-tpm-tools: one quote per bank."""
    message = fields_of(evidence)
    publics, quotes = bytes_of(message, _ATTESTATION_AK), bytes_of(message, _ATTESTATION_QUOTES)
    if len(publics) != 1 or not quotes:
        raise Malformed("not an Attestation message: no attestation key or no quote")
    if files.has("ak_public") and publics[0] != files.read("ak_public"):
        raise AttestationKeyUntrusted("the message's attestation key is not the trusted one")
    public = parse_public(publics[0])
    for quote in map(fields_of, quotes):
        pcrs = fields_of(b"".join(bytes_of(quote, _QUOTE_PCRS)))
        bank = HASHES.get(int_of(pcrs, _PCRS_HASH), ("?", 0))[0]
        values = _map_of(bytes_of(pcrs, _PCRS_VALUES))
        material = QuoteMaterial(
            quote=b"".join(bytes_of(quote, _QUOTE_MESSAGE)),
            signature=b"".join(bytes_of(quote, _QUOTE_SIGNATURE)),
            pcrs={bank: {str(index): value.hex() for index, value in values.items()}},
            event_log=files.read("eventlog") if files.has("eventlog") else None,
        )
        # Register 10 is the kernel's (IMA), and the message has no list for it.
        stated = files.case["expect"]["claims"].get("pcrs", {}).get(bank, values)
        selection = {bank: tuple(sorted(int(index) for index in stated))}
        _check(files, public, material, selection, frozenset({_IMA_PCR}))
    return f"protobuf, {len(quotes)} quotes"


def _map_of(entries: list[bytes]) -> dict[int, bytes]:
    parsed = [fields_of(entry) for entry in entries]
    return {int_of(entry, _MAP_KEY): b"".join(bytes_of(entry, _MAP_VALUE)) for entry in parsed}


def _check(
    files: CaseFiles,
    public: PublicArea,
    material: QuoteMaterial,
    selection: Mapping[str, tuple[int, ...]],
    unlogged: frozenset[int],
) -> None:
    checks = Checks()
    require_attestation_key(public, checks)
    checked = check_quote(
        public,
        material,
        wanted=(bytes.fromhex(str(files.case["nonce"])),),
        selection=selection,
        settings=TpmSettings(allow_sha1_banks=True, unlogged_pcrs=unlogged),
        checks=checks,
    )
    _compare_claims(files.case["expect"]["claims"], checked)


def _compare_claims(claims: Mapping[str, Any], checked: CheckedQuote) -> None:
    quote = checked.quote
    stated = claims.get("quote", {})
    observed: dict[str, Any] = {
        "qualified_signer": quote.qualified_signer.hex(),
        "extra_data": quote.extra_data.hex(),
        "clock": quote.clock,
        "reset_count": quote.reset_count,
        "restart_count": quote.restart_count,
        "safe": int(quote.safe),
        "firmware": f"{quote.firmware_version:016x}",
        "selection": [[item.bank, list(item.indexes)] for item in quote.selections],
        "pcr_digest": quote.pcr_digest.hex(),
    }
    differing = [name for name, value in stated.items() if observed.get(name) != value]
    registers = claims.get("pcrs", {})
    for bank, values in checked.values.items():
        of_bank = registers.get(bank, registers)
        differing += [
            f"{bank} PCR {index}"
            for index, value in values.items()
            if of_bank.get(str(index), value.hex()) != value.hex()
        ]
    if differing:
        raise PcrMismatch(f"claims differ from the manifest: {', '.join(differing)}")


def _selection(files: CaseFiles, quote: bytes) -> dict[str, tuple[int, ...]]:
    """The registers that had to be quoted: as the manifest states them, else as the quote does."""
    stated = files.case["expect"]["claims"].get("quote", {}).get("selection")
    if stated is None:
        stated = [(item.bank, item.indexes) for item in parse_quote(quote).selections]
    return {bank: tuple(indexes) for bank, indexes in stated}


def _check_ek(files: CaseFiles) -> None:
    """The EK certificate, where the case has one, against the case's own CA."""
    if not files.has("ek_cert"):
        return
    try:
        bundle = x509.load_pem_x509_certificates(files.read("ek_ca"))
    except ValueError as error:
        raise Malformed("the EK's CA file is not PEM") from error
    roots = [item for item in bundle if item.issuer == item.subject]
    chain = [item for item in bundle if item not in roots]
    encoding = serialization.Encoding.DER
    now = _verification_time(files.case)
    verify_ek_certificate(
        files.read("ek_cert"), [item.public_bytes(encoding) for item in chain], roots, now, Checks()
    )


def _verification_time(case: Mapping[str, Any]) -> datetime:
    text = str(case.get("verification_time", "any"))
    if text == "any":
        return datetime.now(UTC)
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise Malformed("verification_time is not RFC 3339") from error
