"""What an ingest stores: the checks that it is storable, and the rows it becomes. Nothing is written here.

A value's id is a digest of what makes it this value, so that two processes that ingest the same
attestation make the same rows.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

import msgspec

from common.encoding import hex_decode
from common.errors import Malformed, TooLarge
from policy.port import canonical_key
from rvps.derivations import derivation_of, parts_of
from rvps.quorum import contest_and_vote
from rvps.tables import NEVER
from rvps.targets import printable
from storage.database import to_micros

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from provenance.model import AdmittedStatement, DerivedValue, Signer

_SHA256_BYTES: Final = 32
_ID_HEX_CHARS: Final = 32
# PostgreSQL takes at most 2704 bytes of an index entry (nbtree, BTMaxItemSize): name, key and date.
MAX_NAME_BYTES: Final = 256
MAX_KEY_BYTES: Final = 2048
MAX_GROUP_BYTES: Final = 256
# RFC 7493 section 2.2: integers that every JSON reader keeps exact.
_MAX_SAFE_INTEGER: Final = 2**53 - 1
# Stands where the first signer stands, of what nobody signed.
UNVERIFIED: Final = "unverified"
_KEY_IDENTITY: Final = "key:"
_SHA256_HEX: Final = 64


class Origin(msgspec.Struct, frozen=True, rename="camel"):
    """An attestation that a reference-value statement names as its source (``inputs.derivedFrom``)."""

    attestation: str
    builder: str | None = None
    source_uri: str | None = None
    source_revision: str | None = None


def check(admitted: AdmittedStatement, origins: Sequence[Origin], submitted_by: str) -> None:
    """Demand that an attestation is what it says and can be stored.

    Raises:
        Malformed: the digest is not the envelope's, there is no signer, or a text is not printable.
        TooLarge: a text is too long.
    """
    authentic = admitted.authentic
    if hashlib.sha256(authentic.envelope).hexdigest() != authentic.attestation:
        raise Malformed("the attestation's digest is not that of its envelope")
    if not authentic.signers and not authentic.unverified:
        raise Malformed("the attestation has no verified signer")
    if authentic.signers and authentic.unverified:
        raise Malformed("an attestation that nobody's signature was verified of has no signers")
    texts: list[str | None] = [
        submitted_by,
        admitted.trust_policy,
        authentic.statement.predicate_type,
        admitted.builder,
        admitted.source_uri,
        admitted.source_revision,
        authentic.log_id,
    ]
    for signer in authentic.signers:
        texts += [signer.kind, signer.identity, signer.issuer, signer.root]
        texts += [signer.certificate, signer.serial, signer.key]
    for origin in origins:
        texts += [origin.builder, origin.source_uri, origin.source_revision]
    for material in admitted.materials:
        texts += [material.uri, *material.digest.keys(), *material.digest.values()]
    for text in texts:
        if text is not None:
            printable(text, what="a text of the attestation's lineage")


def origins_of(derived: Sequence[DerivedValue]) -> tuple[Origin, ...]:
    """The attestations that the values' statement rests on, each once.

    Raises:
        Malformed: ``derivedFrom`` of a value cannot be read, or contradicts another's.
    """
    found: dict[str, Origin] = {}
    for value in derived:
        for entry in _derived_from(value):
            hex_decode(entry.attestation, what="derivedFrom.attestation", length=_SHA256_BYTES)
            if found.setdefault(entry.attestation, entry) != entry:
                raise Malformed("derivedFrom names one attestation with two lineages")
    return tuple(found.values())


def _derived_from(value: DerivedValue) -> tuple[Origin, ...]:
    try:
        return msgspec.convert(value.inputs.get("derivedFrom", ()), type=tuple[Origin, ...], strict=True)
    except msgspec.ValidationError as error:
        raise Malformed(f"derivedFrom of {value.name} cannot be read: {error}") from error


def value_row(admitted: AdmittedStatement, value: DerivedValue) -> dict[str, Any]:
    """Row of ``reference_value``, without who submitted it and when.

    Raises:
        Malformed: not a scalar that can be compared, or not printable, or dates that contradict.
        TooLarge: name or value.
    """
    _check_value(value)
    key = canonical_key(value.value)
    if len(key.encode("utf-8")) > MAX_KEY_BYTES:
        raise TooLarge(f"a value of {value.name} has more than {MAX_KEY_BYTES} bytes")
    row: dict[str, Any] = {
        "name": value.name,
        "value": as_json(value.value),
        "value_key": key,
        "tee": printable(value.tee, what="a value's tee"),
        "release_group": _group(value.group),
        "scalar": value.scalar,
        "not_before": to_micros(value.not_before),
        "expires": NEVER if value.expires is None else to_micros(value.expires),
        "rule": printable(value.rule, what="a value's rule"),
        "inputs": as_json(value.inputs),
        "attestation": admitted.authentic.attestation,
        "trust_policy": admitted.trust_policy,
        "retraction": None,
        "unverified": admitted.authentic.unverified or None,
        "derivation": derivation_of(value),
    }
    row["contest"], row["vote"] = contest_and_vote(admitted, row, value.inputs)
    return {"id": value_id(row), **row}


def value_id(row: Mapping[str, Any]) -> str:
    """Id of a value: ``rv-`` and 128 bits of a SHA-256 over what makes it this value."""
    identity = [
        row["attestation"],
        row["name"],
        row["value"],
        row["tee"],
        row["release_group"],
        row["rule"],
        row["inputs"],
        row["scalar"],
        row["expires"],
    ]
    # What came later is left out where it is as it was before, so that ids stay what they are.
    if row["unverified"]:
        identity.append("unverified")
    if row["vote"] is not None:
        identity.append(row["vote"])
    return f"rv-{hashlib.sha256(msgspec.json.encode(identity)).hexdigest()[:_ID_HEX_CHARS]}"


def attestation_row(admitted: AdmittedStatement) -> dict[str, Any]:
    """Row of ``attestation``, without who submitted it and when."""
    authentic = admitted.authentic
    return {
        "digest": authentic.attestation,
        "predicate_type": authentic.statement.predicate_type,
        **first_signer(authentic.signers),
        "signers": len(authentic.signers),
        "unverified": authentic.unverified or None,
        "builder": admitted.builder,
        "source_uri": admitted.source_uri,
        "source_revision": admitted.source_revision,
        "signed_at": to_micros(authentic.signed_at),
        "log_index": authentic.log_index,
        "log_id": authentic.log_id,
        "log_time": None if authentic.log_time is None else to_micros(authentic.log_time),
        "effective_at": effective_at(admitted),
        "trust_policy": admitted.trust_policy,
    }


def first_signer(signers: Sequence[Signer]) -> dict[str, Any]:
    """Columns of ``attestation`` that name its first signer, or that there is none."""
    if not signers:
        return {"signer": UNVERIFIED, "signer_issuer": None, "signer_root": UNVERIFIED}
    first = signers[0]
    return {"signer": first.identity, "signer_issuer": first.issuer, "signer_root": first.root}


def document_row(admitted: AdmittedStatement) -> dict[str, Any]:
    """Row of ``attestation_document``."""
    return {
        "attestation": admitted.authentic.attestation,
        "envelope": admitted.authentic.envelope,
        "checks": as_json(admitted.checks),
    }


def signer_rows(digest: str, signers: Sequence[Signer], first: int) -> list[dict[str, Any]]:
    """Rows of ``attestation_signer``, numbered from ``first``."""
    return [
        {
            "attestation": digest,
            "ordinal": first + position,
            "kind": signer.kind,
            "identity": signer.identity,
            "issuer": signer.issuer,
            "root": signer.root,
            "claims": as_json(signer.claims),
            "certificate": signer.certificate,
            "serial": signer.serial,
            "key": key_of(signer),
        }
        for position, signer in enumerate(signers)
    ]


def origin_rows(digest: str, origins: Sequence[Origin]) -> list[dict[str, Any]]:
    """Rows of ``attestation_origin``."""
    return [
        {
            "attestation": digest,
            "origin": item.attestation,
            "builder": item.builder,
            "source_uri": item.source_uri,
            "source_revision": item.source_revision,
        }
        for item in origins
    ]


def key_of(signer: Signer) -> str | None:
    """SHA-256 of the signer's key (SubjectPublicKeyInfo, DER), hex; None where it was not kept."""
    if signer.key is not None:
        return signer.key
    digest = signer.identity.removeprefix(_KEY_IDENTITY)
    return digest if _KEY_IDENTITY + digest == signer.identity and len(digest) == _SHA256_HEX else None


