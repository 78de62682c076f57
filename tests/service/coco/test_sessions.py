"""Abuse of sessions: what a nonce, a cookie and an attestation are good for, and how often."""

from __future__ import annotations

import copy
import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from coco.tables import kbs_session
from tests.service.coco.conftest import SECRET, Kbs, make
from tests.service.coco.kbs import Answer, Guest, b64, b64url, canonical, unb64url

PATH = "resource/default/test/dummy"
REFUSED = ("AttestationError", "Attestation error: RCAR handshake Attest failed")


def refused(answer: Answer) -> bool:
    """Every failed attestation reads the same."""
    assert answer.status == 401, answer.body
    assert (answer.variant, answer.json["detail"]) == REFUSED
    assert "Set-Cookie" not in answer.headers
    return True


def started(kbs: Kbs) -> Guest:
    guest = kbs.guest()
    assert guest.auth().status == 200
    return guest


# 15: replay


def test_case_15_an_attestation_is_good_once(kbs: Kbs) -> None:
    guest = started(kbs)
    document = guest.attestation()
    assert guest.call("POST", "attest", document).status == 200
    assert refused(guest.call("POST", "attest", document))
    assert guest.open(guest.call("GET", PATH).json) == SECRET


def test_case_15_a_failed_attestation_spends_the_nonce(kbs: Kbs) -> None:
    guest = started(kbs)
    assert refused(
        guest.call("POST", "attest", guest.attestation(evidence={"svn": "1", "report_data": "AAAA"}))
    )
    assert refused(guest.call("POST", "attest", guest.attestation()))
    assert guest.call("GET", PATH).variant == "TokenNotFound"


@pytest.mark.parametrize("body", [b"", b"{", b"{}", b"[]", b"null", b'{"runtime-data": 1}', b"\xff"])
def test_case_15_a_body_that_is_none_spends_it_too(kbs: Kbs, body: bytes) -> None:
    guest = started(kbs)
    assert refused(guest.call("POST", "attest", body))
    assert refused(guest.call("POST", "attest", guest.attestation()))


def test_case_15_of_attestations_at_once_one_holds(kbs: Kbs) -> None:
    guest = started(kbs)
    document = guest.attestation()
    with ThreadPoolExecutor(8) as pool:
        callers = [
            Guest(kbs.http.application.test_client(use_cookies=False), cookie=guest.cookie)
            for _ in range(24)
        ]
        answers = list(pool.map(lambda one: one.call("POST", "attest", document), callers))
    held = [answer for answer in answers if answer.status == 200]
    assert len(held) == 1
    assert all(refused(answer) for answer in answers if answer is not held[0])


def test_case_15_a_nonce_of_another_session(kbs: Kbs) -> None:
    victim, guest = started(kbs), started(kbs)
    guest.nonce = victim.nonce
    assert refused(guest.call("POST", "attest", guest.attestation()))
    assert victim.call("POST", "attest", victim.attestation()).status == 200


def test_case_15_an_expired_nonce(kbs: Kbs) -> None:
    guest = started(kbs)
    kbs.clock.now += timedelta(seconds=300)
    assert refused(guest.call("POST", "attest", guest.attestation()))


def test_an_attested_session_ends(kbs: Kbs) -> None:
    guest = kbs.guest()
    assert guest.attest().status == 200
    kbs.clock.now += timedelta(seconds=299)
    assert guest.call("GET", PATH).status == 200
    kbs.clock.now += timedelta(seconds=1)
    assert guest.call("GET", PATH).variant == "TokenNotFound"


def test_beginning_a_session_stores_nothing(kbs: Kbs) -> None:
    for _ in range(300):
        started(kbs)
    with kbs.services.database.read() as connection:
        assert connection.execute(select(func.count()).select_from(kbs_session)).scalar_one() == 0


# The cookie


def test_a_cookie_that_was_changed_anywhere_is_none(kbs: Kbs) -> None:
    guest = started(kbs)
    data = unb64url(guest.cookie)
    document = guest.attestation()
    for index in range(len(data)):
        changed = bytearray(data)
        changed[index] ^= 1
        other = Guest(kbs.http, cookie=b64url(bytes(changed)))
        assert refused(other.call("POST", "attest", document))
    assert guest.call("POST", "attest", document).status == 200


@pytest.mark.parametrize(
    "cookie",
    ["", "x", "A" * 51, "A" * 50 + "!", "é" * 51, "0" * 32, "A" * 10_000, '"', "=;=;", "kbs-session-id"],
)
def test_a_cookie_of_another_form_is_none(kbs: Kbs, cookie: str) -> None:
    guest = Guest(kbs.http, cookie=cookie)
    assert refused(guest.call("POST", "attest", guest.attestation()))
    assert guest.call("GET", PATH).variant == "TokenNotFound"


def test_a_cookie_cut_short_or_made_longer_is_none(kbs: Kbs) -> None:
    guest = started(kbs)
    document = guest.attestation()
    for cookie in (guest.cookie[:-1], guest.cookie + "A", guest.cookie[1:], guest.cookie + "="):
        assert refused(Guest(kbs.http, cookie=cookie).call("POST", "attest", document))


