"""Fuzz targets of TPM 2.0: quote, signature, key, event log and IMA list."""

from __future__ import annotations

import contextlib

from common.errors import TouchstoneError
from testkit.swtpm import spec_id_record
from verifier.tpm.attest import parse_quote, parse_signature
from verifier.tpm.chain import load_certificate
from verifier.tpm.eventlog import parse_event_log, replay
from verifier.tpm.ima import parse_ima_log
from verifier.tpm.names_der import hardware_module_name, permanent_identifier
from verifier.tpm.public import parse_public
from verifier.tpm.revocation import load_list
from verifier.tpm.spki import public_of_spki

_HEADER = spec_id_record(["sha256", "sha384"])


def quote(data: bytes) -> None:
    with contextlib.suppress(TouchstoneError):
        parse_quote(data)


def signature(data: bytes) -> None:
    with contextlib.suppress(TouchstoneError):
        parse_signature(data)


def public(data: bytes) -> None:
    with contextlib.suppress(TouchstoneError):
        parse_public(data)
    with contextlib.suppress(TouchstoneError):
        public_of_spki(data)


def event_log(data: bytes) -> None:
    for prefix in (b"", _HEADER):
        with contextlib.suppress(TouchstoneError):
            log = parse_event_log(prefix + data)
            for bank in ("sha1", "sha256", "sha384"):
                replay(log, bank)


def ima(data: bytes) -> None:
    with contextlib.suppress(TouchstoneError):
        parse_ima_log(data)


def hardware_names(data: bytes) -> None:
    for parse in (hardware_module_name, permanent_identifier):
        with contextlib.suppress(TouchstoneError):
            parse(data)


def certificates(data: bytes) -> None:
    for parse in (load_certificate, load_list):
        with contextlib.suppress(TouchstoneError):
            parse(data)


TARGETS = {
    "tpm-hardware-names": hardware_names,
    "tpm-certificates": certificates,
    "tpm-quote": quote,
    "tpm-signature": signature,
    "tpm-public": public,
    "tpm-event-log": event_log,
    "tpm-ima": ima,
}
