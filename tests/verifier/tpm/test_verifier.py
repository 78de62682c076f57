"""The TPM verifier against evidence that an attacker makes, and then against good evidence."""

from __future__ import annotations

import hashlib
import time

import msgspec
import pytest

from common.binding import binding_digest
from common.checks import Verdict
from common.encoding import b64_encode, b64url_decode, b64url_encode
from common.errors import InvalidSetting, Malformed, TooLarge
from testkit.swtpm import event_record, spec_id_record
from verifier.errors import (
    AttestationKeyUntrusted,
    EventLogMismatch,
    PcrMismatch,
    ReportDataMismatch,
    SignatureInvalid,
    UnsupportedEvidence,
)
from verifier.model import InitDataClaim, ReportDataBinding, Unbound
from verifier.tpm import TpmSettings, TpmVerifier
from wire.evidence import SnpEvidence

from . import forge

EV_SEPARATOR, EV_IPL = 4, 0xD


@pytest.fixture(scope="module")
def key() -> forge.EccKey:
    return forge.EccKey()


def verify(evidence, settings, expected=None, init_data=None):
    return TpmVerifier(settings).verify(evidence, expected or forge.session(), init_data, forge.NOW)


def log_of(*events: tuple[int, int, bytes]) -> tuple[str, dict[int, bytes]]:
    """A log and the SHA-256 registers it leads to."""
    data, values = spec_id_record(["sha256"]), forge.registers()
    for pcr, kind, content in events:
        digest = hashlib.sha256(content).digest()
        data += event_record(pcr, kind, {"sha256": digest}, content)
        if kind != 3 and pcr in values:
            values[pcr] = hashlib.sha256(values[pcr] + digest).digest()
    return b64url_encode(data), values


class TestAttestationKey:
    def test_a_self_made_key_is_refused_under_default_settings(self, key):
        with pytest.raises(AttestationKeyUntrusted) as caught:
            verify(forge.evidence(key), TpmSettings())
        assert caught.value.checks[-1].name == "tpm.ak.trust"

    @pytest.mark.parametrize("expected", [Unbound(), ReportDataBinding(forge.bound())])
    def test_a_self_made_key_is_refused_however_the_evidence_is_expected(self, key, expected):
        with pytest.raises(AttestationKeyUntrusted):
            verify(forge.evidence(key), TpmSettings(), expected)

    @pytest.mark.parametrize(
        ("attributes", "what"),
        [
            (forge.AK_ATTRIBUTES & ~(1 << 16), "not restricted"),
            (forge.AK_ATTRIBUTES | 1 << 17, "decrypts"),
            (forge.AK_ATTRIBUTES & ~(1 << 1), "not fixedTPM"),
            (forge.AK_ATTRIBUTES & ~(1 << 4), "not fixedParent"),
            (forge.AK_ATTRIBUTES & ~(1 << 5), "imported"),
            (forge.AK_ATTRIBUTES & ~(1 << 18), "does not sign"),
        ],
    )
    def test_a_key_without_the_attributes_of_one_is_refused_even_if_listed(self, attributes, what):
        wrong = forge.EccKey(attributes)
        spki = hashlib.sha256(msgspec.structs.asdict(_public(wrong))["spki"]).digest()
        settings = TpmSettings(ak_names=frozenset({wrong.name}), ak_spki_sha256=frozenset({spki}))
        with pytest.raises(AttestationKeyUntrusted):
            verify(forge.evidence(wrong), settings)

    def test_another_public_area_of_a_listed_key_is_not_its_name(self, key):
        area = bytearray(key.public)
        area[7] ^= 0x40  # userWithAuth: harmless, but another name
        forged = msgspec.structs.replace(forge.evidence(key), ak_public=b64url_encode(bytes(area)))
        with pytest.raises(AttestationKeyUntrusted):
            verify(forged, forge.trusting(key))

    def test_a_key_listed_by_its_spki_is_trusted(self, key):
        digest = hashlib.sha256(_public(key).spki).digest()
        result = verify(forge.evidence(key), TpmSettings(ak_spki_sha256=frozenset({digest})))
        assert result.claims["tpm"]["ak_trust"] == "key"


def _public(key):
    from verifier.tpm.public import parse_public

    return parse_public(key.public)


