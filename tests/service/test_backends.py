"""The same server on the other parts it can be put together from: PostgreSQL, an OPA server, a TPM."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from common.binding import binding_digest
from common.encoding import b64url_decode, b64url_encode
from guest_agent.attesters.tpm import TpmAttester
from guest_agent.keys import EphemeralKey
from service import composition, settings
from service.app import create_app
from service.composition import Services
from testkit.opa import OpaServer
from testkit.postgres import PostgresServer
from testkit.snp_firmware import SnpFirmware
from testkit.swtpm import SwTpm
from tests.components import require_opa, require_swtpm
from tests.databases import postgres
from tests.service.harness import Clock, ContractClient
from tests.service.test_loop import (
    test_guest_gets_the_secret_only_while_the_attestation_stands as whole_loop,
)
from tests.service.test_loop import (
    test_replaced_appraisal_policy_ends_what_rested_on_the_old_one as replaced,
)
from tests.service.world import GOOD, SECRET, Publisher, World, firmware_settings
from wire.rcar import Challenge

__all__ = ["postgres"]
pytestmark = pytest.mark.xdist_group("server")


def first_start(sections: dict, clock: Clock) -> Services:
    built = settings.build(sections)
    composition.prepare(built, clock)
    return composition.build(built, clock)


def world_of(services: Services, firmware: SnpFirmware) -> World:
    token = (services.settings.storage.data_dir / "admin.token").read_text(encoding="ascii").strip()
    made = World(services, ContractClient(create_app(services), token), Publisher(), firmware)
    made.trust_publisher()
    return made


@pytest.fixture
def on_postgres(
    postgres: PostgresServer, firmware: SnpFirmware, tmp_path: Path, clock: Clock
) -> Iterator[World]:
    sections = firmware_settings(firmware, tmp_path)
    sections["storage"] = {"data_dir": str(tmp_path / "data"), "url": postgres.empty_database_url()}
    services = first_start(sections, clock)
    yield world_of(services, firmware)
    services.close()


@pytest.fixture
def on_opa(firmware: SnpFirmware, tmp_path: Path, clock: Clock) -> Iterator[World]:
    require_opa()
    token_file = tmp_path / "opa.token"
    token_file.write_text("opa-token\n")
    token_file.chmod(0o600)
    with OpaServer(token="opa-token") as opa:
        sections = firmware_settings(firmware, tmp_path)
        sections["storage"] = {"data_dir": str(tmp_path / "data")}
        sections["policy"] = {
            "engine": "opa",
            "opa": {"url": opa.url, "token_file": str(token_file), "timeout_s": 10},
        }
        services = first_start(sections, clock)
        made = world_of(services, firmware)
        made.opa = opa
        yield made
        services.close()


def test_whole_loop_on_postgresql(on_postgres: World) -> None:
    whole_loop(on_postgres)


def test_replaced_policy_on_postgresql(on_postgres: World) -> None:
    replaced(on_postgres)


def test_concurrent_submissions_retractions_and_releases_on_postgresql(on_postgres: World) -> None:
    """Writers of different rooms take their locks in one order: none of them is refused or lost."""
    world = on_postgres
    world.store_secret()
    world.publish(GOOD)
    token = world.guest().appraise().json["token"]
    gate = threading.Barrier(6)

    def submit(number: int) -> int:
        body = world.publisher.submission(bytes([number]) * 48, revision=f"{number:040x}")
        gate.wait()
        return world.client.post("/v1/attestations", body).status

    def release(_: int) -> int:
        gate.wait()
        return world.client.call("POST", "/v1/resources/vault/key/one/release", {"token": token}).status

    def retract(number: int) -> int:
        gate.wait()
        body = {"kind": "signer", "target": f"nobody-{number}", "reason": "x"}
        return world.client.post("/v1/retractions", body).status

    with ThreadPoolExecutor(6) as pool:
        jobs = [pool.submit(work, number) for number in (1, 2) for work in (submit, release, retract)]
        assert sorted(job.result(60) for job in jobs) == [200, 200, 200, 200, 201, 201]
    assert world.client.post("/v1/audit/verify").json["holds"] is True


def test_whole_loop_on_an_opa_server(on_opa: World) -> None:
    whole_loop(on_opa)


def test_opa_server_that_is_gone_denies_and_is_said(on_opa: World) -> None:
    on_opa.store_secret()
    on_opa.publish(GOOD)
    guest = on_opa.guest()
    good = guest.appraise()
    assert good.json["status"] == "affirming"
    on_opa.opa.stop()
    denied = guest.appraise()
    assert denied.status == 200
    assert denied.json["status"] == "contraindicated"
    refused = guest.release(good.json["token"])
    assert refused.status in (403, 503)
    assert b"jwe" not in refused.body


@pytest.fixture(scope="module")
def tpm() -> Iterator[SwTpm]:
    require_swtpm()
    with SwTpm() as running:
        running.measured_boot()
        yield running


def test_whole_loop_with_a_tpm(tpm: SwTpm, tmp_path: Path, clock: Clock) -> None:
    root = tmp_path / "ek-root.pem"
    root.write_bytes(tpm.ek_root.public_bytes(Encoding.PEM))
    clock.now = (
        tpm.ek_root.not_valid_before_utc.replace(microsecond=0)
        + (tpm.ek_root.not_valid_after_utc - tpm.ek_root.not_valid_before_utc) / 1000
    )
    sections = {
        "storage": {"data_dir": str(tmp_path / "data")},
        "tpm": {"ek_roots": [str(root)], "require_event_log": True},
    }
    services = first_start(sections, clock)
    token = (tmp_path / "data" / "admin.token").read_text(encoding="ascii").strip()
    client = ContractClient(create_app(services), token)
    publisher = Publisher()
    publisher_world = World(services, client, publisher, None)
    publisher_world.trust_publisher()
    publisher_world.store_secret()
    registers = tpm.registers("sha256", tuple(range(16)))
    values = [
        {"name": f"tpm_pcr{index:02d}", "value": value, "tee": "tpm", "group": "release-1"}
        for index, value in registers.items()
    ]
    submission = {
        "envelope": b64url_encode(publisher.envelope_of(values, now=clock.now)),
        "derivation": {"rule": "reference-values"},
    }
    answer = client.post("/v1/attestations", submission)
    assert answer.status == 201, answer.body
    key = EphemeralKey("P-384")
    with TpmAttester(tcti=tpm.tcti, ek_chain=tpm.ek_chain, event_log=tpm.event_log) as attester:
        asked = {"tee": "tpm", "tpm": msgspec.to_builtins(attester.endorsement())}
        issued = client.call("POST", "/v1/challenges", asked, token=None)
        assert issued.status == 201, issued.body
        challenge = msgspec.convert(issued.json, Challenge)
        assert challenge.credential is not None
        report_data = binding_digest(
            nonce=b64url_decode(challenge.nonce),
            tee_pubkey=key.public_jwk,
            audience=challenge.audience,
            size=attester.binding_size,
        )
        evidence = attester.collect(report_data, challenge)
    body = {
        "evidence": msgspec.to_builtins(evidence) | {"tee": "tpm"},
        "nonce": challenge.nonce,
        "tee_pubkey": dict(key.public_jwk),
        "explain": True,
    }
    result = client.call("POST", "/v1/appraisals", body, token=None)
    assert result.status == 200, result.body
    assert result.json["status"] == "affirming", result.json["explanation"]["trust_vector"]
    released = client.call(
        "POST", "/v1/resources/vault/key/one/release", {"token": result.json["token"]}, token=None
    )
    assert released.status == 200, released.body
    jti = msgspec.json.decode(b64url_decode(result.json["token"].split(".")[1]))["jti"]
    opened = key.open_secret(
        released.json["jwe"], resource="resource/vault/key/one", version=None, ear_jti=jti
    )
    assert opened == SECRET
    services.close()
