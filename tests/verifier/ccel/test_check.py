"""A log against registers: what is refused, what is recorded, what is claimed."""

from __future__ import annotations

import base64
import hashlib

import pytest

from common.aael import LogicalEvent, encode, tagged
from common.checks import Checks
from common.errors import Malformed, TooLarge
from common.tcg_log import EV_NO_ACTION
from testkit.ccel import (
    EV_EFI_ACTION,
    EV_EFI_BOOT_SERVICES_APPLICATION,
    EV_EFI_VARIABLE_BOOT,
    EV_EVENT_TAG,
    EV_IPL,
    LEFT_BOOT_SERVICES,
    CcLog,
    boot,
    variable,
)
from verifier.ccel import check_event_log
from verifier.ccel.claims import MAX_CLAIMED_BYTES, MAX_CLAIMED_EVENTS
from verifier.errors import EventLogMismatch, UnsupportedEvidence

KERNEL = b"\x4b" * 48


def check(log: CcLog, data: bytes | None = None, **options):
    checks = Checks()
    algorithm = options.pop("algorithm", log.banks[0])
    registers = options.pop("registers", log.registers)
    claims = check_event_log(
        log.data() if data is None else data,
        registers,
        algorithm=algorithm,
        checks=checks,
        name="t",
        **options,
    )
    return claims, checks


@pytest.mark.parametrize("bank", ["sha256", "sha384", "sha512", "sm3_256"])
@pytest.mark.parametrize(
    "padding", [b"", b"\xff" * 4, b"\xff" * 4096, bytes(4096), b"\xff" * 8 + bytes(64)]
)
def test_a_whole_log_explains_every_register(bank, padding):
    log = boot(bank)
    claims, checks = check(log, log.data(padding))
    assert not checks.failures
    assert [record.name for record in checks.records] == [
        "t.event_log.unquoted",
        "t.event_log.replay",
        "t.event_log.explained",
    ]
    assert claims["event_log"]["unexplained"] == []
    assert claims["event_log"]["events"] == 8


def test_our_own_name_of_sm3_is_understood():
    log = boot("sm3_256")
    assert check(log, algorithm="sm3")[0]["event_log"]["algorithm"] == "sm3_256"


def test_of_several_banks_the_registers_one_is_replayed():
    log = boot("sha384", "sha256")
    claims, _ = check(log)
    assert {item["alg"] for item in claims["uefi_event_logs"][0]["digests"]} == {"SHA-384", "SHA-256"}
    with pytest.raises(EventLogMismatch, match="no sha512 digests"):
        check(log, registers={1: bytes(64)}, algorithm="sha512")


def test_entries_have_the_form_of_confidential_containers():
    claims, _ = check(boot())
    first = claims["uefi_event_logs"][0]
    assert first == {
        "index": 1,
        "type_name": "EV_EFI_VARIABLE_DRIVER_CONFIG",
        "digest_matches_event": True,
        "digests": [
            {"alg": "SHA-384", "digest": hashlib.sha384(variable("SecureBoot", b"\x01")).hexdigest()}
        ],
        "details": {
            "unicode_name": "SecureBoot",
            "unicode_name_length": 10,
            "variable_data": "AQ==",
            "variable_data_length": 1,
            "variable_name": "61dfe48b-ca93-d211-aa0d-00e098032b8c",
        },
        "event": base64.b64encode(variable("SecureBoot", b"\x01")).decode(),
        "phase": "before-separator",
    }


def test_what_no_digest_covers_says_nothing():
    claims, _ = check(boot())
    image = next(
        entry
        for entry in claims["uefi_event_logs"]
        if entry["type_name"] == "EV_EFI_BOOT_SERVICES_APPLICATION"
    )
    assert image["digest_matches_event"] is False
    assert image["details"] == {}
    assert "measured" not in image


def test_of_a_partly_covered_event_the_covered_part_is_shown():
    claims, _ = check(boot())
    line = next(entry for entry in claims["uefi_event_logs"] if entry["type_name"] == "EV_IPL")
    assert line["digest_matches_event"] is False
    assert line["details"] == {}
    assert line["measured"] == "linux /vmlinuz ro"


@pytest.mark.parametrize("terminator", [b"", b"\x00"])
def test_lines_of_older_grub_are_read(terminator):
    log = boot()
    log.add(3, EV_IPL, b"grub_cmd set pager=1\x00x", hashed=b"set pager=1" + terminator)
    assert check(log)[0]["uefi_event_logs"][-1]["measured"] == "set pager=1"


def test_a_register_of_the_guest_that_was_extended_and_not_logged_is_unexplained():
    log = boot()
    log.extend(4, bytes(48))
    claims, checks = check(log)
    assert claims["event_log"]["unexplained"] == [4]
    assert [(record.name, record.code) for record in checks.failures] == [
        ("t.event_log.explained", "evidence.event_log")
    ]


@pytest.mark.parametrize("index", [1, 2, 3])
def test_a_register_of_the_boot_without_its_events_is_refused(index):
    log = CcLog().add(index % 3 + 1, EV_IPL, b"x")
    log.extend(index, bytes(48))
    with pytest.raises(EventLogMismatch, match=rf"registers \[{index}\]"):
        check(log)


