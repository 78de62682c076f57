"""Profile ``sgx-gramine``: Gramine and its manifest by MRENCLAVE."""

from __future__ import annotations

from typing import Any

import pytest

from tests.profiles import sgx
from tests.profiles.sgx import DEBUG, KSS, PLAIN, PROVISION, Enclave, Platform
from tests.profiles.world import Release, commits, failed, not_affirmed, vector

V1, V2 = Release("sgx-gramine", "app-v1.0.0", "v1.0.0"), Release("sgx-gramine", "app-v2.0.0", "v2.0.0")
APP, NEXT = Enclave("gramine with manifest one", svn=3), Enclave("gramine with manifest two", svn=5)


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Any:
    made = sgx.start("sgx-gramine", tmp_path_factory.mktemp("sgx-gramine"))
    made.publish(V1, APP)
    made.publish(V2, NEXT)
    yield made
    made.server.services.close()


def test_a_released_application_is_affirmed_with_its_commit(platform: Platform) -> None:
    answer = platform.server.appraise(platform.quote(NEXT))
    assert answer.json["status"] == "affirming", answer.body
    assert vector(answer) == {
        "instance-identity": 2, "configuration": 2, "executables": 3, "hardware": 2, "runtime-opaque": 2,
    }  # fmt: skip
    assert V2.revision in commits(answer)
    assert platform.server.appraise(platform.quote(APP)).json["status"] == "affirming"


def test_another_manifest_is_no_approved_software(platform: Platform) -> None:
    answer = platform.server.appraise(platform.quote(Enclave("gramine with manifest three")))
    assert not_affirmed(answer) == {"executables", "configuration"}


@pytest.mark.parametrize("fields", [{"mr_signer": b"\x42" * 32}, {"isv_prod_id": 8}, {"isv_svn": 2}])
def test_another_signer_product_or_an_older_version(platform: Platform, fields: dict[str, Any]) -> None:
    answer = platform.server.appraise(platform.quote(APP, **fields))
    assert not_affirmed(answer) == {"executables", "configuration"}


def test_a_version_of_the_one_release_is_too_low_for_the_other(platform: Platform) -> None:
    # The version that the first release allows, and the second one's enclave: of no one release.
    answer = platform.server.appraise(platform.quote(NEXT, isv_svn=4))
    assert not_affirmed(answer) == {"executables", "configuration"}


@pytest.mark.parametrize("flag", [DEBUG, PROVISION])
def test_an_open_enclave(platform: Platform, flag: int) -> None:
    answer = platform.server.appraise(platform.quote(APP, flags=PLAIN | flag))
    lost = not_affirmed(answer)
    assert {"configuration", "runtime-opaque"} <= lost
    assert "executables" not in lost
    assert failed(answer)


@pytest.mark.parametrize(
    "fields", [{"flags": PLAIN | KSS}, {"config_id": b"\x01" + bytes(63)}, {"config_svn": 1}]
)
def test_what_gramine_does_not_set_is_another_build(platform: Platform, fields: dict[str, Any]) -> None:
    assert "configuration" in not_affirmed(platform.server.appraise(platform.quote(APP, **fields)))


@pytest.mark.parametrize("status", ["SWHardeningNeeded", "OutOfDate"])
def test_a_tcb_that_is_not_up_to_date(platform: Platform, status: str) -> None:
    answer = platform.server.appraise(platform.quote(APP, status=status))
    assert vector(answer)["hardware"] == 96
    assert "hardware" in not_affirmed(answer)
