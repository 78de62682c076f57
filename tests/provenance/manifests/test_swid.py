"""SWID tags: XML's own attacks, signature wrapping, and what a tag may say."""

from __future__ import annotations

import base64
import hashlib
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree
from signxml import XMLSigner

from common.errors import TouchstoneError
from provenance.errors import (
    EnvelopeMalformed,
    ManifestMalformed,
    SignerCertificateInvalid,
    SignerUntrusted,
    StatementSignatureInvalid,
    StatementUnsigned,
    TrustPolicyInvalid,
)
from provenance.pipeline import Pipeline
from tests.provenance.manifests.material import NOW, P384, Authority, admit, facts, key_root, policy

NAMESPACE = "http://standards.iso.org/iso/19770/-2/2015/schema.xsd"
HASH = hashlib.sha256(b"kernel").hexdigest()
FILE = f'<File name="vmlinuz" SHA256:hash="{HASH}"/>'
KEY = ec.generate_private_key(P384)
CA = Authority()
LEAF = CA.issue(KEY)
C14N = "http://www.w3.org/2006/12/xml-c14n11"


def tag(payload: str = FILE, attributes: str = "", more: str = "") -> bytes:
    return (
        f'<SoftwareIdentity xmlns="{NAMESPACE}" xmlns:SHA256="http://www.w3.org/2001/04/xmlenc#sha256"'
        f' xmlns:n="http://www.w3.org/2001/04/xmlenc#sha384" xmlns:weak="http://www.w3.org/2000/09/xmldsig#sha1"'
        f' name="os" tagId="tag-1" version="1" {attributes}>'
        f'<Entity name="ACME" role="tagCreator"/>{more}<Payload>{payload}</Payload></SoftwareIdentity>'
    ).encode()


def sign(
    data: bytes | None = None,
    key: Any = KEY,
    leaf: Any = LEAF,
    method: str = "ecdsa-sha384",
    **changes: Any,
) -> bytes:
    signer = XMLSigner(
        signature_algorithm=method, digest_algorithm="sha384", c14n_algorithm=C14N, **changes
    )
    chain = [leaf.public_bytes(Encoding.PEM).decode()]
    return etree.tostring(signer.sign(etree.fromstring(data or tag()), key=key, cert=chain))


def edit(pattern: str, replacement: str, data: bytes | None = None) -> bytes:
    text, count = re.subn(pattern, replacement, (data or sign()).decode(), count=1, flags=re.DOTALL)
    assert count == 1
    return text.encode()


def swid(data: bytes, **changes: Any) -> list[tuple[str, str, Any]]:
    return facts(data, CA.root(), **changes)


def opened(data: bytes) -> list[tuple[str, str, Any]]:
    digest = hashlib.sha256(data).hexdigest()
    return facts(data, {"name": "open", "kind": "unverified", "formats": ["swid"], "digests": [digest]})


def test_a_signed_tag_gives_its_files() -> None:
    payload = f'<Directory name="boot"><Directory name="efi">{FILE}</Directory></Directory>'
    assert swid(sign(tag(payload))) == [("file:boot/efi/vmlinuz", "digest.sha-256", HASH)]


def test_alternatives_of_a_measurement_are_kept_and_inactive_ones_left_out() -> None:
    hashes = [bytes([index] * 48).hex() for index in range(3)]
    payload = (
        f'<Resource type="Measurement" index="4" active="True" alternatives="2"'
        f' n:Hash0="{hashes[1]}" n:Hash1="{hashes[2]}"/>'
        f'<Resource type="Measurement" index="5" active="False" alternatives="1" n:Hash0="{hashes[1]}"/>'
        f'<Resource type="Measurement" index="6" active="True" alternatives="1" n:Hash0="{hashes[0]}"/>'
    )
    assert swid(sign(tag(payload))) == [
        ("measurement:4", "digest.sha-384", hashes[1]),
        ("measurement:4", "digest.sha-384", hashes[2]),
    ]


