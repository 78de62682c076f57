"""The store itself, and bundles: what is written, what stays, what is refused; threads and processes."""

from __future__ import annotations

import base64
import hashlib
import json
import multiprocessing
import os
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import (
    FetchFailed,
    InputError,
    InvalidIdentifier,
    InvalidSetting,
    Malformed,
    NotFound,
    TooLarge,
    TouchstoneError,
)
from testkit.intel_collateral import IntelAuthority
from testkit.snp_firmware import SnpFirmware
from tests.verifier.endorsements.conftest import FMSPC, NOW
from verifier.endorsements import amd_kinds, bundle, intel_kinds
from verifier.endorsements.intel_addresses import CHAIN, ROOT_CRL, pck_crl_name, tcb_name
from verifier.endorsements.kinds import Item
from verifier.endorsements.listing import listed
from verifier.endorsements.locks import Locks
from verifier.endorsements.store import EndorsementStore
from verifier.errors import CollateralRolledBack, CrlInvalid, EndorsementOutdated
from verifier.intel.certificates import Anchor
from verifier.snp.chain import Anchors
from verifier.snp.products import Product

DAY = timedelta(days=1)
ISSUED = NOW - 3 * DAY
MILAN_CRL = "crl/vcek-Milan.crl"

Open = Callable[[str], EndorsementStore]


@pytest.fixture
def open_store(tmp_path: Path, milan: SnpFirmware, anchor: Anchor) -> Open:
    """Opens stores with the kinds of SNP and TDX, below the roots of the tests."""
    from cryptography.hazmat.primitives.serialization import Encoding

    root = Anchors([milan.ark]).select(Product.MILAN, milan.ark.public_bytes(Encoding.DER))
    assert root is not None
    kinds = (*amd_kinds.kinds({Product.MILAN: root}), *intel_kinds.kinds("tdx", anchor))
    return lambda name: EndorsementStore(tmp_path / name, kinds)


@pytest.fixture
def store(open_store: Open) -> EndorsementStore:
    return open_store("store")


def _tcb(intel: IntelAuthority, **changes: Any) -> Item:
    body = intel.tcb_info(**({"issued": ISSUED, "number": 18} | changes))
    return Item(tcb_name("tdx", FMSPC), body, {CHAIN: intel.tcb_chain})


def _items(milan: SnpFirmware, intel: IntelAuthority) -> tuple[Item, ...]:
    pck = Item(pck_crl_name("platform"), intel.crl("platform", issued=ISSUED), {CHAIN: intel.pck_chain})
    vcek = f"vcek/{milan.hardware_id.hex()}/{amd_kinds.vcek_file(milan.tcb)}"
    return (
        Item(MILAN_CRL, milan.crl()),
        Item(vcek, milan.leaf()),
        Item(ROOT_CRL, intel.crl(issued=ISSUED)),
        pck,
        _tcb(intel),
    )


def _files(store: EndorsementStore) -> dict[str, bytes]:
    assert store.folder is not None
    return {
        path.relative_to(store.folder).as_posix(): path.read_bytes()
        for path in store.folder.rglob("*")
        if path.is_file() and ".locks" not in path.parts
    }


