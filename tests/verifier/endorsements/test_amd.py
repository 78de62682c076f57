"""The collateral store: folder before fetching, nothing unverified kept, failure is never good news."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from common.errors import FetchFailed, FetchForbidden
from testkit.snp_firmware import SnpFirmware
from tests.verifier.snp.conftest import BOUND, REPORT_DATA, failed, settings_of
from verifier.endorsements.amd import CollateralStore, list_file, vcek_file, vcek_url
from verifier.errors import CrlMissing, EndorsementMissing
from verifier.snp import SnpVerifier
from verifier.snp.chain import Anchor, Anchors
from verifier.snp.products import Product, SigningKey, Tcb

VCEK, VLEK = SigningKey.VCEK, SigningKey.VLEK
NOW = datetime(2025, 6, 1, tzinfo=UTC)
CRL_URL = "https://kdsintf.amd.com/vcek/v1/Milan/crl"


class Answers:
    """A fetcher with prepared answers, that counts what it was asked."""

    def __init__(self, answers: Mapping[str, bytes | Exception]) -> None:
        self.answers = dict(answers)
        self.asked: list[str] = []

    def fetch(self, url: str) -> bytes:
        self.asked.append(url)
        answer = self.answers.get(url, FetchFailed("status 404", details={"status": 404}))
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def root(milan: SnpFirmware) -> Anchor:
    """The test firmware's root, in the place of AMD's."""
    anchor = Anchors([milan.ark]).select(Product.MILAN, milan.ark.public_bytes(Encoding.DER))
    assert anchor is not None
    return anchor


def _store(folder: Path | None, fetcher: Answers | None, root: Anchor) -> CollateralStore:
    return CollateralStore(folder, fetcher, roots={Product.MILAN: root})


def _write(folder: Path, name: str, data: bytes, got: datetime = NOW) -> Path:
    path = folder / "crl" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    os.utime(path, (got.timestamp(), got.timestamp()))
    return path


class TestLists:
    def test_there_is_none_in_an_empty_store(self, tmp_path: Path, root: Anchor) -> None:
        for folder in (None, tmp_path, tmp_path / "absent"):
            assert _store(folder, None, root).crl(Product.MILAN, VCEK, root.sha256, NOW) is None

    def test_the_folder_is_read_per_slot_and_again_when_it_changes(
        self, tmp_path: Path, root: Anchor, milan: SnpFirmware
    ) -> None:
        store = _store(tmp_path, None, root)
        path = _write(tmp_path, "vcek-Milan.crl", b"one")
        assert store.crl(Product.MILAN, VCEK, root.sha256, NOW) == b"one"
        assert store.crl(Product.MILAN, VLEK, root.sha256, NOW) is None
        _write(tmp_path, "vcek-Milan.crl", b"three")
        assert store.crl(Product.MILAN, VCEK, root.sha256, NOW) == b"three"
        path.unlink()
        assert store.crl(Product.MILAN, VCEK, root.sha256, NOW) is None

    def test_an_extra_anchor_has_a_list_of_its_own_that_is_never_fetched(
        self, tmp_path: Path, root: Anchor
    ) -> None:
        fetcher = Answers({})
        store = CollateralStore(tmp_path, fetcher)  # AMD's roots
        assert store.crl(Product.MILAN, VCEK, root.sha256, NOW) is None
        _write(tmp_path, f"{root.sha256}.crl", b"list")
        assert store.crl(Product.MILAN, VCEK, root.sha256, NOW) == b"list"
        assert fetcher.asked == []

    def test_a_missing_list_is_fetched_kept_and_not_asked_for_again(
        self, tmp_path: Path, root: Anchor, milan: SnpFirmware
    ) -> None:
        crl = milan.crl()
        fetcher = Answers({CRL_URL: crl})
        store = _store(tmp_path, fetcher, root)
        for _ in range(3):
            assert store.crl(Product.MILAN, VCEK, root.sha256, NOW) == crl
        assert fetcher.asked == [CRL_URL]
        assert (tmp_path / "crl" / list_file(Product.MILAN, VCEK)).read_bytes() == crl

    def test_a_current_list_on_disk_is_not_fetched(
        self, tmp_path: Path, root: Anchor, milan: SnpFirmware
    ) -> None:
        crl, fetcher = milan.crl(), Answers({})
        _write(tmp_path, "vcek-Milan.crl", crl)
        store = _store(tmp_path, fetcher, root)
        assert store.crl(Product.MILAN, VCEK, root.sha256, NOW + timedelta(hours=23)) == crl
        assert fetcher.asked == []

    @pytest.mark.parametrize("days", [2, 360])
    def test_an_old_or_expiring_list_in_force_is_not_fetched_in_a_request(
        self, tmp_path: Path, root: Anchor, milan: SnpFirmware, days: int
    ) -> None:
        now, crl, fetcher = milan.start + timedelta(days=days), milan.crl(), Answers({})
        _write(tmp_path, "vcek-Milan.crl", crl, milan.start)
        store = _store(tmp_path, fetcher, root)
        assert store.crl(Product.MILAN, VCEK, root.sha256, now) == crl
        assert fetcher.asked == []

    def test_a_list_that_has_ended_is_fetched(
        self, tmp_path: Path, root: Anchor, milan: SnpFirmware
    ) -> None:
        now = milan.start + timedelta(days=400)
        _write(tmp_path, "vcek-Milan.crl", milan.crl(), milan.start)
        fresh = milan.crl(this_update=now)
        store = _store(tmp_path, Answers({CRL_URL: fresh}), root)
        assert store.crl(Product.MILAN, VCEK, root.sha256, now) == fresh

    def test_a_failed_refresh_keeps_the_list_and_waits(
        self, tmp_path: Path, root: Anchor, milan: SnpFirmware
    ) -> None:
        crl = milan.crl(next_update=NOW - timedelta(days=1))
        _write(tmp_path, "vcek-Milan.crl", crl, NOW - timedelta(days=2))
        fetcher = Answers({CRL_URL: FetchFailed("no answer")})
        store = _store(tmp_path, fetcher, root)
        for minutes in (0, 5, 9, 10):
            at = NOW + timedelta(minutes=minutes)
            assert store.crl(Product.MILAN, VCEK, root.sha256, at) == crl
        assert len(fetcher.asked) == 2

    def test_a_bad_answer_replaces_nothing(
        self, tmp_path: Path, root: Anchor, milan: SnpFirmware, stranger: SnpFirmware
    ) -> None:
        crl = milan.crl(this_update=NOW - timedelta(days=3), next_update=NOW - timedelta(days=1))
        older = milan.crl(this_update=NOW - timedelta(days=30))
        for answer in (b"<html>", stranger.crl(), milan.crl(key=milan.keys.ask), older):
            path = _write(tmp_path, "vcek-Milan.crl", crl, NOW - timedelta(days=2))
            store = _store(tmp_path, Answers({CRL_URL: answer}), root)
            assert store.crl(Product.MILAN, VCEK, root.sha256, NOW) == crl
            assert path.read_bytes() == crl

    def test_an_unreachable_source_without_a_list_refuses_evidence(
        self, root: Anchor, milan: SnpFirmware
    ) -> None:
        store = _store(None, Answers({CRL_URL: FetchForbidden("private")}), root)
        verifier = SnpVerifier(settings_of(milan), store, extra_anchors=(milan.ark,))
        with pytest.raises(CrlMissing):
            verifier.verify(milan.evidence(REPORT_DATA), BOUND, None, NOW)

    def test_without_a_folder_lists_are_kept_in_memory(self, root: Anchor, milan: SnpFirmware) -> None:
        fetcher = Answers({CRL_URL: milan.crl()})
        store = _store(None, fetcher, root)
        verifier = SnpVerifier(settings_of(milan), store, extra_anchors=(milan.ark,))
        for _ in range(2):
            assert not failed(verifier.verify(milan.evidence(REPORT_DATA), BOUND, None, NOW))
        assert fetcher.asked == [CRL_URL]


class TestLeaves:
    @pytest.fixture
    def url(self, milan: SnpFirmware) -> str:
        return vcek_url(Product.MILAN, milan.hardware_id, milan.tcb)

    def test_names_and_addresses_are_cocos_and_amds(self, milan: SnpFirmware, turin: SnpFirmware) -> None:
        assert vcek_file(Tcb(2, 0, 6, 21)) == "bl02_tee00_snp06_ucode21_vcek.der"
        assert vcek_file(turin.tcb) == "bl03_tee02_snp05_ucode97_fmc01_vcek.der"
        hwid = turin.hardware_id.hex()
        assert vcek_url(Product.TURIN, turin.hardware_id, turin.tcb) == (
            f"https://kdsintf.amd.com/vcek/v1/Turin/{hwid}?fmcSPL=01&blSPL=03&teeSPL=02&snpSPL=05&ucodeSPL=97"
        )

    @pytest.mark.parametrize("name", ["bl04_tee00_snp24_ucode219_vcek.der", "vcek.der"])
    def test_the_folder_is_read(self, tmp_path: Path, root: Anchor, milan: SnpFirmware, name: str) -> None:
        leaf = milan.leaf()
        path = tmp_path / "vcek" / milan.hardware_id.hex() / name
        path.parent.mkdir(parents=True)
        path.write_bytes(leaf)
        store = _store(tmp_path, None, root)
        assert store.vcek(Product.MILAN, milan.hardware_id, milan.tcb, NOW) == leaf
        assert store.vcek(Product.MILAN, milan.hardware_id, Tcb(4, 0, 23, 219), NOW) is None
        assert store.vcek(Product.MILAN, bytes(64), milan.tcb, NOW) is None

    def test_a_missing_leaf_is_fetched_once_and_kept_for_ever(
        self, tmp_path: Path, root: Anchor, milan: SnpFirmware, url: str
    ) -> None:
        leaf = milan.leaf()
        fetcher = Answers({url: leaf})
        store = _store(tmp_path, fetcher, root)
        for days in (0, 1000):
            at = NOW + timedelta(days=days)
            assert store.vcek(Product.MILAN, milan.hardware_id, milan.tcb, at) == leaf
        again = _store(tmp_path, None, root)
        assert again.vcek(Product.MILAN, milan.hardware_id, milan.tcb, NOW) == leaf
        assert fetcher.asked == [url]

    def test_an_answer_for_another_chip_or_tcb_is_refused_and_not_kept(
        self, tmp_path: Path, root: Anchor, milan: SnpFirmware, url: str
    ) -> None:
        for answer in (
            b"<html>",
            milan.leaf(VLEK),
            milan.leaf(tcb=Tcb(4, 0, 23, 219)),
            milan.leaf(extensions={"4": bytes(64)}),
        ):
            store = _store(tmp_path, Answers({url: answer}), root)
            with pytest.raises(EndorsementMissing):
                store.vcek(Product.MILAN, milan.hardware_id, milan.tcb, NOW)
        assert not (tmp_path / "vcek").exists()

    def test_an_unknown_chip_and_a_silent_source_are_told_apart(
        self, root: Anchor, milan: SnpFirmware, url: str
    ) -> None:
        with pytest.raises(EndorsementMissing):
            _store(None, Answers({}), root).vcek(Product.MILAN, milan.hardware_id, milan.tcb, NOW)
        busy = Answers({url: FetchFailed("status 429", details={"status": 429})})
        with pytest.raises(FetchFailed):
            _store(None, busy, root).vcek(Product.MILAN, milan.hardware_id, milan.tcb, NOW)

    def test_evidence_without_certificates_is_verified_from_the_store(
        self, root: Anchor, milan: SnpFirmware, url: str
    ) -> None:
        store = _store(None, Answers({url: milan.leaf(), CRL_URL: milan.crl()}), root)
        verifier = SnpVerifier(settings_of(milan), store, extra_anchors=(milan.ark,))
        certificates = milan.certificates()
        del certificates["VCEK"]
        verified = verifier.verify(milan.evidence(REPORT_DATA, certificates=certificates), BOUND, None, NOW)
        assert not failed(verified)
