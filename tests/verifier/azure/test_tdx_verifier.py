"""Azure VMs on TDX: the TD quote is of the TDREPORT that covers the runtime claims, and of no other.

Quotes are those of a test platform; where only the TDREPORT matters, a verifier that accepts stands in.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.checks import Checks
from common.encoding import b64url_encode
from common.errors import Malformed, TouchstoneError
from testkit.azure_vtpm import SNP, TDX, AzureVm
from testkit.intel_platform import TD_ATTRIBUTES, IntelPlatform
from tests.verifier.azure.conftest import BOUND, NONCE, SELECTION, failed
from verifier.az_tdx_vtpm import AzTdxVtpmVerifier
from verifier.az_tdx_vtpm.coco import AzTdxVtpmCocoForm
from verifier.az_tdx_vtpm.evidence import AzTdxVtpmEvidence
from verifier.az_tdx_vtpm.tdreport import parse_td_report
from verifier.azure.vtpm import VtpmExpectation
from verifier.errors import (
    AttestationKeyUntrusted,
    ReportDataMismatch,
    SignatureInvalid,
    UnsupportedEvidence,
)
from verifier.model import InitDataClaim, Unbound, VerifiedEvidence
from verifier.tdx.settings import TdxSettings
from verifier.tdx.verifier import TdxVerifier
from verifier.tpm.settings import TpmSettings

NOW = datetime(2025, 6, 1, tzinfo=UTC)
MR_TD = b"\x02" * 48


def td_report(report_data: bytes, mr_td: bytes = MR_TD) -> bytes:
    """A TDREPORT whose parts belong together; its MAC is nobody's."""
    tcb_info = bytes(239)
    tdinfo = bytes(16) + mr_td + bytes(512 - 64)
    head = b"\x81" + bytes(31) + hashlib.sha384(tcb_info).digest() + hashlib.sha384(tdinfo).digest()
    return (head + report_data).ljust(256, b"\0") + tcb_info + bytes(17) + tdinfo


class AcceptingTdx:
    """Stands in for ``TdxVerifier``: the quote is 64 bytes of report data and 48 of MRTD."""

    def check_quote(self, quote: bytes, now: datetime, checks: Checks, *, collateral: object = None) -> Any:
        return SimpleNamespace(body=SimpleNamespace(report_data=quote[:64], mr_td=quote[64:112]))


def check(evidence: AzTdxVtpmEvidence, checks: Checks | None = None) -> Any:
    verifier = AzTdxVtpmVerifier(AcceptingTdx(), TpmSettings(pcr_selection=SELECTION))  # type: ignore[arg-type]
    expectation = VtpmExpectation((NONCE,), SELECTION)
    return verifier._check(evidence, expectation, NOW, checks or Checks())


@pytest.fixture
def vm(shared_vm: AzureVm) -> AzureVm:
    made = AzureVm()
    made.__dict__.update(ak=shared_vm.ak, ek=shared_vm.ek)
    return made


def evidence(vm: AzureVm, *, quote_of=None, report_of=td_report, **changes) -> AzTdxVtpmEvidence:
    hcl = vm.hcl(report_of, kind=changes.pop("kind", TDX))
    data = vm.report_data(vm.claims())
    quote = data + MR_TD if quote_of is None else quote_of(data)
    members = vm.members(hcl, changes.pop("extra_data", NONCE), **changes)
    return AzTdxVtpmEvidence(td_quote=b64url_encode(quote), **members)


def test_a_quote_of_the_same_td_vouches_for_the_key(vm):
    checks = Checks()
    _, vtpm = check(evidence(vm), checks)
    assert vtpm.claims.ak.key.public_numbers() == vm.ak.public_key().public_numbers()
    names = [record.name for record in checks.records]
    assert names.index("azure.td_quote.report_data") < names.index("tpm.quote.signature")
    assert not checks.failures


@pytest.mark.parametrize(
    "quote_of",
    [
        pytest.param(lambda data: bytes(64) + MR_TD, id="report data of zeros"),
        pytest.param(lambda data: data[:63] + b"\x01" + MR_TD, id="the last byte"),
        pytest.param(lambda data: data + bytes(48), id="another MRTD"),
        pytest.param(lambda data: data[:32] + b"\x09" * 32 + MR_TD, id="bytes after the hash"),
    ],
)
def test_a_quote_of_another_td_does_not(vm, quote_of):
    with pytest.raises(AttestationKeyUntrusted, match="not of the TDREPORT"):
        check(evidence(vm, quote_of=quote_of))


def test_a_td_report_over_other_claims_does_not(vm):
    with pytest.raises(AttestationKeyUntrusted, match="runtime claims"):
        check(evidence(vm, report_of=lambda data: td_report(bytes(64))))


def test_the_quote_of_the_vtpm_is_checked(vm):
    with pytest.raises(ReportDataMismatch):
        check(evidence(vm, extra_data=bytes(32)))
    with pytest.raises(SignatureInvalid):
        check(evidence(vm, signature=b"\x00\x14\x00\x0b\x01\x00" + bytes(256)))


def test_evidence_of_the_other_kind_is_refused(vm):
    with pytest.raises(UnsupportedEvidence):
        check(evidence(vm, kind=SNP))


def test_a_td_report_is_read():
    report = parse_td_report(td_report(b"\x07" * 64))
    assert (report.report_data, report.mr_td) == (b"\x07" * 64, MR_TD)


@pytest.mark.parametrize("at", [0x100, 0x1EE, 0x200, 0x210, 0x3FF, 0x20, 0x50])
def test_parts_that_do_not_belong_together_are_refused(at):
    data = bytearray(td_report(bytes(64)))
    data[at] ^= 1
    with pytest.raises(Malformed):
        parse_td_report(bytes(data))