class TestSignature:
    def test_any_flipped_byte_of_the_quote_fails(self, key):
        good = forge.evidence(key)
        quote = b64url_decode(good.quote)
        for offset in range(len(quote)):
            changed = bytearray(quote)
            changed[offset] ^= 1
            with pytest.raises(SignatureInvalid):
                verify(
                    msgspec.structs.replace(good, quote=b64url_encode(bytes(changed))), forge.trusting(key)
                )

    def test_a_signature_of_another_key_fails(self, key):
        other = forge.EccKey()
        quote = b64url_decode(forge.evidence(key).quote)
        with pytest.raises(SignatureInvalid):
            verify(forge.evidence(key, signature=other.sign(quote)), forge.trusting(key))

    def test_a_signature_that_names_another_scheme_than_the_key_fails(self):
        rsassa, rsapss = forge.RsaKey(0x0014), forge.RsaKey(0x0016)
        rsapss.private, rsapss.public = rsassa.private, rsassa.public
        quote = b64url_decode(forge.evidence(rsassa).quote)
        with pytest.raises(SignatureInvalid):
            verify(forge.evidence(rsassa, signature=rsapss.sign(quote)), forge.trusting(rsassa))

    @pytest.mark.parametrize("scheme", [0x0014, 0x0016])
    def test_rsa_keys_of_both_schemes_are_verified(self, scheme):
        rsa_key = forge.RsaKey(scheme)
        assert verify(forge.evidence(rsa_key), forge.trusting(rsa_key)).bound == "session"

    def test_a_sha1_signature_is_unsupported(self, key):
        signature = bytearray(key.sign(b""))
        signature[2:4] = b"\x00\x04"
        with pytest.raises(UnsupportedEvidence):
            verify(forge.evidence(key, signature=bytes(signature)), forge.trusting(key))

    @pytest.mark.parametrize("change", [{"magic": 0x12345678}, {"kind": 0x8017}])
    def test_a_structure_that_is_no_quote_is_unsupported(self, key, change):
        values = forge.registers()
        quote = forge.attest(
            extra_data=forge.bound(),
            entries=[forge.selection_entry("sha256", values)],
            digest=forge.pcr_digest(values),
            **change,
        )
        with pytest.raises(UnsupportedEvidence):
            verify(forge.evidence(key, quote=quote), forge.trusting(key))


class TestBinding:
    @pytest.mark.parametrize(
        "extra_data",
        [
            b"",
            bytes(32),
            forge.bound()[:31],
            forge.bound() + b"\x00",
            forge.bound()[:16] + bytes(16),
            binding_digest(nonce=bytes(32), tee_pubkey=forge.JWK, audience=forge.AUDIENCE, size=32),
            binding_digest(
                nonce=forge.NONCE, tee_pubkey=forge.JWK | {"x": "CC"}, audience=forge.AUDIENCE, size=32
            ),
            binding_digest(nonce=forge.NONCE, tee_pubkey=forge.JWK, audience="https://other", size=32),
        ],
        ids=["empty", "zeros", "short", "long", "tail", "other nonce", "other key", "other audience"],
    )
    def test_a_quote_over_anything_else_is_refused(self, key, extra_data):
        with pytest.raises(ReportDataMismatch):
            verify(forge.evidence(key, extra_data=extra_data), forge.trusting(key))

    def test_expected_report_data_of_another_size_is_malformed(self, key):
        with pytest.raises(Malformed):
            verify(forge.evidence(key), forge.trusting(key), ReportDataBinding(bytes(64)))

    def test_unbound_evidence_never_affirms_the_instance(self, key):
        result = verify(forge.evidence(key), forge.trusting(key), Unbound())
        assert (result.bound, result.floors) == ("unbound", {"instance-identity": 97})
        skipped = [check.name for check in result.checks if check.verdict is Verdict.NOT_EVALUATED]
        assert {"tpm.quote.extra_data", "tpm.pcr.selection"} <= set(skipped)

    def test_report_data_of_a_relying_party_is_compared(self, key):
        result = verify(forge.evidence(key), forge.trusting(key), ReportDataBinding(forge.bound()))
        assert (result.bound, result.tee_pubkey) == ("report-data", None)


