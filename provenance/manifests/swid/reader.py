"""SWID tags under a trust policy.

Order: strict XML (``xml``) -> shape of the signature -> certificate path -> signature (``signature``) ->
the signed bytes, parsed again -> normal form (``tag``). A tag without a signature, or with one that is not
verified, is read only if an ``unverified`` root names its SHA-256.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.checks import Checks
from provenance import x509_path
from provenance.manifests import values
from provenance.manifests.roots import FormatRoots, accept_unverified, authentic_statement
from provenance.manifests.swid import signature, tag, xml
from provenance.steps import step

if TYPE_CHECKING:
    from datetime import datetime

    from provenance.model import AuthenticStatement, Signer
    from provenance.reader import Received
    from provenance.trust import TrustPolicy

_XML_SPACE = b" \t\r\n"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class SwidReader:
    """Reads SWID tags. Thread-safe."""

    def __init__(self, trust: TrustPolicy) -> None:
        """Use the roots of ``trust`` that are for ``swid``."""
        self._roots = FormatRoots(trust, "swid")

    def recognises(self, received: Received) -> bool:
        """Whether it means to be XML."""
        data = received.data.removeprefix(_BYTE_ORDER_MARK)[:64].lstrip(_XML_SPACE)
        return received.document is None and data.startswith(b"<")

    def authenticate(self, received: Received, now: datetime) -> AuthenticStatement:
        """See ``Reader``."""
        checks = Checks()
        content, signer = self._content(received.data, checks, now)
        with step(checks, "swid.values", source="ISO/IEC 19770-2:2015 section 8"):
            manifest = tag.parse(xml.parse(content), signature.SIGNATURE)
            statement = values.statement_of(values.SWID_TYPE, content, manifest)
        return authentic_statement(received.data, statement, signer, checks, now)

    def _content(self, data: bytes, checks: Checks, now: datetime) -> tuple[bytes, Signer | None]:
        unverified = self._roots.unverified(data)
        if unverified is not None:
            accept_unverified(unverified, checks)
            return data, None
        with step(checks, "swid.xml", source="XML 1.0 section 2.8"):
            root = xml.parse(data)
        with step(checks, "swid.signature_shape", source="XML Signature 1.1 section 4"):
            chain = x509_path.load_chain(signature.require_shape(root))
        with step(checks, "manifest.certificate", source="RFC 5280 section 6"):
            _, signer = self._roots.certified(chain, now)
        with step(checks, "manifest.signature", source="XML Signature 1.1 section 3.2"):
            return signature.verify(data, chain[0], now), signer