# --- signature --------------------------------------------------------------------------------------


def test_an_altered_tag_is_refused() -> None:
    with pytest.raises(StatementSignatureInvalid):
        swid(edit("vmlinuz", "vmlinux"))


def test_an_unsigned_tag_needs_an_opt_in_for_that_very_document() -> None:
    with pytest.raises(StatementUnsigned):
        swid(tag())
    assert opened(tag()) == [("file:vmlinuz", "digest.sha-256", HASH)]
    with pytest.raises(StatementUnsigned):
        facts(tag(), {"name": "open", "kind": "unverified", "formats": ["swid"], "digests": ["0" * 64]})


def test_a_signer_that_the_policy_does_not_know_is_refused() -> None:
    stranger = Authority()
    with pytest.raises(SignerCertificateInvalid):
        swid(sign(leaf=stranger.issue(KEY)))
    with pytest.raises(SignerUntrusted):
        swid(sign(), identity="CN=another")


def test_a_certificate_that_has_expired_is_refused() -> None:
    with pytest.raises(SignerCertificateInvalid):
        swid(sign(), now=NOW + timedelta(days=60))


def test_an_alternative_name_is_demanded_where_the_root_asks_for_one() -> None:
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier("https://acme.test/rim")])
    leaf = CA.issue(KEY, extensions=((names, False),))
    assert facts(sign(leaf=leaf), CA.root(alternative_names=["https://acme.test/*"]))
    for data, wanted in ((sign(leaf=leaf), "https://acme.test/*/x"), (sign(), "https://acme.test/*")):
        with pytest.raises(SignerCertificateInvalid, match="alternative name"):
            facts(data, CA.root(alternative_names=[wanted]))


def test_another_certificate_beside_the_signature_does_not_verify_it() -> None:
    with pytest.raises(StatementSignatureInvalid):
        swid(sign(leaf=CA.issue(ec.generate_private_key(P384))))


def test_an_algorithm_that_is_not_the_keys_is_refused() -> None:
    with pytest.raises(StatementSignatureInvalid):
        swid(sign(method="ecdsa-sha512"))
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    assert swid(sign(key=key, leaf=CA.issue(key), method="rsa-sha256"))
    with pytest.raises(ManifestMalformed, match="algorithm"):
        swid(sign(key=key, leaf=CA.issue(key), method="rsa-sha512"))


@pytest.mark.parametrize(
    ("pattern", "replacement"),
    [
        ("more#ecdsa-sha384", "more#hmac-sha384"),
        (
            "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384",
            "http://www.w3.org/2000/09/xmldsig#rsa-sha1",
        ),
        ("xmldsig-more#sha384", "xmldsig-more#md5"),
        ("http://www.w3.org/2001/04/xmldsig-more#sha384", "http://www.w3.org/2000/09/xmldsig#sha1"),
        (
            'Algorithm="http://www.w3.org/2000/09/xmldsig#enveloped-signature"',
            'Algorithm="http://www.w3.org/2000/09/xmldsig#base64"',
        ),
        (
            'Algorithm="http://www.w3.org/2000/09/xmldsig#enveloped-signature"',
            'Algorithm="http://www.w3.org/TR/1999/REC-xpath-19991116"',
        ),
        (
            'Algorithm="http://www.w3.org/2000/09/xmldsig#enveloped-signature"',
            'Algorithm="http://www.w3.org/TR/1999/REC-xslt-19991116"',
        ),
        ('<ds:Reference URI="">', '<ds:Reference URI="#x">'),
        ('<ds:Reference URI="">', '<ds:Reference URI="http://attacker.test/">'),
        ('<ds:Reference URI="">', '<ds:Reference URI="file:///etc/passwd">'),
        ('<ds:Reference URI="">', "<ds:Reference>"),
        ("(<ds:Reference .*?</ds:Reference>)", r"\1\1"),
        ("<ds:Transforms>.*?</ds:Transforms>", ""),
        ("(<ds:Transform [^>]*enveloped[^>]*/>)", r"\1\1\1"),
        ("(<ds:KeyInfo>)", r"\1<ds:KeyName>me</ds:KeyName>"),
        ("<ds:KeyInfo>.*?</ds:KeyInfo>", ""),
        ("</ds:KeyInfo>", "</ds:KeyInfo><ds:Object><x/></ds:Object>"),
        ("(<ds:SignedInfo>.*?</ds:SignedInfo>)", r"\1\1"),
    ],
)
def test_a_signature_of_another_shape_is_refused(pattern: str, replacement: str) -> None:
    with pytest.raises(ManifestMalformed):
        swid(edit(pattern, replacement))


