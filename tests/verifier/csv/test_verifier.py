"""Reports of both versions, the chain, the settings, and what evidence is bound to."""

from __future__ import annotations

import hashlib

import msgspec
import pytest

from common.checks import Verdict
from common.encoding import b64url_decode, b64url_encode
from common.errors import InvalidSetting, Malformed, TooLarge, TouchstoneError
from testkit.ccel import CcLog, boot
from testkit.csv_platform import POLICY, SERIAL_NUMBER, CsvPlatform, ReportFields, csv_certificate, mask
from tests.verifier.csv.conftest import NOW
from verifier.csv.certificates import CA_BYTES, CSV_BYTES
from verifier.csv.endorsements import FixedEndorsements
from verifier.csv.evidence import CsvEvidence
from verifier.csv.layout import USAGE_CEK, USAGE_HSK, USAGE_OCA, USAGE_PEK
from verifier.csv.settings import CsvSettings
from verifier.csv.tee import TEE, contents, recognise
from verifier.csv.verifier import CsvVerifier
from verifier.errors import (
    CertificateInvalid,
    EndorsementMissing,
    EventLogMismatch,
    ReportDataMismatch,
    RootUntrusted,
    SignatureInvalid,
    UnsupportedEvidence,
)
from verifier.model import (
    InitDataClaim,
    ReportDataBinding,
    RuntimeDataBinding,
    SessionBinding,
    Unbound,
    VerifiedEvidence,
)
from wire.evidence import SampleEvidence

DATA = bytes(range(64))
BOUND = ReportDataBinding(DATA)
FIELDS = ReportFields(report_data=DATA)


def _verified(
    verifier: CsvVerifier, evidence: CsvEvidence, init_data: InitDataClaim | None = None
) -> VerifiedEvidence:
    return verifier.verify(evidence, BOUND, init_data, NOW)


def _failed(verified: VerifiedEvidence) -> dict[str, str | None]:
    return {check.name: check.code for check in verified.checks if check.verdict is Verdict.FAIL}


def _with(evidence: CsvEvidence, **changes: bytes) -> CsvEvidence:
    return msgspec.structs.replace(
        evidence, **{name: b64url_encode(data) for name, data in changes.items()}
    )


def _settled(platform: CsvPlatform, **settings: object) -> CsvVerifier:
    return CsvVerifier(
        msgspec.convert(settings, CsvSettings), FixedEndorsements(), extra_anchors=[platform.hrk]
    )


@pytest.mark.parametrize("version", [1, 2])
def test_a_good_report_gives_claims_identity_and_no_floor(
    verifier: CsvVerifier, platform: CsvPlatform, version: int
) -> None:
    verified = _verified(verifier, platform.evidence(version, FIELDS))
    cek = hashlib.sha256(platform.cek_key.point).hexdigest()
    assert (verified.tee, verified.bound, verified.init_data) == ("csv", "report-data", "absent")
    assert verified.identity == f"csv-cek:{cek}"
    assert (verified.floors, _failed(verified), verified.not_after) == ({}, {}, None)
    certificates = (platform.hrk, platform.hsk, platform.cek, platform.pek)
    assert verified.endorsements == tuple(hashlib.sha256(data).hexdigest() for data in certificates)
    claims = verified.claims["csv"]
    assert claims["measure"] == bytes(range(32)).hex()
    assert claims["mnonce"] == bytes(range(16)).hex()
    assert (claims["version"], claims["sig_usage"], claims["sig_algo"]) == (
        str(version),
        "02100000",
        "04000000",
    )
    assert claims["policy"] == {
        "nodbg": 1, "noks": 1, "es": 1, "nosend": 1, "domain": 0, "csv": 1, "csv3": 1, "asid_reuse": 0,
        "hsk_version": 0, "cek_version": 0, "api_major": 1, "api_minor": 3,
    }  # fmt: skip
    assert claims["cek"] == cek
    assert verified.claims["report_data"] == DATA.hex()
    assert "init_data" not in verified.claims
    assert "report_data" not in claims  # no reference value may be compared with it
    assert claims.keys() <= TEE.claims.__annotations__.keys()