class TestRegisters:
    def test_relabelled_registers_are_refused(self, key):
        """Registers that the guest owns (8 to 15), quoted and labelled as 0 to 7."""
        golden = {index: hashlib.sha256(bytes([index])).digest() for index in range(8)}
        owned = {index + 8: value for index, value in golden.items()}
        quote = forge.attest(
            extra_data=forge.bound(),
            entries=[forge.selection_entry("sha256", owned)],
            digest=forge.pcr_digest(owned),
        )
        forged = forge.evidence(key, quote=quote, pcrs={"sha256": forge.texts(golden)})
        with pytest.raises(PcrMismatch):
            verify(forged, forge.trusting(key), forge.session({"sha256": tuple(range(8))}))

    def test_relabelled_registers_are_refused_without_an_expected_selection_too(self, key):
        owned = {index: bytes(32) for index in range(8, 16)}
        forged = forge.evidence(key, values=owned, pcrs={"sha256": forge.texts(forge.registers(count=8))})
        with pytest.raises(PcrMismatch):
            verify(forged, forge.trusting(key), Unbound())

    def test_fewer_registers_than_asked_for_are_refused(self, key):
        with pytest.raises(PcrMismatch):
            verify(forge.evidence(key, values=forge.registers(count=3)), forge.trusting(key))

    @pytest.mark.parametrize(
        "entries",
        [
            [forge.selection_entry("sha1", range(16))],
            [forge.selection_entry("sha256", range(16)), forge.selection_entry("sha384", range(16))],
            [forge.selection_entry("sha256", range(16)), forge.selection_entry("sha256", range(16))],
            [forge.selection_entry("sha256", range(16)), forge.selection_entry("sha1", [])],
            [],
        ],
        ids=["SHA-1 alone", "mixed", "twice", "an empty bank", "none"],
    )
    def test_any_other_selection_is_refused(self, key, entries):
        quote = forge.attest(extra_data=forge.bound(), entries=entries, digest=bytes(32))
        with pytest.raises(PcrMismatch):
            verify(forge.evidence(key, quote=quote), forge.trusting(key))

    def test_a_bitmap_of_more_than_three_bytes_is_malformed(self, key):
        entry = forge.selection_entry("sha256", [0, 30], size=4)
        quote = forge.attest(extra_data=forge.bound(), entries=[entry], digest=bytes(32))
        with pytest.raises(Malformed):
            verify(forge.evidence(key, quote=quote), forge.trusting(key))

    def test_the_sha1_bank_counts_only_where_it_is_opted_in(self, key):
        values = forge.registers("sha1")
        quote = forge.attest(
            extra_data=forge.bound(),
            entries=[forge.selection_entry("sha1", values)],
            digest=forge.pcr_digest(values),
        )
        evidence = forge.evidence(key, quote=quote, pcrs={"sha1": forge.texts(values)})
        expected = forge.session({"sha1": tuple(range(16))})
        with pytest.raises(PcrMismatch):
            verify(evidence, forge.trusting(key), expected)
        result = verify(evidence, forge.trusting(key, allow_sha1_banks=True), expected)
        assert "pcr00" not in result.claims["tpm"]
        with pytest.raises(InvalidSetting):
            TpmSettings(pcr_selection={"sha1": (0,)})

    @pytest.mark.parametrize("register", range(16))
    def test_a_changed_value_is_refused(self, key, register):
        values = forge.texts(forge.registers())
        values[str(register)] = "01" + "00" * 31
        with pytest.raises(PcrMismatch):
            verify(forge.evidence(key, pcrs={"sha256": values}), forge.trusting(key))

    def test_the_digest_alone_decides_no_value(self, key):
        """A signed digest over other values than the evidence shows."""
        quote = forge.attest(
            extra_data=forge.bound(),
            entries=[forge.selection_entry("sha256", range(16))],
            digest=hashlib.sha256(b"other").digest(),
        )
        with pytest.raises(PcrMismatch):
            verify(forge.evidence(key, quote=quote), forge.trusting(key))

    @pytest.mark.parametrize(
        "pcrs",
        [
            {},
            {"sha256": {}},
            {"sha256": {"00": "00" * 32}},
            {"sha256": {"24": "00" * 32}},
            {"sha256": {"-1": "00" * 32}},
            {"sha256": {"٣": "00" * 32}},
            {"sha256": {"0": "00" * 31}},
            {"sha256": {"0": "GG" * 32}},
            {"md5": {"0": "00" * 16}},
        ],
    )
    def test_values_in_any_other_form_are_refused(self, key, pcrs):
        with pytest.raises((Malformed, PcrMismatch)):
            verify(forge.evidence(key, pcrs=pcrs), forge.trusting(key))

    def test_two_banks_are_verified_in_the_quotes_order(self, key):
        small, large = forge.registers("sha256"), forge.registers("sha384")
        quote = forge.attest(
            extra_data=forge.bound(),
            entries=[forge.selection_entry("sha384", large), forge.selection_entry("sha256", small)],
            digest=forge.pcr_digest(large, small),
        )
        pcrs = {"sha256": forge.texts(small), "sha384": forge.texts(large)}
        selection = {"sha256": tuple(range(16)), "sha384": tuple(range(16))}
        result = verify(
            forge.evidence(key, quote=quote, pcrs=pcrs), forge.trusting(key), forge.session(selection)
        )
        assert set(result.claims["tpm"]["pcrs"]) == {"sha256", "sha384"}