class TestKeep:
    def test_a_newer_item_replaces_an_older_one_and_never_the_other_way_round(
        self, store: EndorsementStore, milan: SnpFirmware
    ) -> None:
        older, newer = (milan.crl(this_update=NOW - days * DAY) for days in (9, 2))
        assert store.keep(Item(MILAN_CRL, older), NOW).outcome == "new"
        assert store.keep(Item(MILAN_CRL, older), NOW).outcome == "same"
        assert store.keep(Item(MILAN_CRL, newer), NOW).outcome == "replaced"
        with pytest.raises(EndorsementOutdated):
            store.keep(Item(MILAN_CRL, older), NOW)
        assert _files(store) == {MILAN_CRL: newer}

    def test_a_lower_evaluation_is_older_even_if_it_was_issued_later(
        self, store: EndorsementStore, intel: IntelAuthority
    ) -> None:
        store.keep(_tcb(intel, number=19), NOW)
        with pytest.raises(CollateralRolledBack):
            store.keep(_tcb(intel, number=18, issued=NOW - DAY), NOW)
        assert store.facts(tcb_name("tdx", FMSPC), NOW).number == 19  # type: ignore[union-attr]

    def test_the_mark_outlasts_the_item(self, store: EndorsementStore, intel: IntelAuthority) -> None:
        store.keep(_tcb(intel, number=19), NOW)
        assert store.folder is not None
        (store.folder / tcb_name("tdx", FMSPC)).unlink()
        with pytest.raises(CollateralRolledBack):
            store.keep(_tcb(intel, number=18), NOW)
        # One that was put there by hand is listed as what it is.
        name = tcb_name("tdx", FMSPC)
        (store.folder / name).write_bytes(_tcb(intel, number=18).data)
        (found,) = listed(store, NOW)
        assert (found.state, found.code) == ("invalid", "endorsement.collateral_rollback")

    def test_what_never_changes_is_not_replaced_but_what_is_damaged_is(
        self, store: EndorsementStore, milan: SnpFirmware
    ) -> None:
        name = f"vcek/{milan.hardware_id.hex()}/{amd_kinds.vcek_file(milan.tcb)}"
        first = milan.leaf()
        store.keep(Item(name, first), NOW)
        assert store.keep(Item(name, first), NOW).outcome == "same"
        assert store.folder is not None
        for damaged in (first[:-1], bytes(1 << 20)):
            (store.folder / name).write_bytes(damaged)
            (found,) = listed(store, NOW)
            assert found.state == "invalid"
            assert store.keep(Item(name, first), NOW).outcome == "replaced"
            assert _files(store)[name] == first

    @pytest.mark.parametrize("days", [-1, 400])
    def test_what_is_not_in_force_is_not_kept(
        self, store: EndorsementStore, milan: SnpFirmware, days: int
    ) -> None:
        crl = milan.crl(this_update=NOW)
        with pytest.raises(EndorsementOutdated):
            store.keep(Item(MILAN_CRL, crl), NOW + days * DAY)
        assert _files(store) == {}

    def test_one_that_does_not_hold_keeps_all_out(
        self, store: EndorsementStore, milan: SnpFirmware, intel: IntelAuthority, stranger: SnpFirmware
    ) -> None:
        good = _items(milan, intel)
        with pytest.raises(CrlInvalid):
            store.keep_all((*good[1:], Item(MILAN_CRL, stranger.crl())), NOW)
        assert _files(store) == {}

    def test_a_folder_that_cannot_be_written_is_said(
        self, tmp_path: Path, milan: SnpFirmware, open_store: Open
    ) -> None:
        (tmp_path / "store").write_bytes(b"a file")
        with pytest.raises(InvalidSetting):
            open_store("store").keep(Item(MILAN_CRL, milan.crl()), NOW)

    def test_names_sizes_and_companions_are_held_to(
        self, store: EndorsementStore, milan: SnpFirmware, intel: IntelAuthority
    ) -> None:
        crl = milan.crl()
        for name in ("../crl/vcek-Milan.crl", "/crl/x.crl", "crl/../x.crl", "crl//x.crl", "crl/.x.crl", ""):
            with pytest.raises(InvalidIdentifier):
                store.keep(Item(name, crl), NOW)
        for name in ("crl/vcek-Milan.txt", "other/vcek-Milan.crl", "vcek/x.der", "crl/x/y.crl"):
            with pytest.raises(NotFound):
                store.keep(Item(name, crl), NOW)
        with pytest.raises(TooLarge):
            store.keep(Item(MILAN_CRL, bytes(1 << 20)), NOW)
        with pytest.raises(Malformed):
            store.keep(Item(MILAN_CRL, crl, {CHAIN: b""}), NOW)
        with pytest.raises(Malformed):
            store.keep(Item(tcb_name("tdx", FMSPC), _tcb(intel).data), NOW)
        assert _files(store) == {}

    def test_an_item_under_a_name_that_is_not_its_own_does_not_hold(
        self, store: EndorsementStore, milan: SnpFirmware, intel: IntelAuthority
    ) -> None:
        vcek = amd_kinds.vcek_file(milan.tcb)
        tcb = _tcb(intel)
        for item in (
            Item("crl/vcek-Genoa.crl", milan.crl()),
            Item(f"crl/{'0' * 64}.crl", milan.crl()),
            Item(f"vcek/{'00' * 64}/{vcek}", milan.leaf()),
            Item(f"vcek/{milan.hardware_id.hex()}/bl01_tee00_snp01_ucode01_vcek.der", milan.leaf()),
            Item("intel/tdx/tcb-90c06f000000.json", tcb.data, tcb.companions),
            Item("intel/tdx/tcb-00806F050000.json", tcb.data, tcb.companions),
            Item("intel/pck-root.crl", intel.crl("platform", issued=ISSUED), {CHAIN: intel.pck_chain}),
        ):
            with pytest.raises(TouchstoneError):
                store.keep(item, NOW)
        assert _files(store) == {}


