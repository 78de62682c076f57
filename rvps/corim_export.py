"""Reference values as a CoRIM (draft-ietf-rats-corim-11). Pure: values in, bytes out.

One CoMID for each group of a TEE; its id is derived from its content, so that the same values make the same
tag. The environment is the class ``Touchstone``/<TEE> with the group's name; a measurement's key is the
reference name. A triple is a conjunction, so alternatives of one name become one triple each: every
combination of the group's alternatives. The attestations that the values rest on are the CoMID's entities.

A value is written as: a digest, where its name is a measurement register's; tagged bytes, where it is other
lower-case hex; ``min-svn`` or a range, where it is a minimum; an integer; and a text or boolean under
Touchstone's profile, which the CoRIM then names. The CoRIM expires with the value that expires first.

Not exported: values whose source nobody verified. A CoRIM says "good", and could not say that of them.
"""

from __future__ import annotations

import hashlib
import itertools
import re
import uuid
from typing import TYPE_CHECKING, Any, Final

from cbor2 import CBORTag

from common.encoding import hex_decode
from common.errors import InputError
from provenance.manifests.corim import cbor, identifiers, measurements
from provenance.manifests.corim.profiles import TOUCHSTONE
from rvps.errors import NotExportable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rvps.model import ReferenceValue

VENDOR: Final = "Touchstone"
MAX_VALUES: Final = 4096
MAX_TRIPLES: Final = 1024
_CORIM_TAG, _COMID_TAG, _URI_TAG, _TIME_TAG = 501, 506, 32, 1
_CREATOR: Final = 1  # comid-role-type-choice, appendix A
# Names whose values are digests, and by their length of which algorithm (FIPS 180-4).
_DIGEST_NAME: Final = re.compile(
    r"snp_launch_measurement|tpm_pcr[0-9]+|tdx_(mrtd|rtmr[0-3])|sgx_(mrenclave|mrsigner)"
)
_ALGORITHMS: Final = {32: (1, "sha-256"), 48: (7, "sha-384"), 64: (8, "sha-512")}
_UUID_BYTES: Final = 16
_UUID_CUSTOM: Final = 8  # RFC 9562 section 5.8

_Measurement = dict[int, Any]


def export(values: Sequence[ReferenceValue]) -> bytes:
    """The CoRIM of live values, unsigned (tag 501), in deterministic encoding.

    Raises:
        NotExportable: none, too many, too many combinations of alternatives, or a value that has no form.
    """
    if not 1 <= len(values) <= MAX_VALUES:
        raise NotExportable(f"{len(values)} values are to be exported, 1 to {MAX_VALUES} can be")
    groups: dict[tuple[str, str], list[ReferenceValue]] = {}
    for value in values:
        groups.setdefault((value.tee, value.group), []).append(value)
    comids = [_comid(*key, members) for key, members in sorted(groups.items())]
    corim: dict[int, Any] = {
        0: str(_uuid(b"".join(comids))),
        1: [CBORTag(_COMID_TAG, comid) for comid in comids],
    }
    if any(_field(value) == "scalar" for value in values):
        corim[3] = CBORTag(_URI_TAG, TOUCHSTONE)
    ends = [value.expires for value in values if value.expires is not None]
    if ends:
        corim[4] = {1: CBORTag(_TIME_TAG, int(min(ends).timestamp()))}
    return cbor.encode(CBORTag(_CORIM_TAG, corim))


def mapping(values: Sequence[ReferenceValue]) -> dict[str, Any]:
    """The ``launch`` of the rule ``manifest-values`` that reads the export back."""
    lines = {
        (value.name, value.tee, _field(value)): {
            "key": f"text:{value.name}",
            "field": _field(value),
            "name": value.name,
            "tee": value.tee,
            "environment": {"vendor": VENDOR, "model": value.tee},
            "every_environment": True,
        }
        for value in values
    }
    return {"mapping": [lines[key] for key in sorted(lines)]}


def _comid(tee: str, group: str, members: Sequence[ReferenceValue]) -> bytes:
    environment = {
        0: {1: VENDOR, 2: tee},
        2: CBORTag(identifiers.BYTES, group.encode()),
    }
    alternatives: dict[str, dict[bytes, _Measurement]] = {}
    for value in members:
        measurement = {0: value.name, 1: _mval(value)}
        # By encoding: one value of two attestations is one measurement.
        alternatives.setdefault(value.name, {})[cbor.encode(measurement)] = measurement
    count = 1
    for choices in alternatives.values():
        count *= len(choices)
        if count > MAX_TRIPLES:
            raise NotExportable(
                f"the alternatives of group {group!a} combine to over {MAX_TRIPLES} triples"
            )
    choices_by_name = [
        [choice for _, choice in sorted(choices.items())] for _, choices in sorted(alternatives.items())
    ]
    triples = [[environment, list(choice)] for choice in itertools.product(*choices_by_name)]
    entities = [
        {0: signer, 1: CBORTag(_URI_TAG, f"urn:touchstone:attestation:{attestation}"), 2: [_CREATOR]}
        for attestation, signer in sorted(
            {(item.lineage.attestation, item.lineage.signer) for item in members}
        )
    ]
    content = {2: entities, 4: {0: triples}}
    return cbor.encode(content | {1: {0: _uuid(cbor.encode(content)).bytes}})


def _field(value: ReferenceValue) -> str:
    """The field that the normal form gives the value when it is read back."""
    return _written(value)[0]


def _mval(value: ReferenceValue) -> Mapping[int, Any]:
    return _written(value)[1]


def _written(value: ReferenceValue) -> tuple[str, dict[int, Any]]:
    stated = value.value
    if isinstance(stated, bool):
        return "scalar", {measurements.SCALAR: stated}
    if isinstance(stated, int):
        return _written_integer(stated, minimum=value.scalar)
    if not isinstance(stated, str) or not stated:
        raise NotExportable(f"a value of {value.name} is no text, integer or boolean")
    data = _octets(stated)
    if data is None:
        return "scalar", {measurements.SCALAR: stated}
    algorithm = _ALGORITHMS.get(len(data)) if _DIGEST_NAME.fullmatch(value.name) else None
    if algorithm is None:
        return "raw-value", {4: CBORTag(identifiers.BYTES, data)}
    return f"digest.{algorithm[1]}", {2: [[algorithm[0], data]]}


def _written_integer(value: int, *, minimum: bool) -> tuple[str, dict[int, Any]]:
    if not minimum:
        return "integer", {15: value}
    if value < 0:
        return "min-integer", {15: CBORTag(identifiers.INT_RANGE, [value, None])}
    return "min-svn", {1: CBORTag(identifiers.MIN_SVN, value)}


def _octets(text: str) -> bytes | None:
    try:
        return hex_decode(text)
    except InputError:
        return None


def _uuid(content: bytes) -> uuid.UUID:
    digest = int.from_bytes(hashlib.sha256(content).digest()[:_UUID_BYTES], "big")
    return uuid.UUID(int=digest & ~(0xF << 76) & ~(0x3 << 62) | (_UUID_CUSTOM << 76) | (0x2 << 62))
