"""CoRIMs under a trust policy.

Order: COSE_Sign1 (``cose``) -> signer: the certificate chain of the protected header for ``x509`` roots,
else a key -> signature -> validity of the signature (corim-meta, CWT claims) -> CoRIM (``concise``) ->
activation by tag lists, where the root asks for it -> normal form.

An unsigned CoRIM (tag 501), and a signed one whose signature is not verified, is read only if an
``unverified`` root names its SHA-256.

Source: draft-ietf-rats-corim-11 sections 4.2 and 9.2.1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from common.checks import Checks
from common.errors import StatementError
from provenance import keys, x509_path
from provenance.errors import ManifestMalformed, StatementUnsigned, TrustPolicyInvalid
from provenance.manifests import values
from provenance.manifests.corim import cbor, concise, cose
from provenance.manifests.roots import FormatRoots, accept_unverified, authentic_statement
from provenance.steps import step
from provenance.trust import manifest_roots

if TYPE_CHECKING:
    from datetime import datetime

    from provenance.manifests.corim.concise import Corim, TagList
    from provenance.manifests.corim.cose import Sign1
    from provenance.model import AuthenticStatement, Signer
    from provenance.reader import Received
    from provenance.trust import TrustPolicy
    from provenance.trust.manifest_roots import ManifestKeyRoot, UnverifiedRoot, X509Root

# Encoded heads of tag 18, 500, 501 and 502 (signed-corim of drafts before 07).
_HEADS: Final = (b"\xd2", b"\xd9\x01\xf4", b"\xd9\x01\xf5", b"\xd9\x01\xf6")
_SIGNED_HEAD: Final = b"\xd2"
# Outer tags of drafts before 07: 500 around 502 or 501, 502 around 18. They add nothing and are taken off.
_OLD_HEADS: Final = (b"\xd9\x01\xf4", b"\xd9\x01\xf6")
_SOURCE: Final = "draft-ietf-rats-corim-11"


class CorimReader:
    """Reads signed CoRIMs. Thread-safe."""

    def __init__(self, trust: TrustPolicy) -> None:
        """Use the roots of ``trust`` that are for ``corim``."""
        self._roots = FormatRoots(trust, "corim")

    def recognises(self, received: Received) -> bool:
        """Whether it begins with a tag of CoRIM or of COSE_Sign1."""
        return received.document is None and received.data.startswith(_HEADS)

    def authenticate(self, received: Received, now: datetime) -> AuthenticStatement:
        """See ``Reader``."""
        checks = Checks()
        data = _without_old_heads(received.data)
        unverified = self._roots.unverified(received.data)
        signer: Signer | None = None
        root: ManifestKeyRoot | X509Root | UnverifiedRoot
        if unverified is not None:
            root = unverified
            accept_unverified(root, checks)
            content = cose.parse(data).payload if data.startswith(_SIGNED_HEAD) else data
        else:
            content, signer, root = self._verify(data, checks, now)
        with step(checks, "corim.content", source=f"{_SOURCE} section 4.1"):
            corim = concise.parse(content, now=now, accepted_profiles=root.profiles)
        corim = self._activated(corim, root, checks, now)
        with step(checks, "corim.values", source=f"{_SOURCE} section 5"):
            statement = values.statement_of(values.CORIM_TYPE, content, _manifest(corim))
        return authentic_statement(received.data, statement, signer, checks, now)

    def _verify(
        self, data: bytes, checks: Checks, now: datetime
    ) -> tuple[bytes, Signer, ManifestKeyRoot | X509Root]:
        """Payload, signer and root of a signed CoRIM."""
        if not data.startswith(_SIGNED_HEAD):
            checks.fail(
                "manifest.signature",
                StatementUnsigned,
                expected="a COSE_Sign1",
                source=f"{_SOURCE} section 4.2",
                note="the CoRIM is not signed, and no unverified root names its SHA-256",
            )
        with step(checks, "corim.envelope", source="RFC 9052 section 4.2"):
            message = cose.parse(data)
        root: ManifestKeyRoot | X509Root
        with step(checks, "manifest.signature", source="RFC 9052 section 4.4"):
            if message.chain:
                chain = x509_path.load_chain(message.chain)
                anchor, signer = self._roots.certified(chain, now)
                cose.verify_with_certificate(message, keys.from_certificate(chain[0]))
                root = anchor.root
            else:
                named = {item.key.spki_sha256: item for item in self._roots.keys(now)}
                key = cose.verify(message, [(item.root.keyid or "", item.key) for item in named.values()])
                root, signer = named[key.spki_sha256].root, named[key.spki_sha256].signer
        with step(checks, "corim.signature_validity", source=f"{_SOURCE} sections 4.2.2 and 4.2.3"):
            _require_signature_validity(message, now)
        return message.payload, signer, root

    def _activated(
        self,
        corim: Corim,
        root: ManifestKeyRoot | X509Root | UnverifiedRoot,
        checks: Checks,
        now: datetime,
    ) -> Corim:
        if isinstance(root, manifest_roots.UnverifiedRoot) or not root.activation:
            return corim
        with step(checks, "corim.activation", source=f"{_SOURCE} section 6"):
            active = concise.activate(corim.comids, (*corim.lists, *self._carried(root, now)), now)
        if len(active) < len(corim.comids):
            checks.warn(
                "corim.inactive",
                observed=[item.id[0] for item in corim.comids if item not in active][:16],
                source=f"{_SOURCE} section 6",
                note="CoMIDs that no tag list activates were left out",
            )
        return msgspec.structs.replace(corim, comids=active)

    def _carried(self, root: ManifestKeyRoot | X509Root, now: datetime) -> tuple[TagList, ...]:
        """Tag lists of the signed CoRIMs that the root carries; each must be signed by that root."""
        lists: list[TagList] = []
        for data in manifest_roots.tag_lists(root):
            try:
                content, _, by = self._verify(data, Checks(), now)
                if by.name == root.name:
                    lists += concise.parse(content, now=now, accepted_profiles=root.profiles).lists
                else:
                    raise TrustPolicyInvalid("it is signed by another root")
            except StatementError as error:
                raise TrustPolicyInvalid(
                    f"a tag list that root {root.name!a} carries does not hold: {error.message[:160]}"
                ) from error
        return tuple(lists)


def _without_old_heads(data: bytes) -> bytes:
    # Both tags may stand around what they wrap, once each and in this order.
    for head in _OLD_HEADS:
        data = data.removeprefix(head)
    return data


def _require_signature_validity(message: Sign1, now: datetime) -> None:
    meta, claims = message.header.get(cose.CORIM_META), message.header.get(cose.CWT_CLAIMS)
    if meta is None and claims is None:
        raise ManifestMalformed(
            "the protected header has neither corim-meta nor CWT claims: no signer is named"
        )
    if meta is not None:
        _require_meta(meta, now)
    if claims is not None:
        _require_claims(claims, now)


def _require_meta(meta: Any, now: datetime) -> None:
    if not isinstance(meta, bytes):
        raise ManifestMalformed("corim-meta is not a byte string")
    value = cbor.decode(meta, what="corim-meta", tags=frozenset({1, 32}))
    if not isinstance(value, dict) or not {0} <= set(value) <= {0, 1}:
        raise ManifestMalformed("corim-meta is not a corim-meta-map")
    signer = value[0]
    if not isinstance(signer, dict) or not {0} <= set(signer) <= {0, 1} or not isinstance(signer[0], str):
        raise ManifestMalformed("corim-meta names no signer")
    if 1 in value:
        concise.period_of(value[1]).require(now, "the signature")


def _require_claims(claims: Any, now: datetime) -> None:
    # RFC 8392 section 3.1: 1 iss, 4 exp, 5 nbf; exp is the first instant at which it no longer counts.
    if not isinstance(claims, dict) or not isinstance(claims.get(1), str):
        raise ManifestMalformed("the CWT claims name no issuer")
    if 4 in claims and now >= concise.instant(claims[4]):  # noqa: PLR2004
        concise.expired("the signature", now)
    if 5 in claims and now < concise.instant(claims[5]):  # noqa: PLR2004
        concise.expired("the signature", now)


def _manifest(corim: Corim) -> values.Manifest:
    # The tag id tells the groups of several CoMIDs apart.
    facts = [
        values.regrouped(fact, f"{item.id[0]}/{item.id[1]}/{fact.group}")
        for item in corim.comids
        for fact in item.facts
    ]
    about = {"id": corim.id, "comids": ", ".join(item.id[0] for item in corim.comids)[: values.MAX_TEXT]}
    if corim.profile is not None:
        about["profile"] = corim.profile
    return values.Manifest(
        about=about,
        facts=tuple(facts),
        unsupported=corim.unsupported,
        expires=None if corim.period is None else corim.period.end.isoformat(),
    )