class TestEventLog:
    EVENTS = ((0, 8, b"version"), (4, EV_IPL, b"kernel"), (5, EV_SEPARATOR, bytes(4)))

    def check(self, key, log, values, **settings):
        return verify(forge.evidence(key, values=values, event_log=log), forge.trusting(key, **settings))

    def test_a_log_that_replays_gives_claims(self, key):
        log, values = log_of(*self.EVENTS)
        claims = self.check(key, log, values).claims["tpm"]["event_log"]
        assert (claims["count"], claims["unverified"]) == (3, 0)
        assert [event.get("text") for event in claims["events"]] == ["version", "kernel"]

    @pytest.mark.parametrize("order", [(1, 0, 2), (0, 1), (0, 1, 2, 2)], ids=["same", "cut", "twice"])
    def test_reordering_across_registers_is_harmless_and_anything_else_refused(self, key, order):
        _, values = log_of(*self.EVENTS)
        log, others = log_of(*(self.EVENTS[index] for index in order))
        if others == values:
            assert self.check(key, log, values).claims["tpm"]["event_log"]["count"] == 3
            return
        with pytest.raises(EventLogMismatch):
            self.check(key, log, values)

    def test_reordered_events_of_one_register_are_refused(self, key):
        first, second = (0, EV_IPL, b"a"), (0, EV_IPL, b"b")
        _, values = log_of(first, second)
        log, _ = log_of(second, first)
        with pytest.raises(EventLogMismatch):
            self.check(key, log, values)

    def test_a_log_without_the_events_of_one_register_is_refused(self, key):
        _, values = log_of(*self.EVENTS)
        log, _ = log_of(*self.EVENTS[:2])
        with pytest.raises(EventLogMismatch) as caught:
            self.check(key, log, values)
        assert list(caught.value.checks[-1].expected) == ["5"]

    def test_an_extra_event_in_an_unquoted_register_is_refused_unless_allowed(self, key):
        log, values = log_of(*self.EVENTS, (16, EV_IPL, b"unquoted"))
        with pytest.raises(EventLogMismatch):
            self.check(key, log, values)
        claims = self.check(key, log, values, allow_unquoted_events=True).claims["tpm"]["event_log"]
        assert all(event["pcr"] != 16 for event in claims["events"])

    def test_an_unlogged_register_is_left_out_of_the_comparison(self, key):
        log, values = log_of(*self.EVENTS)
        values[10] = hashlib.sha256(b"runtime").digest()
        with pytest.raises(EventLogMismatch):
            self.check(key, log, values)
        assert self.check(key, log, values, unlogged_pcrs=frozenset({10})).bound == "session"

    def test_a_quoted_bank_that_the_log_does_not_have_is_refused(self, key):
        values = forge.registers("sha384")
        quote = forge.attest(
            extra_data=forge.bound(),
            entries=[forge.selection_entry("sha384", values)],
            digest=forge.pcr_digest(values),
        )
        log, _ = log_of()
        evidence = forge.evidence(key, quote=quote, pcrs={"sha384": forge.texts(values)}, event_log=log)
        with pytest.raises(EventLogMismatch):
            verify(evidence, forge.trusting(key), forge.session({"sha384": tuple(range(16))}))

    def test_an_absent_log_is_refused_where_one_is_demanded(self, key):
        with pytest.raises(EventLogMismatch):
            verify(forge.evidence(key), forge.trusting(key, require_event_log=True))

    def test_an_empty_log_is_no_log_that_passes(self, key):
        with pytest.raises(Malformed):
            self.check(key, "", forge.registers())

    def test_a_name_that_no_digest_covers_is_not_a_claim(self, key):
        """`File(kernel)` as event data, with the digest of something else."""
        digest = hashlib.sha256(b"malicious image").digest()
        data = spec_id_record(["sha256"]) + event_record(4, 0x80000003, {"sha256": digest}, b"File(kernel)")
        values = forge.registers()
        values[4] = hashlib.sha256(values[4] + digest).digest()
        claims = self.check(key, b64url_encode(data), values).claims["tpm"]["event_log"]
        assert claims["unverified"] == 1
        assert claims["events"] == [
            {"pcr": 4, "type": "EV_EFI_BOOT_SERVICES_APPLICATION", "digest": digest.hex()}
        ]

    def test_a_log_over_the_limit_is_refused_before_it_is_decoded(self, key):
        started = time.monotonic()
        with pytest.raises(TooLarge):
            self.check(key, "A" * (6 << 20), forge.registers())
        assert time.monotonic() - started < 0.5


