"""Pulling: what a source holds is verified and stored once; what does not hold is refused and told."""

from __future__ import annotations

import json
import logging
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from common.errors import NotFound, TouchstoneError
from policy.errors import PolicyNotFound
from provenance.oci.errors import RegistryForbidden
from service.sources import plan
from service.sources.pull import Puller
from testkit.authority import TestAuthority, TestKey
from testkit.registry import OciRegistry, Pusher
from tests.provenance.oci.layers import attestation_of, push_attestation, push_bundle, push_signature
from tests.service.harness import NOW
from tests.service.sources.conftest import LATER, MakeSite, Site
from tests.service.world import GOOD, Publisher


def registry_source(registry: OciRegistry, repository: str, **changes: Any) -> dict[str, Any]:
    reference = f"{registry.host}/{repository}:v1"
    return {"name": "images", "kind": "registry", "reference": reference} | changes


def puller_of(site: Site) -> Puller:
    (source,) = plan.sources_of(site.services.settings)
    return Puller(site.services, source, plan.client_of(site.services.settings, lambda _: None))


def test_everything_attached_is_verified_and_stored_once(
    make_site: MakeSite,
    oci_registry: OciRegistry,
    repository: str,
    pusher: Pusher,
    authority: TestAuthority,
) -> None:
    image = pusher.image("v1")
    push_bundle(pusher, authority, image)
    push_attestation(pusher, authority, image)
    push_signature(pusher, authority, image)
    site = make_site(registry_source(oci_registry, repository, signatures=True))
    first = puller_of(site).pull(LATER)
    assert (first.image, first.found, first.added, first.refused) == (image["digest"], 3, 3, ())
    again = puller_of(site)
    assert (again.pull(LATER).added, again.pull(LATER).added) == (0, 0)
    stored = site.attestations()
    assert len(stored) == 3
    assert {item["submitted_by"] for item in stored} == {"source:images"}


def test_nothing_is_derived_from_a_signature_and_it_is_stored_all_the_same(
    make_site: MakeSite, oci_registry: OciRegistry, pusher: Pusher, authority: TestAuthority, tmp_path: Path
) -> None:
    launch = tmp_path / "launch.json"
    launch.write_text(json.dumps({"rule": "reference-values"}))
    image = pusher.image("v1")
    push_signature(pusher, authority, image)
    push_bundle(pusher, authority, image)
    source = registry_source(oci_registry, pusher.repository, signatures=True, derivation=str(launch))
    pulled = puller_of(make_site(source)).pull(LATER)
    # The provenance is no reference-value statement: it is refused, and the signature is not.
    assert (pulled.found, pulled.added, len(pulled.refused)) == (2, 1, 1)


def test_signatures_are_left_where_they_are_not_asked_for(
    make_site: MakeSite,
    oci_registry: OciRegistry,
    repository: str,
    pusher: Pusher,
    authority: TestAuthority,
) -> None:
    image = pusher.image("v1")
    push_signature(pusher, authority, image)
    site = make_site(registry_source(oci_registry, repository))
    assert puller_of(site).pull(LATER).found == 0


def test_an_attestation_of_another_image_or_signer_is_not_stored(
    make_site: MakeSite,
    oci_registry: OciRegistry,
    repository: str,
    pusher: Pusher,
    authority: TestAuthority,
) -> None:
    image, other = pusher.image("v1"), pusher.image("v2", b"other")
    push_bundle(pusher, authority, image, attestation_of(other["digest"]))
    push_bundle(pusher, TestAuthority("stranger", start=authority.start), image)
    push_bundle(pusher, authority, image)
    site = make_site(registry_source(oci_registry, repository))
    pulled = puller_of(site).pull(LATER)
    assert (pulled.found, pulled.added) == (3, 1)
    assert sorted(item.code for item in pulled.refused) == ["statement.log", "statement.subject_mismatch"]
    assert len(site.attestations()) == 1


def test_a_tag_that_moves_is_resolved_anew_and_told(
    make_site: MakeSite, oci_registry: OciRegistry, pusher: Pusher, authority: TestAuthority, caplog: Any
) -> None:
    repository = pusher.repository
    first = pusher.image("v1")
    push_bundle(pusher, authority, first)
    site = make_site(registry_source(oci_registry, repository))
    puller = puller_of(site)
    assert puller.pull(LATER).image == first["digest"]
    second = pusher.image("v1", b"rebuilt")
    push_bundle(pusher, authority, second)
    with caplog.at_level(logging.INFO, "touchstone.sources"):
        moved = puller.pull(LATER)
    assert (moved.image, moved.added) == (second["digest"], 1)
    fields = [record.fields for record in caplog.records if hasattr(record, "fields")]
    assert {"source": "images", "image": second["digest"], "before": first["digest"]} in fields