def test_version_1_shows_its_mask_and_version_2_its_registers(
    verifier: CsvVerifier, platform: CsvPlatform
) -> None:
    first = _verified(verifier, platform.evidence(1, FIELDS)).claims
    second = _verified(verifier, platform.evidence(2, FIELDS)).claims
    assert first["csv"]["anonce"] == "26d7c75d"
    assert "rtmr0" not in first["csv"]
    assert "registers" not in first["common"]
    assert second["csv"]["build"] == 2100
    assert second["csv"]["rtmr_version"] == 1
    assert [second["csv"][f"rtmr{index}"] for index in range(1, 5)] == [
        f"{index:02x}" * 32 for index in range(1, 5)
    ]
    assert second["csv"]["reserved0"] == "00" * 14
    assert second["common"]["registers"]["4"] == "04" * 32
    assert "anonce" not in second["csv"]


def test_a_report_as_the_firmware_gives_it_is_read_too(
    verifier: CsvVerifier, platform: CsvPlatform
) -> None:
    raw = platform.report(1, FIELDS, masked=True)
    assert raw != platform.report(1, FIELDS)
    short = raw.rstrip(b"\0")
    assert len(short) == 2548
    for report in (raw, short):
        evidence = _with(platform.evidence(), report=report)
        assert _verified(verifier, evidence).claims["csv"]["measure"] == bytes(range(32)).hex()
        assert contents(evidence)["serial_number"] == SERIAL_NUMBER


@pytest.mark.parametrize("version", [1, 2])
def test_a_changed_byte_of_what_is_signed_is_noticed(
    verifier: CsvVerifier, platform: CsvPlatform, version: int
) -> None:
    report = platform.report(version, FIELDS)
    size, signature = (0xB4, 0xC0) if version == 1 else (0x400, 0x400)
    usage_and_algorithm = range(0xB4, 0xBC)
    offsets = [*range(0, size, 37), size - 1, signature, signature + 72]
    for offset in offsets:
        changed = bytearray(report)
        changed[offset] ^= 1
        evidence = _with(platform.evidence(version), report=bytes(changed))
        expected = UnsupportedEvidence if offset in usage_and_algorithm else SignatureInvalid
        with pytest.raises(expected):
            _verified(verifier, evidence)


def test_the_mask_is_not_signed_and_the_measurement_tells(
    verifier: CsvVerifier, platform: CsvPlatform
) -> None:
    """The attack on version 1: another ANONCE turns the debug bit, and the measurement with it."""
    turned = 1
    debuggable = ReportFields(report_data=mask(DATA, turned), policy=POLICY & ~1)
    report = bytearray(platform.report(1, debuggable))
    word = int.from_bytes(report[0xBC:0xC0], "little") ^ turned
    report[0xBC:0xC0] = word.to_bytes(4, "little")
    for offset in (0xB4, 0xB8):  # not signed either
        report[offset] ^= turned
    verified = _verified(verifier, _with(platform.evidence(), report=bytes(report)))
    claims = verified.claims["csv"]
    assert claims["policy"]["nodbg"] == 1  # as the attacker wants
    assert claims["measure"] != debuggable.measure.hex()  # what no reference value is for
    warnings = {check.name for check in verified.checks if check.verdict is Verdict.WARNING}
    assert "csv.anonce.unsigned" in warnings
    second = _verified(verifier, platform.evidence(2, FIELDS))
    assert "csv.anonce.unsigned" not in {check.name for check in second.checks}


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        (ReportFields(report_data=DATA, sig_usage=USAGE_CEK), "csv.report.sig_usage"),
        (ReportFields(report_data=DATA, sig_usage=2), "csv.report.sig_usage"),
        (ReportFields(report_data=DATA, sig_algo=5), "csv.report.sig_algo"),
    ],
)
@pytest.mark.parametrize("version", [1, 2])
def test_another_usage_or_algorithm_is_not_supported(
    verifier: CsvVerifier, platform: CsvPlatform, fields: ReportFields, name: str, version: int
) -> None:
    with pytest.raises(UnsupportedEvidence) as caught:
        _verified(verifier, platform.evidence(version, fields))
    assert caught.value.checks[-1].name == name


def test_versions_are_a_setting(platform: CsvPlatform) -> None:
    only_second = _settled(platform, versions=[2])
    assert _verified(only_second, platform.evidence(2, FIELDS)).floors == {}
    with pytest.raises(UnsupportedEvidence):
        _verified(only_second, platform.evidence(1, FIELDS))


