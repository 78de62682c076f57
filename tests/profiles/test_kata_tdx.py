"""Profile ``kata-tdx``: from the build of a Kata guest to a result."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import pytest

from common.encoding import b64url_encode
from testkit.intel_platform import MODULE_SVN, TD_ATTRIBUTES, IntelPlatform
from tests.profiles import intel
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
from tests.provenance.derivation import tdx_firmware
from tests.provenance.derivation.bzimage import bzimage
from verifier.tdx.evidence import TdxEvidence

V1, V2 = Release("kata-tdx", "kata-v1.0.0", "v1.0.0"), Release("kata-tdx", "kata-v2.0.0", "v2.0.0")
DEBUG, MIGRATABLE, PERFMON = 1 << 0, 1 << 29, 1 << 63
MACHINE = ("acpi-loader", "acpi-rsdp", "acpi-tables", "boot-order", "boot-0000")
REGISTERS = ("firmware", "kernel", "cmdline", *MACHINE)
INIT_DATA = 'version = "0.1.0"\nalgorithm = "sha384"\n\n[data]\n"policy.rego" = "package agent # {}"\n'


def _artefacts(version: int) -> dict[str, bytes]:
    machine = {role: f"{role} {version}".encode() for role in MACHINE}
    return machine | {
        "firmware": tdx_firmware.firmware(),
        "kernel": bzimage(initrd_max=0x7FFFFFFF - version),
        "cmdline": f"console=hvc0 root=/dev/dm-0 release={version}".encode(),
        "init-data": INIT_DATA.format(version).encode(),
    }


def _publish(server: ProfileServer, release: Release, version: int) -> dict[str, list[Any]]:
    steps = [
        (request_of("kata-tdx", "derive-mrtd.json", release.group), ("firmware",)),
        (request_of("kata-tdx", "derive-rtmr.json", release.group), REGISTERS),
        (request_of("kata-tdx", "derive-init-data.json", release.group), ("init-data",)),
    ]
    server.release(release, steps, _artefacts(version))
    return values_of(server, release.group)


@pytest.fixture(scope="module")
def platform() -> IntelPlatform:
    return intel.platform()


@pytest.fixture(scope="module")
def server(platform: IntelPlatform, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("kata-tdx")
    made = serve("kata-tdx", folder, tdx=intel.section(platform, folder))
    yield made
    made.services.close()


@pytest.fixture(scope="module")
def values(server: ProfileServer) -> dict[str, list[Any]]:
    return _publish(server, V1, 1)


@pytest.fixture(scope="module")
def others(server: ProfileServer) -> dict[str, list[Any]]:
    return _publish(server, V2, 2)


Quote = Callable[..., Callable[[bytes], TdxEvidence]]
_FIELDS = {
    "mr_td": "mr_td",
    "rtmr_0": "rtmr_0",
    "rtmr_1": "rtmr_1",
    "rtmr_2": "rtmr_2",
    "mr_config_id": "tdx_mr_config_id",
}


def _measured(values: dict[str, list[Any]], *names: str) -> dict[str, bytes]:
    return {name: bytes.fromhex(values[_FIELDS[name]][0]) for name in names or _FIELDS}


@pytest.fixture(scope="module")
def quote(platform: IntelPlatform, values: dict[str, list[Any]]) -> Quote:
    """Evidence of the release, with changes to the TD's report; ``status``: of the TCB."""

    def make(*, status: str = "UpToDate", **fields: Any) -> Callable[[bytes], TdxEvidence]:
        collateral = intel.collateral(platform, "tdx", status)
        members = _measured(values) | fields
        return lambda report_data: TdxEvidence(
            quote=b64url_encode(platform.td_quote(report_data=report_data, **members)),
            collateral=collateral,
        )

    return make


