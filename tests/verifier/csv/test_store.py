"""HSK and CEK on disk and from Hygon: verified before they are written, under names that are checked."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.errors import FetchFailed, Malformed
from testkit.csv_platform import SERIAL_NUMBER, CsvPlatform, ReportFields
from tests.verifier.csv.conftest import NOW
from verifier.csv.chain import Anchors
from verifier.csv.section import CsvSection, csv_settings, insecure_switches
from verifier.csv.store import KDS, HskCekStore
from verifier.csv.tee import build
from verifier.errors import EndorsementMissing, RootUntrusted
from verifier.model import Unbound
from verifier.tee import Surroundings


class _Hygon:
    """Answers each URL with what it was given, and remembers what it was asked."""

    def __init__(self, answer: bytes | FetchFailed) -> None:
        self.answer = answer
        self.asked: list[str] = []

    def fetch(self, url: str) -> bytes:
        self.asked.append(url)
        if isinstance(self.answer, FetchFailed):
            raise self.answer
        return self.answer


def _store(folder: Path | None, platform: CsvPlatform, fetcher: _Hygon | None = None) -> HskCekStore:
    return HskCekStore(folder, fetcher, anchors=Anchors([platform.hrk]))


def _file(folder: Path) -> Path:
    return folder / "csv" / "hsk_cek" / SERIAL_NUMBER / "hsk_cek.cert"


def test_the_folder_is_that_of_confidential_containers(tmp_path: Path, platform: CsvPlatform) -> None:
    path = _file(tmp_path)
    path.parent.mkdir(parents=True)
    path.write_bytes(platform.hsk_cek)
    store = _store(tmp_path, platform)
    assert store.hsk_cek(SERIAL_NUMBER, NOW) == (platform.hsk, platform.cek)
    path.unlink()
    assert store.hsk_cek(SERIAL_NUMBER, NOW) == (platform.hsk, platform.cek)  # remembered
    assert store.hsk_cek("OTHER", NOW) is None


def test_what_is_fetched_is_kept(tmp_path: Path, platform: CsvPlatform) -> None:
    hygon = _Hygon(platform.hsk_cek)
    store = _store(tmp_path, platform, hygon)
    for _ in range(2):
        assert store.hsk_cek(SERIAL_NUMBER, NOW) == (platform.hsk, platform.cek)
    assert hygon.asked == [f"https://cert.hygon.cn/hsk_cek?snumber={SERIAL_NUMBER}"]
    assert KDS.startswith("https://cert.hygon.cn/")
    assert _file(tmp_path).read_bytes() == platform.hsk_cek
    assert _store(tmp_path, platform).hsk_cek(SERIAL_NUMBER, NOW) is not None


def test_without_a_folder_memory_serves(platform: CsvPlatform) -> None:
    hygon = _Hygon(platform.hsk_cek)
    store = _store(None, platform, hygon)
    assert store.hsk_cek(SERIAL_NUMBER, NOW) == store.hsk_cek(SERIAL_NUMBER, NOW)
    assert len(hygon.asked) == 1


def test_a_bad_answer_is_never_written(
    tmp_path: Path, platform: CsvPlatform, stranger: CsvPlatform
) -> None:
    answers = (b"", b"<html>", stranger.hsk_cek, platform.hsk + stranger.cek, platform.hsk_cek + b"\0")
    for answer in answers:
        with pytest.raises(EndorsementMissing):
            _store(tmp_path, platform, _Hygon(answer)).hsk_cek(SERIAL_NUMBER, NOW)
    assert not (tmp_path / "csv").exists()


def test_a_bad_file_counts_as_none_and_is_replaced(
    tmp_path: Path, platform: CsvPlatform, stranger: CsvPlatform
) -> None:
    path = _file(tmp_path)
    path.parent.mkdir(parents=True)
    for content in (b"", stranger.hsk_cek, bytes(2916), bytes(4000)):
        path.write_bytes(content)
        assert _store(tmp_path, platform).hsk_cek(SERIAL_NUMBER, NOW) is None
    _store(tmp_path, platform, _Hygon(platform.hsk_cek)).hsk_cek(SERIAL_NUMBER, NOW)
    assert path.read_bytes() == platform.hsk_cek


def test_no_answer_is_not_no_certificate(tmp_path: Path, platform: CsvPlatform) -> None:
    unknown = _Hygon(FetchFailed("not found", details={"status": 404}))
    with pytest.raises(EndorsementMissing):
        _store(tmp_path, platform, unknown).hsk_cek(SERIAL_NUMBER, NOW)
    down = _Hygon(FetchFailed("down", details={"status": 503}))
    with pytest.raises(FetchFailed):
        _store(tmp_path, platform, down).hsk_cek(SERIAL_NUMBER, NOW)


@pytest.mark.parametrize(
    "serial",
    [
        "../../../../etc/x", "..", ".", "", "a/b", "a&b=c", "a?b", "a#b", "a%2e", "a b", "a\nb", "ABC\n",
        "A\0B", "\0", "é", "Ａ", "A" * 65, "/etc/passwd", "a\\b", "A_B", "ABC\0/../x", "\ud800",
    ],
)  # fmt: skip
def test_abuse_29_a_serial_number_is_no_path_and_no_query(
    tmp_path: Path, platform: CsvPlatform, serial: str
) -> None:
    hygon = _Hygon(platform.hsk_cek)
    with pytest.raises(Malformed):
        _store(tmp_path / "store", platform, hygon).hsk_cek(serial, NOW)
    assert hygon.asked == []
    assert list(tmp_path.iterdir()) == []


def test_the_settings_make_the_verifier(tmp_path: Path, platform: CsvPlatform) -> None:
    root = tmp_path / "hrk.cert"
    root.write_bytes(platform.hrk)
    path = _file(tmp_path)
    path.parent.mkdir(parents=True)
    path.write_bytes(platform.hsk_cek)
    section = CsvSection(extra_anchors=(root,))
    evidence = platform.evidence(1, ReportFields(), endorsed=False)
    verified = build(section, Surroundings(collateral=tmp_path)).verify(evidence, Unbound(), None, NOW)
    assert verified.identity is not None
    assert list(insecure_switches(section)) == [
        "[csv] extra_anchors trusts test platforms as if they were Hygon's"
    ]
    assert list(insecure_switches(CsvSection())) == []
    with pytest.raises(RootUntrusted):
        build(CsvSection(), Surroundings(collateral=tmp_path)).verify(
            platform.evidence(), Unbound(), None, NOW
        )
    assert csv_settings(CsvSection()).require_es