def test_a_report_of_one_version_is_none_of_the_other(verifier: CsvVerifier, platform: CsvPlatform) -> None:
    for version, other in ((1, 2), (2, 1)):
        evidence = msgspec.structs.replace(platform.evidence(version, FIELDS), version=other)
        with pytest.raises(TouchstoneError):
            _verified(verifier, evidence)


@pytest.mark.parametrize("version", [1, 2])
def test_every_other_length_is_refused(verifier: CsvVerifier, platform: CsvPlatform, version: int) -> None:
    report = platform.report(version, FIELDS)
    end = len(report.rstrip(b"\0"))
    for size in (*range(0, end, 61), end - 1, 4097):
        evidence = _with(platform.evidence(version), report=report.ljust(size, b"\0")[:size])
        with pytest.raises((Malformed, TooLarge)):
            _verified(verifier, evidence)
    with pytest.raises(Malformed, match="zeros"):
        _verified(verifier, _with(platform.evidence(version), report=report[:-1] + b"\1"))


def test_hsk_and_cek_come_from_the_store_or_are_missing(platform: CsvPlatform) -> None:
    evidence = platform.evidence(1, FIELDS, endorsed=False)
    endorsements = FixedEndorsements({SERIAL_NUMBER: (platform.hsk, platform.cek)})
    served = CsvVerifier(CsvSettings(), endorsements, extra_anchors=[platform.hrk])
    assert _verified(served, evidence).identity is not None
    with pytest.raises(EndorsementMissing) as caught:
        _verified(_settled(platform), evidence)
    names = [check.name for check in caught.value.checks]
    assert names[-1] == "csv.endorsements"
    assert "csv.report.signature" in names


def test_a_stranger_is_not_trusted(platform: CsvPlatform, stranger: CsvPlatform) -> None:
    with pytest.raises(RootUntrusted):
        _verified(_settled(platform), stranger.evidence(1, FIELDS))
    with pytest.raises(RootUntrusted):
        _verified(CsvVerifier(CsvSettings(), FixedEndorsements()), platform.evidence(1, FIELDS))


def test_a_stranger_with_the_roots_key_id_is_not_trusted(
    verifier: CsvVerifier, platform: CsvPlatform, stranger: CsvPlatform
) -> None:
    named = stranger.ca_certificate(
        stranger.hsk_key, USAGE_HSK, bytes(16), stranger.hrk_key, signer_id=platform.hrk_id
    )
    with pytest.raises(CertificateInvalid) as caught:
        _verified(verifier, _with(stranger.evidence(1, FIELDS), hsk_cek=named + stranger.cek))
    assert caught.value.checks[-1].name == "csv.hsk.signature"


def test_links_that_do_not_hold_are_refused(
    verifier: CsvVerifier, platform: CsvPlatform, stranger: CsvPlatform
) -> None:
    good = platform.evidence(1, FIELDS)
    role = platform.ca_certificate(platform.hsk_key, 0, platform.hrk_id, platform.hrk_key)
    cases = {
        "csv.hsk.usage": role + platform.cek,
        "csv.cek.signature": platform.hsk + stranger.cek,
        "csv.cek.usage": platform.hsk + platform.pek,
        "csv.hsk.structure": b"\2" + platform.hsk[1:] + platform.cek,
        "csv.cek.structure": platform.hsk + csv_certificate(platform.cek_key, USAGE_CEK, version=2),
    }
    for name, hsk_cek in cases.items():
        with pytest.raises(CertificateInvalid) as caught:
            _verified(verifier, _with(good, hsk_cek=hsk_cek))
        assert caught.value.checks[-1].name == name
    other = CsvPlatform(b"second chip")  # of the same vendor
    with pytest.raises(CertificateInvalid) as caught:
        _verified(verifier, _with(good, hsk_cek=other.hsk_cek))
    assert caught.value.checks[-1].name == "csv.pek.signature"