def test_a_released_guest_is_affirmed_with_its_commit(server: ProfileServer, quote: Quote) -> None:
    answer = server.appraise(quote())
    assert answer.json["status"] == "affirming", answer.body
    assert vector(answer) == {
        "instance-identity": 2, "configuration": 2, "executables": 3, "hardware": 2, "runtime-opaque": 2,
    }  # fmt: skip
    assert commits(answer) == {V1.revision}


def test_shown_init_data_is_bound(server: ProfileServer, quote: Quote) -> None:
    text = INIT_DATA.format(1).encode()
    answer = server.appraise(quote(), init_data={"algorithm": "sha384", "data": b64url_encode(text)})
    assert answer.json["status"] == "affirming", answer.body


def test_both_page_orders_are_affirmed(
    server: ProfileServer, quote: Quote, values: dict[str, list[Any]]
) -> None:
    assert set(values["mr_td"]) == {
        tdx_firmware.mrtd(tdx_firmware.firmware(), two_pass=order) for order in (True, False)
    }
    for mr_td in values["mr_td"]:
        assert server.appraise(quote(mr_td=bytes.fromhex(mr_td))).json["status"] == "affirming"


@pytest.mark.parametrize("field", ["mr_td", "rtmr_1", "rtmr_2"])
def test_another_measurement_is_no_approved_software(
    server: ProfileServer, quote: Quote, field: str
) -> None:
    answer = server.appraise(quote(**{field: b"\x42" * 48}))
    assert not_affirmed(answer) == {"executables", "configuration"}


@pytest.mark.parametrize("config", [bytes(48), hashlib.sha384(b"other").digest()], ids=["missing", "other"])
def test_missing_or_other_init_data_is_no_approved_configuration(
    server: ProfileServer, quote: Quote, config: bytes
) -> None:
    assert not_affirmed(server.appraise(quote(mr_config_id=config))) == {"configuration"}


def test_another_machine_is_no_approved_configuration(server: ProfileServer, quote: Quote) -> None:
    assert not_affirmed(server.appraise(quote(rtmr_0=b"\x42" * 48))) == {"configuration"}


@pytest.mark.parametrize(
    ("fields", "lost"),
    [
        (("rtmr_2",), {"executables", "configuration"}),
        (("rtmr_0",), {"configuration"}),
        (("mr_config_id",), {"configuration"}),
    ],
)
def test_values_of_two_releases_do_not_pass_together(
    server: ProfileServer,
    quote: Quote,
    others: dict[str, list[Any]],
    fields: tuple[str, ...],
    lost: set[str],
) -> None:
    answer = server.appraise(quote(**_measured(others, *fields)))
    assert not_affirmed(answer) == lost
    assert server.appraise(quote(**_measured(others))).json["status"] == "affirming"


@pytest.mark.parametrize(
    "attributes",
    [TD_ATTRIBUTES | DEBUG, 0, TD_ATTRIBUTES | MIGRATABLE, TD_ATTRIBUTES | PERFMON],
    ids=["debug", "sept-ve", "migratable", "perfmon"],
)
def test_a_guest_that_is_open_to_its_host(server: ProfileServer, quote: Quote, attributes: int) -> None:
    answer = server.appraise(quote(td_attributes=attributes))
    lost = not_affirmed(answer)
    assert {"configuration", "runtime-opaque"} <= lost
    assert "executables" not in lost
    assert failed(answer)


@pytest.mark.parametrize("status", ["SWHardeningNeeded", "OutOfDate", "ConfigurationNeeded"])
def test_a_tcb_that_is_not_up_to_date(server: ProfileServer, quote: Quote, status: str) -> None:
    answer = server.appraise(quote(status=status))
    assert vector(answer)["hardware"] == 96
    assert "hardware" in not_affirmed(answer)
    assert any("tcb" in name for name in failed(answer))


def test_an_old_module_is_no_acceptable_hardware(server: ProfileServer, quote: Quote) -> None:
    answer = server.appraise(quote(tee_tcb_svn=bytes((3, *MODULE_SVN[1:]))))
    assert "hardware" in not_affirmed(answer)
