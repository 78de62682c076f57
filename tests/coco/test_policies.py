"""Policies over Confidential Containers' protocols: what compiles, what can be used, on record."""

from __future__ import annotations

import base64
import json

import pytest
from sqlalchemy import select

from coco.policies import CocoPolicies
from common.errors import InvalidIdentifier, Malformed, TooLarge
from kms.audit import AuditLog
from kms.tables import audit_record
from policy.errors import PolicyNotFound, PolicyRejected
from policy.port import PolicyKind
from policy.regorus_engine import RegorusEngine
from policy.store import MAX_TEXT_BYTES, PolicyStore
from storage.database import Database
from storage.migrate import migrate
from tests.service.harness import NOW

TEXT = 'package policy\nimport rego.v1\ntrust_claims := {"hardware": 2} # \u00fe\u00fe\u00ff\u00ff?>\n'
RESOURCE = "package policy\nimport rego.v1\ndefault allow := false\n"


@pytest.fixture
def database(tmp_path):
    opened = Database(f"sqlite:///{tmp_path / 'store.db'}")
    migrate(opened)
    yield opened
    opened.close()


@pytest.fixture
def policies(database):
    return CocoPolicies(PolicyStore(database), RegorusEngine(), AuditLog(database))


def url(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def standard(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def records(database) -> list[dict]:
    with database.read() as connection:
        return [json.loads(entry) for entry in connection.execute(select(audit_record.c.entry)).scalars()]


@pytest.mark.parametrize("encode", [url, standard])
def test_both_spellings_of_base64_are_taken(policies, encode):
    texts = [TEXT, TEXT + "#", TEXT + "##"]
    assert any(encode(text) != url(text) for text in texts) is (encode is standard)
    for text in texts:
        policies.set_attestation_policy("mine_cpu", encode(text), by="t", now=NOW)
        assert policies.text("mine_cpu") == text


def test_change_is_in_force_at_once_recorded_and_kept_by_version(policies, database):
    first = policies.set_attestation_policy("mine_cpu", url(TEXT), by="alice", now=NOW)
    second = policies.set_attestation_policy("mine_cpu", url(TEXT + "#"), by="bob", now=NOW)
    again = policies.set_attestation_policy("mine_cpu", url(TEXT + "#"), by="bob", now=NOW)
    assert (first.version, second.version, again.version) == (1, 2, 2)
    assert policies.text("mine_cpu") == TEXT + "#"
    found = [(item["action"], item["actor"], item["target"]) for item in records(database)]
    assert found[:2] == [
        ("policy.put", "alice", "policy/appraisal/mine_cpu"),
        ("policy.activate", "alice", "policy/appraisal/mine_cpu"),
    ]


def test_ids_are_those_of_this_service_that_are_in_force(policies, database):
    store = PolicyStore(database)
    store.activate(
        PolicyKind.APPRAISAL,
        "default",
        store.put(PolicyKind.APPRAISAL, "default", TEXT, by="t", now=NOW).version,
        by="t",
        now=NOW,
    )
    store.put(PolicyKind.APPRAISAL, "idle_cpu", TEXT, by="t", now=NOW)
    for policy_id in ("z_gpu", "a_nvidia-dpu", "x_y_switch"):
        policies.set_attestation_policy(policy_id, url(TEXT), by="t", now=NOW)
    assert policies.ids() == ("a_nvidia-dpu", "x_y_switch", "z_gpu")
    with pytest.raises(PolicyNotFound):
        policies.text("idle_cpu")
    with pytest.raises(InvalidIdentifier):
        policies.text("default")


def test_resource_policy_is_apart_from_attestation_policies(policies):
    assert policies.resource_policy_ids() == ()
    policies.set_resource_policy(url(RESOURCE), by="t", now=NOW)
    assert policies.resource_policy_ids() == ("resource-policy",)
    assert policies.ids() == ()


def test_what_is_refused_is_neither_stored_nor_recorded(policies, database):
    for policy_id in (
        "default",
        "cpu",
        "_cpu",
        "-x_cpu",
        "a..b_cpu",
        "a/b_cpu",
        "mine_tpm",
        "x" * 200 + "_cpu",
    ):
        with pytest.raises(InvalidIdentifier):
            policies.set_attestation_policy(policy_id, url(TEXT), by="t", now=NOW)
    for text in ("***", "YQ=", base64.b64encode(b"\xff\xfe\xfd").decode()):
        with pytest.raises(Malformed):
            policies.set_attestation_policy("mine_cpu", text, by="t", now=NOW)
    with pytest.raises(PolicyRejected):
        policies.set_attestation_policy("mine_cpu", url("package other\nx := 1\n"), by="t", now=NOW)
    with pytest.raises(PolicyRejected):
        policies.set_resource_policy(url("package other\nx := 1\n"), by="t", now=NOW)
    with pytest.raises(TooLarge):
        policies.set_attestation_policy("mine_cpu", "A" * (2 * MAX_TEXT_BYTES), by="t", now=NOW)
    assert policies.ids() == ()
    assert records(database) == []