def test_a_register_of_the_guest_with_events_must_be_met_exactly():
    log = boot().add(4, EV_IPL, b"x")
    log.extend(4, bytes(48))
    with pytest.raises(EventLogMismatch, match=r"registers \[4\]"):
        check(log)


@pytest.mark.parametrize("index", [1, 2, 3])
def test_a_register_with_events_must_be_met_exactly(index):
    log = boot()
    log.extend(index, bytes(48))
    with pytest.raises(EventLogMismatch, match=rf"registers \[{index}\]"):
        check(log)


def test_a_register_that_the_log_extends_and_the_quote_has_at_zero_is_refused():
    log = boot().add(4, EV_IPL, b"x")
    with pytest.raises(EventLogMismatch, match=r"registers \[4\]"):
        check(log, registers=log.registers | {4: bytes(48)})


def test_ev_no_action_extends_nothing_wherever_it_says_it_is():
    log = boot()
    for index in (0, 1, 17, 0xFFFFFFFF):
        log.add(index, EV_NO_ACTION, b"SP800-155 Event3", digest=b"\x01" * 48)
    claims, checks = check(log)
    assert not checks.failures
    assert claims["event_log"]["events"] == 8


@pytest.mark.parametrize(
    "tail",
    [bytes(8) + b"\xff" * 8, b"\xff" * 8 + b"\x01", bytes(64) + b"\x01", b"\xff" * 8 + bytes(8) + b"\xff"],
)
def test_other_bytes_than_padding_after_the_log_are_refused(tail):
    log = boot()
    with pytest.raises(Malformed):
        check(log, log.data(tail))


def test_type_0_in_register_0_ends_nothing():
    """EV_PREBOOT_CERT of register 0 is an event: what follows it counts, and register 0 has no events."""
    log = boot()
    log.add(0, 0, b"")
    with pytest.raises(EventLogMismatch):
        check(log)
    ended = boot()
    ended.records.append(bytes(8))
    with pytest.raises(Malformed):
        check(ended, ended.data(b"\x01"))


def test_secure_boot_is_what_stands_before_the_separator():
    log = boot()
    log.add(1, 0x80000001, variable("SecureBoot", b"\x00"))
    assert check(log)[0]["event_log"]["secure_boot"] is True


@pytest.mark.parametrize(("value", "state"), [(b"\x01", True), (b"\x00", False), (b"", False)])
def test_states_of_secure_boot(value, state):
    log = CcLog().add(1, 0x80000001, variable("SecureBoot", value)).add(1, 4, bytes(4))
    assert check(log)[0]["event_log"]["secure_boot"] is state


def test_without_the_variable_or_the_separator_secure_boot_is_unknown():
    assert check(CcLog().add(1, 4, bytes(4)))[0]["event_log"]["secure_boot"] is None
    log = CcLog().add(1, 0x80000001, variable("SecureBoot", b"\x01"))
    assert check(log)[0]["event_log"]["secure_boot"] is None


def test_images_are_all_that_was_booted_in_order():
    log = CcLog().image(b"\x01" * 48, "shim").image(b"\x02" * 48, "grub").image(b"\x03" * 48, "kernel")
    log.add(2, EV_EFI_ACTION, LEFT_BOOT_SERVICES)
    assert check(log)[0]["event_log"]["images"] == [(bytes([n]) * 48).hex() for n in (1, 2, 3)]
    assert check(log)[0]["event_log"]["exit_boot_services"] is True


def test_an_image_is_one_whatever_its_label_says():
    """The type is covered by nothing, and an image's bytes can be put into any event."""
    pe = b"MZ" + bytes(200)
    digest = hashlib.sha384(pe)
    log = CcLog()
    log.add(2, EV_EFI_ACTION, b"Calling EFI Application from Boot Option")
    log.add(2, 0x80000006, pe)
    log.add(2, EV_EFI_VARIABLE_BOOT, variable("Boot0001", pe), hashed=pe)
    log.add(2, EV_EFI_ACTION, pe)
    assert check(log)[0]["event_log"]["images"] == [digest.hexdigest()] * 3


def test_agents_events_are_read_from_covered_data():
    log = boot()
    event = LogicalEvent("github.com/confidential-containers", "PullImage", '{"image": "a"}')
    log.records.append(encode(event, register=4, algorithm="sha384"))
    log.extend(4, hashlib.sha384(tagged(event)).digest())
    claims, _ = check(log)
    assert claims["event_log"]["runtime_events"] == [
        {
            "index": 4,
            "domain": "github.com/confidential-containers",
            "operation": "PullImage",
            "content": {"image": "a"},
        }
    ]
    details = claims["uefi_event_logs"][-1]["details"]
    assert details["unicode_name"] == "AAEL"
    assert details["string"] == 'github.com/confidential-containers PullImage {"image": "a"}'
    assert details["data"]["content"] == {"image": "a"}


