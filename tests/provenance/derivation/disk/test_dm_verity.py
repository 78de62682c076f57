"""dm-verity: parameters are stated or read, never guessed; roots are those of veritysetup."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import TouchstoneError
from provenance.derivation import derive
from provenance.derivation.disk import dm_verity
from provenance.derivation.disk.dm_verity import Verity
from provenance.errors import ArtifactInvalid, LaunchShapeInvalid, NotDerivable, SubjectMismatch
from provenance.model import Artifact, DerivationRequest, DerivedValue
from tests.components import require
from tests.provenance.derivation.material import admitted, subject

SALT = "5a" * 32
DATA = hashlib.shake_256(b"image").digest(300 * 4096)
VERITY = Verity(1, "sha256", 4096, 4096, SALT, 300)
STATED = msgspec.to_builtins(VERITY)


def _superblock(verity: Verity = VERITY, **lies: Any) -> bytes:
    salt = bytes.fromhex(verity.salt)
    header = lies.get("signature", b"verity\0\0") + struct.pack(
        "<II", lies.get("version", 1), verity.hash_type
    )
    header += bytes(16) + lies.get("algorithm", verity.algorithm.encode()).ljust(32, b"\0")
    header += struct.pack("<IIQ", verity.data_block_size, verity.hash_block_size, verity.data_blocks)
    header += struct.pack("<H6x", lies.get("salt_size", len(salt))) + salt.ljust(256, b"\0")
    return bytes(header.ljust(512, b"\0"))


def _area(data: bytes = DATA, verity: Verity = VERITY) -> bytes:
    _, levels = dm_verity.tree(data, verity)
    return _superblock(verity).ljust(verity.hash_block_size, b"\0") + b"".join(levels)


def _derive(rule: str, launch: dict[str, Any], **artefacts: bytes) -> tuple[DerivedValue, ...]:
    named = {role.replace("_", "-"): data for role, data in artefacts.items()}
    statement = admitted(*(subject(role, data) for role, data in named.items()))
    given_ = [Artifact(role, role, data) for role, data in named.items()]
    return derive(statement, DerivationRequest(rule=rule, launch=launch), given_)


@pytest.mark.parametrize(
    "changes",
    [
        {"hash_type": 2},
        {"algorithm": "sha1"},
        {"algorithm": "SHA256"},
        {"data_block_size": 0},
        {"data_block_size": 4095},
        {"data_block_size": 1 << 17},
        {"hash_block_size": 256},
        {"salt": "5A"},
        {"salt": "5"},
        {"salt": "zz"},
        {"salt": "5a 5a"},
        {"salt": "00" * 257},
        {"data_blocks": 0},
        {"data_blocks": -1},
        {"data_blocks": 1 << 62},
    ],
)
def test_parameters_out_of_their_bounds_are_refused(changes: dict[str, Any]) -> None:
    launch = {"tee": "snp", "parameters": STATED | changes}
    with pytest.raises(LaunchShapeInvalid):
        _derive("dm-verity", launch, image=DATA)


@pytest.mark.parametrize(
    "launch",
    [
        {},
        {"tee": "snp"},
        {"tee": "unheard-of", "parameters": STATED},
        {"tee": "snp", "parameters": STATED, "superblock": {"hash_offset": 0}},
        {"tee": "snp", "parameters": STATED, "salt": ""},
        {"tee": "snp", "parameters": {k: v for k, v in STATED.items() if k != "salt"}},
        {"tee": "snp", "superblock": {}},
        {"tee": "snp", "superblock": {"hash_offset": 0}},
        {"tee": "snp", "superblock": {"hash_offset": -1}},
        {"tee": "snp", "superblock": {"hash_offset": len(DATA)}},
    ],
)
def test_a_shape_that_does_not_hold_is_refused(launch: dict[str, Any]) -> None:
    with pytest.raises(LaunchShapeInvalid):
        _derive("dm-verity", launch, image=DATA)


@pytest.mark.parametrize("data", [DATA[:-1], DATA + b"\0", DATA[:-4096], DATA + bytes(4096), b""])
def test_an_image_of_another_size_is_refused_and_never_padded(data: bytes) -> None:
    with pytest.raises(NotDerivable, match="bytes of data"):
        _derive("dm-verity", {"tee": "snp", "parameters": STATED}, image=data)


@pytest.mark.parametrize(
    ("area", "reason"),
    [
        (b"", "no room"),
        (_superblock()[:511], "no room"),
        (_superblock(signature=b"verity\0\1"), "no dm-verity superblock"),
        (_superblock(version=2), "no dm-verity superblock"),
        (_superblock(salt_size=257), "salt is longer"),
        (_superblock(salt_size=31), "salt is longer"),
        (_superblock(algorithm=b"\xff"), "not a name"),
        (_superblock(algorithm=b"crc32"), "algorithm"),
        (_superblock(msgspec.structs.replace(VERITY, hash_type=3)), "hash type"),
        (_area()[:-1], "not that of the data"),
        (_superblock(), "not that of the data"),
        (_area(b"\1" + DATA[1:]), "not that of the data"),
    ],
)
def test_a_hash_area_that_does_not_hold_is_refused(area: bytes, reason: str) -> None:
    with pytest.raises(ArtifactInvalid, match=reason):
        dm_verity.attached(DATA, area)


def test_a_superblock_for_more_data_than_there_is_is_refused() -> None:
    with pytest.raises(NotDerivable, match="bytes of data"):
        dm_verity.attached(DATA, _superblock(msgspec.structs.replace(VERITY, data_blocks=301)))


def test_a_salt_makes_another_root_and_its_place_too() -> None:
    roots = {
        dm_verity.root_hash(DATA, msgspec.structs.replace(VERITY, salt=salt, hash_type=kind))
        for salt in ("", SALT, SALT[2:])
        for kind in (0, 1)
    }
    assert len(roots) == 5  # without a salt, sha256 digests fill their slots: both types are one


def test_superblock_and_stated_parameters_give_one_value() -> None:
    (stated,) = _derive("dm-verity", {"tee": "snp", "parameters": STATED}, image=DATA)
    (read,) = _derive(
        "dm-verity", {"tee": "snp", "superblock": {"hash_offset": len(DATA)}}, image=DATA + _area()
    )
    (apart,) = _derive(
        "dm-verity", {"tee": "snp", "superblock": {"hash_offset": 0}}, image=DATA, hash_tree=_area()
    )
    assert stated.value == read.value == apart.value
    assert (stated.name, stated.tee, stated.rule) == ("dm_verity_root_hash", "snp", "dm-verity/1")
    assert read.inputs["verity"] == STATED


def test_a_tree_that_would_not_be_read_is_refused() -> None:
    with pytest.raises(NotDerivable, match="hash tree"):
        _derive("dm-verity", {"tee": "snp", "parameters": STATED}, image=DATA, hash_tree=_area())
    with pytest.raises(LaunchShapeInvalid, match="hash_offset is 0"):
        _derive(
            "dm-verity", {"tee": "snp", "superblock": {"hash_offset": 1}}, image=DATA, hash_tree=_area()
        )


@pytest.mark.parametrize(
    "verity",
    [
        VERITY,
        Verity(1, "sha256", 4096, 4096, "", 1),
        Verity(1, "sha256", 4096, 4096, SALT, 1),
        Verity(1, "sha256", 4096, 4096, SALT, 128),
        Verity(1, "sha256", 4096, 4096, SALT, 129),
        Verity(1, "sha512", 4096, 4096, SALT, 200),
        Verity(1, "sha384", 4096, 1024, "00", 100),
        Verity(0, "sha256", 4096, 4096, SALT, 150),
        Verity(0, "sha384", 4096, 4096, SALT, 200),
        Verity(1, "sha256", 1024, 512, "", 500),
        Verity(1, "sha256", 512, 4096, "abcd", 300),
    ],
    ids=str,
)
@pytest.mark.parametrize("superblock", [True, False])
def test_veritysetup_computes_the_same_root(verity: Verity, superblock: bool, tmp_path: Path) -> None:
    tool = shutil.which("veritysetup", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    require(tool is not None, "veritysetup is not installed (package cryptsetup-bin)")
    assert tool is not None
    data = hashlib.shake_256(b"x").digest(verity.data_blocks * verity.data_block_size)
    image, area = tmp_path / "image", tmp_path / "area"
    image.write_bytes(data)
    area.touch()
    command = [tool, "format", f"--format={verity.hash_type}", f"--hash={verity.algorithm}"]
    command += [
        f"--data-block-size={verity.data_block_size}",
        f"--hash-block-size={verity.hash_block_size}",
    ]
    command += [f"--salt={verity.salt or '-'}", f"--data-blocks={verity.data_blocks}"]
    command += [] if superblock else ["--no-superblock"]
    told = subprocess.run(
        [*command, str(image), str(area)], check=True, capture_output=True, text=True
    ).stdout
    (expected,) = re.findall(r"Root hash:\s*([0-9a-f]+)", told)
    assert dm_verity.root_hash(data, verity).hex() == expected
    if superblock:
        root, read = dm_verity.attached(data, area.read_bytes())
        assert (root.hex(), read) == (expected, verity)


# The command line that demands it.


def _cmdline(text: bytes, *, parameter: str = "roothash", image: bytes = DATA) -> tuple[DerivedValue, ...]:
    launch = {"tee": "tdx", "parameter": parameter, "parameters": STATED}
    return _derive("kernel-cmdline", launch, image=image, cmdline=text)


ROOT = dm_verity.root_hash(DATA, VERITY).hex().encode()


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"quiet",
        b"roothash",
        b"roothash=",
        b"roothash=" + ROOT[:-1],
        b"roothash=" + ROOT + b"0",
        b"roothash=" + ROOT.upper(),
        b"roothash=" + b"00" * 32,
        b"xroothash=" + ROOT,
        b'note="roothash=' + ROOT + b'"',
        b"roothash=" + ROOT + b" roothash=" + b"00" * 32,
        b"roothash=" + ROOT + b" roothash=" + ROOT,
        b"roothash=" + ROOT + b",ignore_corruption",
    ],
)
def test_a_command_line_that_does_not_demand_the_image_is_refused(text: bytes) -> None:
    with pytest.raises(NotDerivable, match="command line"):
        _cmdline(text)


def test_another_image_than_the_one_demanded_is_refused() -> None:
    with pytest.raises(NotDerivable, match="another root hash"):
        _cmdline(b"roothash=" + ROOT, image=b"\1" + DATA[1:])


@pytest.mark.parametrize("parameter", ["", "a b", "roothash=", 'a"'])
def test_a_parameter_that_is_no_name_is_refused(parameter: str) -> None:
    with pytest.raises(LaunchShapeInvalid):
        _cmdline(b"roothash=" + ROOT, parameter=parameter)


def test_a_command_line_with_a_newline_is_refused() -> None:
    with pytest.raises(ArtifactInvalid, match="control characters"):
        _cmdline(b"roothash=" + ROOT + b"\n")


def test_an_unattested_command_line_is_refused() -> None:
    launch = {"tee": "tdx", "parameter": "roothash", "parameters": STATED}
    artefacts = [Artifact("image", "image", DATA), Artifact("cmdline", "cmdline", b"roothash=" + ROOT)]
    with pytest.raises(SubjectMismatch):
        derive(admitted(subject("image", DATA)), DerivationRequest("kernel-cmdline", launch), artefacts)


def test_image_and_command_line_are_values_of_one_group() -> None:
    text = b"console=ttyS0 usrhash=" + ROOT + b" quiet"
    root, digest = _cmdline(text, parameter="usrhash")
    assert (root.name, root.value) == ("dm_verity_root_hash", ROOT.decode())
    assert (digest.name, digest.value) == ("kernel_cmdline_sha256", hashlib.sha256(text).hexdigest())
    assert root.group == digest.group
    assert root.inputs == digest.inputs


@settings(deadline=None, max_examples=100)
@given(st.data())
def test_only_our_errors_come_out_of_hostile_hash_areas(data: st.DataObject) -> None:
    small = Verity(1, "sha256", 512, 512, "5a", 20)
    image = DATA[: 20 * 512]
    area = bytearray(_area(image, small))
    for _ in range(data.draw(st.integers(1, 5))):
        area[data.draw(st.integers(0, len(area) - 1))] = data.draw(st.integers(0, 255))
    try:
        root, _ = dm_verity.attached(image, bytes(area[: data.draw(st.integers(0, len(area)))]))
    except TouchstoneError:
        return
    assert len(root) in (32, 48, 64)
