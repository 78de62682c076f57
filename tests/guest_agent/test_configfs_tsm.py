"""The configfs-tsm attester against a tree of named pipes whose other ends a thread serves.

The thread is the kernel: it takes one write to ``inblob``, counts it, and answers each read.
"""

from __future__ import annotations

import os
import threading

import pytest

from common.encoding import b64url_decode
from common.errors import Malformed
from guest_agent.attesters.configfs_tsm import ConfigfsTsmAttester
from guest_agent.errors import EvidenceNotMade, TeeUnavailable
from wire.rcar import Challenge

CHALLENGE = Challenge(nonce="", audience="", expires_at="")
DATA = bytes(range(64))
ATTRIBUTES = ("provider", "generation", "inblob", "outblob", "auxblob")


class Kernel:
    """A configfs-tsm that signs by putting the report data at offset 0x50."""

    def __init__(self, folder, *, provider=b"sev_guest\n", size=1184, certificates=b"table", others=()):
        self.folder = folder
        self.provider = provider
        self.size = size
        self.certificates = certificates
        self.others = list(others)  # writes of somebody else, one number per report folder
        self.made = 0
        self.threads: list[threading.Thread] = []

    def attester(self) -> ConfigfsTsmAttester:
        return ConfigfsTsmAttester(self.folder, make_folder=self.make, remove_folder=self.remove)

    def make(self, path):
        path.mkdir()
        for name in ATTRIBUTES:
            os.mkfifo(path / name)
        self.made += 1
        others = self.others.pop(0) if self.others else 0
        thread = threading.Thread(target=self.serve, args=(path, others), daemon=True)
        self.threads.append(thread)
        thread.start()

    def remove(self, path):
        for name in ATTRIBUTES:
            (path / name).unlink()
        path.rmdir()

    def serve(self, path, others):
        (path / "provider").write_bytes(self.provider)
        if self.provider != b"sev_guest\n":
            return
        (path / "generation").write_bytes(b"7\n")
        data = (path / "inblob").read_bytes()
        (path / "outblob").write_bytes((bytes(0x50) + data).ljust(self.size, b"\x00")[: self.size])
        (path / "auxblob").write_bytes(self.certificates)
        (path / "generation").write_bytes(f"{8 + others}\n".encode())

    def finish(self):
        for thread in self.threads:
            thread.join(timeout=5)
            assert not thread.is_alive()


@pytest.fixture
def folder(tmp_path):
    reports = tmp_path / "report"
    reports.mkdir()
    return reports


def test_a_report_that_somebody_else_touched_is_taken_again(folder):
    kernel = Kernel(folder, others=[1, 0])
    evidence = kernel.attester().collect(DATA, CHALLENGE)
    kernel.finish()
    assert kernel.made == 2
    assert b64url_decode(evidence.report)[0x50:0x90] == DATA


def test_a_writer_that_never_stops_is_an_error(folder):
    kernel = Kernel(folder, others=[1, 1, 1, 0])
    with pytest.raises(EvidenceNotMade, match="another writer"):
        kernel.attester().collect(DATA, CHALLENGE)
    kernel.finish()


@pytest.mark.parametrize("provider", [b"tdx_guest\n", b"", b"\xff"])
def test_another_provider_is_not_this_tee(folder, provider):
    kernel = Kernel(folder, provider=provider)
    with pytest.raises(TeeUnavailable):
        kernel.attester().collect(DATA, CHALLENGE)
    kernel.finish()


@pytest.mark.parametrize("size", [0, 1183, 1185])
def test_a_report_of_another_size_is_refused(folder, size):
    kernel = Kernel(folder, size=size)
    with pytest.raises(EvidenceNotMade):
        kernel.attester().collect(DATA, CHALLENGE)
    kernel.finish()


@pytest.mark.parametrize("size", [0, 32, 63, 65])
def test_report_data_of_another_size_is_malformed(folder, size):
    kernel = Kernel(folder)
    with pytest.raises(Malformed):
        kernel.attester().collect(bytes(size), CHALLENGE)
    assert kernel.made == 0


def test_a_machine_without_configfs_tsm_is_told(tmp_path):
    with pytest.raises(TeeUnavailable):
        ConfigfsTsmAttester(tmp_path / "absent").collect(DATA, CHALLENGE)


def test_a_folder_without_attributes_is_told(folder):
    """Plain folders, as on a file system that is not configfs."""
    with pytest.raises(EvidenceNotMade):
        ConfigfsTsmAttester(folder).collect(DATA, CHALLENGE)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("certificates", [b"", b"certificate table"])
def test_the_certificate_table_comes_along_where_there_is_one(folder, certificates):
    kernel = Kernel(folder, certificates=certificates)
    evidence = kernel.attester().collect(DATA, CHALLENGE)
    kernel.finish()
    shown = b"" if evidence.auxblob is None else b64url_decode(evidence.auxblob)
    assert shown == certificates
    assert list(folder.iterdir()) == []
    assert kernel.attester().endorsement() is None
