"""Launch shapes: every member that decides is stated, and nothing else is read."""

from __future__ import annotations

from typing import Any

import pytest

from provenance.derivation.snp.launch_shape import parse
from provenance.errors import LaunchShapeInvalid
from tests.provenance.derivation.material import LAUNCH


@pytest.mark.parametrize("member", sorted(LAUNCH))
def test_no_member_has_a_default(member: str) -> None:
    with pytest.raises(LaunchShapeInvalid):
        parse({name: value for name, value in LAUNCH.items() if name != member})


@pytest.mark.parametrize(
    "change",
    [
        {"vmm": "qemu"},
        {"vmm": "xen"},
        {"vcpus": 0},
        {"vcpus": -1},
        {"vcpus": 1025},
        {"vcpus": 1 << 70},
        {"vcpus": True},
        {"vcpus": 2.0},
        {"vcpus": "2"},
        {"vcpus": []},
        {"vcpus": [1, 1]},
        {"vcpus": [1, True]},
        {"vcpus": list(range(1, 66))},
        {"guest_features": 0},
        {"guest_features": 2},
        {"guest_features": 1 + (1 << 64)},
        {"guest_features": -1},
        {"guest_features": True},
        {"vcpu_type": "EPYC-Venice"},
        {"vcpu_type": "epyc"},
        {"vcpu_sig": 0x800F12},
        {"vcpu_type": None, "vcpu_sig": 1 << 32},
        {"vcpu_type": None, "vcpu_sig": -1},
        {"kernel_hashes": 1},
        {"kernel_hashes": None},
        {"memory": 4096},
    ],
    ids=str,
)
def test_a_member_out_of_form_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(LaunchShapeInvalid):
        parse(LAUNCH | change)


def test_counts_are_a_set() -> None:
    assert parse(LAUNCH | {"vcpus": [8, 2, 4]}).vcpus == (2, 4, 8)
    assert parse(LAUNCH).vcpus == (2,)


def test_a_model_and_its_signature_are_the_same_shape_to_the_measurement() -> None:
    # CPUID Fn0000_0001_EAX of family 17h, model 1, stepping 2: extended family 8, base family Fh.
    by_model = parse(LAUNCH)
    by_signature = parse({**LAUNCH, "vcpu_type": None, "vcpu_sig": 0x00800F12})
    assert by_model.vcpu_sig == by_signature.vcpu_sig
    stated = {name: value for name, value in LAUNCH.items() if name != "vcpu_type"}
    assert by_signature.record(2) == stated | {"vcpu_sig": 0x00800F12}
    assert by_model.record(2) == LAUNCH


def test_an_unknown_model_is_answered_with_what_can_be_given() -> None:
    with pytest.raises(LaunchShapeInvalid) as refused:
        parse(LAUNCH | {"vcpu_type": "EPYC-Venice"})
    assert "vcpu_sig" in refused.value.advice