def test_roles_are_told_by_usage(verifier: CsvVerifier, platform: CsvPlatform) -> None:
    """A signature of the right key under another usage, or twice, is none; the order of slots is free."""
    cek, oca = platform.cek_key, platform.oca_key
    made = CsvPlatform()
    made.pek = csv_certificate(made.pek_key, USAGE_PEK, (oca, USAGE_OCA), (cek, USAGE_CEK))
    assert _verified(verifier, made.evidence(1, FIELDS)).floors == {}
    for slots in (
        ((cek, USAGE_OCA),),
        ((cek, USAGE_CEK), (cek, USAGE_CEK)),
        ((oca, USAGE_CEK), (cek, USAGE_OCA)),
        (),
    ):
        made.pek = csv_certificate(made.pek_key, USAGE_PEK, *slots)
        with pytest.raises(CertificateInvalid) as caught:
            _verified(verifier, made.evidence(1, FIELDS))
        assert caught.value.checks[-1].name == "csv.pek.signature"


def test_every_signed_byte_of_the_chain_counts(verifier: CsvVerifier, platform: CsvPlatform) -> None:
    good = platform.evidence(1, FIELDS)
    for offset in (*range(0, 0x240, 71), *range(CA_BYTES, CA_BYTES + 0x414, 131)):
        changed = bytearray(platform.hsk_cek)
        changed[offset] ^= 0x40
        with pytest.raises((CertificateInvalid, RootUntrusted)):
            _verified(verifier, _with(good, hsk_cek=bytes(changed)))


@pytest.mark.parametrize("size", [0, 1, CA_BYTES, CA_BYTES + CSV_BYTES - 1, CA_BYTES + CSV_BYTES + 1, 3073])
def test_hsk_and_cek_have_one_length(verifier: CsvVerifier, platform: CsvPlatform, size: int) -> None:
    data = platform.hsk_cek.ljust(size, b"\0")[:size]
    with pytest.raises((Malformed, TooLarge)):
        _verified(verifier, _with(platform.evidence(1, FIELDS), hsk_cek=data))


def test_what_is_sent_twice_is_alike(
    verifier: CsvVerifier, platform: CsvPlatform, stranger: CsvPlatform
) -> None:
    good = platform.evidence(1, FIELDS)
    twice = msgspec.structs.replace(good, pek=b64url_encode(platform.pek), serial_number=SERIAL_NUMBER)
    assert _verified(verifier, twice).floors == {}
    with pytest.raises(CertificateInvalid) as caught:
        _verified(verifier, _with(good, pek=stranger.pek))
    assert caught.value.checks[-1].name == "csv.pek.copies"
    with pytest.raises(CertificateInvalid) as caught:
        _verified(verifier, msgspec.structs.replace(good, serial_number="TST2"))
    assert caught.value.checks[-1].name == "csv.serial_number"


def test_only_an_hrk_that_signed_itself_is_an_anchor(platform: CsvPlatform, stranger: CsvPlatform) -> None:
    crossed = platform.ca_certificate(platform.hrk_key, 0, platform.hrk_id, stranger.hrk_key)
    for data in (platform.hsk, crossed, platform.hrk[:-1], b"", platform.hrk + b"\0"):
        with pytest.raises(InvalidSetting):
            CsvVerifier(CsvSettings(), FixedEndorsements(), extra_anchors=[data])


def test_report_data_is_compared_whole(verifier: CsvVerifier, platform: CsvPlatform) -> None:
    evidence = platform.evidence(2, FIELDS)
    for position in (0, 31, 32, 63):
        other = bytearray(DATA)
        other[position] ^= 0x80
        with pytest.raises(ReportDataMismatch):
            verifier.verify(evidence, ReportDataBinding(bytes(other)), None, NOW)
    for data in (DATA[:63], DATA + b"\0", b""):
        with pytest.raises(Malformed):
            verifier.verify(evidence, ReportDataBinding(data), None, NOW)


def test_digests_of_runtime_data_are_fitted_as_coco_does(
    verifier: CsvVerifier, platform: CsvPlatform
) -> None:
    digest = hashlib.sha384(b"runtime data").digest()
    fields = ReportFields(report_data=digest.ljust(64, b"\0"))
    verified = verifier.verify(
        platform.evidence(1, fields), RuntimeDataBinding(digest, nonce="bm9uY2U="), None, NOW
    )
    assert verified.bound == "session"


