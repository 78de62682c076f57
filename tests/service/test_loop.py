"""Attestation, reference value, evidence, result, secret, retraction: the loop through the API."""

from __future__ import annotations

import json
from datetime import timedelta

import msgspec
import pytest

from common.encoding import b64url_decode
from tests.service.harness import Clock
from tests.service.world import GOOD, OTHER, SECRET, World


def claims_of(token: str) -> dict:
    return json.loads(b64url_decode(token.split(".")[1]))


def test_guest_gets_the_secret_only_while_the_attestation_stands(world: World) -> None:
    world.store_secret()
    guest = world.guest()

    before = guest.appraise()
    assert before.status == 200
    assert before.json["status"] != "affirming"
    assert guest.release(before.json["token"]).status == 403

    submitted = world.publish(GOOD)
    after = guest.appraise(explain=True)
    assert after.json["status"] == "affirming", after.body
    relied = after.json["explanation"]["reference_values"]["relied_on"]
    assert relied[0]["lineage"]["attestation"] == submitted["attestation"]
    token = after.json["token"]
    released = guest.release(token)
    assert released.status == 200, released.body
    assert guest.open(released, token) == SECRET

    retracted = world.client.post(
        f"/v1/attestations/{submitted['attestation']}/retract", {"reason": "builder compromised"}
    )
    assert retracted.json["reference_values"] == submitted["reference_values"]
    stale = guest.release(token)
    assert (stale.status, stale.code) == (409, "release.stale")
    assert guest.appraise().json["status"] != "affirming"

    impact = world.client.get("/v1/impact", kind="attestation", target=submitted["attestation"]).json
    assert [item["id"] for item in impact["releases"]] == ["vault/key/one"]
    assert impact["affected"]["reference_values"] == submitted["reference_values"]
    actions = [item["entry"]["action"] for item in world.client.get("/v1/audit").json["items"]]
    assert actions[0] == "secret.release"  # the denial
    assert {"reference.retract", "attestation.ingest", "secret.put", "policy.put"} <= set(actions)
    assert world.client.post("/v1/audit/verify").json["holds"] is True


def test_other_build_is_contraindicated_or_warned_and_gets_nothing(world: World) -> None:
    world.store_secret()
    world.publish(GOOD)
    guest = world.guest()
    answer = guest.appraise(OTHER)
    assert answer.json["status"] != "affirming"
    assert guest.release(answer.json["token"]).status == 403


def test_nonce_serves_one_appraisal(world: World) -> None:
    guest = world.guest()
    body = guest.request(guest.challenge())
    assert world.client.post("/v1/appraisals", body).status == 200
    again = world.client.post("/v1/appraisals", body)
    assert (again.status, again.code) == (409, "evidence.nonce")


def test_failed_appraisal_has_spent_its_nonce(world: World) -> None:
    guest = world.guest()
    challenge = guest.challenge()
    wrong = guest.request(guest.challenge()) | {"nonce": challenge["nonce"]}
    refused = world.client.post("/v1/appraisals", wrong)
    assert (refused.status, refused.code) == (422, "evidence.report_data")
    assert refused.json["checks"]
    right = world.client.post("/v1/appraisals", guest.request(challenge))
    assert right.code == "evidence.nonce"


def test_expired_nonce_is_refused(world: World, clock: Clock) -> None:
    guest = world.guest()
    body = guest.request(guest.challenge())
    clock.now += timedelta(minutes=5)
    assert world.client.post("/v1/appraisals", body).code == "evidence.nonce"


def test_nonce_that_was_never_issued_is_refused(world: World) -> None:
    guest = world.guest()
    body = guest.request(guest.challenge()) | {"nonce": "A" * 43}
    assert world.client.post("/v1/appraisals", body).code == "evidence.nonce"


def test_evidence_for_one_key_does_not_serve_another(world: World) -> None:
    victim, relay = world.guest(), world.guest()
    body = victim.request(victim.challenge()) | {"tee_pubkey": dict(relay.key.public_jwk)}
    assert world.client.post("/v1/appraisals", body).code == "evidence.report_data"


