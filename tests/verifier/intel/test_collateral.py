"""Collateral: signer, form, dates, whose it is, rollback; each document missing or wrong alone."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import Malformed, TouchstoneError
from testkit.intel_platform import FMSPC, IntelPlatform, stamp
from verifier.errors import (
    CertificateExpired,
    CertificateInvalid,
    CollateralExpired,
    CollateralInvalid,
    CollateralMismatch,
    CollateralRolledBack,
    CrlExpired,
    CrlInvalid,
    CrlMissing,
    EndorsementMissing,
)
from verifier.intel.certificates import Anchors
from verifier.intel.endorsements import (
    FixedEndorsements,
    SignedDocument,
    check_pck_crl,
    check_qe_identity,
    check_root_crl,
    check_tcb_info,
)
from verifier.intel.folder import FolderEndorsements
from verifier.intel.signed_json import Opened, Signer
from verifier.intel.tcb_info import read_tcb_info
from verifier.intel.transport import CarriedEndorsements

from .helpers import failed, verify_enclave, verify_td


def _info(platform: IntelPlatform, tee: str = "tdx", **changes: Any) -> FixedEndorsements:
    return platform.endorsements(
        tee, tcb_info=platform.signed("tcbInfo", platform.tcb_info(tee, **changes))
    )


def _with(platform: IntelPlatform, name: str, document: Any) -> FixedEndorsements:
    """All collateral, with one document of it replaced."""
    changes: dict[str, Any] = {name: document}
    return platform.endorsements(**changes)


def _identity(platform: IntelPlatform, **changes: Any) -> FixedEndorsements:
    document = platform.signed("enclaveIdentity", platform.qe_identity(**changes))
    return platform.endorsements(qe_identity=document)


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("tcb_info", EndorsementMissing),
        ("qe_identity", EndorsementMissing),
        ("pck_crl", CrlMissing),
        ("root_crl", CrlMissing),
    ],
)
def test_nothing_may_be_missing(platform: IntelPlatform, name: str, error: type[TouchstoneError]) -> None:
    with pytest.raises(error):
        verify_td(platform, endorsements=_with(platform, name, None))


@pytest.mark.parametrize("member", ["tcbInfo", "enclaveIdentity"])
def test_unsigned_and_wrongly_signed(platform: IntelPlatform, stranger: IntelPlatform, member: str) -> None:
    """Abuse case 17: unsigned, changed, signed by a PCK, its authority, the root, another's TCB signing."""
    value = platform.tcb_info() if member == "tcbInfo" else platform.qe_identity()
    name = "tcb_info" if member == "tcbInfo" else "qe_identity"
    good = platform.signed(member, value)
    text = json.dumps(value, separators=(",", ":"))
    unsigned = f'{{"{member}":{text}}}'.encode()
    zero = f'{{"{member}":{text},"signature":"{"00" * 64}"}}'.encode()
    spaced = good.body.replace(b'"version":', b'"version": ', 1)
    for body in (unsigned, zero, spaced, b"", b"[]", b"{", good.body + b"x"):
        with pytest.raises(CollateralInvalid):
            verify_td(platform, endorsements=_with(platform, name, SignedDocument(body, good.chain)))
    for signer in (platform.pck, platform.authorities["platform"], platform.root_key, stranger.signing):
        with pytest.raises(CertificateInvalid):
            verify_td(
                platform,
                endorsements=_with(platform, name, platform.signed(member, value, signer)),
            )


def test_a_member_twice_is_refused(platform: IntelPlatform) -> None:
    good = platform.signed("tcbInfo", platform.tcb_info())
    twice = good.body.replace(b"{", b'{"tcbInfo":{},', 1)
    with pytest.raises(CollateralInvalid):
        verify_td(platform, endorsements=platform.endorsements(tcb_info=SignedDocument(twice, good.chain)))


