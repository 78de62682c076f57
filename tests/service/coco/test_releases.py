"""What a resource is given out for: floors, policies, what they rest on now, and the record of it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from tests.service.coco.conftest import ALLOW_SAMPLE, DEVELOPMENT, SECRET, Kbs, make
from tests.service.coco.kbs import SVN, Answer, Guest, b64url

PATH = "resource/default/test/dummy"
ALLOW_ALL = "package policy\nallow := true\n"
TRUSTING = 'package policy\ntrust_claims := {"executables": 3, "hardware": 2, "configuration": 2}\n'


def native(kbs: Kbs, method: str, path: str, body: Any = None) -> Any:
    headers = {"Authorization": f"Bearer {kbs.admin.token}"}
    answer = kbs.http.open(path, method=method, json=body, headers=headers)
    assert answer.status_code < 300, answer.data
    return answer.json if answer.data else None


def audited(kbs: Kbs, **wanted: str) -> list[dict[str, Any]]:
    items = native(kbs, "GET", "/v1/audit?limit=500")["items"]
    entries = [item["entry"] for item in items]
    return [entry for entry in entries if all(entry[name] == value for name, value in wanted.items())]


def get(guest: Guest, path: str = PATH) -> Answer:
    return guest.call("GET", path)


def denied(answer: Answer) -> None:
    assert (answer.status, answer.variant) == (403, "PolicyDeny")
    assert answer.json["detail"] == "Access denied by policy"


def stale(guest: Guest) -> None:
    """A 401, for which clients attest anew; by session and by passport."""
    for answer in (get(guest), Guest(guest.http).call("GET", PATH, Authorization=f"Bearer {guest.token}")):
        assert (answer.status, answer.variant) == (401, "TokenVerifierError"), answer.body
        assert SECRET not in answer.body


@pytest.fixture
def guest(kbs: Kbs) -> Guest:
    guest = kbs.guest()
    assert guest.attest().status == 200
    assert guest.open(get(guest).json) == SECRET
    return guest


# Floors


def test_a_contraindicated_guest_gets_nothing_under_an_allow_all_policy(bare: Kbs) -> None:
    bare.admin.call("POST", PATH, SECRET)
    assert bare.admin.resource_policy(ALLOW_ALL).status == 200
    guest = bare.guest()
    assert guest.attest().status == 200
    denied(get(guest))


def test_the_switch_lifts_the_floors_and_says_so(tmp_path: Path) -> None:
    kbs = make(tmp_path, DEVELOPMENT | {"coco": DEVELOPMENT["coco"] | {"lift_release_floors": True}})
    kbs.admin.call("POST", PATH, SECRET)
    kbs.admin.resource_policy(ALLOW_ALL)
    guest = kbs.guest()
    guest.attest()
    assert guest.open(get(guest).json) == SECRET
    health = kbs.http.get("/healthz").json
    assert health["status"] == "insecure"
    assert any("lift_release_floors" in item for item in health["insecure"])
    kbs.services.close()


def test_the_shipped_policy_gives_the_sample_tee_nothing(bare: Kbs) -> None:
    bare.admin.reference_values(SVN)
    bare.admin.call("POST", PATH, SECRET)
    guest = bare.guest()
    assert guest.attest().status == 200
    denied(get(guest))


# What changed since


def test_a_declared_value_replaced(kbs: Kbs, guest: Guest) -> None:
    assert kbs.admin.reference_values(SVN | {"svn": ["2"]}).status == 200
    stale(guest)
    assert guest.attest().status == 200
    denied(get(guest))


def test_a_declared_value_registered_again_is_the_same(kbs: Kbs, guest: Guest) -> None:
    assert kbs.admin.reference_values(SVN).status == 200
    assert get(guest).status == 200


def test_a_declared_value_deleted(kbs: Kbs, guest: Guest) -> None:
    assert kbs.services.coco.reference_values.delete("svn", by="test", now=kbs.clock.now)
    stale(guest)


def test_a_declared_value_expired(bare: Kbs) -> None:
    expires = bare.clock.now + timedelta(seconds=60)
    bare.services.coco.reference_values.declare(
        SVN, kind="sample", by="test", now=bare.clock.now, expires=expires
    )
    bare.admin.call("POST", PATH, SECRET)
    bare.admin.resource_policy(ALLOW_SAMPLE)
    guest = bare.guest()
    assert guest.attest().status == 200
    assert get(guest).status == 200
    bare.clock.now = expires
    answer = get(guest)
    assert (answer.status, answer.variant) == (401, "TokenVerifierError")
    assert bare.admin.call("GET", "reference-value/svn").status == 404


def test_the_attestation_policy_replaced(kbs: Kbs, guest: Guest) -> None:
    assert kbs.admin.attestation_policy("default_cpu", TRUSTING).status == 200
    stale(guest)
    assert guest.attest().status == 200
    assert guest.open(get(guest).json) == SECRET


def test_another_attestation_policy_changes_nothing(kbs: Kbs, guest: Guest) -> None:
    assert kbs.admin.attestation_policy("default_gpu", TRUSTING).status == 200
    assert get(guest).status == 200


def test_the_resource_policy_replaced_decides_at_once(kbs: Kbs, guest: Guest) -> None:
    assert kbs.admin.resource_policy("package policy\nallow := false\n").status == 200
    denied(get(guest))
    assert kbs.admin.resource_policy(ALLOW_SAMPLE).status == 200
    assert get(guest).status == 200


def test_a_resource_replaced_or_deleted(kbs: Kbs, guest: Guest) -> None:
    assert kbs.admin.call("POST", PATH, b"another").status == 200
    assert guest.open(get(guest).json) == b"another"
    assert kbs.admin.call("DELETE", PATH).status == 200
    assert (get(guest).status, get(guest).variant) == (404, "PluginInternalError")


# Policies


def test_the_policy_sees_path_plugin_and_query(kbs: Kbs, guest: Guest) -> None:
    policy = """package policy
