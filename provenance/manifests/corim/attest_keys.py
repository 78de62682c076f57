"""Attestation keys that a CoRIM endorses (``attest-key-triples``); its signature was verified before.

Reference values are read elsewhere (``comid``), and leave these triples out. Keys are read in one form, a
SubjectPublicKeyInfo as text (tag 554); a triple with another form, or with conditions, is refused rather
than left out, since whoever imports keys must know that all of them came along.

Source: draft-ietf-rats-corim-11 sections 5.1.4.1.4 and 5.1.9, appendix A.
"""

from __future__ import annotations

import base64
import binascii
from typing import Final

import msgspec
from cbor2 import CBORTag

from provenance.errors import ManifestMalformed
from provenance.manifests.corim import cbor, comid, identifiers

_CORIM_TAGS: Final = frozenset({500, 501})  # 500: drafts before 07 wrapped the CoRIM once more
_CORIM, _COMID, _COTL, _COSWID = 501, 506, 508, 505
_TIME, _URI = 1, 32
_TAG_LIST, _TRIPLES = 1, 4
_ATTEST_KEYS: Final = 3
_PKIX_KEY: Final = 554
_TAGS: Final = identifiers.TAGS | _CORIM_TAGS | {_COMID, _COTL, _COSWID, _TIME, _URI}
_PEM: Final = "-----BEGIN PUBLIC KEY-----"
_PAIR: Final = 2
_MAX_KEYS: Final = 10_000


class AttestationKey(msgspec.Struct, frozen=True):
    """A key and where it attests.

    Attributes:
        environment: as ``comid.environment`` gives it (``class-id``, ``instance`` ...).
        pem: the SubjectPublicKeyInfo, PEM.
    """

    environment: dict[str, str]
    pem: bytes


def read(content: bytes) -> tuple[AttestationKey, ...]:
    """All keys of all CoMIDs.

    Args:
        content: a CoRIM without its signature, tag 501.

    Raises:
        ManifestMalformed: not one, or a triple in another form.
    """
    value = cbor.decode(content, what="the CoRIM", tags=_TAGS)
    while isinstance(value, CBORTag) and value.tag in _CORIM_TAGS and isinstance(value.value, CBORTag):
        value = value.value
    corim = value.value if isinstance(value, CBORTag) and value.tag == _CORIM else None
    tags = corim.get(_TAG_LIST) if isinstance(corim, dict) else None
    if not isinstance(tags, list):
        raise ManifestMalformed("the CoRIM has no tag 501, or no tags")
    keys: list[AttestationKey] = []
    for tag in tags:
        if isinstance(tag, CBORTag) and tag.tag == _COMID and isinstance(tag.value, bytes):
            keys += _of_comid(tag.value)
        if len(keys) > _MAX_KEYS:
            raise ManifestMalformed(f"the CoRIM has more than {_MAX_KEYS} attestation keys")
    return tuple(keys)


def _of_comid(data: bytes) -> list[AttestationKey]:
    tag = cbor.decode(data, what="a CoMID", tags=identifiers.TAGS | {_TIME, _URI})
    triples = tag.get(_TRIPLES) if isinstance(tag, dict) else None
    if not isinstance(triples, dict):
        raise ManifestMalformed("a CoMID has no triples")
    records = triples.get(_ATTEST_KEYS, [])
    if not isinstance(records, list):
        raise ManifestMalformed("attestation-key triples are not a list")
    return [key for record in records for key in _of_triple(record)]


def _of_triple(record: object) -> list[AttestationKey]:
    if not isinstance(record, list) or len(record) != _PAIR:
        raise ManifestMalformed("an attestation-key triple is not a pair of environment and keys")
    environment, keys = comid.environment(record[0]), record[1]
    if not isinstance(keys, list) or not keys:
        raise ManifestMalformed("an attestation-key triple has no keys")
    return [AttestationKey(environment, _pem(key)) for key in keys]


def _pem(key: object) -> bytes:
    if not isinstance(key, CBORTag) or key.tag != _PKIX_KEY or not isinstance(key.value, str):
        raise ManifestMalformed("an attestation key is not a public key as text (tag 554)")
    text = key.value.strip()
    if text.startswith(_PEM):
        return text.encode("utf-8")
    try:
        body = base64.b64encode(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError) as error:
        raise ManifestMalformed("an attestation key is neither PEM nor base64") from error
    return b"-----BEGIN PUBLIC KEY-----\n" + body + b"\n-----END PUBLIC KEY-----\n"
