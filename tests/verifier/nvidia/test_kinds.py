"""Reference manifests as items of the endorsement store: real ones, one with a bad signature."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from common.errors import TouchstoneError
from verifier.endorsements.kinds import Item
from verifier.endorsements.listing import listed
from verifier.endorsements.store import EndorsementStore
from verifier.errors import EndorsementOutdated
from verifier.nvidia.kinds import kinds
from verifier.nvidia.rim import rim_root, verify_rim

NAME = "nvidia/rim/NV_GPU_DRIVER_GH100_550.144.03.xml"


def test_a_real_manifest_is_kept_in_its_time_and_listed(vectors: Path, tmp_path: Path) -> None:
    data = (vectors / "evidence/nvidia-rim/rim-driver-gh100-550.144.03/rim.xml").read_bytes()
    path = verify_rim(data, [rim_root()]).path
    now = path.not_after - timedelta(days=30)
    store = EndorsementStore(tmp_path, kinds())
    with pytest.raises(EndorsementOutdated):
        store.keep(Item(NAME, data), path.not_after + timedelta(days=1))
    assert store.keep(Item(NAME, data), now).outcome == "new"
    (found,) = listed(store, now)
    assert (found.kind, found.subject, found.state) == (
        "nvidia.rim",
        "NV_GPU_DRIVER_GH100_550.144.03",
        "valid",
    )


def test_one_that_was_altered_is_not_kept(vectors: Path, tmp_path: Path) -> None:
    folder = vectors / "evidence/nvidia-rim"
    good = (folder / "rim-driver-gh100-550.144.03/rim.xml").read_bytes()
    bad = (folder / "rim-driver-gh100-badsig/rim.xml").read_bytes()
    now = verify_rim(good, [rim_root()]).path.not_after - timedelta(days=30)
    store = EndorsementStore(tmp_path, kinds())
    for data in (bad, good[:-40], b"<x/>", b""):
        with pytest.raises(TouchstoneError):
            store.keep(Item(NAME, data), now)
    assert listed(store, now) == ()
