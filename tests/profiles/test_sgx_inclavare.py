"""Profile ``sgx-inclavare``: the enclave runtime by signer, the container by CONFIGID."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from common.encoding import b64url_encode
from tests.profiles import sgx
from tests.profiles.sgx import DEBUG, KSS, PLAIN, PROVISION, Enclave, Platform
from tests.profiles.world import Release, commits, failed, not_affirmed, vector

V1 = Release("sgx-inclavare", "runtime-v1.0.0", "v1.0.0")
V2 = Release("sgx-inclavare", "runtime-v2.0.0", "v2.0.0")
RUNTIME, NEXT = Enclave("runtime one", flags=PLAIN | KSS), Enclave("runtime two", svn=6, flags=PLAIN | KSS)


def _init_data(version: int) -> bytes:
    text = (
        f'version = "0.1.0"\nalgorithm = "sha512"\n\n[data]\n"image" = "registry.example/app:v{version}"\n'
    )
    return text.encode()


def _config_id(version: int) -> bytes:
    return hashlib.sha512(_init_data(version)).digest()


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Any:
    made = sgx.start("sgx-inclavare", tmp_path_factory.mktemp("sgx-inclavare"))
    made.publish(V1, RUNTIME, init_data=_init_data(1))
    made.publish(V2, NEXT, init_data=_init_data(2))
    yield made
    made.server.services.close()


def test_a_released_runtime_with_its_container_is_affirmed_with_its_commit(platform: Platform) -> None:
    answer = platform.server.appraise(platform.quote(NEXT, config_id=_config_id(2)))
    assert answer.json["status"] == "affirming", answer.body
    assert vector(answer) == {
        "instance-identity": 2, "configuration": 2, "executables": 3, "hardware": 2, "runtime-opaque": 2,
    }  # fmt: skip
    assert V2.revision in commits(answer)


def test_shown_init_data_is_bound(platform: Platform) -> None:
    shown = {"algorithm": "sha512", "data": b64url_encode(_init_data(1))}
    answer = platform.server.appraise(platform.quote(RUNTIME, config_id=_config_id(1)), init_data=shown)
    assert answer.json["status"] == "affirming", answer.body


def test_a_later_runtime_of_the_signer_is_affirmed_by_the_signers_word(platform: Platform) -> None:
    later = Enclave("runtime three", svn=9, flags=PLAIN | KSS)
    answer = platform.server.appraise(platform.quote(later, config_id=_config_id(2)))
    assert answer.json["status"] == "affirming", answer.body
    assert vector(answer)["executables"] == 4


@pytest.mark.parametrize("config_id", [bytes(64), b"\x42" * 64], ids=["missing", "other"])
def test_missing_or_other_init_data_is_no_approved_configuration(
    platform: Platform, config_id: bytes
) -> None:
    answer = platform.server.appraise(platform.quote(RUNTIME, config_id=config_id))
    assert not_affirmed(answer) == {"configuration"}


def test_a_container_of_a_release_whose_version_the_runtime_does_not_reach(platform: Platform) -> None:
    answer = platform.server.appraise(platform.quote(RUNTIME, config_id=_config_id(2)))
    assert not_affirmed(answer) == {"configuration"}


@pytest.mark.parametrize("fields", [{"mr_signer": b"\x42" * 32}, {"isv_prod_id": 8}, {"isv_svn": 2}])
def test_another_signer_product_or_an_older_version(platform: Platform, fields: dict[str, Any]) -> None:
    answer = platform.server.appraise(platform.quote(RUNTIME, config_id=_config_id(1), **fields))
    assert not_affirmed(answer) == {"executables", "configuration"}


@pytest.mark.parametrize("flag", [DEBUG, PROVISION])
def test_an_open_enclave(platform: Platform, flag: int) -> None:
    evidence = platform.quote(RUNTIME, config_id=_config_id(1), flags=PLAIN | KSS | flag)
    answer = platform.server.appraise(evidence)
    lost = not_affirmed(answer)
    assert {"configuration", "runtime-opaque"} <= lost
    assert "executables" not in lost
    assert failed(answer)


def test_without_kss_a_config_id_is_nobodys_word(platform: Platform) -> None:
    answer = platform.server.appraise(platform.quote(RUNTIME, config_id=_config_id(1), flags=PLAIN))
    assert "configuration" in not_affirmed(answer)


@pytest.mark.parametrize("status", ["SWHardeningNeeded", "OutOfDate"])
def test_a_tcb_that_is_not_up_to_date(platform: Platform, status: str) -> None:
    answer = platform.server.appraise(platform.quote(RUNTIME, config_id=_config_id(1), status=status))
    assert vector(answer)["hardware"] == 96
    assert "hardware" in not_affirmed(answer)
