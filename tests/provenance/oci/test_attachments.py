"""What is attached to an image in real registries: found in every form, verified, held to the image."""

from __future__ import annotations

import json
from typing import Any

import pytest

from provenance.errors import SubjectMismatch
from provenance.oci import attachments, reference, signature
from provenance.oci.attachments import FoundEnvelope, attachments_of, require_subject
from provenance.oci.cosign import DSSE_LAYER, tag_of
from provenance.oci.credentials import Credential, Credentials
from provenance.oci.errors import RegistryAccessDenied, RegistryContentInvalid
from provenance.oci.reference import Reference
from provenance.oci.registry import RegistryClient
from provenance.sigstore.bundle_format import V03
from testkit.authority import TestAuthority
from testkit.registry import PASSWORD, USER, Distribution, OciRegistry, Pusher
from tests.provenance.builds import NOW
from tests.provenance.oci.hostile import client
from tests.provenance.oci.layers import (
    attestation_of,
    payload_of,
    push_attestation,
    push_bundle,
    push_signature,
)
from tests.provenance.oci.test_cosign import pipeline


def image_of(host: str, repository: str, wanted: str = ":v1") -> Reference:
    return reference.parse(f"{host}/{repository}{wanted}")


def summary(found: tuple[FoundEnvelope, ...]) -> list[tuple[str, bool]]:
    return [
        ("referrer" if item.place == "referrer" else item.place[-4:], item.is_signature) for item in found
    ]


@pytest.fixture
def asking(oci_registry: OciRegistry) -> RegistryClient:
    return client(oci_registry.host)


def test_every_form_is_found_and_admitted(
    authority: TestAuthority,
    oci_registry: OciRegistry,
    asking: RegistryClient,
    pusher: Pusher,
    repository: str,
) -> None:
    image = pusher.image("v1")
    push_bundle(pusher, authority, image)
    push_attestation(pusher, authority, image)
    push_signature(pusher, authority, image)
    found = attachments_of(asking, image_of(oci_registry.host, repository))
    assert (found.image, found.faults) == (image["digest"], ())
    assert summary(found.found) == [("referrer", False), (".att", False), (".sig", True)]
    for item in found.found:
        admitted = pipeline(authority).admit(item.data, NOW)
        require_subject(admitted.authentic.statement, image["digest"])
    pinned = image_of(oci_registry.host, repository, f"@{image['digest']}")
    assert attachments_of(asking, pinned) == found
    assert len(attachments.attestations_of(asking, pinned)) == 2
    assert [item.claimed_type for item in attachments.signatures_of(asking, pinned)] == [
        signature.PREDICATE_TYPE
    ]


def test_a_signature_of_cosigns_new_form_is_a_statement_without_a_predicate(
    authority: TestAuthority, asking: RegistryClient, pusher: Pusher
) -> None:
    image = pusher.image("v1")
    kind = "https://sigstore.dev/cosign/sign/v1"
    subject = {"digest": {"sha256": image["digest"].removeprefix("sha256:")}}
    statement = {"_type": "https://in-toto.io/Statement/v1", "subject": [subject], "predicateType": kind}
    push_bundle(pusher, authority, image, json.dumps(statement).encode())
    (found,) = attachments_of(asking, image_of(pusher.host, pusher.repository)).found
    assert (found.is_signature, found.claimed_type) == (True, kind)
    admitted = pipeline(authority, predicate_types=[kind], builders=[], sources=[]).admit(found.data, NOW)
    assert admitted.authentic.statement.predicate == {}
    require_subject(admitted.authentic.statement, image["digest"])


def test_an_image_with_nothing_attached_has_nothing(
    oci_registry: OciRegistry, asking: RegistryClient, pusher: Pusher, repository: str
) -> None:
    pusher.image("v1")
    found = attachments_of(asking, image_of(oci_registry.host, repository))
    assert (found.found, found.faults) == ((), ())


def test_without_the_referrers_api_the_referrers_tag_is_read_with_an_account(
    authority: TestAuthority, distribution: Distribution, account_pusher: Pusher, repository: str
) -> None:
    image = account_pusher.image("v1")
    listed = push_bundle(account_pusher, authority, image)
    account_pusher.referrers_tag(image, [listed])
    push_attestation(account_pusher, authority, image)
    push_signature(account_pusher, authority, image)
    wanted = image_of(distribution.host, repository)
    known = Credentials({distribution.host: Credential(USER, PASSWORD)})
    found = attachments_of(client(distribution.host, credentials=known), wanted)
    assert (len(found.found), found.faults) == (3, ())
    for wrong in (Credentials({}), Credentials({distribution.host: Credential(USER, "wrong")})):
        with pytest.raises(RegistryAccessDenied):
            attachments_of(client(distribution.host, credentials=wrong), wanted)


