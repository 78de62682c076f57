"""NVIDIA's reference integrity manifests (RIM): which values the measurements of one firmware version have.

A RIM is a SWID tag with an enveloped XML signature. Order: strict XML -> the signature's shape -> the
certificate path to NVIDIA's RIM root -> the signature -> the bytes that it covers, parsed again -> values.
Dates and revocation of the path are judged at every use.

A measurement of a RIM has an index, is active or not, and has one or more alternatives, of which any may
match. Unlike in reference values that are made of such a tag (``provenance.manifests.swid``), an active
value of zeros counts: it says that nothing was measured there.

Sources: ISO/IEC 19770-2:2015 section 8; TCG RIM Information Model 1.01; NVIDIA attestation SDK,
``rim.cpp``.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Final

import msgspec

from common import strict_xml, xml_signature
from common.errors import Malformed
from verifier import vendor_roots
from verifier.errors import RimInvalid
from verifier.nvidia.certificates import Path, build_path, load_certificates

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cryptography import x509
    from lxml.etree import _Element

RIM_ROOT: Final = "nvidia/rim-root.pem"
SOURCE: Final = "ISO/IEC 19770-2:2015 section 8; TCG RIM Information Model 1.01"
_SWID: Final = "http://standards.iso.org/iso/19770/-2/2015/schema.xsd"
_MODEL: Final = (
    "https://trustedcomputinggroup.org/resource/tcg-reference-integrity-manifest-rim-information-model/"
)
# As NVIDIA writes it; the namespace of SHA-384 in XML signatures is another.
_SHA384: Final = "http://www.w3.org/2001/04/xmlenc#sha384"
_DIGEST: Final = re.compile(r"[0-9a-fA-F]{96}\Z")
_NUMBER: Final = re.compile(r"(?:0|[1-9][0-9]{0,2})\Z")
_IGNORED: Final = frozenset({f"{{{_SWID}}}Entity", f"{{{_SWID}}}Link", xml_signature.SIGNATURE})
_AMENDING: Final = ("corpus", "patch", "supplemental")
_MAX_ALTERNATIVES: Final = 64
_MAX_INDEX: Final = 254


class Rim(msgspec.Struct, frozen=True):
    """A manifest whose signature holds.

    Attributes:
        sha256: of its bytes, hex.
        version: of the firmware it is of (``550.144.03``, ``96.10.55.00.01``).
        manufacturer: IANA number of the manufacturer, text; empty: not stated.
        golden: active index, counted from 0, to its alternatives, hex.
        path: certificates of the signer, to NVIDIA's root.
    """

    sha256: str
    version: str
    manufacturer: str
    golden: dict[int, frozenset[str]]
    path: Path


def rim_root() -> x509.Certificate:
    """NVIDIA's root of reference manifests."""
    return vendor_roots.load(RIM_ROOT)


def verify_rim(data: bytes, roots: Sequence[x509.Certificate]) -> Rim:
    """Verify and read a manifest; its dates are not looked at.

    Raises:
        Malformed, TooLarge: not a manifest of the form above.
        CertificateInvalid, RootUntrusted: the signer's path does not hold.
        RimInvalid: unsigned, or the signature does not hold.
    """
    try:
        chain = load_certificates(
            xml_signature.require_shape(strict_xml.parse(data)), "the manifest's chain"
        )
        path = build_path(chain, roots, "the manifest's chain")
        # The signer's dates are judged at every use, by the caller: the signature is verified once.
        signed_at = path.leaf.not_valid_before_utc
        content = xml_signature.verify(data, path.leaf, xml_signature.ECDSA_SHA384, signed_at)
    except (xml_signature.XmlUnsigned, xml_signature.XmlSignatureInvalid) as error:
        raise RimInvalid(f"the reference manifest: {error}") from error
    return _read(strict_xml.parse(content), hashlib.sha256(data).hexdigest(), path)


def _read(tag: _Element, sha256: str, path: Path) -> Rim:
    if tag.tag != _swid("SoftwareIdentity"):
        raise Malformed("the reference manifest is not a SWID tag")
    if any(tag.get(name, "false").lower() != "false" for name in _AMENDING):
        raise Malformed("the reference manifest amends another one")
    meta, payload = _only(tag, "Meta"), _only(tag, "Payload")
    if any(child.tag not in _IGNORED and child not in (meta, payload) for child in tag):
        raise Malformed("the reference manifest has an element that is not read")
    version = meta.get("colloquialVersion", "")
    if not version or meta.get("PayloadType", "direct") != "direct":
        raise Malformed("the reference manifest names no version, or its values are elsewhere")
    golden: dict[int, frozenset[str]] = {}
    for index, values in _measurements(payload):
        if index in golden:
            raise Malformed(f"the reference manifest has the measurement {index} twice")
        golden[index] = values
    if not golden:
        raise Malformed("the reference manifest has no active measurement")
    return Rim(sha256, version, meta.get(f"{{{_MODEL}}}PlatformManufacturerId", ""), golden, path)


def _only(tag: _Element, name: str) -> _Element:
    found = [child for child in tag if child.tag == _swid(name)]
    if len(found) != 1:
        raise Malformed(f"the reference manifest does not have exactly one {name}")
    return found[0]


def _measurements(payload: _Element) -> Iterator[tuple[int, frozenset[str]]]:
    for resource in payload:
        if resource.tag != _swid("Resource") or resource.get("type") != "Measurement":
            raise Malformed("the reference manifest's payload has something other than measurements")
        index, active = resource.get("index", ""), resource.get("active", "")
        alternatives = resource.get("alternatives", "")
        if not _NUMBER.match(index) or int(index) > _MAX_INDEX or active not in ("True", "False"):
            raise Malformed("a measurement of the manifest has no index, or is neither active nor not")
        if not _NUMBER.match(alternatives) or not 1 <= int(alternatives) <= _MAX_ALTERNATIVES:
            raise Malformed(f"measurement {index} of the manifest has no count of alternatives")
        names = [f"{{{_SHA384}}}Hash{number}" for number in range(int(alternatives))]
        hashes = [str(name) for name in resource.attrib if str(name).startswith("{")]
        values = [resource.get(name, "") for name in names]
        if sorted(hashes) != sorted(names) or not all(_DIGEST.match(value) for value in values):
            raise Malformed(f"measurement {index} of the manifest does not have its SHA-384 alternatives")
        if active == "True":
            yield int(index), frozenset(value.lower() for value in values)


def _swid(name: str) -> str:
    return f"{{{_SWID}}}{name}"