@pytest.mark.parametrize("changes", [{"fmspc": "00" * 6}, {"pceId": "0100"}, {"id": "SGX"}, {"id": "TDX2"}])
def test_tcb_info_of_another_platform_or_tee(platform: IntelPlatform, changes: dict[str, Any]) -> None:
    with pytest.raises(CollateralMismatch):
        verify_td(platform, endorsements=_info(platform, **changes))


def test_identities_of_the_two_quoting_enclaves_are_not_exchanged(platform: IntelPlatform) -> None:
    with pytest.raises(CollateralMismatch):
        verify_td(platform, endorsements=_identity(platform, id="QE"))
    sgx = platform.endorsements("sgx", tcb_info=platform.signed("tcbInfo", platform.tcb_info("tdx")))
    with pytest.raises(CollateralMismatch):
        verify_enclave(platform, endorsements=sgx)


@pytest.mark.parametrize("make", [_info, _identity])
def test_windows_of_documents(platform: IntelPlatform, make: Any) -> None:
    day = timedelta(days=1)
    past = {"issueDate": stamp(platform.now - 40 * day), "nextUpdate": stamp(platform.now - day)}
    future = {"issueDate": stamp(platform.now + day), "nextUpdate": stamp(platform.now + 30 * day)}
    for window in (past, future):
        with pytest.raises(CollateralExpired):
            verify_td(platform, endorsements=make(platform, **window))


def test_an_expired_signer(platform: IntelPlatform) -> None:
    signer = platform.issue(
        "Intel SGX TCB Signing", platform.root_key, start=platform.now - timedelta(days=400),
        life=timedelta(days=365),
    )  # fmt: skip
    document = platform.signed("tcbInfo", platform.tcb_info(), signer)
    with pytest.raises(CertificateExpired):
        verify_td(platform, endorsements=platform.endorsements(tcb_info=document))


def test_stale_but_signed_tcb_info_is_below_the_high_water_mark(platform: IntelPlatform) -> None:
    """Abuse case 18: the mark is raised by what was verified, per platform, and by the setting."""
    store = platform.endorsements()
    assert failed(verify_td(platform, endorsements=store)) == []
    assert store.evaluation_floor("tdx", FMSPC) == 20
    old = _info(platform, tcbEvaluationDataNumber=19)
    old.note_evaluation("tdx", FMSPC, 20)
    with pytest.raises(CollateralRolledBack):
        verify_td(platform, endorsements=old)
    for endorsements in (
        _info(platform, tcbEvaluationDataNumber=20), _identity(platform, tcbEvaluationDataNumber=20)
    ):  # fmt: skip
        with pytest.raises(CollateralRolledBack):
            verify_td(platform, endorsements=endorsements, changes={"minimum_evaluation": 21})


def test_a_mark_never_falls(platform: IntelPlatform) -> None:
    store = platform.endorsements()
    store.note_evaluation("tdx", FMSPC, 20)
    store.note_evaluation("tdx", FMSPC, 7)
    assert store.evaluation_floor("tdx", FMSPC) == 20
    assert store.evaluation_floor("sgx", FMSPC) == 0


def test_different_evaluations_are_told(platform: IntelPlatform) -> None:
    verified = verify_td(platform, endorsements=_identity(platform, tcbEvaluationDataNumber=19))
    assert [check.name for check in verified.checks if check.verdict == "warning"] == [
        "intel.evaluation_numbers"
    ]


def test_what_a_guest_carries_raises_no_mark(platform: IntelPlatform) -> None:
    store = FixedEndorsements()
    carried = CarriedEndorsements(store, _info(platform, tcbEvaluationDataNumber=99))
    assert carried.tcb_info("tdx", FMSPC, platform.now) is not None
    carried.note_evaluation("tdx", FMSPC, 99)
    assert carried.evaluation_floor("tdx", FMSPC) == 0
    own = CarriedEndorsements(platform.endorsements(), FixedEndorsements())
    assert own.tcb_info("tdx", FMSPC, platform.now) is not None
    own.note_evaluation("tdx", FMSPC, 20)
    assert own.evaluation_floor("tdx", FMSPC) == 20


