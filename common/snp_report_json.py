"""An SEV-SNP report as Confidential Containers writes it: JSON of the 1184 bytes, and the bytes again.

The members and their forms are those of the Rust crate ``sev`` (6 and 7): integers, lists of octets, an
object per TCB version, firmware version and signature half. Signed are the bytes, so both directions are
held to one rule: *what does not come back as it was is refused*. A report with bytes that the JSON cannot
hold (reserved ranges, which firmware leaves zero) is no report to send, and a document with a member too
many, too few or out of range is none to rebuild.

TCB versions have two layouts, by processor: Milan and Genoa ``[bootloader, tee, 0, 0, 0, 0, snp,
microcode]``, Turin and later (CPUID family 0x1A) ``[fmc, bootloader, tee, snp, 0, 0, 0, microcode]``.
Reports of version 2 have no CPUID; those of Turin have a chip id of 8 bytes followed by zeros.

Sources: AMD SEV-SNP ABI specification (pub. 56860), table ATTESTATION_REPORT; crate ``sev`` (names).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from common.errors import Malformed

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Set as AbstractSet

REPORT_BYTES: Final = 1184
_VERSIONS: Final = range(2, 6)
_CPUID_VERSION: Final = 3  # the first with CPUID members
_MITIGATION_VERSION: Final = 5  # the first with mitigation vectors
_TURIN_FAMILY: Final = 0x1A
_TURIN_CHIP_ID: Final = 8
_COMPONENT: Final = 72

# Member to offset and size: little-endian integers, and octet strings.
_INTEGERS: Final[Mapping[str, tuple[int, int]]] = {
    "version": (0x000, 4),
    "guest_svn": (0x004, 4),
    "policy": (0x008, 8),
    "vmpl": (0x030, 4),
    "sig_algo": (0x034, 4),
    "plat_info": (0x040, 8),
    "key_info": (0x048, 4),
}
_OCTETS: Final[Mapping[str, tuple[int, int]]] = {
    "family_id": (0x010, 16),
    "image_id": (0x020, 16),
    "report_data": (0x050, 64),
    "measurement": (0x090, 48),
    "host_data": (0x0C0, 32),
    "id_key_digest": (0x0E0, 48),
    "author_key_digest": (0x110, 48),
    "report_id": (0x140, 32),
    "report_id_ma": (0x160, 32),
    "chip_id": (0x1A0, 64),
}
_TCBS: Final[Mapping[str, int]] = {
    "current_tcb": 0x038,
    "reported_tcb": 0x180,
    "committed_tcb": 0x1E0,
    "launch_tcb": 0x1F0,
}
_FIRMWARE: Final[Mapping[str, int]] = {"current": 0x1E8, "committed": 0x1EC}
# Null, or left out, in reports older than the version; zero there in the bytes.
_OPTIONAL: Final[Mapping[str, tuple[int, int, int]]] = {
    "cpuid_fam_id": (0x188, 1, _CPUID_VERSION),
    "cpuid_mod_id": (0x189, 1, _CPUID_VERSION),
    "cpuid_step": (0x18A, 1, _CPUID_VERSION),
    "launch_mit_vector": (0x1F8, 8, _MITIGATION_VERSION),
    "current_mit_vector": (0x200, 8, _MITIGATION_VERSION),
}
# Crates older than report version 5 leave them out; if they are not zero, the signature will not hold.
_UNKNOWN_TO_OLDER: Final = frozenset({"launch_mit_vector", "current_mit_vector"})
_SIGNATURE: Final[Mapping[str, int]] = {"r": 0x2A0, "s": 0x2A0 + _COMPONENT}
_REQUIRED: Final = frozenset({*_INTEGERS, *_OCTETS, *_TCBS, *_FIRMWARE, "signature"})
_MEMBERS: Final = _REQUIRED | _OPTIONAL.keys()
_TCB_MEMBERS: Final = {
    True: {"fmc": 0, "bootloader": 1, "tee": 2, "snp": 3, "microcode": 7},
    False: {"bootloader": 0, "tee": 1, "snp": 6, "microcode": 7},
}
_FIRMWARE_MEMBERS: Final = {"build": 0, "minor": 1, "major": 2}  # in the order of the bytes


def to_json(report: bytes) -> dict[str, Any]:
    """The document of a report.

    Raises:
        Malformed: another size than 1184, a version that is not 2 to 5, or bytes that the document
            cannot hold.
    """
    if len(report) != REPORT_BYTES:
        raise Malformed(f"an SNP report has {REPORT_BYTES} bytes, not {len(report)}")
    version = int.from_bytes(report[:4], "little")
    if version not in _VERSIONS:
        raise Malformed(f"SNP report of version {version}, 2 to 5 are known")
    document: dict[str, Any] = {
        name: int.from_bytes(report[offset : offset + size], "little")
        for name, (offset, size) in _INTEGERS.items()
    }
    for name, (offset, size) in _OCTETS.items():
        document[name] = list(report[offset : offset + size])
    for name, (offset, size, since) in _OPTIONAL.items():
        value = int.from_bytes(report[offset : offset + size], "little")
        document[name] = value if version >= since else None
    turin = _is_turin(document)
    for name, offset in _TCBS.items():
        document[name] = {"fmc": None} | {
            part: report[offset + place] for part, place in _TCB_MEMBERS[turin].items()
        }
    for name, offset in _FIRMWARE.items():
        document[name] = {part: report[offset + place] for part, place in _FIRMWARE_MEMBERS.items()}
    document["signature"] = {
        part: list(report[offset : offset + _COMPONENT]) for part, offset in _SIGNATURE.items()
    }
    if from_json(document) != report:
        raise Malformed("the SNP report has bytes in reserved ranges, which its JSON form cannot hold")
    return document


def from_json(document: object) -> bytes:
    """The report of a document.

    Members that older crates do not write (``cpuid_*``, ``*_mit_vector``, ``fmc``) may be absent where the
    report has none. Duplicate members are for the JSON reader to refuse.

    Raises:
        Malformed: not an object of exactly the members, or a value out of range.
    """
    members = _object(document, _MEMBERS, _REQUIRED, "the SNP report")
    report = bytearray(REPORT_BYTES)
    for name, (offset, size) in _INTEGERS.items():
        report[offset : offset + size] = _integer(members[name], size, name)
    version = members["version"]
    if version not in _VERSIONS:
        raise Malformed(f"SNP report of version {version}, 2 to 5 are known")
    for name, (offset, size) in _OCTETS.items():
        report[offset : offset + size] = _octets(members[name], size, name)
    _put_optional(report, members, version)
    turin = _is_turin(members)
    for name, offset in _TCBS.items():
        report[offset : offset + 8] = _tcb(members[name], name, turin=turin)
    for name, offset in _FIRMWARE.items():
        report[offset : offset + 3] = _firmware(members[name], name)
    signature = _object(members["signature"], _SIGNATURE.keys(), _SIGNATURE.keys(), "signature")
    for part, offset in _SIGNATURE.items():
        report[offset : offset + _COMPONENT] = _octets(signature[part], _COMPONENT, part)
    return bytes(report)


def _is_turin(members: Mapping[str, Any]) -> bool:
    family = members.get("cpuid_fam_id")
    if family is not None:
        return bool(family == _TURIN_FAMILY)
    chip_id = bytes(members["chip_id"])
    return any(chip_id[:_TURIN_CHIP_ID]) and not any(chip_id[_TURIN_CHIP_ID:])


def _put_optional(report: bytearray, members: Mapping[str, Any], version: int) -> None:
    for name, (offset, size, since) in _OPTIONAL.items():
        value = members.get(name)
        if value is None and (version < since or name in _UNKNOWN_TO_OLDER):
            continue
        if value is None or version < since:
            raise Malformed(f"{name} contradicts an SNP report of version {version}")
        report[offset : offset + size] = _integer(value, size, name)


def _firmware(value: object, name: str) -> bytes:
    parts = _object(value, _FIRMWARE_MEMBERS.keys(), _FIRMWARE_MEMBERS.keys(), name)
    return b"".join(_integer(parts[part], 1, name) for part in _FIRMWARE_MEMBERS)


def _tcb(value: object, name: str, *, turin: bool) -> bytes:
    places = _TCB_MEMBERS[turin]
    parts = _object(value, {"fmc", *places}, places.keys(), name)
    if not turin and parts.get("fmc") is not None:
        raise Malformed(f"{name} has an fmc, which a processor of this family does not have")
    tcb = bytearray(8)
    for part, place in places.items():
        tcb[place : place + 1] = _integer(parts[part], 1, f"{name}.{part}")
    return bytes(tcb)


def _object(
    value: object, allowed: AbstractSet[str], required: AbstractSet[str], name: str
) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise Malformed(f"{name} is not an object")
    if value.keys() - allowed:
        raise Malformed(f"{name} has a member that SNP evidence does not have")
    missing = sorted(required - value.keys())
    if missing:
        raise Malformed(f"{name} lacks {', '.join(missing)}")
    return value


def _integer(value: object, size: int, name: str) -> bytes:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << (8 * size):
        raise Malformed(f"{name} is not an unsigned integer of {size} bytes")
    return value.to_bytes(size, "little")


def _octets(value: object, size: int, name: str) -> bytes:
    if not isinstance(value, list) or len(value) != size:
        raise Malformed(f"{name} is not a list of {size} octets")
    # bool is an int in Python, true is none in JSON.
    if not all(type(octet) is int and 0 <= octet <= 0xFF for octet in value):  # noqa: PLR2004 (an octet)
        raise Malformed(f"{name} is not a list of {size} octets")
    return bytes(value)
