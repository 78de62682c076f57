"""Makes and signs reference-value statements (in-toto Statement v1, ``reference_predicate``).

They carry values to where the artefacts are not (an air-gapped site, a server that does not derive); the
receiver's trust policy decides whose word it takes.

Invariants: what ``build`` makes, ``reference_predicate.parse`` accepts; ``sign`` signs nothing else.

Sources: in-toto attestation framework, spec/v1; DSSE v1.0, protocol.md.
"""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Any, Final

import msgspec

from common import strict_json
from common.encoding import hex_decode
from common.errors import InputError
from provenance import dsse_signing
from provenance import statement as in_toto
from provenance.errors import NotDerivable
from provenance.instants import earliest
from provenance.predicates.reference import PREDICATE_TYPE, Source, parse

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from provenance.model import AdmittedStatement, DerivedValue

_SHA256_BYTES: Final = 32


def source_of(admitted: AdmittedStatement) -> Source:
    """An admitted statement as the origin of values."""
    return Source(
        attestation=admitted.authentic.attestation,
        builder=admitted.builder,
        source_uri=admitted.source_uri,
        source_revision=admitted.source_revision,
    )


def build(sources: Sequence[Source], values: Sequence[DerivedValue], *, now: datetime) -> bytes:
    """The statement that carries ``values``, as bytes to sign (RFC 8785 JSON).

    Its subjects are the source attestations and the artefacts, by SHA-256. It expires with the value
    that expires first.

    Args:
        sources: the attestations that the values were derived from.
        values: values of one rule.
        now: instant of issue.

    Raises:
        NotDerivable: no statement or no value, or values of several rules.
        PredicateUnexpected: a value that the predicate cannot carry.
    """
    rules = {value.rule for value in values}
    if not sources or len(rules) != 1:
        raise NotDerivable(
            "a reference-value statement carries values of exactly one rule, from at least one attestation"
        )
    common = _in_common([value.inputs for value in values])
    predicate: dict[str, Any] = {
        "values": [_stated(value, common) for value in values],
        "derivedFrom": [msgspec.to_builtins(item) for item in sources],
        "rule": rules.pop(),
        "inputs": common,
        "issuedAt": _text_of(now),
    }
    expires = earliest(*(value.expires for value in values))
    if expires is not None:
        predicate["expires"] = _text_of(expires)
    encoded = strict_json.canonical(
        {
            "_type": in_toto.STATEMENT_V1,
            "subject": _subjects(sources, values),
            "predicateType": PREDICATE_TYPE,
            "predicate": predicate,
        }
    )
    parse(in_toto.parse(encoded))
    return encoded


def sign(statement: bytes, private_key: object) -> bytes:
    """Sign a reference-value statement: a DSSE envelope with one signature, as JSON.

    Args:
        statement: what ``build`` made.
        private_key: ECDSA P-256 or P-384 (with the SHA-2 hash of its strength), or Ed25519. The key id
            is the SHA-256 of the SubjectPublicKeyInfo, hex.

    Raises:
        StatementMalformed, PredicateUnexpected: the bytes are not such a statement.
        InvalidSetting: another kind of key.
    """
    parse(in_toto.parse(statement))
    return dsse_signing.sign(in_toto.PAYLOAD_TYPE, statement, private_key)


def _in_common(inputs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    first, *others = inputs
    return {
        name: value
        for name, value in first.items()
        if all(name in other and other[name] == value for other in others)
    }


def _stated(value: DerivedValue, common: Mapping[str, Any]) -> dict[str, Any]:
    stated: dict[str, Any] = {
        "name": value.name,
        "value": value.value,
        "tee": value.tee,
        "group": value.group,
    }
    if value.scalar:
        stated["scalar"] = True
    own = {name: item for name, item in value.inputs.items() if name not in common}
    if own:
        stated["inputs"] = own
    return stated


def _subjects(sources: Sequence[Source], values: Sequence[DerivedValue]) -> list[dict[str, Any]]:
    named = {f"attestation/{item.attestation}": item.attestation for item in sources}
    for value in values:
        for role, digest in value.inputs.items():
            if isinstance(digest, str) and _is_sha256(digest):
                named.setdefault(role, digest)
                # One name may stand for one artefact only; a second one of that role gets its digest.
                if named[role] != digest:
                    named[f"{role}/{digest}"] = digest
    return [{"name": name, "digest": {"sha256": digest}} for name, digest in named.items()]


def _is_sha256(text: str) -> bool:
    try:
        return len(hex_decode(text)) == _SHA256_BYTES
    except InputError:
        return False


def _text_of(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")