@pytest.mark.parametrize(
    "content", ['{"a": 1, "a": 2}', "{", '{"a": NaN}', '{"a":' * 200 + "1" + "}" * 200, "plain"]
)
def test_content_that_is_no_json_object_stays_text(content):
    event = LogicalEvent("d", "o", content)
    log = boot().add(4, EV_EVENT_TAG, tagged(event))
    assert check(log)[0]["event_log"]["runtime_events"][0]["content"] == content


@pytest.mark.parametrize("data", [b"LEAA", b"LEAA\x04\x00\x00\x00abc", b"LEAA\x03\x00\x00\x00abc", b"\x01"])
def test_a_broken_event_of_an_agent_costs_nothing_but_itself(data):
    log = boot().add(4, EV_EVENT_TAG, data)
    claims, checks = check(log)
    assert claims["event_log"]["runtime_events"] == []
    assert not checks.failures


def test_an_agents_event_whose_digest_is_of_something_else_is_not_read():
    event = LogicalEvent("d", "o", "c")
    log = boot().add(4, EV_EVENT_TAG, tagged(event), digest=b"\x05" * 48)
    claims, _ = check(log)
    assert claims["event_log"]["runtime_events"] == []
    assert claims["uefi_event_logs"][-1]["details"] == {}


def test_unknown_types_are_named_by_number():
    log = boot().add(3, 0x08000001, b"app-id")
    assert check(log)[0]["uefi_event_logs"][-1]["type_name"] == "0x08000001"


def test_claims_are_bounded_and_say_so():
    log = boot()
    for _ in range(MAX_CLAIMED_EVENTS):
        log.add(3, EV_IPL, b"x")
    claims, _ = check(log)
    assert len(claims["uefi_event_logs"]) == MAX_CLAIMED_EVENTS
    assert claims["event_log"]["truncated"] is True
    assert claims["event_log"]["events"] == MAX_CLAIMED_EVENTS + 8


def test_large_data_are_left_out_and_said_so():
    log = boot().add(3, EV_IPL, bytes(MAX_CLAIMED_BYTES + 1))
    claims, _ = check(log)
    assert "event" not in claims["uefi_event_logs"][-1]
    assert claims["uefi_event_logs"][-1]["digest_matches_event"] is True
    assert claims["event_log"]["truncated"] is True


@pytest.mark.parametrize(
    "registers", [{}, {0: bytes(48)}, {5: bytes(48)}, {1: bytes(32)}, {1: b""}, {1: bytes(49)}]
)
def test_registers_that_there_are_not_are_refused(registers):
    with pytest.raises(Malformed):
        check(boot(), registers=registers)


@pytest.mark.parametrize("algorithm", ["sha1", "sha3_384", "md5", ""])
def test_hashes_that_registers_do_not_have_are_refused(algorithm):
    with pytest.raises(UnsupportedEvidence):
        check(boot(), algorithm=algorithm)


def test_a_legacy_log_is_refused():
    record = bytes(4) + (4).to_bytes(4, "little") + bytes(20) + (4).to_bytes(4, "little") + bytes(4)
    with pytest.raises(UnsupportedEvidence):
        check(boot(), record)


@pytest.mark.parametrize("padding", [b"", b"\xff" * 64, bytes(64)])
def test_a_log_without_events_is_never_a_pass(padding):
    log = CcLog()
    with pytest.raises(EventLogMismatch, match="no measured event"):
        check(log, log.data(padding))
    with pytest.raises(Malformed):
        check(log, padding[:0])


def test_a_log_over_4_mib_is_refused():
    with pytest.raises(TooLarge):
        check(boot(), boot().data(b"\xff" * (4 << 20)))


def test_an_ima_list_explains_what_follows_the_boot():
    log = boot()
    records = b""
    for name in (b"one", b"two"):
        data = b"\x1a\x00\x00\x00sha256:\x00" + name
        records += (10).to_bytes(4, "little") + hashlib.sha1(data, usedforsecurity=False).digest()
        records += (6).to_bytes(4, "little") + b"ima-ng" + len(data).to_bytes(4, "little") + data
        log.extend(3, hashlib.sha384(data).digest())
    claims, checks = check(log, ima_log=records)
    assert not checks.failures
    assert claims["ima"] == {"count": 2, "violations": 0}
    with pytest.raises(EventLogMismatch):
        check(log)
    log.extend(3, bytes(48))
    with pytest.raises(EventLogMismatch, match="IMA"):
        check(log, ima_log=records)
    registers = {index: value for index, value in boot().registers.items() if index != 3}
    bare = CcLog().add(1, 4, bytes(4))
    with pytest.raises(EventLogMismatch, match="not quoted"):
        check(bare, registers={1: bare.registers[1]}, ima_log=records)
    assert registers.keys() == {1, 2, 4}


def test_images_are_those_of_register_2_alone():
    log = boot().add(4, EV_EFI_BOOT_SERVICES_APPLICATION, b"x", digest=b"\x66" * 48)
    assert check(log)[0]["event_log"]["images"] == [KERNEL.hex()]
