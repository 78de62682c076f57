"""Strict parsing of signed layouts and links, Metablock and DSSE.

The bytes that are signed are made of what was received: a Metablock's canonical JSON is that of the
``signed`` object as it came, not of a model written out again, so that no member can hide from the
signature. Unknown members are refused in either container.

Refused besides wrong shapes: duplicate steps, names that could leave a folder, rules that cannot be
parsed, placeholders (parameters are not substituted: an unsubstituted ``DISALLOW {NAME}`` would forbid
nothing), artefact paths that are absolute or not normal, artefacts without a SHA-256, SHA-384 or SHA-512
digest (two empty digest sets would match each other), OpenPGP keys.

Sources: in-toto specification v1.0, sections 4.1 to 4.4; canonical JSON as in
wiki.laptop.org/go/Canonical_JSON (securesystemslib's ``encode_canonical``); DSSE protocol.md.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any, Final

import msgspec

from common import strict_json
from common.errors import InputError, StatementError
from provenance import dsse, statement
from provenance.errors import LayoutMalformed
from provenance.layout import rules
from provenance.layout.model import Layout, Link, Metadata, Signature

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from provenance.layout.model import Artifacts, Inspection, Step

# ITE-5 and in-toto 3.1.0, models/metadata.py: one payload type for layouts, links and statements.
PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
MAX_STEPS: Final = 64
MAX_INSPECTIONS: Final = 16
MAX_RULES: Final = 256
MAX_ARTIFACTS: Final = 4096
MAX_FUNCTIONARIES: Final = 256
# in-toto 3.1.0, models/link.py FILENAME_FORMAT and models/layout.py SUBLAYOUT_LINK_DIR_FORMAT.
KEYID_PREFIX: Final = 8
MAX_NAME: Final = 128
MAX_PATH: Final = 1024
_KEYID: Final = re.compile(r"[0-9a-f]{8,128}\Z")
_HEX: Final = re.compile(r"(?:[0-9a-f]{2})+\Z")
# in-toto 3.1.0, formats.py: names of parameters, which str.format puts in place of {NAME}.
_PLACEHOLDER: Final = re.compile(r"\{[A-Za-z0-9_-]+\}")


def metadata(document: object) -> Metadata:
    """Parse a signed layout or link.

    Args:
        document: the decoded JSON of a ``.layout`` or ``.link`` file.

    Raises:
        LayoutMalformed: see the module.
    """
    if not isinstance(document, dict):
        raise LayoutMalformed("a layout or link is not a JSON object")
    if "payload" in document:
        return _from_dsse(document)
    return _from_metablock(document)


def _from_dsse(document: Mapping[str, Any]) -> Metadata:
    try:
        envelope = dsse.parse(document)
        value = strict_json.loads(envelope.payload, what="a layout or link")
    except (StatementError, InputError) as error:
        raise LayoutMalformed(error.message) from error
    if envelope.payload_type != PAYLOAD_TYPE:
        raise LayoutMalformed(f"the payload type of a layout or link is not {PAYLOAD_TYPE}")
    return Metadata(
        payload=_payload(value),
        message=envelope.pae,
        digest=hashlib.sha256(envelope.payload).hexdigest(),
        signatures=tuple(Signature(item.keyid, item.signature) for item in envelope.signatures),
    )


def _from_metablock(document: Mapping[str, Any]) -> Metadata:
    if set(document) != {"signed", "signatures"}:
        raise LayoutMalformed("a Metablock has signed and signatures, nothing else")
    signatures = document["signatures"]
    if not isinstance(signatures, list) or not 0 < len(signatures) <= dsse.MAX_SIGNATURES:
        raise LayoutMalformed(f"a Metablock has between one and {dsse.MAX_SIGNATURES} signatures")
    message = _canonical(document["signed"])
    return Metadata(
        payload=_payload(document["signed"]),
        message=message,
        digest=hashlib.sha256(message).hexdigest(),
        signatures=tuple(_signature(item) for item in signatures),
    )


def _canonical(signed: Any) -> bytes:
    from securesystemslib.exceptions import FormatError  # noqa: PLC0415 (only layouts need it)
    from securesystemslib.formats import encode_canonical  # noqa: PLC0415

    try:
        return str(encode_canonical(signed)).encode("utf-8")
    except (FormatError, UnicodeEncodeError) as error:
        raise LayoutMalformed(
            "a Metablock has no canonical JSON: a float, or text that is not UTF-8"
        ) from error


def _signature(value: object) -> Signature:
    if not isinstance(value, dict) or set(value) != {"keyid", "sig"}:
        raise LayoutMalformed("a Metablock's signature has keyid and sig, nothing else (no OpenPGP)")
    keyid, signature = value["keyid"], value["sig"]
    if not isinstance(keyid, str) or not _KEYID.match(keyid):
        raise LayoutMalformed("a signature's keyid is not lower-case hex")
    if not isinstance(signature, str) or not _HEX.match(signature):
        raise LayoutMalformed("a Metablock's signature is not lower-case hex")
    return Signature(keyid, bytes.fromhex(signature))


def _payload(value: object) -> Layout | Link:
    try:
        parsed = msgspec.convert(value, Layout | Link)
    except msgspec.ValidationError as error:
        raise LayoutMalformed(f"not a layout or link: {str(error)[:200]}") from error
    if isinstance(parsed, Layout):
        _check_layout(parsed)
    else:
        _check_link(parsed)
    return parsed


def _check_layout(layout: Layout) -> None:
    if not 0 < len(layout.steps) <= MAX_STEPS or len(layout.inspect) > MAX_INSPECTIONS:
        raise LayoutMalformed(
            f"a layout has 1 to {MAX_STEPS} steps and up to {MAX_INSPECTIONS} inspections"
        )
    names = [step.name for step in layout.steps] + [item.name for item in layout.inspect]
    if len(set(names)) != len(names):
        raise LayoutMalformed("two steps or inspections of a layout have one name")
    for keyid, key in layout.keys.items():
        if key.keyid != keyid or not _KEYID.match(keyid):
            raise LayoutMalformed(
                "a functionary's key id is not the one it is listed under, in lower-case hex"
            )
    for step in layout.steps:
        _check_item(step, step.expected_command)
        _check_functionaries(step)
    for inspection in layout.inspect:
        _check_item(inspection, inspection.run)
        if not inspection.run or not all(item and "\0" not in item for item in inspection.run):
            raise LayoutMalformed("an inspection's command is empty or has an empty argument")


def _check_functionaries(step: Step) -> None:
    if step.threshold < 1 or len(step.pubkeys) > MAX_FUNCTIONARIES:
        raise LayoutMalformed(
            f"a step's threshold is below 1, or it has over {MAX_FUNCTIONARIES} functionaries"
        )
    if not all(_KEYID.match(keyid) for keyid in step.pubkeys):
        raise LayoutMalformed("a step names a functionary by something that is not lower-case hex")
    # Their links would have one file name; and one link would be visited more than once.
    if len({keyid[:KEYID_PREFIX] for keyid in step.pubkeys}) != len(step.pubkeys):
        raise LayoutMalformed(
            f"two functionaries of a step share the first {KEYID_PREFIX} characters of a key id"
        )


def _check_item(item: Step | Inspection, command: Iterable[str]) -> None:
    check_name(item.name)
    for listed in (item.expected_materials, item.expected_products):
        if len(listed) > MAX_RULES:
            raise LayoutMalformed(f"a step or inspection has more than {MAX_RULES} rules")
        for rule in listed:
            rules.parse(rule)
    words = [word for rule in (*item.expected_materials, *item.expected_products) for word in rule]
    if any(_PLACEHOLDER.search(word) for word in (*words, *command)):
        raise LayoutMalformed("a rule or command has a placeholder: parameters are not substituted")


def _check_link(link: Link) -> None:
    check_name(link.name)
    for artifacts in (link.materials, link.products):
        check_artifacts(artifacts)


def check_name(name: str) -> None:
    """Refuse a step name that is empty, long, unprintable, or could name another folder.

    Raises:
        LayoutMalformed: it is.
    """
    if (
        not 0 < len(name) <= MAX_NAME
        or not name.isprintable()
        or name.startswith(".")
        or any(character in name for character in "/\\")
    ):
        raise LayoutMalformed(
            "a step's name is empty, too long, not printable, or has a slash or leading dot"
        )


def check_artifacts(artifacts: Artifacts) -> None:
    """Refuse paths that are not relative and normal, and digests that do not identify.

    Raises:
        LayoutMalformed: there are such, or more than ``MAX_ARTIFACTS``.
    """
    if len(artifacts) > MAX_ARTIFACTS:
        raise LayoutMalformed(f"a link has more than {MAX_ARTIFACTS} materials or products")
    for path, digests in artifacts.items():
        if not _is_normal(path):
            raise LayoutMalformed("an artefact's path is absolute, not normal, or not printable")
        try:
            statement.check_digests(digests)
        except StatementError as error:
            raise LayoutMalformed(f"an artefact of a link: {error.message}") from error


def _is_normal(path: str) -> bool:
    segments = path.split("/")
    return (
        len(path) <= MAX_PATH
        and path.isprintable()
        and "\\" not in path
        and not any(segment in {"", ".", ".."} for segment in segments)
    )