def material_rows(admitted: AdmittedStatement) -> list[dict[str, Any]]:
    """Rows of ``attestation_material``: one for each digest, or one without where there is none."""
    return [
        {
            "attestation": admitted.authentic.attestation,
            "ordinal": ordinal,
            "uri": material.uri,
            "algorithm": algorithm,
            "digest": digest,
        }
        for ordinal, material in enumerate(admitted.materials)
        for algorithm, digest in (material.digest.items() or [("", None)])
    ]


def part_rows(derivations: Iterable[str]) -> list[dict[str, str]]:
    """Rows of ``derivation_part``."""
    return [
        {"derivation": derivation, "part": part}
        for derivation in sorted(set(derivations))
        for part in dict.fromkeys(parts_of(derivation))
    ]


def effective_at(admitted: AdmittedStatement) -> int:
    """The instant that a retraction's ``since`` is compared with, microseconds."""
    return to_micros(admitted.authentic.log_time or admitted.authentic.signed_at)


def _group(text: str) -> str:
    if len(text.encode("utf-8", "replace")) > MAX_GROUP_BYTES:
        raise TooLarge(f"a group has more than {MAX_GROUP_BYTES} bytes")
    return printable(text, what="a value's group")


def _check_value(value: DerivedValue) -> None:
    printable(value.name, what="a reference name")
    if len(value.name.encode("utf-8")) > MAX_NAME_BYTES:
        raise TooLarge(f"a reference name has more than {MAX_NAME_BYTES} bytes")
    if isinstance(value.value, str):
        printable(value.value, what=f"the value of {value.name}")
    elif not isinstance(value.value, int) or abs(value.value) > _MAX_SAFE_INTEGER:
        raise Malformed(f"the value of {value.name} is not text, a boolean or an integer within 2**53-1")
    for moment in (value.not_before, value.expires):
        if moment is not None and moment.tzinfo is None:
            raise Malformed(f"a date of {value.name} has no time zone")
    if value.expires is not None and value.expires <= value.not_before:
        raise Malformed(f"the validity of {value.name} ends before it begins")


def as_json(value: object) -> str:
    """JSON with sorted members.

    Raises:
        Malformed: it has a part that is not JSON.
    """
    try:
        return msgspec.json.encode(value, order="sorted").decode("utf-8")
    except (
        TypeError,
        ValueError,
        OverflowError,
        RecursionError,
    ) as error:  # a lone surrogate is a ValueError
        raise Malformed("the attestation's lineage has a part that is not JSON") from error