class TestReading:
    def test_files_are_read_again_when_they_change_and_companions_belong_to_them(
        self, store: EndorsementStore, intel: IntelAuthority
    ) -> None:
        item = _tcb(intel)
        store.keep(item, NOW)
        assert store.folder is not None
        held = store.held(item.name)
        assert held is not None
        assert held.item == item
        assert store.held(item.name) is held
        chain = store.folder / "intel/tdx/tcb-00806f050000.chain.pem"
        chain.write_bytes(intel.pck_chain)
        assert store.facts(item.name, NOW) is None
        chain.unlink()
        assert store.held(item.name) is None
        (found,) = listed(store, NOW)
        assert found.state == "invalid"

    def test_readers_never_see_half_of_a_pair(
        self, open_store: Open, intel: IntelAuthority, anchor: Anchor
    ) -> None:
        """Two authorities in turn: a document goes with its own chain or does not verify."""
        other = IntelAuthority()
        pairs = [
            Item(tcb_name("tdx", FMSPC), who.tcb_info(issued=ISSUED, number=18), {CHAIN: who.tcb_chain})
            for who in (intel, other)
        ]
        writer, reader = open_store("store"), open_store("store")
        writer._write(pairs[:1], NOW)
        stop = threading.Event()

        def write() -> None:
            for turn in range(60):
                with writer.locks.exclusive():
                    writer._write([pairs[turn % 2]], NOW)
            stop.set()

        thread = threading.Thread(target=write)
        thread.start()
        seen = 0
        while not stop.is_set():
            held = reader.held(pairs[0].name)
            assert held is not None
            assert held.item in pairs
            seen += 1
        thread.join()
        assert seen

    def test_of_a_store_that_cannot_be_written_everything_is_read(
        self, open_store: Open, milan: SnpFirmware, intel: IntelAuthority
    ) -> None:
        store = open_store("store")
        store.keep_all(_items(milan, intel), NOW)
        assert store.folder is not None
        import shutil

        shutil.rmtree(store.folder / ".locks")
        os.chmod(store.folder, 0o500)  # noqa: PTH101
        try:
            assert [item.state for item in listed(open_store("store"), NOW)] == ["valid"] * 5
        finally:
            os.chmod(store.folder, 0o700)  # noqa: PTH101

    @pytest.mark.parametrize(
        ("days", "state"), [(0, "valid"), (21, "expiring"), (28, "expired"), (-4, "invalid")]
    )
    def test_states_follow_the_dates(
        self, store: EndorsementStore, intel: IntelAuthority, days: int, state: str
    ) -> None:
        store.keep(_tcb(intel), NOW)
        (found,) = listed(store, NOW + days * DAY)
        assert found.state == state
        assert found.subject == "00806f050000"
        assert found.days_left == 27.0 - days
        assert found.number == 18


class TestLocks:
    def test_only_one_asks_and_the_next_one_waits_not_for_ever(self, tmp_path: Path) -> None:
        locks = Locks(tmp_path, patience_s=0.1)
        with locks.flight("a"), pytest.raises(FetchFailed), Locks(tmp_path, patience_s=0.1).flight("a"):
            pytest.fail("two at once")
        with locks.flight("a"):
            pass

    def test_processes_write_one_after_the_other(self, open_store: Open, milan: SnpFirmware) -> None:
        crls = [milan.crl(this_update=NOW - days * DAY) for days in (1, 5, 3, 4, 2)]
        context = multiprocessing.get_context("fork")
        processes = [context.Process(target=_keep, args=(open_store("store"), crl)) for crl in crls]
        for process in processes:
            process.start()
        for process in processes:
            process.join(30)
        assert _files(open_store("store")) == {MILAN_CRL: crls[0]}


def _keep(store: EndorsementStore, crl: bytes) -> None:
    try:
        store.keep(Item(MILAN_CRL, crl), NOW)
    except EndorsementOutdated:
        return


