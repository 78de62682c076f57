"""The attestation service's REST API: the reference's forms, and what it must not let through."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
import urllib.parse
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from flask.testing import FlaskClient
from joserfc import jwt
from joserfc.jwk import ECKey

from common.encoding import b64_encode, b64url_encode
from policy.port import PolicyKind
from service import settings
from service.app import create_app
from service.composition import Services
from testkit.snp_firmware import SnpFirmware
from tests.service.coco.documents import (
    ALLOW_ALL,
    GENOA_TIME,
    claims_of,
    firmware_document,
    genoa_document,
    request,
)
from tests.service.conftest import MakeServices
from tests.service.harness import NOW, Answer, Clock, ContractClient
from tests.service.world import firmware_settings
from verifier.coco_token import CocoVerifier

ORIGIN = "https://console.example"
SHIPPED = [
    {"policy-id": f"default_{name}"} for name in ("cpu", "dcu", "gpu", "nvidia-dpu", "ppcie", "switch")
]


@pytest.fixture
def coco(make_services: MakeServices, firmware: SnpFirmware, tmp_path: Path) -> Services:
    return make_services(**firmware_settings(firmware, tmp_path))


@pytest.fixture
def client(coco: Services) -> ContractClient:
    token = (coco.settings.storage.data_dir / "admin.token").read_text(encoding="ascii").strip()
    return ContractClient(create_app(coco), token)


def put(client: ContractClient, policy_id: str, text: str, **options: Any) -> Answer:
    body = {"policy_id": policy_id, "policy": b64url_encode(text.encode())}
    return client.call("POST", "/policy", body, **options)


def attest(client: ContractClient, *requests: dict[str, Any], **members: Any) -> Answer:
    return client.call(
        "POST", "/attestation", {"verification_requests": list(requests)} | members, token=None
    )


def token_of(answer: Answer) -> dict[str, Any]:
    assert answer.status == 200, answer.body
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    return claims_of(answer.body.decode("ascii"))


# Forms of the reference


def test_genuine_evidence_without_reference_values_gives_a_contraindicated_token(
    make_services: MakeServices, clock: Clock, vectors: Path
) -> None:
    services = make_services(profile="development", snp={"revocation": "if-present"})
    token = (services.settings.storage.data_dir / "admin.token").read_text(encoding="ascii").strip()
    client = ContractClient(create_app(services), token)
    clock.now = GENOA_TIME
    answer = attest(client, request(genoa_document(vectors)), policy_ids=["default"])
    claims = token_of(answer)
    cpu = claims["submods"]["cpu0"]
    assert claims["eat_profile"] == "tag:github.com,2024:confidential-containers/Trustee"
    assert cpu["ear.status"] == "contraindicated"
    assert cpu["ear.appraisal-policy-id"] == "default"
    assert cpu["ear.trustworthiness-vector"]["hardware"] == 97
    evidence = cpu["ear.veraison.annotated-evidence"]
    assert evidence["snp"]["measurement"].startswith("7699e6ac12ccdfd1")
    assert evidence["runtime_data_claims"] is None
    assert claims["touchstone"]["bound"] == "unbound"
    assert "jwk" in header_of(answer)


def header_of(answer: Answer) -> dict[str, Any]:
    return claims_of("." + answer.body.decode("ascii").split(".")[0])


def test_altered_genuine_evidence_is_refused(
    make_services: MakeServices, clock: Clock, vectors: Path
) -> None:
    services = make_services(profile="development", snp={"revocation": "if-present"})
    client = ContractClient(create_app(services))
    clock.now = GENOA_TIME
    document = genoa_document(vectors)
    document["attestation_report"]["measurement"][0] ^= 1
    answer = attest(client, request(document))
    assert (answer.status, answer.code) == (422, "evidence.signature")


def test_two_requests_are_two_submodules(client: ContractClient, firmware: SnpFirmware) -> None:
    item = request(firmware_document(firmware))
    assert set(token_of(attest(client, item, item))["submods"]) == {"cpu0", "cpu1"}


@pytest.mark.parametrize("members", [{}, {"policy_ids": []}, {"policy_ids": ["default", "second"]}])
def test_policy_ids_may_be_absent_and_only_the_first_counts(
    client: ContractClient, firmware: SnpFirmware, members: dict[str, Any]
) -> None:
    claims = token_of(attest(client, request(firmware_document(firmware)), **members))
    assert claims["submods"]["cpu0"]["ear.appraisal-policy-id"] == "default"


def test_token_verifies_with_the_published_keys(
    client: ContractClient, coco: Services, firmware: SnpFirmware
) -> None:
    answer = attest(client, request(firmware_document(firmware)))
    names = coco.settings.coco.token
    verifier = CocoVerifier(coco.token_keys, issuer=names.issuer, profile=names.profile)
    verified = verifier.verify(answer.body.decode("ascii"), NOW)
    assert verified["submods"].keys() == {"cpu0"}
    published = {key["kid"] for key in client.get("/.well-known/jwks.json").json["keys"]}
    assert header_of(answer).get("kid") in published


def test_structured_runtime_data_is_hashed_in_its_canonical_form(
    client: ContractClient, firmware: SnpFirmware
) -> None:
    data = {"b": "é", "a": {"nonce": "1"}}
    for algorithm in (None, "sha256", "sha384", "sha512"):
        digest = hashlib.new(algorithm or "sha384", rfc8785.dumps(data)).digest()
        document = firmware_document(firmware, digest.ljust(64, b"\0"))
        item = request(document, runtime_data={"structured": data}, runtime_data_hash_algorithm=algorithm)
        claims = token_of(attest(client, item))
        evidence = claims["submods"]["cpu0"]["ear.veraison.annotated-evidence"]
        assert evidence["runtime_data_claims"] == data
        assert claims["touchstone"]["bound"] == "report-data"


def test_raw_runtime_data_is_compared_as_it_is(client: ContractClient, firmware: SnpFirmware) -> None:
    document = firmware_document(firmware, b"x" * 32 + bytes(32))
    assert attest(client, request(document, runtime_data={"raw": b64url_encode(b"x" * 32)})).status == 200
    answer = attest(client, request(document, runtime_data={"raw": b64url_encode(b"y" * 32)}))
    assert (answer.status, answer.code) == (422, "evidence.report_data")


def test_init_data_is_held_against_host_data(client: ContractClient, firmware: SnpFirmware) -> None:
    toml = "version = \"0.1.0\"\nalgorithm = \"sha256\"\n[data]\n\"aa.toml\" = '''a = 1'''\n"
    digest = hashlib.sha256(toml.encode()).digest()
    document = firmware_document(firmware, host_data=digest)
    claims = token_of(attest(client, request(document, init_data={"init_data_toml": toml})))
    evidence = claims["submods"]["cpu0"]["ear.veraison.annotated-evidence"]
    assert evidence["init_data_claims"]["aa.toml"] == {"a": 1}
    item = request(document, init_data={"init_data_digest": b64url_encode(digest)})
    assert attest(client, item).status == 200
    item = request(document, init_data={"init_data_toml": toml + "\n"})
    assert attest(client, item).status == 422


def test_policies_are_set_listed_and_shown(client: ContractClient) -> None:
    body = {"type": "rego", "policy_id": "mine_cpu", "policy": b64_encode(ALLOW_ALL.encode())}
    answer = client.call("POST", "/policy", body)
    assert (answer.status, answer.body) == (200, b"")
    listed = client.call("GET", "/policy", token=None)
    assert listed.json == [*SHIPPED, {"policy-id": "mine_cpu"}]
    shown = client.get("/policy/mine_cpu")
    assert (shown.status, shown.body.decode()) == (200, ALLOW_ALL)
    assert client.get("/policy/absent_cpu").code == "policy.not_found"
    assert client.call("GET", "/policy/mine_cpu", token=None).status == 401


def test_policy_is_in_force_at_once_and_recorded(
    client: ContractClient, coco: Services, firmware: SnpFirmware
) -> None:
    item = request(firmware_document(firmware))
    assert attest(client, item, policy_ids=["mine"]).code == "policy.not_found"
    assert put(client, "mine_cpu", ALLOW_ALL).status == 200
    claims = token_of(attest(client, item, policy_ids=["mine"]))
    assert claims["submods"]["cpu0"]["ear.status"] == "affirming"
    assert claims["submods"]["cpu0"]["ear.appraisal-policy-id"] == "mine"
    entries = client.get("/v1/audit", limit=100).json["items"]
    targets = {(item["entry"]["action"], item["entry"]["target"]) for item in entries}
    assert {
        ("policy.put", "policy/appraisal/mine_cpu"),
        ("policy.activate", "policy/appraisal/mine_cpu"),
    } <= (targets)
    del coco


@pytest.mark.parametrize("tee", ["sample", "snp", "tpm", "tdx", "nvidia", "nvidiadpu", "azsnpvtpm"])
def test_challenge_is_empty_for_what_needs_none(client: ContractClient, tee: str) -> None:
    answer = client.call("POST", "/challenge", {"tee": tee, "tee_params": ""}, token=None)
    assert (answer.status, answer.body) == (200, b"")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"tee": "snp"}, 400),
        ({"tee": "snp", "tee_params": {}}, 400),
        ({"tee": "no-such", "tee_params": ""}, 422),
        ({"tee": "se", "tee_params": ""}, 422),
    ],
)
def test_challenge_that_cannot_be_made_is_refused(client: ContractClient, body: Any, status: int) -> None:
    assert client.call("POST", "/challenge", body, token=None).status == status


# Abuse


@pytest.mark.parametrize("token", [None, "ts_000000000000_" + "A" * 43, "x.y.z", "ts_"])
def test_policy_is_not_written_without_a_right_token(client: ContractClient, token: str | None) -> None:
    answer = put(client, "mine_cpu", ALLOW_ALL, token=token)
    assert answer.status == 401, answer.body
    assert client.get("/policy").json == SHIPPED


def test_policy_is_not_written_by_another_role(client: ContractClient, coco: Services) -> None:
    token, _ = coco.tokens.create(label="x", roles=("auditor",), by="test", now=NOW)
    answer = put(client, "mine_cpu", ALLOW_ALL, token=token)
    assert (answer.status, answer.code) == (403, "access.scope")
    token, _ = coco.tokens.create(label="x", roles=("policy-author",), by="test", now=NOW)
    assert put(client, "mine_cpu", ALLOW_ALL, token=token).status == 200


def test_unauthenticated_writes_are_a_switch_of_the_development_profile(
    make_services: MakeServices,
) -> None:
    coco = {"attestation": {"unauthenticated_writes": True}}
    with pytest.raises(settings.InvalidSetting, match="unauthenticated_writes"):
        make_services(coco=coco)
    client = ContractClient(create_app(make_services(coco=coco, profile="development")))
    assert put(client, "mine_cpu", ALLOW_ALL, token=None).status == 200
    assert client.get("/healthz").json["status"] == "insecure"


def test_reads_can_be_closed(make_services: MakeServices) -> None:
    services = make_services(coco={"attestation": {"authenticate_reads": True}})
    client = ContractClient(create_app(services))
    assert client.call("GET", "/policy", token=None).status == 401
    token = (services.settings.storage.data_dir / "admin.token").read_text(encoding="ascii").strip()
    assert client.call("GET", "/policy", token=token).status == 200


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("package policy\nx {{{", "policy.syntax"),
        ("package other\ntrust_claims := {}", "policy.rejected"),
        ("package policy\nx := 1", "policy.rejected"),
        (
            'package policy\nimport rego.v1\ntrust_claims := http.send({"url": "http://x"})',
            "policy.rejected",
        ),
    ],
)
def test_policy_that_could_not_decide_is_not_stored(client: ContractClient, text: str, code: str) -> None:
    answer = put(client, "mine_cpu", text)
    assert (answer.status, answer.code) == (422, code)
    assert client.get("/policy").json == SHIPPED


@pytest.mark.parametrize("result", ['{"no-such-claim": 2}', "{}", '{"hardware": 258}', '{"hardware": "2"}'])
def test_policy_with_a_wrong_result_denies_and_breaks_nothing(
    client: ContractClient, firmware: SnpFirmware, result: str
) -> None:
    stored = put(client, "mine_cpu", f"package policy\nimport rego.v1\ntrust_claims := {result}\n")
    if stored.status == 200:
        claims = token_of(attest(client, request(firmware_document(firmware)), policy_ids=["mine"]))
        assert claims["submods"]["cpu0"]["ear.status"] == "contraindicated"
    else:
        assert (stored.status, stored.code) == (422, "policy.rejected")


@pytest.mark.parametrize(
    "policy_id", ["default", "../x y_cpu", "mine", "_cpu", "cpu", "mine_host", "", "mine_cpu\n", "a/b_cpu"]
)
def test_policy_id_that_names_no_submodule_is_refused(client: ContractClient, policy_id: str) -> None:
    before = client.get("/v1/policies/appraisal/default").json["version"]
    answer = put(client, policy_id, ALLOW_ALL)
    assert (answer.status, answer.code) == (400, "input.identifier")
    assert client.get("/v1/policies/appraisal/default").json["version"] == before


@pytest.mark.parametrize("policy", ["***", "YQ", "_w", "A", "", "a" * 2_000_000])
def test_policy_that_is_no_text_is_refused(client: ContractClient, policy: str) -> None:
    answer = client.call("POST", "/policy", {"policy_id": "mine_cpu", "policy": policy})
    assert answer.status in {400, 413, 422}
    assert client.get("/policy").json == SHIPPED


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"evidence": "***"}, 400, "input.malformed"),
        ({"evidence": "e30="}, 400, "input.malformed"),
        ({"evidence": "e+/0"}, 400, "input.malformed"),
        ({"evidence": ""}, 400, "input.malformed"),
        ({"evidence": b64url_encode(b"[" * 100_000)}, 400, "input.malformed"),
        ({"evidence": b64url_encode(b"{}")}, 400, "input.malformed"),
        ({"tee": "sev"}, 422, "coco.tee_unknown"),
        ({"tee": "hygondcu"}, 422, "evidence.unsupported"),
        ({"runtime_data": {}}, 400, "input.malformed"),
        ({"runtime_data": {"raw": "AA", "structured": {}}}, 400, "input.malformed"),
        ({"runtime_data": {"raw": ""}}, 400, "input.malformed"),
        ({"runtime_data": {"raw": b64url_encode(bytes(64))}}, 400, "input.malformed"),
        ({"runtime_dat": {"raw": "AA"}}, 400, "input.unknown_field"),
        (
            {"runtime_data_hash_algorithm": "md5", "runtime_data": {"structured": {}}},
            400,
            "input.malformed",
        ),
        ({"init_data": {"init_data_digest": b64url_encode(bytes(32))}}, 400, "input.malformed"),
        ({"init_data": {}}, 400, "input.malformed"),
    ],
)
def test_malformed_request_is_refused(
    client: ContractClient, firmware: SnpFirmware, change: dict[str, Any], status: int, code: str
) -> None:
    answer = attest(client, request(firmware_document(firmware)) | change)
    assert (answer.status, answer.code) == (status, code), answer.body


def test_structured_runtime_data_with_a_member_twice_is_refused(
    client: ContractClient, firmware: SnpFirmware
) -> None:
    item = json.dumps(request(firmware_document(firmware), runtime_data={"structured": {}}))
    raw = item.replace('{"structured": {}}', '{"structured": {"nonce": "1", "nonce": "2"}}')
    body = f'{{"verification_requests": [{raw}]}}'.encode()
    answer = client.call("POST", "/attestation", raw=body, token=None)
    assert (answer.status, answer.code) == (400, "input.duplicate_key")


def test_number_of_requests_is_bounded(client: ContractClient, firmware: SnpFirmware) -> None:
    assert attest(client).code == "input.malformed"
    item = request(firmware_document(firmware))
    assert attest(client, *[item] * 33).code == "input.malformed"


def test_body_is_bounded(make_services: MakeServices) -> None:
    client = ContractClient(create_app(make_services(coco={"request_bytes": 1024})))
    assert attest(client, {"tee": "snp", "evidence": "A" * 2000}).status == 413


def test_replayed_evidence_without_runtime_data_is_unbound(
    client: ContractClient, firmware: SnpFirmware
) -> None:
    item = request(firmware_document(firmware, b"x" * 64))
    for _ in range(2):
        claims = token_of(attest(client, item))
        assert claims["touchstone"]["bound"] == "unbound"
        assert "eat_nonce" not in claims
        assert "cnf" not in claims


# The reference's statuses


@pytest.fixture
def reference(make_services: MakeServices, firmware: SnpFirmware, tmp_path: Path) -> FlaskClient:
    sections = firmware_settings(firmware, tmp_path) | {"coco": {"statuses": "reference"}}
    return create_app(make_services(**sections)).test_client()


@pytest.mark.parametrize(
    ("path", "body", "doing"),
    [
        (
            "/attestation",
            {"verification_requests": [{"tee": "snp", "evidence": "***"}], "policy_ids": []},
            "attestation report evaluate",
        ),
        ("/challenge", {"tee": "snp"}, "generate challenge"),
    ],
)
def test_failure_in_the_reference_manner_is_500_and_text(
    reference: FlaskClient, path: str, body: Any, doing: str
) -> None:
    answer = reference.post(path, json=body)
    assert answer.status_code == 500
    assert answer.content_type == "text/plain; charset=utf-8"
    assert answer.text.startswith(f"An internal error occured: \n0: {doing}\n1: ")
    assert "Traceback" not in answer.text
    assert ".py" not in answer.text


def test_in_the_reference_manner_no_request_is_400_and_a_stranger_is_401(reference: FlaskClient) -> None:
    assert reference.post("/attestation", json={}).status_code == 400
    assert reference.post("/policy", json={"policy_id": "a_cpu", "policy": ""}).status_code == 401


# CORS


def preflight(client: ContractClient, origin: str, path: str = "/attestation") -> Any:
    return client.http.open(
        path, method="OPTIONS", headers={"Origin": origin, "Access-Control-Request-Method": "POST"}
    )


def test_no_page_may_call_by_default(client: ContractClient) -> None:
    assert preflight(client, ORIGIN).status_code == 405
    answer = client.http.get("/policy", headers={"Origin": ORIGIN})
    assert "Access-Control-Allow-Origin" not in answer.headers


def test_pages_of_configured_origins_may_call(make_services: MakeServices) -> None:
    services = make_services(coco={"attestation": {"allowed_origins": [ORIGIN]}})
    client = ContractClient(create_app(services))
    for path in ("/attestation", "/policy", "/policy/default_cpu", "/challenge"):
        answer = preflight(client, ORIGIN, path)
        assert answer.status_code == 204
        assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
        assert answer.headers["Access-Control-Allow-Methods"] == "POST, GET, OPTIONS"
        assert answer.headers["Access-Control-Allow-Headers"] == "Content-Type, Authorization"
        assert answer.headers["Access-Control-Max-Age"] == "86400"
        assert "Access-Control-Allow-Credentials" not in answer.headers
    assert (
        client.http.get("/policy", headers={"Origin": ORIGIN}).headers["Access-Control-Allow-Origin"]
        == ORIGIN
    )
    assert preflight(client, ORIGIN, "/v1/policies").status_code == 405
    assert preflight(client, ORIGIN, "/policyx").status_code == 404


@pytest.mark.parametrize("origin", ["https://console.example.evil", "http://console.example", "null", "*"])
def test_other_origins_are_refused(make_services: MakeServices, origin: str) -> None:
    services = make_services(coco={"attestation": {"allowed_origins": [ORIGIN]}})
    client = ContractClient(create_app(services))
    answer = preflight(client, origin)
    assert (answer.status_code, answer.text) == (403, "Origin is not allowed to make this request")
    answer = client.http.get("/policy", headers={"Origin": origin})
    assert "Access-Control-Allow-Origin" not in answer.headers
    assert answer.headers["Vary"] == "Origin"


@pytest.mark.parametrize("origin", ["console.example", "https://x/path", "https://X.example", "*.example"])
def test_origin_that_no_browser_sends_is_refused_at_start(origin: str) -> None:
    with pytest.raises(settings.InvalidSetting):
        settings.build({"coco": {"attestation": {"allowed_origins": [origin]}}})


def test_path_of_the_api_is_not_decoded_twice(client: ContractClient) -> None:
    answer = client.call("GET", f"/policy/{urllib.parse.quote('..%2fx_cpu')}")
    assert answer.status == 400


# Administrators of the KBS


@pytest.fixture
def provider(tmp_path: Path) -> ec.EllipticCurvePrivateKey:
    key = ec.generate_private_key(ec.SECP256R1())
    (tmp_path / "idp.pem").write_bytes(
        key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    return key


def admin_jwt(key: ec.EllipticCurvePrivateKey, role: str) -> str:
    claims = {"sub": "alice", "role": role, "exp": int(NOW.timestamp()) + 60}
    return jwt.encode({"alg": "ES256"}, claims, ECKey.import_key(key))


def test_administrator_of_the_kbs_writes_by_the_rule_for_the_kbs_route(
    make_services: MakeServices, provider: ec.EllipticCurvePrivateKey, tmp_path: Path
) -> None:
    admin = {
        "providers": [{"name": "idp", "public_key": str(tmp_path / "idp.pem")}],
        "acls": [
            {"role": "author", "allowed_endpoints": "^/kbs/v0/attestation-policy$", "methods": ["POST"]},
            {"role": "reader", "allowed_endpoints": "^/kbs/v0/attestation-policy$", "methods": ["GET"]},
            {"role": "other", "allowed_endpoints": "^/kbs/v0/resource/.+$"},
        ],
    }
    services = make_services(coco={"admin": admin})
    client = ContractClient(create_app(services))
    assert put(client, "mine_cpu", ALLOW_ALL, token=admin_jwt(provider, "author")).status == 200
    version = services.policy_store.active(PolicyKind.APPRAISAL, "mine_cpu")
    assert version.created_by == "alice (idp)"
    for role in ("reader", "other"):
        answer = put(client, "other_cpu", ALLOW_ALL, token=admin_jwt(provider, role))
        assert (answer.status, answer.code) == (401, "coco.admin_denied")
    stranger = ec.generate_private_key(ec.SECP256R1())
    assert put(client, "other_cpu", ALLOW_ALL, token=admin_jwt(stranger, "author")).status == 401
    assert client.call("GET", "/policy/mine_cpu", token=admin_jwt(provider, "reader")).status == 200
    assert client.call("GET", "/policy/mine_cpu", token=admin_jwt(provider, "author")).status == 401


def test_nothing_is_served_where_the_protocols_are_off(make_services: MakeServices) -> None:
    client = ContractClient(create_app(make_services(coco={"enabled": False})))
    for method, path in (("POST", "/attestation"), ("POST", "/policy"), ("GET", "/policy/default_cpu")):
        assert client.call(method, path, {} if method == "POST" else None).status == 404


def test_configuration_of_the_manual_is_one() -> None:
    text = (Path(__file__).resolve().parents[3] / "docs" / "attestation-service.md").read_text("utf-8")
    blocks = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 1
    built = settings.build(tomllib.loads(blocks[0]))
    assert built.grpc.unauthenticated_writes == "loopback"