def test_a_session_binds_nonce_key_and_audience(verifier: CsvVerifier, platform: CsvPlatform) -> None:
    key = {"kty": "EC", "crv": "P-256", "x": "A" * 43, "y": "A" * 43}
    session = SessionBinding(nonce=b"n" * 32, tee_pubkey=key, audience="us")
    with pytest.raises(ReportDataMismatch):
        verifier.verify(platform.evidence(1, FIELDS), session, None, NOW)


def test_unbound_evidence_affirms_no_instance(verifier: CsvVerifier, platform: CsvPlatform) -> None:
    verified = verifier.verify(platform.evidence(1, FIELDS), Unbound(), None, NOW)
    assert (verified.bound, verified.floors) == ("unbound", {"instance-identity": 97})


@pytest.mark.parametrize("fitted", [False, True])
def test_init_data_is_bound_by_nothing(verifier: CsvVerifier, platform: CsvPlatform, fitted: bool) -> None:
    claim = InitDataClaim(digest=hashlib.sha256(b"x").digest(), data=b"x", fitted=fitted)
    verified = _verified(verifier, platform.evidence(2, FIELDS), claim)
    assert (verified.init_data, verified.floors) == ("unsupported", {"configuration": 36})
    assert not verified.claims.keys() & {"init_data", "init_data_claims"}
    debuggable = ReportFields(report_data=DATA, policy=POLICY & ~1)
    worst = _verified(verifier, platform.evidence(2, debuggable), claim)
    assert worst.floors["configuration"] == 96


@pytest.mark.parametrize(
    ("policy", "failed", "floors"),
    [
        (
            POLICY & ~0x01,
            {"csv.policy.nodbg": "evidence.debug"},
            {"configuration": 96, "runtime-opaque": 96},
        ),
        (
            POLICY & ~0x02,
            {"csv.policy.noks": "evidence.policy"},
            {"configuration": 96, "runtime-opaque": 96},
        ),
        (POLICY & ~0x04, {"csv.policy.es": "evidence.policy"}, {"configuration": 96, "runtime-opaque": 96}),
        (POLICY & ~0x08, {"csv.policy.nosend": "evidence.policy"}, {"configuration": 96}),
        (POLICY | 0x80, {"csv.policy.asid_reuse": "evidence.policy"}, {"configuration": 96}),
    ],
)
def test_a_guest_policy_that_is_not_accepted_sets_floors(
    verifier: CsvVerifier,
    platform: CsvPlatform,
    policy: int,
    failed: dict[str, str],
    floors: dict[str, int],
) -> None:
    verified = _verified(verifier, platform.evidence(2, ReportFields(report_data=DATA, policy=policy)))
    assert _failed(verified) == failed
    assert verified.floors == floors


@pytest.mark.parametrize(
    ("policy", "settings"),
    [
        (POLICY & ~0x02, {"permit_key_sharing": True}),
        (POLICY & ~0x04, {"require_es": False}),
        (POLICY & ~0x08, {"permit_send": True}),
        (POLICY | 0x80, {"permit_asid_reuse": True}),
        (POLICY & ~0x40, {}),
    ],
)
def test_settings_permit_all_but_debug(
    platform: CsvPlatform, policy: int, settings: dict[str, bool]
) -> None:
    fields = ReportFields(report_data=DATA, policy=policy)
    verified = _verified(_settled(platform, **settings), platform.evidence(2, fields))
    assert (verified.floors, _failed(verified)) == ({}, {})


def test_debug_and_migration_are_common_claims(verifier: CsvVerifier, platform: CsvPlatform) -> None:
    fields = ReportFields(report_data=DATA, policy=POLICY & ~0x09)
    common = _verified(verifier, platform.evidence(2, fields)).claims["common"]
    assert (common["debug"], common["migratable"]) == (True, True)
    common = _verified(verifier, platform.evidence(2, FIELDS)).claims["common"]
    assert (common["debug"], common["migratable"], common["product"]) == (False, False, "Hygon CSV3")


@pytest.mark.parametrize(
    ("settings", "version", "name"),
    [
        ({"require_csv3": True}, 2, "csv.policy.csv3"),
        ({"minimum_api": [1, 4]}, 2, "csv.policy.api"),
        ({"minimum_build": 2101}, 2, "csv.build"),
        ({"minimum_build": 1}, 1, "csv.build"),
    ],
)
def test_further_demands(
    platform: CsvPlatform, settings: dict[str, object], version: int, name: str
) -> None:
    fields = ReportFields(report_data=DATA, policy=POLICY & ~0x40)
    verified = _verified(_settled(platform, **settings), platform.evidence(version, fields))
    assert list(_failed(verified)) == [name]
    assert set(verified.floors.values()) == {96}
    met = {"require_csv3": False, "minimum_api": [1, 3], "minimum_build": 2100}
    assert _verified(_settled(platform, **met), platform.evidence(2, fields)).floors == {}