def test_an_attestation_of_another_image_is_found_and_then_refused(
    authority: TestAuthority,
    oci_registry: OciRegistry,
    asking: RegistryClient,
    pusher: Pusher,
    repository: str,
) -> None:
    image, other = pusher.image("v1"), pusher.image("v2", b"another layer")
    push_bundle(pusher, authority, image, attestation_of(other["digest"]))
    found = attachments_of(asking, image_of(oci_registry.host, repository))
    (envelope,) = found.found
    admitted = pipeline(authority).admit(envelope.data, NOW)
    with pytest.raises(SubjectMismatch):
        require_subject(admitted.authentic.statement, image["digest"])
    require_subject(admitted.authentic.statement, other["digest"])


def test_a_signature_of_another_image_is_not_even_offered(
    authority: TestAuthority,
    oci_registry: OciRegistry,
    asking: RegistryClient,
    pusher: Pusher,
    repository: str,
) -> None:
    image, other = pusher.image("v1"), pusher.image("v2", b"another layer")
    push_signature(pusher, authority, image, payload_of(other["digest"]))
    found = attachments_of(asking, image_of(oci_registry.host, repository))
    assert found.found == ()
    assert [fault.code for fault in found.faults] == ["statement.attachment"]


def test_attachments_copied_to_another_image_by_tag_are_refused_by_their_subject(
    authority: TestAuthority,
    oci_registry: OciRegistry,
    asking: RegistryClient,
    pusher: Pusher,
    repository: str,
) -> None:
    image, other = pusher.image("v1"), pusher.image("v2", b"another layer")
    referrer = push_bundle(pusher, authority, other)
    copied = asking.manifest(image_of(oci_registry.host, repository, f"@{referrer['digest']}"))
    pusher.manifest(json.loads(copied.data), tag_of(image["digest"], ".att"))
    found = attachments_of(asking, image_of(oci_registry.host, repository))
    assert [fault.code for fault in found.faults] == ["statement.attachment"]


@pytest.mark.parametrize(
    ("data", "media_type"),
    [
        (b"not json", V03),
        (b'{"mediaType":1,"mediaType":2}', V03),
        (b'{"messageSignature":{}}', V03),
        (b"{}", DSSE_LAYER),
    ],
)
def test_what_cannot_be_read_is_told_and_hides_nothing(
    authority: TestAuthority, asking: RegistryClient, pusher: Pusher, data: bytes, media_type: str
) -> None:
    image = pusher.image("v1")
    pusher.referrer(image, V03, [pusher.blob(data, media_type)])
    push_attestation(pusher, authority, image)
    found = attachments_of(asking, image_of(pusher.host, pusher.repository))
    assert summary(found.found) == [(".att", False)]
    (fault,) = found.faults
    assert fault.code.startswith("statement.")


def test_one_envelope_attached_twice_is_given_once(
    authority: TestAuthority,
    oci_registry: OciRegistry,
    asking: RegistryClient,
    pusher: Pusher,
    repository: str,
) -> None:
    image = pusher.image("v1")
    referrer = push_bundle(pusher, authority, image)
    held = asking.manifest(image_of(oci_registry.host, repository, f"@{referrer['digest']}"))
    layers: list[Any] = json.loads(held.data)["layers"]
    pusher.referrer(image, V03, [*layers, *layers])
    assert len(attachments_of(asking, image_of(oci_registry.host, repository)).found) == 1


def test_an_index_can_carry_attachments_too(
    authority: TestAuthority,
    oci_registry: OciRegistry,
    asking: RegistryClient,
    pusher: Pusher,
    repository: str,
) -> None:
    platform = pusher.image("amd64")
    index = pusher.manifest(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [platform],
        },
        "v1",
    )
    push_bundle(pusher, authority, index)
    found = attachments_of(asking, image_of(oci_registry.host, repository))
    assert (found.image, len(found.found)) == (index["digest"], 1)
    assert attachments_of(asking, image_of(oci_registry.host, repository, ":amd64")).found == ()


def test_a_blob_is_held_to_its_descriptor_by_a_real_registry_too(
    oci_registry: OciRegistry, asking: RegistryClient, pusher: Pusher, repository: str
) -> None:
    image = pusher.image("v1")
    stated = pusher.blob(b"four", DSSE_LAYER) | {"size": 3}
    pusher.cosign(image, ".att", [stated])
    found = attachments_of(asking, image_of(oci_registry.host, repository))
    assert [fault.code for fault in found.faults] == [RegistryContentInvalid.code]
