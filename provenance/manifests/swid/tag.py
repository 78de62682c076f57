"""SWID tags, strictly: an XML element to facts. The element is the one whose signature was verified.

Read: the ``Payload`` of a ``SoftwareIdentity``: ``Directory``, ``File`` with SHA-256, SHA-384 or SHA-512
hashes, and NVIDIA's ``Resource type="Measurement"`` with ``Hash0`` to ``HashN``, of which any may match.
Inactive resources and hashes of zeros only state nothing and are left out, as NVIDIA's verifier does.

Refused: evidence tags, ``patch``, ``corpus`` and ``supplemental`` tags (they amend another), support-RIM
payloads (``PayloadType`` other than ``direct``: the values are in another file), unknown elements.

Sources: ISO/IEC 19770-2:2015 section 8; NISTIR 8060 section 2.4; TCG Reference Integrity Manifest
Information Model 1.01 section 5; TCG PC Client RIM 1.04; NVIDIA attestation SDK, RIM of GPU and switch.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from provenance.errors import ManifestMalformed
from provenance.manifests.values import DIGEST_BYTES, MAX_FACTS, Fact, Manifest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lxml.etree import _Element

SWID: Final = "http://standards.iso.org/iso/19770/-2/2015/schema.xsd"
RIM_MODEL: Final = (
    "https://trustedcomputinggroup.org/resource/tcg-reference-integrity-manifest-rim-information-model/"
)
# XML Encryption 1.1 section 5.8 and RFC 4051 section 2.1: namespaces of hash attributes.
_HASHES: Final = {
    "http://www.w3.org/2001/04/xmlenc#sha256": "sha-256",
    "http://www.w3.org/2001/04/xmldsig-more#sha384": "sha-384",
    "http://www.w3.org/2001/04/xmlenc#sha384": "sha-384",  # as NVIDIA writes it
    "http://www.w3.org/2001/04/xmlenc#sha512": "sha-512",
}
_FILE_HASH: Final = "hash"
_NUMBERED: Final = re.compile(r"Hash(0|[1-9][0-9]{0,2})\Z")
_HEX: Final = re.compile(r"[0-9A-Fa-f]+\Z")
_MAX_DEPTH: Final = 16
_IGNORED: Final = frozenset({"Entity", "Meta", "Link"})
_AMENDING: Final = ("corpus", "patch", "supplemental")
_NAME: Final = re.compile(r"[^\x00-\x1f/\\]{1,255}\Z")


def parse(tag: _Element, signature: str) -> Manifest:
    """The normal form of a ``SoftwareIdentity``.

    Args:
        tag: the root element of the verified bytes.
        signature: qualified name of the signature element, which is left out.

    Raises:
        ManifestMalformed: see the module's text.
    """
    if tag.tag != f"{{{SWID}}}SoftwareIdentity":
        raise ManifestMalformed("the document is not a SWID tag")
    for name in _AMENDING:
        if tag.get(name, "false").lower() not in ("false", "0"):
            raise ManifestMalformed(f"the SWID tag is a {name} tag, which amends another")
    tag_id = tag.get("tagId")
    if not tag_id:
        raise ManifestMalformed("the SWID tag has no tagId")
    environment = _environment(tag)
    facts: list[Fact] = []
    for key, field, value in _payload(_only_payload(tag, signature), "", 0):
        facts.append(Fact(group=tag_id, key=key, field=field, value=value, environment=environment))
        if len(facts) > MAX_FACTS:
            raise ManifestMalformed(f"the SWID tag states more than {MAX_FACTS} values")
    return Manifest(about=_about(tag, tag_id), facts=tuple(facts))


def _only_payload(tag: _Element, signature: str) -> _Element:
    payloads = []
    for child in tag:
        name = _local(child)
        if name == "Payload":
            payloads.append(child)
        elif child.tag != signature and name not in _IGNORED:
            raise ManifestMalformed(f"the SWID tag has an element {name[:64]!a}, which is not read")
    if len(payloads) != 1:
        raise ManifestMalformed("the SWID tag does not have exactly one payload")
    return payloads[0]


def _about(tag: _Element, tag_id: str) -> dict[str, str]:
    about = {"id": tag_id}
    for name in ("name", "version", "tagVersion"):
        value = tag.get(name)
        if value:
            about[name] = value
    return about


def _environment(tag: _Element) -> dict[str, str]:
    """Vendor, model and edition of the platform, where the RIM information model states them."""
    metas = [child for child in tag if _local(child) == "Meta"]
    if len(metas) > 1:
        raise ManifestMalformed("the SWID tag has several Meta elements")
    found: dict[str, str] = {}
    for meta in metas:
        if meta.get("PayloadType", "direct") != "direct":
            raise ManifestMalformed("the RIM's values are in a support file, which is not read")
        wanted = {
            "vendor": meta.get(f"{{{RIM_MODEL}}}PlatformManufacturerStr"),
            "model": meta.get(f"{{{RIM_MODEL}}}PlatformModel"),
            "edition": meta.get("edition"),
            "version": meta.get("colloquialVersion"),
        }
        found |= {name: value for name, value in wanted.items() if value}
    return found


def _payload(element: _Element, path: str, depth: int) -> Iterator[tuple[str, str, str]]:
    if depth > _MAX_DEPTH:
        raise ManifestMalformed("the SWID tag's directories are nested too deeply")
    for child in element:
        name = _local(child)
        if name == "Directory":
            yield from _payload(child, f"{path}{_name(child)}/", depth + 1)
        elif name == "File":
            yield from _file(child, path)
        elif name == "Resource":
            yield from _resource(child)
        else:
            raise ManifestMalformed(f"the SWID tag's payload has {name[:64]!a}, which is not read")


def _file(element: _Element, path: str) -> Iterator[tuple[str, str, str]]:
    key = f"file:{path}{_name(element)}"
    found = list(_digests(element, lambda local: local == _FILE_HASH))
    if len(element):
        raise ManifestMalformed("a file of the SWID tag has elements in it")
    if not found:
        raise ManifestMalformed(f"{key[:80]!a} has no hash of SHA-256 or stronger")
    for field, value in found:
        yield key, field, value


def _resource(element: _Element) -> Iterator[tuple[str, str, str]]:
    if element.get("type") != "Measurement":
        raise ManifestMalformed("a resource of the SWID tag is not a measurement")
    index, active = element.get("index", ""), element.get("active", "")
    if not index.isascii() or not index.isdigit() or len(index) > 4 or active not in ("True", "False"):  # noqa: PLR2004
        raise ManifestMalformed("a measurement of the SWID tag has no index, or is neither active nor not")
    found = list(_digests(element, lambda local: _NUMBERED.match(local) is not None))
    if element.get("alternatives") != str(len(found)):
        raise ManifestMalformed(
            "a measurement of the SWID tag does not have the alternatives that it counts"
        )
    if active == "False":
        return
    for field, value in dict.fromkeys(found):
        if value.strip("0"):
            yield f"measurement:{int(index)}", field, value


def _digests(element: _Element, wanted: object) -> Iterator[tuple[str, str]]:
    for qualified, text in element.attrib.items():
        namespace, _, local = str(qualified).removeprefix("{").rpartition("}")
        if not namespace or not wanted(local):  # type: ignore[operator]
            continue
        algorithm = _HASHES.get(namespace)
        if algorithm is None:
            raise ManifestMalformed("a hash of the SWID tag is of an algorithm that is weak or not known")
        if not _HEX.match(str(text)) or len(text) != 2 * DIGEST_BYTES[algorithm]:
            raise ManifestMalformed(f"a {algorithm} hash of the SWID tag is not hex of its length")
        yield f"digest.{algorithm}", str(text).lower()


def _name(element: _Element) -> str:
    name = element.get("name", "")
    if not _NAME.match(name) or name in (".", ".."):
        raise ManifestMalformed("a file or directory of the SWID tag has no name, or one that is a path")
    root = element.get("root", "")
    return f"{root.rstrip('/')}/{name}" if root else name


def _local(element: _Element) -> str:
    # Comments and processing instructions have no text as a tag: they are refused before.
    namespace, _, local = str(element.tag).removeprefix("{").rpartition("}")
    return local if namespace == SWID else str(element.tag)
