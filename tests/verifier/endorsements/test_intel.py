"""Intel's items: PCS and PCCS on loopback, the folder, high-water marks."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from common.errors import EndorsementError, FetchFailed, FetchForbidden, InvalidSetting, Malformed
from testkit.intel_collateral import IntelAuthority
from testkit.vendor_service import Reply, VendorService, chained
from tests.verifier.endorsements.conftest import (
    FMSPC,
    NOW,
    PCK_ADDRESS,
    PCK_HEADER,
    QE_ADDRESS,
    QE_HEADER,
    ROOT_ADDRESS,
    TCB_ADDRESS,
    TCB_HEADER,
    FetcherOf,
    serve_intel,
)
from verifier.endorsements.intel import intel_endorsements
from verifier.endorsements.intel_addresses import PCS, ROOT_CRL_URL, qe_ask, root_crl_ask, tcb_ask
from verifier.endorsements.kinds import Sources
from verifier.endorsements.marks import EvaluationMarks
from verifier.errors import CollateralRolledBack, EndorsementOutdated
from verifier.intel.certificates import Anchor, Anchors
from verifier.intel.endorsements import (
    IntelEndorsements,
    check_pck_crl,
    check_qe_identity,
    check_root_crl,
    check_tcb_info,
)

ISSUED = NOW - timedelta(days=3)
DAY = timedelta(days=1)
REFUSALS = (
    "endorsement.chain",
    "endorsement.collateral_invalid",
    "endorsement.collateral_mismatch",
    "endorsement.outdated",
)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def endorsements(
    store: Path, service: VendorService, fetcher_of: FetcherOf, anchor: Anchor
) -> IntelEndorsements:
    return _endorsements(store, anchor, fetcher_of(service), service)


def _endorsements(
    store: Path | None,
    anchor: Anchor,
    fetcher: object,
    *services: VendorService,
    max_age: int | None = None,
) -> IntelEndorsements:
    ages = {} if max_age is None else {"intel": max_age * DAY}
    sources = Sources(bases={"intel": tuple(item.url for item in services)}, max_age=ages)
    return intel_endorsements(store, fetcher, sources=sources, anchor=anchor)  # type: ignore[arg-type]


@pytest.fixture
def pair(
    store: Path, service: VendorService, second: VendorService, fetcher_of: FetcherOf, anchor: Anchor
) -> Callable[..., IntelEndorsements]:
    """Endorsements that ask the one service, then the other."""

    def build(*, max_age: int | None = None) -> IntelEndorsements:
        fetcher = fetcher_of(service, second, timeout_s=1)
        return _endorsements(store, anchor, fetcher, service, second, max_age=max_age)

    return build


def _tcb(intel: IntelAuthority, **changes: object) -> Reply:
    arguments = {"issued": ISSUED, "number": 18} | changes
    return chained(intel.tcb_info(**arguments), TCB_HEADER, intel.tcb_chain)  # type: ignore[arg-type]


def _number(body: bytes) -> int:
    found = json.loads(body)["tcbInfo"]["tcbEvaluationDataNumber"]
    assert isinstance(found, int)
    return found


def test_everything_is_fetched_once_kept_in_its_place_and_genuine(
    store: Path,
    service: VendorService,
    endorsements: IntelEndorsements,
    intel: IntelAuthority,
    anchor: Anchor,
) -> None:
    serve_intel(service, intel, issued=ISSUED)
    for _ in range(3):
        tcb_info = endorsements.tcb_info("tdx", FMSPC, NOW)
        identity = endorsements.qe_identity("tdx", NOW)
        pck_crl = endorsements.pck_crl("platform", NOW)
        root_crl = endorsements.root_crl(NOW)
        assert tcb_info is not None
        assert identity is not None
        assert pck_crl is not None
        assert root_crl is not None
        check_tcb_info(tcb_info, NOW, tee="tdx", fmspc=FMSPC, anchor=anchor)
        check_qe_identity(identity, NOW, tee="tdx", anchor=anchor)
        check_pck_crl(pck_crl, NOW, ca="platform", anchor=anchor)
        check_root_crl(root_crl, NOW, anchor=anchor)
    assert service.asked == [TCB_ADDRESS, QE_ADDRESS, PCK_ADDRESS, ROOT_ADDRESS]
    files = {path.relative_to(store).as_posix() for path in store.rglob("*") if path.is_file()}
    assert {name for name in files if not name.startswith(".locks/")} == {
        "intel/root-ca.crl",
        "intel/pck-platform.crl",
        "intel/pck-platform.chain.pem",
        "intel/tdx/tcb-00806f050000.json",
        "intel/tdx/tcb-00806f050000.chain.pem",
        "intel/tdx/qe-identity.json",
        "intel/tdx/qe-identity.chain.pem",
        "intel/evaluation.json",
    }


def test_what_another_process_fetched_is_not_asked_for(
    store: Path,
    service: VendorService,
    endorsements: IntelEndorsements,
    intel: IntelAuthority,
    anchor: Anchor,
) -> None:
    serve_intel(service, intel, issued=ISSUED)
    first = endorsements.tcb_info("tdx", FMSPC, NOW)
    offline = _endorsements(store, anchor, None)
    assert offline.tcb_info("tdx", FMSPC, NOW) == first
    assert offline.qe_identity("tdx", NOW) is None
    assert len(service.asked) == 1


def test_many_threads_and_stores_ask_once(
    store: Path, service: VendorService, fetcher_of: FetcherOf, intel: IntelAuthority, anchor: Anchor
) -> None:
    reply = _tcb(intel)
    service.serve(TCB_ADDRESS, Reply(reply.body, reply.headers, delay_s=0.2))
    # Fetchers of their own, as processes have: what makes them one is the folder.
    stores = [_endorsements(store, anchor, fetcher_of(service), service) for _ in range(3)]
    found: list[object] = []
    threads = [
        threading.Thread(target=lambda each=each: found.append(each.tcb_info("tdx", FMSPC, NOW)))
        for each in stores * 4
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    assert len(found) == 12
    assert None not in found
    assert service.asked == [TCB_ADDRESS]


def test_what_is_no_longer_in_force_is_asked_for_again_and_given_where_nobody_answers(
    store: Path, service: VendorService, endorsements: IntelEndorsements, intel: IntelAuthority
) -> None:
    service.serve(TCB_ADDRESS, _tcb(intel))
    old = endorsements.tcb_info("tdx", FMSPC, NOW)
    later = NOW + 40 * DAY
    service.serve(TCB_ADDRESS, Reply(status=500))
    for seconds in (0, 30, 61):
        assert endorsements.tcb_info("tdx", FMSPC, later + timedelta(seconds=seconds)) == old
    assert len(service.asked) == 3  # the first, and one a minute
    service.serve(TCB_ADDRESS, _tcb(intel, issued=later - DAY))
    fresh = endorsements.tcb_info("tdx", FMSPC, later + timedelta(minutes=3))
    assert fresh is not None
    assert fresh != old


@pytest.mark.parametrize(
    "reply",
    [
        Reply(status=404),
        Reply(status=429, headers={"Retry-After": "60"}),
        Reply(status=500),
        Reply(status=302, headers={"Location": "https://169.254.169.254/latest"}),
        Reply(b"<html>"),
        Reply(b"{}", missing=100),
        Reply(bytes(1 << 17)),
        Reply(b"{}", delay_s=3),
    ],
)
def test_the_next_source_is_asked_where_one_fails(
    service: VendorService,
    second: VendorService,
    pair: Callable[..., IntelEndorsements],
    intel: IntelAuthority,
    reply: Reply,
) -> None:
    service.serve(TCB_ADDRESS, reply)
    good = _tcb(intel)
    second.serve(TCB_ADDRESS, good)
    endorsements = pair()
    found = endorsements.tcb_info("tdx", FMSPC, NOW)
    assert found is not None
    assert found.body == good.body
    assert (len(service.asked), len(second.asked)) == (1, 1)


def test_a_source_that_asks_for_silence_is_not_asked_meanwhile(
    service: VendorService,
    second: VendorService,
    pair: Callable[..., IntelEndorsements],
    intel: IntelAuthority,
) -> None:
    service.serve(TCB_ADDRESS, Reply(status=429, headers={"Retry-After": "60"}))
    serve_intel(second, intel, issued=ISSUED)
    endorsements = pair()
    assert endorsements.tcb_info("tdx", FMSPC, NOW) is not None
    assert endorsements.qe_identity("tdx", NOW) is not None
    assert service.asked == [TCB_ADDRESS]
    assert second.asked == [TCB_ADDRESS, QE_ADDRESS]


class TestRefused:
    """Abuse cases 17 and 18: what is not what was asked for, or is kept from being newer."""

    @pytest.mark.parametrize(
        "changes",
        [
            {"key": "platform"},  # signed by the PCK authority's key
            {"fmspc": "90C06F000000"},
            {"tee": "SGX"},
            {"life": timedelta(days=1)},  # expired
            {"issued": NOW + DAY},
        ],
    )
    def test_a_tcb_info_that_is_another_is_not_kept(
        self,
        store: Path,
        service: VendorService,
        endorsements: IntelEndorsements,
        intel: IntelAuthority,
        changes: dict[str, object],
    ) -> None:
        service.serve(TCB_ADDRESS, _tcb(intel, **changes))
        with pytest.raises(EndorsementError) as caught:
            endorsements.tcb_info("tdx", FMSPC, NOW)
        assert caught.value.code in REFUSALS
        assert not (store / "intel").exists()

    def test_a_qe_identity_without_signature_or_by_another_signer_is_not_kept(
        self, store: Path, service: VendorService, endorsements: IntelEndorsements, intel: IntelAuthority
    ) -> None:
        good = intel.qe_identity(issued=ISSUED, number=18)
        unsigned = json.dumps({"enclaveIdentity": json.loads(good)["enclaveIdentity"]}).encode()
        for body, chain in (
            (unsigned, intel.tcb_chain),
            (good, intel.pck_chain),
            (intel.qe_identity(issued=ISSUED, number=18, key="platform"), intel.tcb_chain),
            (intel.qe_identity(issued=ISSUED, number=18, tee="SGX"), intel.tcb_chain),
        ):
            service.serve(QE_ADDRESS, chained(body, QE_HEADER, chain))
            with pytest.raises(EndorsementError) as caught:
                endorsements.qe_identity("tdx", NOW)
            assert caught.value.code in REFUSALS
        assert not (store / "intel").exists()

    def test_an_answer_without_its_chain_is_refused(
        self, service: VendorService, endorsements: IntelEndorsements, intel: IntelAuthority
    ) -> None:
        body = intel.tcb_info(issued=ISSUED, number=18)
        for headers in ({}, {TCB_HEADER: "x" * 60_000}, {QE_HEADER: "x"}):
            service.serve(TCB_ADDRESS, Reply(body, headers))
            with pytest.raises(Malformed):
                endorsements.tcb_info("tdx", FMSPC, NOW)

    def test_a_cache_that_serves_an_older_evaluation_is_passed_over(
        self,
        service: VendorService,
        second: VendorService,
        pair: Callable[..., IntelEndorsements],
        intel: IntelAuthority,
    ) -> None:
        service.serve(TCB_ADDRESS, _tcb(intel, number=17))  # still within its next update
        endorsements = pair()
        endorsements.note_evaluation("tdx", FMSPC, 18)
        with pytest.raises(CollateralRolledBack):
            endorsements.tcb_info("tdx", FMSPC, NOW)
        second.serve(TCB_ADDRESS, _tcb(intel, number=19))
        found = endorsements.tcb_info("tdx", FMSPC, NOW)
        assert found is not None
        assert _number(found.body) == 19
        assert endorsements.evaluation_floor("tdx", FMSPC) == 19

    def test_a_cache_that_serves_what_is_too_old_is_passed_over(
        self,
        service: VendorService,
        second: VendorService,
        pair: Callable[..., IntelEndorsements],
        intel: IntelAuthority,
    ) -> None:
        service.serve(TCB_ADDRESS, _tcb(intel, issued=NOW - 12 * DAY))
        endorsements = pair(max_age=10)
        with pytest.raises(EndorsementOutdated):
            endorsements.tcb_info("tdx", FMSPC, NOW)
        second.serve(TCB_ADDRESS, _tcb(intel, issued=NOW - DAY))
        assert endorsements.tcb_info("tdx", FMSPC, NOW) is not None
        service.serve(ROOT_ADDRESS, intel.crl(issued=NOW - 100 * DAY, life=365 * DAY))
        assert endorsements.root_crl(NOW) is not None  # issued once a year

    def test_lists_in_hex_pem_and_der_are_the_same_and_a_strangers_is_none(
        self,
        tmp_path: Path,
        service: VendorService,
        fetcher_of: FetcherOf,
        intel: IntelAuthority,
    ) -> None:
        anchor = Anchors([intel.root]).of_chain(intel.root, "the test chain")
        der = intel.crl(issued=ISSUED)
        pem = x509.load_der_x509_crl(der).public_bytes(Encoding.PEM)
        for place, body in enumerate((der, der.hex().encode(), pem + b"\n")):
            service.serve(ROOT_ADDRESS, body)
            each = _endorsements(tmp_path / str(place), anchor, fetcher_of(service), service)
            assert each.root_crl(NOW) == der
        for body in (intel.crl(issued=ISSUED, key="tcb"), b"-----BEGIN X509 CRL-----\nx", b"abc", b""):
            service.serve(ROOT_ADDRESS, body)
            each = _endorsements(tmp_path / "none", anchor, fetcher_of(service), service)
            with pytest.raises(EndorsementError) as caught:
                each.root_crl(NOW)
            assert caught.value.code == "endorsement.crl_invalid"

    def test_a_list_by_another_key_is_none(
        self, service: VendorService, endorsements: IntelEndorsements, intel: IntelAuthority
    ) -> None:
        forged = intel.crl("platform", issued=ISSUED, key="root")
        service.serve(PCK_ADDRESS, chained(forged, PCK_HEADER, intel.pck_chain))
        with pytest.raises(EndorsementError) as caught:
            endorsements.pck_crl("platform", NOW)
        assert caught.value.code == "endorsement.crl_invalid"

    def test_a_tee_or_authority_that_is_none_reaches_no_path_and_no_address(
        self, service: VendorService, endorsements: IntelEndorsements
    ) -> None:
        for tee in ("../tdx", "TDX", "tdx/../sgx", ""):
            with pytest.raises(Malformed):
                endorsements.tcb_info(tee, FMSPC, NOW)
            with pytest.raises(Malformed):
                endorsements.qe_identity(tee, NOW)
        for ca in ("platform&encoding=pem", "root", ""):
            with pytest.raises(Malformed):
                endorsements.pck_crl(ca, NOW)
        assert service.asked == []


def test_a_host_off_the_list_is_never_asked(
    store: Path, service: VendorService, second: VendorService, fetcher_of: FetcherOf, anchor: Anchor
) -> None:
    """Abuse case 32: the allow-list holds whatever the sources say, and evidence has no part in it."""
    endorsements = _endorsements(store, anchor, fetcher_of(second), service)
    with pytest.raises(FetchForbidden):
        endorsements.tcb_info("tdx", FMSPC, NOW)
    assert service.asked == []


def test_no_answer_at_all_is_a_failed_fetch(
    service: VendorService, endorsements: IntelEndorsements
) -> None:
    service.serve(TCB_ADDRESS, Reply(status=500))
    with pytest.raises(FetchFailed):
        endorsements.tcb_info("tdx", FMSPC, NOW)
    assert endorsements.qe_identity("tdx", NOW) is None  # 404: nobody has it


def test_in_memory_everything_is_kept_too(
    service: VendorService, fetcher_of: FetcherOf, intel: IntelAuthority, anchor: Anchor
) -> None:
    serve_intel(service, intel, issued=ISSUED)
    endorsements = _endorsements(None, anchor, fetcher_of(service), service)
    for _ in range(2):
        assert endorsements.tcb_info("tdx", FMSPC, NOW) is not None
    assert service.asked == [TCB_ADDRESS]


def test_addresses_are_intels() -> None:
    assert root_crl_ask(Sources()).urls == (ROOT_CRL_URL,)
    caches = Sources(bases={"intel": ("https://pccs.example:8081/", PCS)}, update="early")
    assert root_crl_ask(caches).urls == (
        "https://pccs.example:8081/sgx/certification/v4/rootcacrl",
        "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der",
    )
    assert tcb_ask("sgx", FMSPC, caches).urls == (
        "https://pccs.example:8081/sgx/certification/v4/tcb?fmspc=00806f050000&update=early",
        "https://api.trustedservices.intel.com/sgx/certification/v4/tcb?fmspc=00806f050000&update=early",
    )
    assert qe_ask("tdx", Sources(), "19").urls == (
        "https://api.trustedservices.intel.com/tdx/certification/v4/qe/identity?tcbEvaluationDataNumber=19",
    )
    for evaluation in ("", "-1", "1&x=y", "99999999999", "\u0661"):
        with pytest.raises(Malformed):
            qe_ask("tdx", Sources(), evaluation)
    with pytest.raises(Malformed):
        qe_ask("tdx", Sources(update="late"))


class TestMarks:
    def test_a_mark_only_rises_and_others_see_it(self, store: Path) -> None:
        first, second = EvaluationMarks(store), EvaluationMarks(store)
        assert first.floor("tdx", FMSPC) == 0
        for number, floor in ((17, 17), (19, 19), (18, 19)):
            first.note("tdx", FMSPC, number)
            assert (first.floor("tdx", FMSPC), second.floor("tdx", FMSPC)) == (floor, floor)
        assert second.floor("sgx", FMSPC) == 0
        second.note("sgx", bytes(6), 3)
        document = json.loads((store / "intel/evaluation.json").read_bytes())
        assert document == {"sgx": {"000000000000": 3}, "tdx": {"00806f050000": 19}}

    def test_of_many_at_once_the_highest_stays(self, store: Path) -> None:
        def raise_it(number: int) -> None:
            EvaluationMarks(store).note("tdx", bytes([number % 3]) * 6, number)

        threads = [threading.Thread(target=raise_it, args=(number,)) for number in range(1, 31)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        marks = EvaluationMarks(store)
        assert [marks.floor("tdx", bytes([rest]) * 6) for rest in range(3)] == [30, 28, 29]

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "[]",
            "{",
            '{"tdx": {"00806f050000": -1}}',
            '{"tdx": {"x": 1}}',
            '{"snp": {}}',
            '{"tdx":{},"tdx":{}}',
        ],
    )
    def test_a_damaged_file_is_an_error_not_zero(self, store: Path, text: str) -> None:
        (store / "intel").mkdir(parents=True)
        (store / "intel/evaluation.json").write_text(text)
        with pytest.raises(InvalidSetting):
            EvaluationMarks(store).floor("tdx", FMSPC)
        with pytest.raises(InvalidSetting):
            EvaluationMarks(store).note("tdx", FMSPC, 1)