default allow := false
allow if {
	data.plugin == "resource"
	data["resource-path"] == ["default", "test", "dummy"]
	data.query == {"a": "b c", "d": ""}
}
"""
    assert kbs.admin.resource_policy(policy).status == 200
    denied(get(guest))
    assert get(guest, f"{PATH}?a=b%20c&d=").status == 200
    denied(get(guest, f"{PATH}?a=b&d="))


@pytest.mark.parametrize(
    "rule",
    ['allow := "true"', "allow := 1", "allow := [true]", "allow if input.nosuch", 'allow["x"] := true'],
)
def test_only_true_is_yes(kbs: Kbs, guest: Guest, rule: str) -> None:
    """Case 6."""
    answer = kbs.admin.resource_policy(f"package policy\n{rule}\n")
    if answer.status == 200:
        denied(get(guest))
    else:
        assert (answer.status, answer.variant) == (400, "PolicyEngineError")


@pytest.mark.parametrize("value", ["258", "2.0", '"2"', "true", "null", "-200", "[2]"])
def test_case_6_trust_claims_of_another_kind_are_contraindicated(kbs: Kbs, value: str) -> None:
    rule = (
        f'package policy\ntrust_claims := {{"hardware": {value}, "executables": 3, "configuration": 2}}\n'
    )
    answer = kbs.admin.attestation_policy("default_cpu", rule)
    if answer.status != 200:
        assert answer.variant == "PolicyEngineError"
        return
    guest = kbs.guest()
    assert guest.attest().status == 200
    kbs.admin.resource_policy(ALLOW_ALL)
    denied(get(guest))


def test_case_5_affirming_by_a_vector_of_zeros_is_none(kbs: Kbs) -> None:
    """Trap 14: status `none` is not affirming, and below the floor."""
    rule = 'package policy\ntrust_claims := {"hardware": 0, "executables": 0, "configuration": 0}\n'
    assert kbs.admin.attestation_policy("default_cpu", rule).status == 200
    kbs.admin.resource_policy(ALLOW_ALL)
    guest = kbs.guest()
    guest.attest()
    denied(get(guest))


def test_a_secret_of_the_native_api_keeps_its_release_policy(kbs: Kbs, guest: Guest) -> None:
    strict = 'package policy\ndefault allow := false\nallow if input.nosuch == "x"\n'
    body = {"text": strict, "activate": True}
    native(kbs, "PUT", "/v1/policies/release/strict", body)
    secret = {"data": b64url(SECRET), "release_policy": "strict"}
    native(kbs, "PUT", "/v1/resources/default/test/native", secret)
    kbs.admin.resource_policy(ALLOW_ALL)
    denied(get(guest, "resource/default/test/native"))
    assert get(guest).status == 200


# The record


def test_a_release_and_a_denial_are_recorded(kbs: Kbs, guest: Guest) -> None:
    (done,) = audited(kbs, action="secret.release", outcome="done")
    assert done["target"].endswith("default/test/dummy")
    kbs.admin.resource_policy("package policy\nallow := false\n")
    denied(get(guest))
    (no,) = audited(kbs, action="secret.release", outcome="denied")
    assert no["actor"] == done["actor"]


def test_without_its_record_nothing_is_released(kbs: Kbs, guest: Guest) -> None:
    with kbs.services.database.write() as connection:
        connection.execute(text("ALTER TABLE audit_record RENAME TO audit_away"))
    answer = get(guest)
    assert (answer.status, answer.variant) == (503, "PluginInternalError")
    with kbs.services.database.write() as connection:
        connection.execute(text("ALTER TABLE audit_away RENAME TO audit_record"))
    assert get(guest).status == 200