class TestPlatform:
    def test_firmware_below_the_floor_is_contraindicated_hardware(self, key):
        settings = forge.trusting(key, minimum_firmware_version=0x3000000000000000)
        result = verify(forge.evidence(key), settings)
        assert result.floors == {"hardware": 96}
        assert [check.code for check in result.checks if check.verdict is Verdict.FAIL] == [
            "evidence.tcb_floor"
        ]

    def test_an_unsafe_clock_is_a_claim_and_a_warning(self, key):
        values = forge.registers()
        quote = forge.attest(
            extra_data=forge.bound(),
            entries=[forge.selection_entry("sha256", values)],
            digest=forge.pcr_digest(values),
            safe=0,
        )
        result = verify(forge.evidence(key, quote=quote), forge.trusting(key))
        assert result.claims["tpm"]["safe"] is False
        assert "tpm.quote.clock" in [c.name for c in result.checks if c.verdict is Verdict.WARNING]


class TestInitData:
    CLAIM = InitDataClaim(digest=hashlib.sha256(b"init").digest(), data=b"init")

    def _evidence(self, key, values):
        wanted = binding_digest(
            nonce=forge.NONCE,
            tee_pubkey=forge.JWK,
            audience=forge.AUDIENCE,
            init_data_digest=self.CLAIM.digest,
            size=32,
        )
        return forge.evidence(key, values=values, extra_data=wanted)

    def test_init_data_that_no_register_holds_stays_out_of_the_claims(self, key):
        result = verify(self._evidence(key, forge.registers()), forge.trusting(key), None, self.CLAIM)
        assert result.init_data == "unsupported"
        assert result.floors == {"configuration": 36}
        assert "init_data" not in result.claims

    def test_init_data_in_register_8_is_bound(self, key):
        values = forge.registers()
        values[8] = hashlib.sha256(bytes(32) + self.CLAIM.digest).digest()
        result = verify(self._evidence(key, values), forge.trusting(key), None, self.CLAIM)
        assert (result.init_data, result.floors) == ("bound", {})
        assert result.claims["init_data"] == self.CLAIM.digest.hex()

    def test_init_data_that_the_quote_was_not_made_over_is_refused(self, key):
        with pytest.raises(ReportDataMismatch):
            verify(forge.evidence(key), forge.trusting(key), None, self.CLAIM)


def test_evidence_of_another_tee_is_malformed(key):
    with pytest.raises(Malformed):
        verify(SnpEvidence(report=""), forge.trusting(key))


def test_good_evidence_gives_every_claim(key):
    result = verify(forge.evidence(key), forge.trusting(key))
    tpm = result.claims["tpm"]
    assert result.identity == f"tpm-ak:{key.name.hex()}"
    assert (result.tee, result.bound, result.init_data) == ("tpm", "session", "absent")
    assert (result.not_after, result.endorsements, result.floors) == (None, (), {})
    assert result.tee_pubkey == forge.JWK
    assert result.claims["report_data"] == forge.bound().hex()
    assert [tpm[f"pcr{index:02d}"] for index in range(16)] == ["00" * 32] * 16
    assert tpm["ak_public"] == b64_encode(_public(key).spki)
    assert (tpm["clock"], tpm["reset_count"], tpm["restart_count"]) == (12345, 2, 1)
    assert tpm["firmware_version"] == "2019102300163636"
    assert result.evidence_digest == hashlib.sha256(b64url_decode(forge.evidence(key).quote)).hexdigest()
    assert all(check.source for check in result.checks)


def test_claims_are_json(key):
    log, values = log_of((7, EV_SEPARATOR, bytes(4)))
    result = verify(forge.evidence(key, values=values, event_log=log), forge.trusting(key))
    assert msgspec.json.decode(msgspec.json.encode(result.claims)) == result.claims