@pytest.mark.parametrize("settings", [{"versions": []}, {"versions": [3]}, {"minimum_build": -1}])
def test_settings_that_make_no_sense_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(InvalidSetting):
        msgspec.structs.replace(
            CsvSettings(), **{k: frozenset(v) if isinstance(v, list) else v for k, v in settings.items()}
        )


def test_an_event_log_can_be_demanded_and_version_1_has_none(platform: CsvPlatform) -> None:
    demanding = _settled(platform, require_event_log=True)
    for evidence in (platform.evidence(1, FIELDS), platform.evidence(2, FIELDS)):
        with pytest.raises(EventLogMismatch):
            _verified(demanding, evidence)
    logged = _with(platform.evidence(1, FIELDS), event_log=b"whatever")
    with pytest.raises(EventLogMismatch):
        _verified(demanding, logged)
    verified = _verified(_settled(platform), logged)
    assert "uefi_event_logs" not in verified.claims["csv"]
    assert [check.verdict for check in verified.checks if check.name == "csv.event_log"] == [
        Verdict.NOT_EVALUATED
    ]


def _logged(
    platform: CsvPlatform, log: CcLog, registers: dict[int, bytes], padding: bytes = b""
) -> CsvEvidence:
    values = tuple(registers.get(index, bytes(32)) for index in range(1, 5))
    fields = ReportFields(report_data=DATA, registers=(bytes(range(32)), *values))
    return _with(platform.evidence(2, fields), event_log=log.data(padding))


def test_an_event_log_that_leads_to_the_registers_is_a_claim(
    verifier: CsvVerifier, platform: CsvPlatform
) -> None:
    log = boot("sm3_256")
    verified = _verified(verifier, _logged(platform, log, log.registers, b"\xff" * 64))
    claims = verified.claims["csv"]
    assert claims["event_log"]["algorithm"] == "sm3_256"
    assert len(claims["uefi_event_logs"]) >= claims["event_log"]["events"] > 0
    assert _failed(verified) == {}
    demanding = _settled(platform, require_event_log=True)
    evidence = _logged(platform, log, log.registers)
    assert _verified(demanding, evidence).floors == {}


@pytest.mark.parametrize("register", [1, 2, 3])
def test_an_event_log_that_does_not_is_refused(
    verifier: CsvVerifier, platform: CsvPlatform, register: int
) -> None:
    log = boot("sm3_256")
    registers = log.registers
    with pytest.raises(EventLogMismatch):
        _verified(verifier, _logged(platform, log, registers | {register: b"\7" * 32}))
    shifted = {1: registers[2], 2: registers[1]}  # the registers of a TD have other numbers
    with pytest.raises(EventLogMismatch):
        _verified(verifier, _logged(platform, log, shifted))


def test_an_event_log_that_is_none_is_refused(verifier: CsvVerifier, platform: CsvPlatform) -> None:
    for data in (b"", b"x", bytes(64), b"\xff" * 4096):
        evidence = _with(platform.evidence(2, FIELDS), event_log=data)
        with pytest.raises(TouchstoneError):
            _verified(verifier, evidence)


def test_other_evidence_is_refused(verifier: CsvVerifier) -> None:
    with pytest.raises(Malformed):
        verifier.verify(SampleEvidence(svn="1"), Unbound(), None, NOW)


def test_raw_files_are_recognised(platform: CsvPlatform) -> None:
    for version, masked in ((1, False), (1, True), (2, False)):
        raw = platform.report(version, FIELDS, masked=masked)
        found = recognise(raw)
        assert found is not None
        assert (found.version, b64url_decode(found.report)) == (version, raw)
        assert contents(found)["measure"] == bytes(range(32)).hex()
    assert recognise(bytes(4096)) is None
    assert recognise(b"") is None
    assert contents(CsvEvidence(report="AAAA")) == {}