def test_what_one_trust_policy_refused_is_taken_under_the_next(
    make_site: MakeSite,
    oci_registry: OciRegistry,
    repository: str,
    pusher: Pusher,
    authority: TestAuthority,
) -> None:
    push_bundle(pusher, authority, pusher.image("v1"))
    site = make_site(registry_source(oci_registry, repository))
    site.trust(sources=[{"uri": "https://github.com/other/repository"}])
    puller = puller_of(site)
    refused = puller.pull(LATER)
    assert [item.code for item in refused.refused] == ["statement.untrusted_source"]
    site.trust()
    assert puller.pull(LATER).added == 1


def test_without_a_trust_policy_nothing_is_asked_of_the_registry(
    make_site: MakeSite, oci_registry: OciRegistry, repository: str
) -> None:
    site = make_site(registry_source(oci_registry, repository), trusting=False)
    with pytest.raises(PolicyNotFound):
        puller_of(site).pull(LATER)


def test_an_image_that_is_not_there_and_a_registry_that_may_not_be_asked_fail_the_pull(
    make_site: MakeSite, oci_registry: OciRegistry, repository: str
) -> None:
    site = make_site(registry_source(oci_registry, repository))
    with pytest.raises(NotFound):
        puller_of(site).pull(LATER)
    plain = make_site(registry_source(oci_registry, repository), trusting=False, plain_http_loopback=False)
    with pytest.raises(TouchstoneError):
        puller_of(plain).pull(LATER)
    assert RegistryForbidden.code == "configuration.registry_host"


def test_a_folders_envelopes_become_reference_values_and_the_rest_is_told(
    make_site: MakeSite, tmp_path: Path
) -> None:
    publisher, folder = Publisher(), tmp_path / "inbox"
    (folder / "deep").mkdir(parents=True)
    now = NOW
    (folder / "good.json").write_bytes(publisher.envelope(GOOD, now=now))
    (folder / "forged.json").write_bytes(Publisher(TestKey()).envelope(GOOD, now=now))
    (folder / "rubbish.json").write_bytes(b"{")
    (folder / "note.txt").write_bytes(b"not asked for")
    (tmp_path / "outside.json").write_bytes(publisher.envelope(GOOD, now=now, revision="b" * 40))
    (folder / "link.json").symlink_to(tmp_path / "outside.json")
    (folder / "deep" / "below.json").write_bytes(publisher.envelope(GOOD, now=now, revision="c" * 40))
    launch = tmp_path / "launch.json"
    launch.write_text(json.dumps({"rule": "reference-values"}))
    source = {"name": "files", "kind": "directory", "path": str(folder), "derivation": str(launch)}
    site = make_site(source, trusting=False)
    body = {"text": json.dumps(publisher.trust_policy()), "activate": True}
    assert site.client.put("/v1/policies/trust/default", body).status == 201
    later = now + timedelta(hours=1)
    pulled = puller_of(site).pull(later)
    assert (pulled.image, pulled.found, pulled.added) == (None, 3, 1)
    assert {item.where: item.code for item in pulled.refused} == {
        "forged.json": "statement.untrusted_signer",
        "rubbish.json": "statement.envelope",
    }
    values = site.client.get("/v1/reference-values").json["items"]
    assert [value["value"] for value in values] == [GOOD.hex()]


def test_a_folder_that_is_not_there_or_overflows_fails_the_pull(
    make_site: MakeSite, tmp_path: Path
) -> None:
    folder = tmp_path / "inbox"
    site = make_site({"name": "files", "kind": "directory", "path": str(folder), "pattern": "*"})
    with pytest.raises(NotFound):
        puller_of(site).pull(LATER)
    folder.mkdir()
    for number in range(1025):
        (folder / str(number)).touch()
    with pytest.raises(TouchstoneError, match="1024"):
        puller_of(site).pull(LATER)


def test_a_stop_ends_a_pull_between_envelopes(
    make_site: MakeSite,
    oci_registry: OciRegistry,
    repository: str,
    pusher: Pusher,
    authority: TestAuthority,
) -> None:
    image = pusher.image("v1")
    push_bundle(pusher, authority, image)
    push_attestation(pusher, authority, image)
    site = make_site(registry_source(oci_registry, repository))
    answers = iter([False, True])
    assert puller_of(site).pull(LATER, lambda: next(answers)).added == 1