def test_old_collateral_warns_where_the_settings_say_so(platform: IntelPlatform) -> None:
    window = {
        "issueDate": stamp(platform.now - timedelta(days=20)),
        "nextUpdate": stamp(platform.now + timedelta(days=10)),
    }
    verified = verify_td(platform, endorsements=_info(platform, **window), changes={"maximum_age_days": 7})
    assert failed(verified) == ["intel.collateral.age"]
    assert verified.floors == {"hardware": 32}


def test_lists_of_revocation(platform: IntelPlatform, stranger: IntelPlatform) -> None:
    """Abuse case 10: expired, not yet valid, of another issuer, signed by another key."""
    ca, root = platform.authorities["platform"], platform.root_key
    day = timedelta(days=1)
    chain = platform.chain(ca)
    for made, error in (
        (platform.crl(root, start=platform.now - 40 * day), CrlExpired),
        (platform.crl(root, start=platform.now + day), CrlInvalid),
        (platform.crl(ca), CrlInvalid),
        (platform.crl(root, key=stranger.root_key.key), CrlInvalid),
        (b"", CrlInvalid),
        (b"\x30" * 100, CrlInvalid),
    ):
        with pytest.raises(error):
            verify_td(platform, endorsements=platform.endorsements(root_crl=made))
    for made, error in (
        (platform.crl(ca, start=platform.now - 40 * day), CrlExpired),
        (platform.crl(root), CrlInvalid),
        (platform.crl(ca, key=root.key), CrlInvalid),
    ):
        with pytest.raises(error):
            verify_td(platform, endorsements=platform.endorsements(pck_crl=SignedDocument(made, chain)))


def test_a_list_of_the_other_authority(platform: IntelPlatform) -> None:
    other = platform.authorities["processor"]
    document = SignedDocument(platform.crl(other), platform.chain(other))
    with pytest.raises(CertificateInvalid):
        verify_td(platform, endorsements=platform.endorsements(pck_crl=document))


def test_a_list_of_a_second_authority_with_the_same_name(platform: IntelPlatform) -> None:
    second = platform.issue("Intel SGX PCK Platform CA", platform.root_key, authority=True)
    document = SignedDocument(platform.crl(second), platform.chain(second))
    with pytest.raises(CrlInvalid):
        verify_td(platform, endorsements=platform.endorsements(pck_crl=document))


@pytest.mark.parametrize(
    "break_it",
    [
        {"tcbLevels": []},
        {"version": 2},
        {"tcbType": 1},
        {"fmspc": "zz"},
        {"tdxModule": None},
        {"tcbEvaluationDataNumber": -1},
        {"issueDate": "yesterday"},
        {"tdxModuleIdentities": [{"id": "TDX_1", "mrsigner": "", "attributes": "", "attributesMask": ""}]},
    ],
)
def test_a_signed_document_of_another_form(platform: IntelPlatform, break_it: dict[str, Any]) -> None:
    with pytest.raises(CollateralInvalid):
        verify_td(platform, endorsements=_info(platform, **break_it))


def test_a_level_without_a_known_status_has_no_default(platform: IntelPlatform) -> None:
    for status in (None, "Fine", "TDRelaunchAdvised"):
        info = platform.tcb_info()
        if status is None:
            del info["tcbLevels"][0]["tcbStatus"]
        else:
            info["tcbLevels"][0]["tcbStatus"] = status
        with pytest.raises(CollateralInvalid):
            verify_td(
                platform, endorsements=platform.endorsements(tcb_info=platform.signed("tcbInfo", info))
            )


def test_version_2_of_sgx_has_flat_components(platform: IntelPlatform) -> None:
    info = platform.tcb_info("sgx", version=2)
    del info["id"]
    for level in info["tcbLevels"]:
        tcb = level["tcb"]
        level["tcb"] = {"pcesvn": tcb["pcesvn"]} | {
            f"sgxtcbcomp{place:02d}svn": component["svn"]
            for place, component in enumerate(tcb["sgxtcbcomponents"], 1)
        }
    document = platform.signed("tcbInfo", info)
    verified = verify_enclave(platform, endorsements=platform.endorsements("sgx", tcb_info=document))
    assert verified.claims["sgx"]["tcb_status"] == "UpToDate"