def test_evidence_for_another_audience_is_refused(world: World) -> None:
    guest = world.guest()
    body = guest.request(guest.challenge() | {"audience": "https://another.example"})
    assert world.client.post("/v1/appraisals", body).code == "evidence.report_data"


def test_result_for_a_relying_partys_own_report_data_releases_nothing(world: World) -> None:
    world.store_secret()
    world.publish(GOOD)
    guest = world.guest()
    evidence = world.firmware.evidence(b"r" * 64, measurement=GOOD)
    body = {"evidence": msgspec.to_builtins(evidence), "report_data": (b"r" * 64).hex()}
    answer = world.client.post("/v1/appraisals", body)
    assert answer.status == 200
    refused = guest.release(answer.json["token"])
    assert (refused.status, refused.code) == (403, "release.unbound")


@pytest.mark.parametrize(
    "damage",
    [
        lambda token: token[:-6] + ("AAAAAA" if token[-6:] != "AAAAAA" else "BBBBBB"),
        lambda token: "eyJhbGciOiJub25lIn0." + token.split(".")[1] + ".",
        lambda token: token.split(".")[1],
        lambda _: "",
        lambda _: "ts_000000000000_" + "A" * 43,
    ],
)
def test_token_that_does_not_verify_is_refused_without_a_record(world: World, damage) -> None:
    world.store_secret()
    world.publish(GOOD)
    guest = world.guest()
    token = guest.appraise().json["token"]
    before = len(world.client.get("/v1/audit").json["items"])
    refused = guest.release(damage(token))
    assert (refused.status, refused.code) == (401, "access.ear")
    assert len(world.client.get("/v1/audit").json["items"]) == before


def test_expired_token_releases_nothing(world: World, clock: Clock) -> None:
    world.store_secret()
    world.publish(GOOD)
    guest = world.guest()
    token = guest.appraise().json["token"]
    clock.now += timedelta(minutes=5)
    assert guest.release(token).code == "access.ear"


def test_denied_guest_does_not_learn_what_exists(world: World) -> None:
    world.store_secret()
    guest = world.guest()
    token = guest.appraise(OTHER).json["token"]
    existing = guest.release(token)
    absent = guest.release(token, "/v1/resources/vault/key/absent")
    assert (existing.status, existing.code) == (absent.status, absent.code) == (403, "release.denied")


def test_replaced_appraisal_policy_ends_what_rested_on_the_old_one(world: World) -> None:
    world.store_secret()
    world.publish(GOOD)
    guest = world.guest()
    token = guest.appraise().json["token"]
    present = world.client.get("/v1/policies/appraisal/default").json
    changed = present["text"] + "\n# second version\n"
    put = world.client.put(
        "/v1/policies/appraisal/default", {"text": changed, "activate": True, "expected": 1}
    )
    assert (put.status, put.json["version"]) == (201, 2)
    assert guest.release(token).code == "release.stale"
    renewed = guest.appraise().json["token"]
    assert claims_of(renewed)["touchstone"]["policy_digest"] == put.json["digest"]
    assert guest.release(renewed).status == 200


def test_request_may_not_choose_a_policy_that_is_not_offered(world: World) -> None:
    lax = world.client.get("/v1/policies/appraisal/default").json["text"] + "\n# lax\n"
    assert world.client.put("/v1/policies/appraisal/lax", {"text": lax, "activate": True}).status == 201
    refused = world.guest().appraise(policy="lax")
    assert (refused.status, refused.code) == (404, "policy.not_found")
    assert world.guest().appraise(policy="default").status == 200


def test_token_names_what_the_result_rests_on(world: World) -> None:
    submitted = world.publish(GOOD)
    guest = world.guest()
    claims = claims_of(guest.appraise().json["token"])
    ours = claims["touchstone"]
    assert ours["reference_values"] == submitted["reference_values"]
    assert ours["snapshot"] == submitted["snapshot"]
    assert claims["cnf"]["jwk"]["x"] == guest.key.public_jwk["x"]
    assert {"iss", "aud", "exp", "iat", "nbf", "jti", "eat_nonce", "eat_profile"} <= claims.keys()
