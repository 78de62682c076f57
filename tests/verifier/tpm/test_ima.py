"""IMA measurement lists, against the register that they lead to."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.encoding import b64url_encode
from common.errors import Malformed, TooLarge, TouchstoneError
from verifier.errors import EventLogMismatch, UnsupportedEvidence
from verifier.tpm import TpmVerifier
from verifier.tpm.ima import MAX_RECORDS, parse_ima_log, records_until

from . import forge


def sha1(data: bytes) -> bytes:
    return hashlib.sha1(data, usedforsecurity=False).digest()


def record(
    data: bytes, *, register: int = 10, template: bytes = b"ima-ng", digest: bytes | None = None
) -> bytes:
    digest = sha1(data) if digest is None else digest
    head = register.to_bytes(4, "little") + digest + len(template).to_bytes(4, "little") + template
    return head + len(data).to_bytes(4, "little") + data


def register_of(*items: bytes, bank: str = "sha256", padded: bool = False) -> bytes:
    value = bytes(hashlib.new(bank).digest_size)
    for item in items:
        if item == b"violation":
            extended = b"\xff" * len(value)
        elif padded:
            extended = sha1(item).ljust(len(value), b"\x00")
        else:
            extended = hashlib.new(bank, item).digest()
        value = hashlib.new(bank, value + extended).digest()
    return value


def count(log: bytes, quoted: bytes, *, bank: str = "sha256", allow_sha1: bool = False) -> int | None:
    return records_until(parse_ima_log(log), bank, bytes(len(quoted)), quoted, allow_sha1=allow_sha1)


LOG = record(b"boot_aggregate") + record(b"/init") + record(b"/bin/sh")
ITEMS = (b"boot_aggregate", b"/init", b"/bin/sh")


@pytest.mark.parametrize("place", ["digest", "data"])
@pytest.mark.parametrize("number", range(3))
def test_a_changed_record_leads_nowhere(number, place):
    records = [record(item) for item in ITEMS]
    changed = bytearray(records[number])
    changed[4 if place == "digest" else -1] ^= 1
    records[number] = bytes(changed)
    assert count(b"".join(records), register_of(*ITEMS)) is None


def test_records_after_the_quoted_value_are_not_counted():
    assert count(LOG, register_of(*ITEMS[:2])) == 2
    assert count(LOG, register_of(*ITEMS)) == 3


def test_a_missing_record_leads_nowhere():
    assert count(record(ITEMS[0]) + record(ITEMS[2]), register_of(*ITEMS)) is None


def test_a_violation_extends_all_ones():
    log = record(b"a") + record(b"/open/for/writing", digest=bytes(20))
    assert count(log, register_of(b"a", b"violation")) == 2


def test_padded_sha1_counts_only_where_sha1_does():
    quoted = register_of(*ITEMS, bank="sha384", padded=True)
    assert count(LOG, quoted, bank="sha384") is None
    assert count(LOG, quoted, bank="sha384", allow_sha1=True) == 3


@pytest.mark.parametrize(
    "data",
    [b"", LOG[:-1], record(b"x", register=11), record(b"x", template=b""), record(b"x", template=b"\xff")],
)
def test_a_list_in_another_form_is_malformed(data):
    with pytest.raises(Malformed):
        parse_ima_log(data)


def test_the_legacy_template_is_unsupported():
    with pytest.raises(UnsupportedEvidence):
        parse_ima_log(record(b"x", template=b"ima"))


def test_lists_over_the_limits_are_refused():
    with pytest.raises(TooLarge):
        parse_ima_log(bytes((4 << 20) + 1))
    with pytest.raises(TooLarge):
        parse_ima_log(record(b"") * (MAX_RECORDS + 1))


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=120), st.integers(0, len(LOG) - 1))
def test_foreign_bytes_raise_only_typed_errors(data, cut):
    for candidate in (data, LOG[:cut] + data):
        try:
            count(candidate, bytes(32))
        except TouchstoneError:
            pass


class TestInEvidence:
    def verify(self, value: bytes, log: bytes, values=None):
        key = forge.EccKey()
        values = forge.registers() if values is None else values
        if 10 in values:
            values[10] = value
        evidence = forge.evidence(key, values=values, ima_log=b64url_encode(log))
        expected = forge.session({"sha256": tuple(sorted(values))})
        return TpmVerifier(forge.trusting(key)).verify(evidence, expected, None, forge.NOW)

    def test_a_list_that_replays_is_counted(self):
        result = self.verify(register_of(*ITEMS), LOG)
        assert result.claims["tpm"]["ima"] == {"count": 3, "violations": 0}

    def test_a_list_that_does_not_replay_is_refused(self):
        with pytest.raises(EventLogMismatch):
            self.verify(register_of(*ITEMS, b"unlisted"), LOG)

    def test_a_list_of_an_unquoted_register_is_refused(self):
        with pytest.raises(EventLogMismatch):
            self.verify(b"", LOG, forge.registers(count=8))
