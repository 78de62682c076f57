"""HSK and CEK as items of the endorsement store."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.errors import FetchFailed, Malformed
from testkit.csv_platform import SERIAL_NUMBER, CsvPlatform
from tests.verifier.csv.conftest import NOW
from tests.verifier.csv.test_store import _Hygon
from verifier.csv.chain import Anchors
from verifier.csv.collateral import kinds
from verifier.csv.store import HskCekStore
from verifier.endorsements.fetching import Origin, asks_of, fetch
from verifier.endorsements.kinds import Item, Sources
from verifier.endorsements.listing import listed
from verifier.endorsements.store import EndorsementStore
from verifier.errors import EndorsementMissing, RootUntrusted

NAME = f"csv/hsk_cek/{SERIAL_NUMBER}/hsk_cek.cert"


@pytest.fixture
def store(tmp_path: Path, platform: CsvPlatform) -> EndorsementStore:
    return EndorsementStore(tmp_path, kinds(Anchors([platform.hrk])))


def test_it_is_fetched_once_listed_without_dates_and_found_by_the_verifier(
    store: EndorsementStore, platform: CsvPlatform
) -> None:
    hygon = _Hygon(platform.hsk_cek)
    (ask,) = asks_of(store.kinds, {"serial-number": SERIAL_NUMBER}, Sources())
    for outcome in ("new", "at-hand"):
        assert fetch(store, Origin(hygon), ask, NOW, stale=lambda _: True).outcome == outcome
    assert hygon.asked == [f"https://cert.hygon.cn/hsk_cek?snumber={SERIAL_NUMBER}"]
    (found,) = listed(store, NOW)
    assert (found.subject, found.state, found.not_after) == (SERIAL_NUMBER, "valid", None)
    verifier = HskCekStore(store.folder, anchors=Anchors([platform.hrk]))
    assert verifier.hsk_cek(SERIAL_NUMBER, NOW) == (platform.hsk, platform.cek)


def test_what_leads_to_no_root_or_is_not_there_is_not_kept(
    tmp_path: Path, store: EndorsementStore, platform: CsvPlatform
) -> None:
    pinned = EndorsementStore(tmp_path, kinds())
    with pytest.raises(RootUntrusted):
        pinned.keep(Item(NAME, platform.hsk_cek), NOW)
    with pytest.raises(Malformed):
        store.keep(Item(NAME, platform.hsk_cek[:-1]), NOW)
    (ask,) = asks_of(store.kinds, {"serial-number": SERIAL_NUMBER}, Sources())
    with pytest.raises(EndorsementMissing):
        fetch(store, Origin(_Hygon(FetchFailed("no", details={"status": 404}))), ask, NOW)
    assert listed(store, NOW) == ()


@pytest.mark.parametrize("serial", ["", "../x", "a&b=c", "x" * 65, "\u0661"])
def test_a_serial_number_that_is_none_reaches_no_address(store: EndorsementStore, serial: str) -> None:
    with pytest.raises(Malformed):
        asks_of(store.kinds, {"serial-number": serial}, Sources())


def test_evidence_says_what_it_lacks(store: EndorsementStore, platform: CsvPlatform) -> None:
    (kind,) = store.kinds
    for version in (1, 2):
        evidence = platform.evidence(version, endorsed=False)
        assert kind.needs(evidence) == ({"serial-number": SERIAL_NUMBER},)
        assert kind.needs(platform.evidence(version)) == ()