def test_a_cookie_of_another_server_is_none(kbs: Kbs, tmp_path: Path) -> None:
    other = make(tmp_path / "other")
    guest = started(other)
    assert refused(Guest(kbs.http, cookie=guest.cookie).call("POST", "attest", guest.attestation()))
    other.services.close()


def test_the_cookie_is_found_among_others(kbs: Kbs) -> None:
    guest = started(kbs)
    header = f"a=b; kbs-session-id={guest.cookie}; c=d"
    assert guest.call("POST", "attest", guest.attestation(), Cookie=header).status == 200


def test_a_cookie_does_not_change_its_tee(kbs: Kbs) -> None:
    guest = kbs.guest("snp")
    assert guest.auth().status == 200
    assert refused(guest.call("POST", "attest", guest.attestation()))


# 16: relay; 14: report data


def test_case_16_evidence_for_one_key_with_another_key(kbs: Kbs) -> None:
    victim = started(kbs)
    document = victim.attestation()
    document["runtime-data"]["tee-pubkey"] = kbs.guest().jwk
    assert refused(victim.call("POST", "attest", document))


@pytest.mark.parametrize(
    "change",
    [
        lambda digest: b"",
        lambda digest: digest[:32],
        lambda digest: digest + b"\1",
        lambda digest: digest.ljust(64, b"\0") + b"\0",
        lambda digest: bytes(48),
        lambda digest: bytes(64),
        lambda digest: digest[:32] + bytes(16),
        lambda digest: hashlib.sha384(digest).digest(),
    ],
)
def test_case_14_report_data_that_is_not_the_digest(kbs: Kbs, change: Any) -> None:
    guest = started(kbs)

    def evidence(digest: bytes) -> dict[str, str]:
        return {"svn": "1", "report_data": b64(change(digest))}

    assert refused(guest.call("POST", "attest", guest.attestation(evidence=evidence)))


def test_report_data_may_be_padded_to_the_field(kbs: Kbs) -> None:
    answer = kbs.guest().attest(
        evidence=lambda digest: {"svn": "1", "report_data": b64(digest.ljust(64, b"\0"))}
    )
    assert answer.status == 200


def test_additional_evidence_written_anew_is_another(kbs: Kbs) -> None:
    """Trap 2: the text is hashed, not what it says."""
    guest = started(kbs)
    document = guest.attestation(additional='{"sample": {"svn": "1", "report_data": ""}}')
    again = json.dumps(json.loads(document["tee-evidence"]["additional_evidence"]), separators=(",", ":"))
    document["tee-evidence"]["additional_evidence"] = again
    assert refused(guest.call("POST", "attest", document))


def additional(guest: Guest, *names: str) -> str:
    """Evidence of devices, each bound to what a device is bound to."""
    runtime = {"nonce": guest.nonce, "tee-pubkey": guest.jwk}
    one = {"svn": "1", "report_data": b64(hashlib.sha384(canonical(runtime)).digest())}
    return "{" + ",".join(f'"{name}":{json.dumps(one)}' for name in names) + "}"


def test_a_device_is_another_submodule(kbs: Kbs) -> None:
    guest = started(kbs)
    answer = guest.call("POST", "attest", guest.attestation(additional=additional(guest, "sample")))
    assert answer.status == 200
    assert guest.open(guest.call("GET", PATH).json) == SECRET


@pytest.mark.parametrize(
    "names",
    [("sample", "sample"), ("nvidia-dpu", "nvidiadpu"), ("sampledevice",), ("nvidia",), ("nosuch",), ("",)],
)
def test_devices_that_are_not_served_or_named_twice_end_it(kbs: Kbs, names: tuple[str, ...]) -> None:
    guest = started(kbs)
    assert refused(guest.call("POST", "attest", guest.attestation(additional=additional(guest, *names))))


@pytest.mark.parametrize("text", ["[]", "null", "1", '"x"', "{", '{"sample":null}', "{" * 5000, " "])
def test_additional_evidence_that_is_none_ends_it(kbs: Kbs, text: str) -> None:
    guest = started(kbs)
    assert refused(guest.call("POST", "attest", guest.attestation(additional=text)))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("runtime-data", "nonce"), 1),
        (("runtime-data", "tee-pubkey"), None),
        (("runtime-data", "tee-pubkey"), []),
        (("runtime-data", "tee-pubkey"), {}),
        (("runtime-data", "tee-pubkey", "kty"), "oct"),
        (("runtime-data", "tee-pubkey", "x"), ["a"]),
        (("tee-evidence", "primary_evidence"), None),
        (("tee-evidence", "primary_evidence"), []),
        (("tee-evidence", "primary_evidence"), "x"),
        (("tee-evidence", "primary_evidence", "report_data"), 5),
        (("tee-evidence", "additional_evidence"), {}),
        (("init-data",), "x"),
        (("init-data",), {"format": "json", "body": "{}"}),
        (("init-data",), {"format": "toml", "body": "="}),
    ],
)
def test_members_of_another_type_end_it(kbs: Kbs, path: tuple[str, ...], value: object) -> None:
    guest = started(kbs)
    document = copy.deepcopy(guest.attestation())
    at = document
    for name in path[:-1]:
        at = at[name]
    at[path[-1]] = value
    assert refused(guest.call("POST", "attest", document))
