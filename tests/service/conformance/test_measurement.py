"""The derivation runner on the published cases, and on cases that it must not agree with."""

from __future__ import annotations

import copy
import hashlib
from typing import TYPE_CHECKING, Any

import pytest

from common.errors import Malformed
from service.conformance.measurement import run_case
from service.conformance.runner import cases_of

if TYPE_CHECKING:
    from pathlib import Path


def _cases(manifest: Path, kind: str) -> list[dict[str, Any]]:
    return [case for case in cases_of(manifest) if kind in (case.get("type"), case.get("tee"))]


@pytest.fixture
def provenance(vectors: Path) -> Path:
    return vectors / "provenance" / "manifest.json"


@pytest.fixture
def evidence(vectors: Path) -> Path:
    return vectors / "evidence" / "manifest.json"


def test_every_published_launch_digest_is_measured(provenance: Path) -> None:
    outcomes = [run_case(case, provenance.parent) for case in _cases(provenance, "derive-snp")]
    assert [outcome.detail for outcome in outcomes if not outcome.agree] == []
    assert len(outcomes) == 65


def test_snp_measurements_of_the_evidence_manifest_agree_or_are_unsupported(evidence: Path) -> None:
    outcomes = {case["id"]: run_case(case, evidence.parent) for case in _cases(evidence, "measure")}
    assert outcomes["measure/snp-dstack"].agree
    assert outcomes["measure/snp-ovmfx64-nokernel"].detail == "18 measured, all equal"
    # The distribution's firmware may be absent or of another version; never a wrong measurement.
    assert outcomes["measure/snp-debian-ovmf"].got in ("pass", "unsupported")
    assert outcomes["measure/sgx-sigstruct-oasis"].detail == "4 measured, all equal"


def test_an_altered_sigstruct_measures_to_nothing(evidence: Path, tmp_path: Path) -> None:
    (case,) = [case for case in _cases(evidence, "measure") if "sigstruct" in case["id"]]
    data = bytearray((evidence.parent / case["files"]["input"]).read_bytes())
    data[960] ^= 1
    (tmp_path / "altered").write_bytes(data)
    outcome = run_case(case | {"files": {"input": "altered"}}, tmp_path)
    assert (outcome.code, outcome.agree) == ("derivation.sigstruct", False)


def _pcr11(folder: Path, **params: str) -> dict[str, Any]:
    for name in ("linux", "initrd"):
        (folder / name).write_bytes(name.encode())
    register = bytes(32)
    for data in (b".linux\0", b"linux", b".initrd\0", b"initrd", b"enter-initrd"):
        register = hashlib.sha256(register + hashlib.sha256(data).digest()).digest()
    sections = {"initrd": "initrd", "linux": "linux", "phase": "enter-initrd"}
    return {"id": "x", "type": "derive-pcr11", "params": sections | params, "expect": register.hex()}


def test_a_unified_kernels_register_is_measured(tmp_path: Path) -> None:
    assert run_case(_pcr11(tmp_path), tmp_path).agree
    assert run_case(_pcr11(tmp_path, phase="sysinit"), tmp_path).agree is False
    assert run_case(_pcr11(tmp_path, phase="sysinit:enter-initrd"), tmp_path).code == "derivation.launch"
    assert run_case(_pcr11(tmp_path, pcrsig="linux"), tmp_path).got == "unsupported"


def test_other_measurements_are_unsupported(provenance: Path) -> None:
    case = _cases(provenance, "derive-tdx-mrtd")[0] | {"type": "derive-another"}
    assert run_case(case, provenance.parent).got == "unsupported"


def test_a_wrong_expectation_is_a_disagreement(provenance: Path) -> None:
    case = copy.deepcopy(_cases(provenance, "derive-snp")[0])
    case["expect"] = "00" * 48
    outcome = run_case(case, provenance.parent)
    assert (outcome.got, outcome.agree) == ("fail", False)
    assert "measured" in outcome.detail


def test_a_case_that_is_refused_names_the_error_and_does_not_agree(provenance: Path) -> None:
    case = copy.deepcopy(_cases(provenance, "derive-snp")[0])
    case["params"]["vcpu_type"] = "EPYC-Venice"
    outcome = run_case(case, provenance.parent)
    assert (outcome.got, outcome.code, outcome.agree) == ("fail", "derivation.launch", False)


def test_a_case_that_expects_no_measurement_is_not_agreed_with(evidence: Path) -> None:
    for case in _cases(evidence, "measure"):
        changed = copy.deepcopy(case)
        if "digests" in changed["expect"]["claims"]:
            changed["expect"]["claims"]["digests"] = []
            assert run_case(changed, evidence.parent).agree is False


@pytest.mark.parametrize("member", ["params", "expect"])
def test_a_case_that_lacks_a_member_is_unusable(provenance: Path, member: str) -> None:
    case = copy.deepcopy(_cases(provenance, "derive-snp")[0])
    del case[member]
    with pytest.raises(Malformed):
        run_case(case, provenance.parent)


def test_firmware_outside_the_distributions_folders_is_not_opened(evidence: Path, tmp_path: Path) -> None:
    (case,) = [c for c in _cases(evidence, "measure") if c["id"] == "measure/snp-debian-ovmf"]
    (tmp_path / "input.json").write_text(
        '{"path":"/etc/hostname","sha256":"00","vcpus":1,"vcpu_type":"EPYC-v4","guest_features":1}'
    )
    changed = case | {"files": {"input": "input.json"}}
    assert run_case(changed, tmp_path).got == "unsupported"


def test_every_published_mrtd_is_measured(provenance: Path) -> None:
    cases = _cases(provenance, "derive-tdx-mrtd")
    assert [run_case(case, provenance.parent).agree for case in cases] == [True, True]
    # One page order's value is not the other's, and half a firmware has none.
    swapped = copy.deepcopy(cases[0])
    swapped["params"]["page_order"] = cases[1]["params"]["page_order"]
    assert run_case(swapped, provenance.parent).agree is False
    swapped["params"]["page_order"] = "by heart"
    with pytest.raises(Malformed):
        run_case(swapped, provenance.parent)


def test_a_firmware_cut_short_has_no_mrtd(provenance: Path, tmp_path: Path) -> None:
    case = copy.deepcopy(_cases(provenance, "derive-tdx-mrtd")[0])
    image = (provenance.parent / case["params"]["tdvf"]).read_bytes()
    (tmp_path / "half").write_bytes(image[0x20000:])
    case["params"]["tdvf"] = "half"
    outcome = run_case(case, tmp_path)
    assert (outcome.code, outcome.agree) == ("derivation.artifact", False)
