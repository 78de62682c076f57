"""Rule ``tdx-mrtd``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from provenance.derivation import derive
from provenance.derivation.tdx import tdvf, tdx_mrtd
from provenance.derivation.tdx.tdx_mrtd import PageOrder
from provenance.errors import ArtifactInvalid, LaunchShapeInvalid, NotDerivable, SubjectMismatch
from provenance.model import Artifact, DerivationRequest, DerivedValue
from tests.components import require
from tests.provenance.derivation.material import admitted, subject
from tests.provenance.derivation.tdx_firmware import AUG, EXTEND, PAYLOAD, changed, firmware, mrtd

OVMF = Path("/usr/share/ovmf/OVMF.fd")


def _derive(image: bytes, launch: dict[str, Any], *more: Artifact) -> tuple[DerivedValue, ...]:
    statement = admitted(subject("OVMF.fd", image), *(subject(item.name, item.data) for item in more))
    request = DerivationRequest(rule="tdx-mrtd", launch=launch)
    return derive(statement, request, [Artifact("firmware", "OVMF.fd", image), *more])


@pytest.mark.parametrize(
    "launch",
    [
        {},
        {"page_order": "Interleaved"},
        {"page_order": None},
        {"page_order": []},
        {"page_order": ["two-pass", "two-pass"]},
        {"page_order": "two-pass", "memory": 1},
        {"page_order": 1},
    ],
)
def test_a_page_order_is_stated_and_never_assumed(launch: dict[str, Any]) -> None:
    with pytest.raises(LaunchShapeInvalid):
        _derive(firmware(), launch)


def test_a_firmware_that_nobody_attested_is_refused() -> None:
    request = DerivationRequest(rule="tdx-mrtd", launch={"page_order": "two-pass"})
    with pytest.raises(SubjectMismatch):
        derive(admitted(subject("OVMF.fd", b"other")), request, [Artifact("firmware", "f", firmware())])


def test_a_digest_of_the_firmware_does_not_suffice() -> None:
    request = DerivationRequest("tdx-mrtd", {"page_order": "two-pass"}, subjects={"firmware": "OVMF.fd"})
    with pytest.raises(NotDerivable, match="bytes"):
        derive(admitted(subject("OVMF.fd", firmware())), request, [])


def test_an_artefact_that_does_not_enter_is_refused() -> None:
    with pytest.raises(NotDerivable, match="kernel"):
        _derive(firmware(), {"page_order": "two-pass"}, Artifact("kernel", "bzImage", b"kernel"))


def test_a_section_that_the_vmm_fills_and_has_measured_determines_nothing() -> None:
    for image in (changed(4, attributes=EXTEND), changed(2, type=PAYLOAD, attributes=EXTEND)):
        with pytest.raises(NotDerivable, match="whose content the VMM makes"):
            _derive(image, {"page_order": "two-pass"})


def test_a_list_of_orders_gives_a_value_each() -> None:
    image = firmware()
    values = _derive(image, {"page_order": ["two-pass", "interleaved"]})
    assert [value.name for value in values] == ["mr_td", "mr_td"]
    assert {value.tee for value in values} == {"tdx"}
    assert [value.value for value in values] == [mrtd(image, two_pass=True), mrtd(image, two_pass=False)]
    assert values[0].value != values[1].value
    assert values[0].inputs["launch"] == {"page_order": "two-pass"}
    assert values[0].rule == "tdx-mrtd/1"


@pytest.mark.parametrize(
    "image",
    [
        firmware(),
        changed(2, attributes=EXTEND),
        changed(2, attributes=AUG),
        changed(0, attributes=0),
        changed(1, attributes=EXTEND),
    ],
)
def test_it_is_what_a_second_implementation_computes(image: bytes) -> None:
    parsed = tdvf.parse(image)
    for order in PageOrder:
        expected = mrtd(image, two_pass=order is PageOrder.BY_SECTION)
        assert tdx_mrtd.measure(parsed, order).hex() == expected


def test_the_second_implementation_agrees_on_a_distributions_firmware() -> None:
    require(OVMF.is_file(), "no OVMF: install `ovmf`")
    image = OVMF.read_bytes()
    parsed = tdvf.parse(image)
    for order in PageOrder:
        expected = mrtd(image, two_pass=order is PageOrder.BY_SECTION)
        assert tdx_mrtd.measure(parsed, order).hex() == expected


def test_a_firmware_without_metadata_is_refused() -> None:
    with pytest.raises(ArtifactInvalid, match="no TDVF metadata"):
        _derive(firmware(guid=False), {"page_order": "two-pass"})