class TestBundle:
    @pytest.fixture
    def packed(self, open_store: Open, milan: SnpFirmware, intel: IntelAuthority) -> bytes:
        source = open_store("source")
        source.keep_all(_items(milan, intel), NOW)
        data, taken, left = bundle.pack(source, NOW)
        assert (len(taken), left) == (5, ())
        return data

    def test_what_was_exported_is_imported_byte_for_byte(self, open_store: Open, packed: bytes) -> None:
        source, target = open_store("source"), open_store("target")
        outcomes = {kept.outcome for kept in bundle.unpack(target, packed, NOW)}
        assert outcomes == {"new"}
        assert _files(target) == _files(source)
        assert {kept.outcome for kept in bundle.unpack(target, packed, NOW)} == {"same"}

    def test_what_does_not_hold_or_has_expired_is_left_out(self, open_store: Open, packed: bytes) -> None:
        source = open_store("source")
        assert source.folder is not None
        (source.folder / ROOT_CRL).write_bytes(b"damaged")
        data, taken, left = bundle.pack(source, NOW + 28 * DAY)
        assert {item.kind for item in taken} == {"snp.crl", "snp.vcek"}
        assert {(item.kind, item.state) for item in left} == {
            ("intel.root-crl", "invalid"),
            ("intel.pck-crl", "expired"),
            ("tdx.tcb-info", "expired"),
        }
        assert bundle.unpack(open_store("target"), data, NOW)
        _, only, _ = bundle.pack(source, NOW, kinds=["snp.vcek"])
        assert [item.kind for item in only] == ["snp.vcek"]

    def test_every_altered_or_partial_bundle_writes_nothing(
        self, open_store: Open, packed: bytes, stranger: SnpFirmware
    ) -> None:
        target = open_store("target")
        document = json.loads(packed)

        def changed(change: Callable[[dict[str, Any]], object]) -> bytes:
            copy = json.loads(packed)
            change(copy)
            return json.dumps(copy).encode()

        def put(copy: dict[str, Any], data: bytes, *, digest: bool) -> None:
            copy["contents"][MILAN_CRL] = base64.b64encode(data).decode()
            if digest:
                entry = next(item for item in copy["manifest"] if item["name"] == MILAN_CRL)
                entry["files"][MILAN_CRL] = hashlib.sha256(data).hexdigest()

        crl = base64.b64decode(document["contents"][MILAN_CRL])
        altered = crl[:-1] + bytes([crl[-1] ^ 1])
        for data in (
            changed(lambda copy: put(copy, altered, digest=False)),
            changed(lambda copy: put(copy, altered, digest=True)),
            changed(lambda copy: put(copy, stranger.crl(), digest=True)),
            changed(lambda copy: copy["contents"].pop(MILAN_CRL)),
            changed(lambda copy: copy["contents"].pop("intel/pck-platform.chain.pem")),
            changed(lambda copy: copy["manifest"].pop()),
            changed(lambda copy: copy["manifest"].append(copy["manifest"][0])),
            changed(lambda copy: copy["manifest"][0].update(kind="snp.vcek")),
            changed(lambda copy: copy["manifest"][0].update(name="crl/../../x.crl")),
            changed(lambda copy: copy["contents"].update({"../x": ""})),
            changed(lambda copy: copy.update(format="touchstone-collateral-2")),
            changed(lambda copy: copy.update(more=1)),
            packed[:-20],
            packed + packed,
            b"",
        ):
            with pytest.raises(TouchstoneError):
                bundle.unpack(target, data, NOW)
            assert _files(target) == {}
        with pytest.raises(EndorsementOutdated):
            bundle.unpack(target, packed, NOW + 40 * DAY)
        assert _files(target) == {}

    def test_truncated_anywhere_it_writes_nothing(self, open_store: Open, packed: bytes) -> None:
        target = open_store("target")
        for length in range(0, len(packed.rstrip()), 97):
            with pytest.raises(InputError):
                bundle.unpack(target, packed[:length], NOW)
        assert _files(target) == {}

    def test_what_is_newer_at_the_target_stays(
        self, open_store: Open, packed: bytes, milan: SnpFirmware
    ) -> None:
        target = open_store("target")
        newer = milan.crl(this_update=NOW - timedelta(hours=1))
        target.keep(Item(MILAN_CRL, newer), NOW)
        outcomes = {kept.name: kept.outcome for kept in bundle.unpack(target, packed, NOW)}
        assert outcomes.pop(MILAN_CRL) == "older"
        assert set(outcomes.values()) == {"new"}
        assert _files(target)[MILAN_CRL] == newer

    def test_one_of_an_evaluation_that_was_passed_is_refused_whole(
        self, open_store: Open, packed: bytes, intel: IntelAuthority
    ) -> None:
        target = open_store("target")
        target.keep(_tcb(intel, number=19), NOW)
        before = _files(target)
        with pytest.raises(CollateralRolledBack):
            bundle.unpack(target, packed, NOW)
        assert _files(target) == before


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=400) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "ignore")))
def test_any_bytes_are_no_bundle_or_typed(data: bytes) -> None:
    store = EndorsementStore(None, (*amd_kinds.kinds(), *intel_kinds.kinds("tdx")))
    with pytest.raises(TouchstoneError):
        bundle.unpack(store, data, NOW)


_NAMES = st.sampled_from([MILAN_CRL, ROOT_CRL, "intel/tdx/qe-identity.json", "vcek/00/vcek.der", "x"])


@settings(max_examples=150, deadline=None)
@given(
    _NAMES,
    st.binary(max_size=300),
    st.dictionaries(st.just(CHAIN) | st.text(max_size=5), st.binary(max_size=100), max_size=2),
    st.datetimes(timezones=st.just(NOW.tzinfo)),
)
def test_any_item_is_refused_typed(
    name: str, data: bytes, companions: dict[str, bytes], now: datetime
) -> None:
    store = EndorsementStore(None, (*amd_kinds.kinds(), *intel_kinds.kinds("tdx")))
    with pytest.raises(TouchstoneError):
        store.keep(Item(name, data, companions), now)
