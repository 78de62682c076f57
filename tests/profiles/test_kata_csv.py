"""Profile ``kata-csv``: the launch measurement is stated by the release workflow."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from common.encoding import b64url_encode
from provenance.predicates.reference import PREDICATE_TYPE
from testkit.csv_platform import POLICY, CsvPlatform, ReportFields
from tests.profiles.world import (
    ProfileServer,
    Release,
    commits,
    failed,
    not_affirmed,
    request_of,
    serve,
    values_of,
    vector,
)
from tests.service.harness import NOW
from verifier.csv.evidence import CsvEvidence

V1 = Release("kata-csv", "kata-v1.0.0", "v1.0.0")
MEASURE = hashlib.sha256(b"csv guest").digest()
NODBG, NOKS, ES, NOSEND, CSV3, ASID_REUSE = 1, 2, 4, 8, 64, 128


def statement(release: Release, measure: bytes, tee: str = "csv") -> bytes:
    """The release workflow's word for a launch measurement, with the build's provenance as its source."""
    provenance = hashlib.sha256(release.provenance({"firmware": b"OVMF", "kernel": b"vmlinuz"})).hexdigest()
    source = {
        "attestation": provenance,
        "builder": release.identity,
        "sourceUri": release.source,
        "sourceRevision": release.revision,
    }
    value = {"name": "csv_measure", "value": measure.hex(), "tee": tee, "group": release.group}
    return json.dumps(
        {
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{"name": "OVMF.fd", "digest": {"sha256": hashlib.sha256(b"OVMF").hexdigest()}}],
            "predicateType": PREDICATE_TYPE,
            "predicate": {
                "values": [value],
                "derivedFrom": [source],
                "rule": "csv-measured-on-hardware/1",
                "inputs": {"launch": {"vcpus": 2}},
                "issuedAt": NOW.strftime("%Y-%m-%dT%H:%M:%SZ"),
            },
        }
    ).encode()


def publish(server: ProfileServer, release: Release, measure: bytes) -> Any:
    request = request_of("kata-csv", "derive-measure.json", release.group)
    return server.publish(release.signed(statement(release, measure)), request, {})


@pytest.fixture(scope="module")
def platform() -> CsvPlatform:
    return CsvPlatform()


@pytest.fixture(scope="module")
def server(platform: CsvPlatform, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder: Path = tmp_path_factory.mktemp("kata-csv")
    anchor = folder / "hrk.cert"
    anchor.write_bytes(platform.hrk)
    made = serve("kata-csv", folder, csv={"extra_anchors": [str(anchor)]})
    answer = publish(made, V1, MEASURE)
    assert answer.status == 201, answer.body
    yield made
    made.services.close()


Report = Callable[..., Callable[[bytes], CsvEvidence]]


@pytest.fixture(scope="module")
def report(platform: CsvPlatform) -> Report:
    def make(version: int = 2, **fields: Any) -> Callable[[bytes], CsvEvidence]:
        members: dict[str, Any] = {"measure": MEASURE} | fields
        return lambda data: platform.evidence(version, ReportFields(report_data=data, **members))

    return make


@pytest.mark.parametrize("version", [1, 2])
def test_a_released_guest_is_affirmed_with_its_commit(
    server: ProfileServer, report: Report, version: int
) -> None:
    answer = server.appraise(report(version))
    assert answer.json["status"] == "affirming", answer.body
    assert vector(answer) == {
        "instance-identity": 2, "configuration": 2, "executables": 3, "hardware": 2, "runtime-opaque": 2,
    }  # fmt: skip
    assert commits(answer) == {V1.revision}
    assert values_of(server, V1.group) == {"csv_measure": [MEASURE.hex()]}


@pytest.mark.parametrize("version", [1, 2])
def test_of_another_measurement_nothing_is_affirmed(
    server: ProfileServer, report: Report, version: int
) -> None:
    lost = not_affirmed(server.appraise(report(version, measure=b"\x42" * 32)))
    assert lost == {"instance-identity", "configuration", "executables", "hardware", "runtime-opaque"}


@pytest.mark.parametrize(
    "policy",
    [POLICY & ~NODBG, POLICY & ~NOKS, POLICY & ~ES, POLICY & ~CSV3, POLICY | ASID_REUSE],
    ids=["debug", "key-sharing", "registers", "csv2", "asid"],
)
def test_a_guest_that_is_open_to_its_host(server: ProfileServer, report: Report, policy: int) -> None:
    answer = server.appraise(report(policy=policy))
    lost = not_affirmed(answer)
    assert {"configuration", "runtime-opaque"} <= lost
    assert "executables" not in lost
    assert failed(answer)


def test_a_guest_that_may_be_sent_elsewhere(server: ProfileServer, report: Report) -> None:
    answer = server.appraise(report(policy=POLICY & ~NOSEND))
    assert "configuration" in not_affirmed(answer)
    assert "csv.policy.nosend" in failed(answer)


def test_init_data_that_no_field_binds_is_no_approved_configuration(
    server: ProfileServer, report: Report
) -> None:
    text = b'version = "0.1.0"\nalgorithm = "sha256"\n\n[data]\n'
    shown = {"algorithm": "sha256", "data": b64url_encode(text)}
    assert not_affirmed(server.appraise(report(), init_data=shown)) == {"configuration"}


def test_a_measurement_that_another_workflow_states_is_refused(server: ProfileServer) -> None:
    stranger = Release("kata-csv", "kata-v8", "v8", repository="https://github.com/stranger/kata-guest")
    answer = publish(server, stranger, b"\x43" * 32)
    assert (answer.status, answer.code) == (422, "statement.untrusted_signer")


def test_a_measurement_of_another_length_is_refused(server: ProfileServer) -> None:
    answer = publish(server, Release("kata-csv", "kata-v9", "v9.0.0"), b"\x43" * 48)
    assert (answer.status, answer.code) == (422, "statement.predicate")