def test_wrapping_the_signed_tag_is_refused() -> None:
    signed = sign().decode()
    signature = re.search("<ds:Signature.*</ds:Signature>", signed, re.DOTALL)
    assert signature is not None
    evil = tag('<File name="evil" SHA256:hash="' + "0" * 64 + '"/>').decode()
    inside = signed.replace(signature[0], "")
    wrapped = [
        evil.replace("</SoftwareIdentity>", signed + "</SoftwareIdentity>"),
        evil.replace("</SoftwareIdentity>", signature[0] + inside + "</SoftwareIdentity>"),
        evil.replace(
            "</SoftwareIdentity>",
            signature[0].replace("</ds:Signature>", f"<ds:Object>{inside}</ds:Object></ds:Signature>")
            + "</SoftwareIdentity>",
        ),
        evil.replace("<Payload>", f"<Payload>{signed}"),
        evil.replace("</SoftwareIdentity>", signature[0] + "</SoftwareIdentity>"),
        signed.replace("</SoftwareIdentity>", signature[0] + "</SoftwareIdentity>"),
        signature[0].replace("<ds:Signature ", "<ds:Signature "),
    ]
    for document in wrapped:
        with pytest.raises((ManifestMalformed, StatementSignatureInvalid)):
            swid(document.encode())


# --- XML --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "document",
    [
        b"<",
        b"<a>",
        b"<a/><b/>",
        b"<a/>text",
        b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>',
        b'<!DOCTYPE a SYSTEM "http://attacker.test/x.dtd"><a/>',
        b'<!DOCTYPE a [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;&a;">]><a>&b;</a>',
        b"<a>&undefined;</a>",
        b'<?xml version="1.0" encoding="utf-7"?>+ADw-a/>',
        b"<a><?php evil ?></a>",
        b"<a><!-- comment --></a>",
        b"<!-- before --><a/>",
        b"<a/><!-- after -->",
        b"<a>" * 40 + b"</a>" * 40,
        b"<a>" + b"<b/>" * 20_001 + b"</a>",
        b"<a b='1' b='2'/>",
        b"<a>\x00</a>",
        b"<html/>",
    ],
)
def test_what_xml_must_not_do_is_refused(document: bytes) -> None:
    with pytest.raises((ManifestMalformed, StatementUnsigned)):
        swid(document)
    with pytest.raises(ManifestMalformed):
        opened(document)


def test_another_encoding_is_not_read() -> None:
    with pytest.raises(EnvelopeMalformed):
        swid('<?xml version="1.0" encoding="utf-16"?><a/>'.encode("utf-16"))
    with pytest.raises(ManifestMalformed):
        swid('<?xml version="1.0" encoding="latin-1"?><a>\u00e4</a>'.encode("latin-1"))


def test_a_comment_in_a_value_does_not_cut_it_short() -> None:
    # Canonical XML drops comments: a signature holds with one put into signed text.
    with pytest.raises(ManifestMalformed, match="comment"):
        swid(edit('role="tagCreator"/>', 'role="tagCreator"/><!-- x -->'))