def test_single_documents_are_checked_for_stores(platform: IntelPlatform) -> None:
    anchor = Anchors((platform.root,)).of_chain(platform.root, "root")
    made = platform.documents()
    now, late = platform.now, platform.now + timedelta(days=60)
    assert (
        check_tcb_info(made["tcb_info"], now, tee="tdx", fmspc=FMSPC, anchor=anchor).evaluation_number == 20
    )
    assert check_qe_identity(made["qe_identity"], now, tee="tdx", anchor=anchor).evaluation_number == 20
    assert check_pck_crl(made["pck_crl"], now, ca="platform", anchor=anchor).number == 1
    assert check_root_crl(made["root_crl"], now, anchor=anchor).next_update > now
    with pytest.raises(CollateralMismatch):
        check_tcb_info(made["tcb_info"], now, tee="tdx", fmspc=bytes(6), anchor=anchor)
    for check in (
        lambda: check_tcb_info(made["tcb_info"], late, tee="tdx", anchor=anchor),
        lambda: check_qe_identity(made["qe_identity"], late, tee="tdx", anchor=anchor),
    ):
        with pytest.raises(CollateralExpired):
            check()
    with pytest.raises(CrlExpired):
        check_root_crl(made["root_crl"], late, anchor=anchor)
    with pytest.raises(CrlExpired):
        check_pck_crl(made["pck_crl"], late, ca="platform", anchor=anchor)
    with pytest.raises(CertificateInvalid):
        check_tcb_info(made["tcb_info"], now, tee="tdx")  # not under Intel's own root


def test_collateral_in_a_folder(platform: IntelPlatform, tmp_path: Path) -> None:
    made = platform.documents()
    folder = tmp_path / "intel"
    (folder / "tdx").mkdir(parents=True)
    for name, document in (
        (f"tdx/tcb-{FMSPC.hex()}", made["tcb_info"]),
        ("tdx/qe-identity", made["qe_identity"]),
    ):
        (folder / f"{name}.json").write_bytes(document.body)
        (folder / f"{name}.chain.pem").write_bytes(document.chain)
    (folder / "pck-platform.crl").write_bytes(made["pck_crl"].body)
    (folder / "pck-platform.chain.pem").write_bytes(made["pck_crl"].chain)
    store = FolderEndorsements(tmp_path)
    with pytest.raises(CrlMissing):
        verify_td(platform, endorsements=store)  # type: ignore[arg-type]
    (folder / "root-ca.crl").write_bytes(made["root_crl"])
    assert failed(verify_td(platform, endorsements=store)) == []  # type: ignore[arg-type]
    assert store.evaluation_floor("tdx", FMSPC) == 20
    assert FolderEndorsements(None).root_crl(platform.now) is None


@pytest.mark.parametrize(
    "break_it", [{"tcb_info": 1}, {"pck_crl": "zz"}, {"tcb_info": " {}"}, {"tcb_info_signature": '"'}]
)
def test_collateral_as_json(platform: IntelPlatform, break_it: dict[str, Any]) -> None:
    document = json.loads(platform.collateral_json())
    assert (
        failed(verify_td(platform, endorsements=FixedEndorsements.from_json(json.dumps(document).encode())))
        == []
    )
    with pytest.raises((Malformed, CollateralInvalid)):
        FixedEndorsements.from_json(json.dumps(document | break_it).encode())


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.data())
def test_no_document_breaks_the_readers(platform: IntelPlatform, data: st.DataObject) -> None:
    """Structure-aware: any member of a good document replaced by anything."""
    value = platform.tcb_info()
    name = data.draw(st.sampled_from(sorted(value)))
    value[name] = data.draw(_JSON)
    signer = Signer(1, "", platform.now, platform.now, platform.now)
    try:
        read_tcb_info(Opened(msgspec.json.encode(value), "", signer), "TDX")
    except TouchstoneError:
        return
