"""Parsers of Secure Execution: any bytes give a value or one of our errors."""

from __future__ import annotations

from collections.abc import Callable

from common.encoding import b64url_encode
from common.errors import TouchstoneError
from testkit.se_host import TAGS, image_header
from verifier.se.evidence import SeEvidence
from verifier.se.header import parse_header, parse_tags
from verifier.se.host_key import load_host_key_document
from verifier.se.pki import load_certificates, load_lists
from verifier.se.request import parse_request
from verifier.se.response import parse_additional
from verifier.se.tee import contents, recognise
from verifier.se.verifier import parse_evidence

_FLAGS = 0b1111 << 58
_MEMBERS = len(SeEvidence.__struct_fields__)


def _swallowing(parse: Callable[[bytes], object]) -> Callable[[bytes], None]:
    def target(data: bytes) -> None:
        try:
            parse(data)
        except TouchstoneError:
            return

    return target


def _evidence(data: bytes) -> None:
    """The members of a document, cut at zero bytes."""
    parts = (data.split(b"\x00", _MEMBERS - 1) + [b""] * _MEMBERS)[:_MEMBERS]
    evidence = SeEvidence(*(b64url_encode(part) for part in parts))
    contents(evidence)
    parse_evidence(evidence)


TARGETS: dict[str, Callable[[bytes], None]] = {
    "se-request": _swallowing(parse_request),
    "se-header": _swallowing(parse_header),
    "se-tags": _swallowing(parse_tags),
    "se-additional": _swallowing(lambda data: parse_additional(data, _FLAGS)),
    "se-certificates": _swallowing(lambda data: load_certificates(data, "input")),
    "se-lists": _swallowing(lambda data: load_lists(data, "input")),
    "se-host-key-document": _swallowing(load_host_key_document),
    "se-evidence": _swallowing(_evidence),
    "se-recognise": _swallowing(recognise),
}

SEEDS: dict[str, tuple[bytes, ...]] = {
    "se-header": (image_header(), image_header(dumps=True)),
    "se-tags": (TAGS,),
    "se-additional": (bytes(32 + 32 + 64 + 320),),
    "se-evidence": (b"\x00".join([b"m" * 64, b"a" * 64, b"u" * 64, b"c" * 16, TAGS, b"k", b"n"]),),
    "se-recognise": (b'{"measurement": "", "additional_data": "", "cuid": "", "image_hdr_tags": ""}',),
}
