"""Profile ``sgx-occlum``: the LibOS by its measurement, the application by the MAC in ISVFAMILYID."""

from __future__ import annotations

from typing import Any

import pytest

from tests.profiles import sgx
from tests.profiles.sgx import DEBUG, KSS, PLAIN, PROVISION, Enclave, Platform
from tests.profiles.world import Release, commits, failed, not_affirmed, vector

V1, V2 = Release("sgx-occlum", "app-v1.0.0", "v1.0.0"), Release("sgx-occlum", "app-v2.0.0", "v2.0.0")
APP = Enclave("occlum", family=b"MAC of app one..", extended=b"E" * 16, flags=PLAIN | KSS)
# The same LibOS with another application, and a higher version.
NEXT = Enclave("occlum", svn=4, family=b"MAC of app two..", extended=b"E" * 16, flags=PLAIN | KSS)


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Any:
    made = sgx.start("sgx-occlum", tmp_path_factory.mktemp("sgx-occlum"))
    made.publish(V1, APP)
    made.publish(V2, NEXT)
    yield made
    made.server.services.close()


def test_a_released_application_is_affirmed_with_its_commit(platform: Platform) -> None:
    answer = platform.server.appraise(platform.quote(NEXT))
    assert answer.json["status"] == "affirming", answer.body
    assert vector(answer) == {
        "instance-identity": 2, "configuration": 2, "executables": 3, "file-system": 2, "hardware": 2,
        "runtime-opaque": 2,
    }  # fmt: skip
    assert V2.revision in commits(answer)
    assert platform.server.appraise(platform.quote(APP)).json["status"] == "affirming"


def test_the_same_libos_with_another_application_is_not_the_release(platform: Platform) -> None:
    answer = platform.server.appraise(platform.quote(APP, isv_family_id=b"MAC of another.."))
    assert not_affirmed(answer) == {"configuration", "file-system"}


def test_an_enclave_without_a_mac_has_no_known_files(platform: Platform) -> None:
    release = Release("sgx-occlum", "app-v5.0.0", "v5.0.0")
    empty = Enclave("occlum of old", flags=PLAIN | KSS)
    platform.publish(release, empty)
    assert not_affirmed(platform.server.appraise(platform.quote(empty))) == {"configuration", "file-system"}


def test_another_libos_is_no_approved_software(platform: Platform) -> None:
    answer = platform.server.appraise(platform.quote(APP, mr_enclave=b"\x42" * 32))
    assert not_affirmed(answer) == {"executables", "configuration", "file-system"}


@pytest.mark.parametrize("fields", [{"mr_signer": b"\x42" * 32}, {"isv_prod_id": 8}, {"isv_svn": 2}])
def test_another_signer_product_or_an_older_version(platform: Platform, fields: dict[str, Any]) -> None:
    answer = platform.server.appraise(platform.quote(APP, **fields))
    assert not_affirmed(answer) == {"executables", "configuration", "file-system"}


def test_a_version_of_the_one_release_is_too_low_for_the_other(platform: Platform) -> None:
    # The first release's version with the second one's application: each is known, together they are not.
    answer = platform.server.appraise(platform.quote(NEXT, isv_svn=3))
    assert not_affirmed(answer) == {"configuration", "file-system"}


@pytest.mark.parametrize("flag", [DEBUG, PROVISION])
def test_an_open_enclave(platform: Platform, flag: int) -> None:
    answer = platform.server.appraise(platform.quote(APP, flags=PLAIN | KSS | flag))
    assert {"configuration", "file-system", "runtime-opaque"} <= not_affirmed(answer)
    assert failed(answer)


def test_without_kss_nothing_says_which_application_it_is(platform: Platform) -> None:
    answer = platform.server.appraise(platform.quote(APP, flags=PLAIN))
    assert {"configuration", "file-system"} <= not_affirmed(answer)


@pytest.mark.parametrize("fields", [{"config_id": b"\x01" + bytes(63)}, {"config_svn": 1}])
def test_what_was_configured_at_launch_is_not_the_releases(
    platform: Platform, fields: dict[str, Any]
) -> None:
    assert not_affirmed(platform.server.appraise(platform.quote(APP, **fields))) == {"configuration"}


@pytest.mark.parametrize("status", ["SWHardeningNeeded", "OutOfDate"])
def test_a_tcb_that_is_not_up_to_date(platform: Platform, status: str) -> None:
    answer = platform.server.appraise(platform.quote(APP, status=status))
    assert vector(answer)["hardware"] == 96
    assert "hardware" in not_affirmed(answer)