def test_reports_of_other_tees_are_refused():
    with pytest.raises(UnsupportedEvidence):
        parse_td_report(b"\x00" + td_report(bytes(64))[1:])
    for size in (0, 1, 1023, 1025):
        with pytest.raises(Malformed):
            parse_td_report(td_report(bytes(64)).ljust(2000, b"\0")[:size])


@given(data=st.binary(max_size=1100))
@settings(max_examples=60, deadline=None)
def test_hostile_td_reports_raise_typed_errors_alone(data):
    for report in (data, data.ljust(1024, b"\0")[:1024]):
        with pytest.raises(TouchstoneError):
            parse_td_report(report)


@pytest.mark.parametrize("version", [3, -1, "1", True, None])
def test_unknown_versions_are_refused(version):
    with pytest.raises(UnsupportedEvidence):
        AzTdxVtpmCocoForm().evidence_of(
            {"version": version, "tpm_quote": {}, "hcl_report": "", "td_quote": ""}
        )


@pytest.mark.parametrize("document", [None, [], "x", {}, {"version": 1}, {"tpm_quote": 1, "td_quote": 1}])
def test_other_documents_are_refused(document):
    with pytest.raises(TouchstoneError):
        AzTdxVtpmCocoForm().evidence_of(document)


def test_both_forms_are_the_same_evidence(vm):
    hcl, quote = vm.hcl(td_report, kind=TDX), vm.coco_quote(NONCE)
    text = {
        "version": 1,
        "tpm_quote": quote,
        "hcl_report": b64url_encode(hcl),
        "td_quote": b64url_encode(b"quote"),
    }
    numbers = {
        "tpm_quote": {
            "signature": list(bytes.fromhex(quote["signature"])),
            "message": list(bytes.fromhex(quote["message"])),
            "pcrs": [list(bytes.fromhex(value)) for value in quote["pcrs"]],
        },
        "hcl_report": list(hcl),
        "td_quote": list(b"quote"),
    }
    form = AzTdxVtpmCocoForm()
    assert form.evidence_of(text) == form.evidence_of(numbers)
    assert form.evidence_of(text | {"version": 2}).fresh_report is True


# With quotes of a test platform, through the verifier of TDX


@pytest.fixture(scope="module")
def platform() -> IntelPlatform:
    return IntelPlatform()


def verify(
    platform: IntelPlatform,
    vm: AzureVm,
    expected=BOUND,
    *,
    init_data: InitDataClaim | None = None,
    endorsements=None,
    extra_data: bytes = NONCE,
    **fields: Any,
) -> VerifiedEvidence:
    zeros = {f"rtmr_{index}": bytes(48) for index in range(4)}

    def quote_of(data: bytes) -> bytes:
        return platform.td_quote(**({"report_data": data, "mr_td": MR_TD} | zeros | fields))

    verifier = AzTdxVtpmVerifier(
        TdxVerifier(TdxSettings(), endorsements or platform.endorsements(), extra_anchors=(platform.root,)),
        TpmSettings(pcr_selection=SELECTION),
    )
    made = evidence(vm, quote_of=quote_of, extra_data=extra_data)
    return verifier.verify(made, expected, init_data, platform.now)


def test_sound_evidence_is_verified(platform, vm):
    verified = verify(platform, vm)
    assert (failed(verified), verified.floors) == ([], {})
    assert (verified.tee, verified.bound, verified.init_data) == ("az-tdx-vtpm", "report-data", "absent")
    claims = verified.claims["az-tdx-vtpm"]
    assert claims["tcb_status"] == "UpToDate"
    assert claims["quote"]["body"]["mr_td"] == MR_TD.hex()
    assert claims["td_attributes"]["debug"] is False
    assert claims["tpm"]["pcr05"] == "05" * 32
    assert claims["vm_configuration"] == vm.configuration
    assert verified.claims["report_data"] == NONCE.hex()
    assert verified.claims["common"]["registers"]["5"] == "05" * 32
    assert verified.identity is not None
    assert verified.identity.startswith("intel-ppid:")


def test_12_a_td_that_can_be_debugged_has_floors_that_no_policy_lifts(platform, vm):
    verified = verify(platform, vm, td_attributes=TD_ATTRIBUTES | 1)
    assert verified.floors["configuration"] == 96
    assert verified.claims["az-tdx-vtpm"]["td_attributes"]["debug"] is True
    assert failed(verified)


def test_a_td_without_septve_has_a_floor(platform, vm):
    assert verify(platform, vm, td_attributes=0).floors["configuration"] == 96


def test_quotes_of_other_tds_of_the_platform_are_refused(platform, vm):
    for fields in ({"mr_td": b"\x03" * 48}, {"report_data": bytes(range(64))}):
        with pytest.raises(AttestationKeyUntrusted):
            verify(platform, vm, **fields)


def test_quotes_of_a_stranger_are_refused(vm, platform):
    stranger = IntelPlatform()
    with pytest.raises(TouchstoneError) as caught:
        verify(stranger, vm, endorsements=platform.endorsements())
    assert caught.value.code.startswith(("endorsement.", "evidence."))


def test_nonce_init_data_and_no_expectation(platform, vm):
    with pytest.raises(ReportDataMismatch):
        verify(platform, vm, extra_data=bytes(32))
    assert verify(platform, vm, Unbound()).floors["instance-identity"] == 97
    claim = InitDataClaim(hashlib.sha256(b"x").digest(), b"x", fitted=True)
    vm.bind_init_data(claim.digest)
    verified = verify(platform, vm, init_data=claim)
    assert verified.init_data == "bound"
    assert AzTdxVtpmCocoForm().claims_of(verified)["init_data"] == vm.registers[8].hex()
    assert "init_data" not in AzTdxVtpmCocoForm().claims_of(verify(platform, vm))
