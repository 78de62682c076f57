"""Independent rebuilders must agree: domains counted once, disagreement named, predicates complete."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provenance.errors import DomainsMissing, NotDerivable, PredicatesMissing, RebuildersDisagree
from provenance.model import AdmittedStatement, Artifact, DerivationRequest
from provenance.pipeline import Pipeline
from provenance.trust import domains
from testkit.authority import TestKey, sign_dsse
from tests.provenance.builds import NOW, policy, statement

SLSA = "https://slsa.dev/provenance/v1"
SPDX = "https://acme.example/bill-of-materials/v1"
KEYS = {name: TestKey() for name in ("a1", "a2", "b", "c", "plain")}
DIGEST, OTHER = "ab" * 32, "cd" * 32


def pipeline(**changes: Any) -> Pipeline:
    signers = [
        {"name": name, "root": name} | ({} if name == "plain" else {"domain": name[0]}) for name in KEYS
    ]
    members: dict[str, Any] = {
        "roots": [key.root(name) for name, key in KEYS.items()],
        "signers": signers,
        "builders": [],
        "sources": [],
        "predicate_types": [SLSA, SPDX],
        "required_domains": 2,
    }
    return Pipeline(policy(None, **(members | changes)))


def attest(
    *names: str,
    subjects: dict[str, str] | None = None,
    predicate_type: str = SLSA,
    digests: dict[str, str] | None = None,
    **changes: Any,
) -> AdmittedStatement:
    document = json.loads(statement(subjects=subjects or {"vmlinuz": DIGEST}))
    document["predicateType"] = predicate_type
    if predicate_type != SLSA:
        document["predicate"] = {"parts": 3}
    if digests is not None:
        document["subject"] = [{"name": "vmlinuz", "digest": digests}]
    envelope = sign_dsse(
        json.dumps(document).encode(), [(KEYS[name], KEYS[name].spki_sha256) for name in names]
    )
    return pipeline(**changes).admit(envelope, NOW)


def agreement(admitted: Sequence[AdmittedStatement]) -> domains.Agreement:
    return domains.agreement(admitted, frozenset({DIGEST}))


def test_two_domains_agree() -> None:
    found = agreement([attest("a1"), attest("b")])
    assert found.agreed
    assert (found.votes[0].domains, found.missing, found.required) == (("a", "b"), {}, 2)
    assert len(found.votes[0].attestations) == 2
    assert domains.require_agreement(found)[-1].name == "trust.domains"


def test_two_signers_of_one_domain_count_once() -> None:
    for admitted in ([attest("a1"), attest("a2")], [attest("a1", "a2")], [attest("a1"), attest("a1")]):
        found = agreement(admitted)
        assert found.missing == {DIGEST: 1}
        with pytest.raises(DomainsMissing, match="1 more"):
            domains.require_agreement(found)


def test_one_envelope_with_signers_of_two_domains_counts_for_both() -> None:
    assert agreement([attest("a1", "b")]).agreed


def test_signers_without_a_domain_are_one_domain() -> None:
    assert attest("plain").domains == ("default",)
    assert agreement([attest("plain"), attest("a1")]).agreed
    nameless = [{"name": name, "root": name} for name in KEYS]
    unnamed = attest("a1", "b", signers=nameless, required_domains=1)
    assert unnamed.domains == ()
    assert agreement([unnamed]).agreed


def test_required_domains_may_differ_by_predicate_type() -> None:
    changes = {"required_domains": 1, "required_domains_for": {SLSA: 3}}
    assert attest("a1", **changes).required_domains == 3
    assert attest("a1", predicate_type=SPDX, **changes).required_domains == 1


def test_same_name_and_another_digest_is_a_disagreement_whatever_the_count() -> None:
    admitted = [attest("a1"), attest("b"), attest("c", subjects={"vmlinuz": OTHER})]
    found = agreement(admitted)
    assert not found.agreed
    (item,) = found.disagreements
    assert (item.name, item.expected, item.observed, item.domains) == ("vmlinuz", (DIGEST,), OTHER, ("c",))
    with pytest.raises(RebuildersDisagree) as caught:
        domains.require_agreement(found)
    assert OTHER in caught.value.message
    assert caught.value.checks[-1].name == "trust.disagreement"


def test_other_names_are_other_artefacts() -> None:
    found = agreement([attest("a1"), attest("b", subjects={"initrd": OTHER})])
    assert found.disagreements == ()
    assert found.missing == {DIGEST: 1}


def test_digest_in_a_member_that_nobody_checks_is_no_attestation() -> None:
    lying = attest("b", digests={"sha256": OTHER, "gitTree": DIGEST})
    found = agreement([attest("a1"), lying])
    assert found.missing == {DIGEST: 1}
    assert found.disagreements[0].attestation == lying.authentic.attestation


def test_what_nobody_signed_counts_for_nothing() -> None:
    plain = attest("b")
    unverified = msgspec.structs.replace(
        plain, authentic=msgspec.structs.replace(plain.authentic, unverified=True)
    )
    assert agreement([attest("a1"), unverified]).missing == {DIGEST: 1}
    assert agreement([]).agreed is False


# --- predicates that are required ----------------------------------------------------------------

REQUIRED = {"required_predicates": [SLSA, SPDX], "supporting_predicates": [SPDX], "required_domains": 1}
FILE = Artifact("kernel", "vmlinuz", b"kernel")


def of_file(*names: str, predicate_type: str = SLSA) -> AdmittedStatement:
    import hashlib

    digest = hashlib.sha256(FILE.data).hexdigest()
    return attest(*names, subjects={"vmlinuz": digest}, predicate_type=predicate_type, **REQUIRED)


def test_required_predicates_must_be_there_for_the_same_artefact() -> None:
    built, listed = of_file("a1"), of_file("b", predicate_type=SPDX)
    complete = domains.together(built, [listed], [FILE])
    assert complete.required_predicates == ()
    assert complete.checks[-1].name == "trust.required_predicates"
    elsewhere = attest("b", predicate_type=SPDX, **REQUIRED)
    for others in ([], [of_file("b")], [elsewhere]):
        with pytest.raises(PredicatesMissing, match="materials"):
            domains.together(built, others, [FILE])


def test_nothing_is_derived_before_the_required_predicates_are_shown() -> None:
    request = DerivationRequest("snp-launch-digest", {})
    with pytest.raises(PredicatesMissing):
        pipeline(**REQUIRED).derive(of_file("a1"), request, [FILE])


def test_nothing_is_derived_from_what_only_supports() -> None:
    listed = of_file("b", predicate_type=SPDX)
    assert (listed.supporting, listed.domains) == (True, ())
    complete = domains.together(listed, [of_file("a1")], [FILE])
    with pytest.raises(NotDerivable):
        pipeline(**REQUIRED).derive(complete, DerivationRequest("snp-launch-digest", {}), [FILE])


def test_sbom_signer_is_no_rebuilder() -> None:
    changes = {"supporting_predicates": [SPDX]}
    found = agreement([attest("a1", **changes), attest("b", predicate_type=SPDX, **changes)])
    assert found.missing == {DIGEST: 1}


def test_artefacts_at_hand_are_those_that_are_subjects() -> None:
    built = of_file("a1")
    stray = Artifact("cmdline", "cmdline", b"quiet")
    (digest,) = domains.digests_at_hand([FILE, stray], [built])
    assert digest == built.authentic.statement.subjects[0].digest["sha256"]
    assert domains.digests_at_hand([], [built]) == frozenset({digest})
    assert domains.digests_at_hand([stray], [built]) == frozenset()


@given(
    st.lists(
        st.tuples(st.sampled_from(["a1", "a2", "b", "c", "plain"]), st.sampled_from([DIGEST, OTHER])),
        max_size=4,
    )
)
@settings(max_examples=25, deadline=None)
def test_count_is_of_distinct_domains_for_the_very_digest(builds: list[tuple[str, str]]) -> None:
    admitted = [attest(name, subjects={"": digest}) for name, digest in builds]
    wanted = {name[0] if name != "plain" else "default" for name, digest in builds if digest == DIGEST}
    found = agreement(admitted)
    assert set(found.votes[0].domains) == wanted
    assert found.agreed == (len(wanted) >= 2)