# --- content ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        tag(attributes='patch="true"'),
        tag(attributes='corpus="1"'),
        tag(attributes='supplemental="TRUE"'),
        tag(more="<Evidence/>"),
        tag(more="<Unknown/>"),
        tag(more='<Meta PayloadType="indirect"/>'),
        tag(more="<Payload/>"),
        tag(""),
        tag('<File name="x"/>'),
        tag(f'<File name="x" weak:hash="{"0" * 40}"/>'),
        tag('<File name="x" SHA256:hash="zz"/>'),
        tag(f'<File name="x" SHA256:hash="{HASH[:-2]}"/>'),
        tag(f'<File name="../x" SHA256:hash="{HASH}"/>'),
        tag(f'<File name=".." SHA256:hash="{HASH}"/>'),
        tag(f'<File SHA256:hash="{HASH}"/>'),
        tag(f"<Directory>{FILE}</Directory>"),
        tag("<Process name='x'/>"),
        tag('<Resource type="Other"/>'),
        tag('<Resource type="Measurement" index="x" active="True" alternatives="0"/>'),
        tag('<Resource type="Measurement" index="1" active="maybe" alternatives="0"/>'),
        tag(
            f'<Resource type="Measurement" index="1" active="True" alternatives="2" n:Hash0="{"1" * 96}"/>'
        ),
        tag().replace(b'tagId="tag-1"', b""),
        tag().replace(NAMESPACE.encode(), b"urn:other"),
    ],
)
def test_a_tag_that_cannot_be_read_whole_is_refused(data: bytes) -> None:
    with pytest.raises(ManifestMalformed):
        swid(sign(data))


def test_a_raw_key_signs_no_tag() -> None:
    with pytest.raises(TrustPolicyInvalid):
        policy(key_root(formats=["swid"]))


@settings(deadline=None, max_examples=80)
@given(st.data())
def test_an_altered_tag_gives_its_values_or_our_error(data: st.DataObject) -> None:
    original = _SIGNED
    position = data.draw(st.integers(0, len(original) - 1))
    changed = bytearray(original)
    changed[position : position + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=4))
    try:
        statement = Pipeline(_POLICY).admit(bytes(changed), NOW).authentic.statement
    except TouchstoneError:
        return
    # White space inside a tag and the like is not what is signed: then the values are the signed ones.
    assert statement.predicate["facts"][0]["value"] == HASH


_SIGNED = sign()
_POLICY = policy(CA.root())


def _nvidia(folder: Path) -> dict[str, Any]:
    rim = (folder / "rim-driver-gh100-550.144.03" / "rim.xml").read_text()
    last = re.findall("<ds:X509Certificate>(.*?)</ds:X509Certificate>", rim, re.DOTALL)[-1]
    root = x509.load_der_x509_certificate(base64.b64decode(last)).public_bytes(Encoding.PEM).decode()
    return {"name": "nvidia", "kind": "x509", "certificates": [root], "formats": ["swid"]}


@pytest.mark.parametrize(
    ("case", "count"),
    [
        ("rim-driver-gh100-550.144.03/rim.xml", 28),
        ("pair-switch-ls10/switchVBIOSRim_NV_SWITCH_BIOS_5612_0002_890_9610550001.xml", 54),
        ("rim-driver-gh100-badsig/rim.xml", None),
    ],
)
def test_nvidias_manifests_are_judged_as_the_vectors_say(
    vectors: Path, case: str, count: int | None
) -> None:
    folder = vectors / "evidence" / "nvidia-rim"
    root, data = _nvidia(folder), (folder / case).read_bytes()
    now = datetime(2026, 6, 1, tzinfo=UTC)
    signer = "CN=*O=NVIDIA Corporation*"
    if count is None:
        with pytest.raises(StatementSignatureInvalid):
            facts(data, root, now=now, identity=signer)
        return
    found = facts(data, root, now=now, identity=signer)
    assert len(found) == count
    assert {field for _, field, _ in found} == {"digest.sha-384"}
    with pytest.raises(SignerCertificateInvalid):
        facts(data, root, now=datetime(2029, 1, 1, tzinfo=UTC), identity=signer)
    with pytest.raises(SignerUntrusted):
        admit(data, root, now=now, identity="CN=*O=Another*")
