"""A server with policy keys: only signed trust policies, only forward, never past their end."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from common.errors import InvalidSetting
from provenance.trust import signed
from service import profile, settings
from service.app import create_app
from tests.service.conftest import MakeServices
from tests.service.harness import NOW, Clock, ContractClient
from tests.service.world import GOOD, Publisher

KEYS = [Ed25519PrivateKey.generate() for _ in range(3)]
PUBLISHER = Publisher()


def pinned(folder: Path, *keys: Ed25519PrivateKey, threshold: int = 1) -> dict[str, Any]:
    entries = []
    for number, key in enumerate(keys):
        file = folder / f"policy-{number}-{id(key)}.pem"
        file.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        entries.append({"file": str(file), "algorithm": "ed25519"})
    return {"policy": {"trust_policy_keys": entries, "trust_policy_threshold": threshold}}


def policy(serial: int = 1, *keys: Ed25519PrivateKey, **changes: Any) -> str:
    document = PUBLISHER.trust_policy() | {
        "name": "default",
        "serial": serial,
        "expires": (NOW + timedelta(days=30)).isoformat(),
    }
    data = json.dumps(document | changes).encode()
    for key in keys or KEYS[:1]:
        data = signed.sign(data, key)
    return data.decode()


@pytest.fixture
def make_client(make_services: MakeServices, prepared: Path) -> Any:
    token = (prepared / "admin.token").read_text(encoding="ascii").strip()

    def make(**sections: Any) -> ContractClient:
        return ContractClient(create_app(make_services(**sections)), token)

    return make


@pytest.fixture
def client(make_client: Any, tmp_path: Path) -> ContractClient:
    return make_client(**pinned(tmp_path, *KEYS[:2]))


def put(client: ContractClient, text: str, name: str = "default", **members: Any) -> Any:
    return client.put(f"/v1/policies/trust/{name}", {"text": text, "activate": True} | members)


def submit(client: ContractClient, **members: Any) -> Any:
    return client.post("/v1/attestations", PUBLISHER.submission(GOOD) | members)


def test_signed_policy_is_taken_and_decides(client: ContractClient) -> None:
    assert put(client, policy()).status == 201
    assert submit(client).status == 201


def test_unsigned_and_wrongly_signed_policies_are_refused(client: ContractClient) -> None:
    answer = put(client, json.dumps(PUBLISHER.trust_policy()))
    assert (answer.status, answer.code) == (422, "statement.trust_policy_unsigned")
    answer = put(client, policy(1, KEYS[2]))
    assert (answer.status, answer.code) == (422, "statement.trust_policy_signature")
    assert client.get("/v1/policies/trust/default").status == 404


def test_threshold_of_distinct_keys(make_client: Any, tmp_path: Path) -> None:
    client = make_client(**pinned(tmp_path, *KEYS, threshold=2))
    assert put(client, policy(1, KEYS[0])).code == "statement.trust_policy_signature"
    assert put(client, policy(1, KEYS[0], KEYS[2])).status == 201


def test_lower_serial_and_equal_with_other_content_are_refused(client: ContractClient) -> None:
    assert put(client, policy(5)).status == 201
    for stale in (policy(4), policy(5, max_age_seconds=60)):
        answer = put(client, stale)
        assert (answer.status, answer.code) == (409, "policy.serial")
    assert put(client, policy(5, *KEYS[:2])).status == 201  # the same document, one more signature
    assert put(client, policy(6)).status == 201


def test_old_version_cannot_be_activated_again(client: ContractClient) -> None:
    put(client, policy(1))
    put(client, policy(2))
    answer = client.post("/v1/policies/trust/default/activate", {"version": 1})
    assert (answer.status, answer.code) == (409, "policy.serial")


def test_rollback_is_refused_and_says_what_to_do(client: ContractClient) -> None:
    put(client, policy(1))
    put(client, policy(2))
    answer = client.post("/v1/policies/trust/default/rollback", {})
    assert (answer.status, answer.code) == (409, "policy.rollback_refused")
    assert "higher serial" in answer.json["advice"]


def test_old_policy_cannot_stand_under_another_name(client: ContractClient) -> None:
    put(client, policy(2))
    answer = put(client, policy(1), name="elsewhere")
    assert (answer.status, answer.code) == (422, "statement.trust_policy")
    assert submit(client, trust_policy="elsewhere").status == 404


def test_expired_policy_cannot_be_activated_and_admits_nothing(
    client: ContractClient, clock: Clock
) -> None:
    ended = policy(1, expires=(NOW - timedelta(seconds=1)).isoformat())
    assert put(client, ended).code == "statement.trust_policy_expired"
    assert put(client, policy(2, expires=(NOW + timedelta(hours=1)).isoformat())).status == 201
    assert submit(client).status == 201
    clock.now = NOW + timedelta(hours=1)
    answer = submit(client)
    assert (answer.status, answer.code) == (422, "statement.trust_policy_expired")
    assert client.post("/v1/policies/trust/default/rollback", {}).code == "policy.rollback_refused"


def test_keys_pinned_later_end_an_unsigned_policy(make_client: Any, tmp_path: Path) -> None:
    assert put(make_client(), json.dumps(PUBLISHER.trust_policy())).status == 201
    client = make_client(**pinned(tmp_path, KEYS[0]))
    assert submit(client).code == "statement.trust_policy_unsigned"


def test_key_that_is_no_longer_pinned_vouches_for_nothing(make_client: Any, tmp_path: Path) -> None:
    assert put(make_client(**pinned(tmp_path, KEYS[0])), policy()).status == 201
    client = make_client(**pinned(tmp_path, KEYS[1]))
    assert submit(client).code == "statement.trust_policy_signature"
    # Rotation: the same document and serial, signed by the new key too.
    assert put(client, signed.sign(policy().encode(), KEYS[1]).decode()).status == 201
    assert submit(client).status == 201


def test_serial_holds_without_pinned_keys_too(make_client: Any, tmp_path: Path) -> None:
    assert put(make_client(**pinned(tmp_path, KEYS[0])), policy(3)).status == 201
    client = make_client()
    assert put(client, json.dumps(PUBLISHER.trust_policy())).code == "policy.serial"
    assert put(client, policy(2, KEYS[2])).code == "policy.serial"


def test_environment_of_the_server_decides(make_client: Any) -> None:
    text = json.dumps(
        PUBLISHER.trust_policy() | {"environments": {"prod": {"max_age_seconds": 60}, "dev": {}}}
    )
    assert put(make_client(), text).code == "statement.trust_policy"
    client = make_client(policy={"environment": "prod"})
    assert put(client, text).status == 201
    assert submit(client).code == "statement.incomplete"
    assert submit(make_client(policy={"environment": "dev"})).status == 201


def test_required_predicates_are_held_over_what_is_submitted_together(make_client: Any) -> None:
    from common.encoding import b64url_encode
    from testkit.authority import sign_dsse

    kind = "https://acme.example/review/v1"
    text = PUBLISHER.trust_policy()
    text["predicate_types"] = [*text["predicate_types"], kind]
    text |= {"required_predicates": [kind], "supporting_predicates": [kind]}
    client = make_client()
    assert put(client, json.dumps(text)).status == 201
    answer = submit(client)
    assert (answer.status, answer.code) == (422, "statement.required_predicates")

    def review(digest: str) -> str:
        document = {
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{"name": "firmware", "digest": {"sha256": digest}}],
            "predicateType": kind,
            "predicate": {"by": "ann"},
        }
        key = PUBLISHER.key
        return b64url_encode(sign_dsse(json.dumps(document).encode(), [(key, key.spki_sha256)]))

    disagreeing = submit(client, supporting=[review("1" * 64)])
    assert disagreeing.code in {"statement.disagreement", "statement.required_predicates"}
    assert submit(client, supporting=[review("0" * 64)] * 17).status == 413
    assert client.get("/v1/attestations").json["items"] == []
    assert submit(client, supporting=[review("0" * 64)]).status == 201
    assert len(client.get("/v1/attestations").json["items"]) == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"trust_policy_threshold": 2},
        {"trust_policy_keys": [{"file": "/nonexistent.pem", "algorithm": "ed25519"}]},
    ],
)
def test_keys_that_cannot_be_used_end_the_start(
    make_services: MakeServices, tmp_path: Path, changes: dict[str, Any]
) -> None:
    sections = pinned(tmp_path, KEYS[0])
    sections["policy"] |= changes
    with pytest.raises(Exception, match=r"threshold|cannot read"):
        make_services(**sections)


def test_key_of_another_algorithm_ends_the_start(make_services: MakeServices, tmp_path: Path) -> None:
    sections = pinned(tmp_path, KEYS[0])
    sections["policy"]["trust_policy_keys"][0]["algorithm"] = "ecdsa-p256-sha256"
    with pytest.raises(InvalidSetting, match="ecdsa"):
        make_services(**sections)


def test_server_without_policy_keys_says_so_at_start(tmp_path: Path) -> None:
    (warning,) = profile.warnings(settings.build({}))
    assert "trust_policy_keys" in warning
    assert profile.warnings(settings.build(pinned(tmp_path, KEYS[0]))) == ()


def test_settings_name_the_algorithms_that_keys_have() -> None:
    from typing import get_args

    from provenance.keys import ALGORITHMS
    from service.sections import PolicyKeySection

    assert set(get_args(PolicyKeySection.model_fields["algorithm"].annotation)) < set(ALGORITHMS)
