"""Export as CoRIM: what is exported is imported again, by this project's own reader and by its rule."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import cbor2
import pytest
from cbor2 import CBORTag
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import InvalidSetting
from provenance.derivation import derive
from provenance.errors import ManifestMalformed, ManifestNotValid
from provenance.manifests.corim import sign
from provenance.manifests.corim.profiles import TOUCHSTONE
from provenance.model import DerivationRequest
from rvps import corim_export
from rvps.errors import NotExportable
from rvps.model import Lineage, ReferenceValue
from tests.provenance.manifests.material import KEY, NOW, P384, admit, key_root

MEASUREMENT = "snp_launch_measurement"


def value(
    name: str = MEASUREMENT, stated: Any = "ab" * 48, *, group: str = "release-7", **changes: Any
) -> ReferenceValue:
    lineage = Lineage(
        attestation=changes.pop("attestation", "cd" * 32),
        predicate_type="https://slsa.dev/provenance/v1",
        signer="https://builder.test/workflow",
        trust_policy="ef" * 32,
        rule="snp-launch-digest/1",
        submitted_by="ci",
    )
    members: dict[str, Any] = {"tee": "snp", "not_before": NOW, "lineage": lineage} | changes
    return ReferenceValue(id="rv-1", name=name, value=stated, group=group, **members)


def imported(values: list[ReferenceValue], key: Any = KEY, now: datetime = NOW) -> set[tuple[Any, ...]]:
    signed = sign.sign(corim_export.export(values), key, signer="Touchstone", now=NOW)
    admitted = admit(signed, key_root(key, profiles=[TOUCHSTONE]), now=now)
    request = DerivationRequest("manifest-values", json.loads(json.dumps(corim_export.mapping(values))))
    found = derive(admitted, request, [])
    return {(item.tee, item.name, repr(item.value), item.scalar) for item in found}


def stated(values: list[ReferenceValue]) -> set[tuple[Any, ...]]:
    return {(item.tee, item.name, repr(item.value), item.scalar) for item in values}


@pytest.mark.parametrize("curve", [ec.SECP256R1(), P384])
def test_what_is_exported_is_imported(curve: ec.EllipticCurve) -> None:
    values = [
        value(),
        value(stated="ba" * 48),
        value("snp_bootloader", 4, scalar=True),
        value("snp_minimum", -4, scalar=True),
        value("snp_guest_abi_major", 1),
        value("snp_smt_enabled", stated=False),
        value("snp_host_data", "00" * 32),
        value("release_name", "seven"),
        value("tpm_pcr11", "0f" * 32, tee="tpm", group="tpm-7"),
        value("tpm_pcr04", "0f" * 48, tee="tpm", group="tpm-7"),
    ]
    assert imported(values, ec.generate_private_key(curve)) == stated(values)


def test_alternatives_stay_with_what_they_belong_to() -> None:
    values = [value(), value(stated="ba" * 48), value("snp_bootloader", 4, scalar=True)]
    corim = cbor2.loads(corim_export.export(values)).value
    triples = cbor2.loads(corim[1][0].value)[4][0]
    names = [[claim[0] for claim in claims] for _, claims in triples]
    assert names == [["snp_bootloader", MEASUREMENT]] * 2


def test_groups_are_tags_of_their_own_with_the_attestations_they_rest_on() -> None:
    values = [value(), value(group="release-8", attestation="12" * 32)]
    corim = cbor2.loads(corim_export.export(values)).value
    comids = [cbor2.loads(tag.value) for tag in corim[1]]
    assert len({comid[1][0] for comid in comids}) == 2
    uris = [comid[2][0][1] for comid in comids]
    assert [uri.value if isinstance(uri, CBORTag) else uri for uri in uris] == [
        "urn:touchstone:attestation:" + "cd" * 32,
        "urn:touchstone:attestation:" + "12" * 32,
    ]


def test_the_same_values_make_the_same_bytes_in_any_order() -> None:
    values = [value(), value("snp_bootloader", 4), value(group="release-8")]
    assert corim_export.export(values) == corim_export.export(values[::-1])
    assert corim_export.export(values) != corim_export.export(values[:2])


def test_two_attestations_of_one_value_are_one_measurement() -> None:
    values = [value(), value(attestation="12" * 32)]
    corim = cbor2.loads(corim_export.export(values)).value
    assert len(cbor2.loads(corim[1][0].value)[4][0]) == 1


def test_it_ends_with_the_value_that_ends_first() -> None:
    values = [
        value(expires=NOW + timedelta(days=9)),
        value("snp_bootloader", 4, expires=NOW + timedelta(days=5)),
    ]
    assert imported(values) == stated(values)
    with pytest.raises(ManifestNotValid):
        imported(values, now=NOW + timedelta(days=6))


def test_a_profile_is_named_only_where_a_value_needs_it() -> None:
    assert 3 not in cbor2.loads(corim_export.export([value()])).value
    assert 3 in cbor2.loads(corim_export.export([value("release_name", "seven")])).value
    signed = sign.sign(corim_export.export([value("x", "seven")]), KEY, signer="T", now=NOW)
    with pytest.raises(ManifestMalformed, match="profile"):
        admit(signed)


def test_what_cannot_be_written_is_refused() -> None:
    for values in (
        [],
        [value(stated=None)],
        [value(stated=1.5)],
        [value(stated=["a"])],
        [value(f"name{index}", f"{number:04x}") for index in range(11) for number in range(2)],
    ):
        with pytest.raises(NotExportable):
            corim_export.export(values)


def test_only_corims_are_signed_by_ecdsa_keys() -> None:
    corim = corim_export.export([value()])
    with pytest.raises(ManifestMalformed):
        sign.sign(b"anything", KEY, signer="T", now=NOW)
    for key in (ed25519.Ed25519PrivateKey.generate(), ec.generate_private_key(ec.SECP521R1()), None):
        with pytest.raises(InvalidSetting):
            sign.sign(corim, key, signer="T", now=NOW)


def test_the_signature_ends_when_it_says() -> None:
    signed = sign.sign(
        corim_export.export([value()]), KEY, signer="T", now=NOW, not_after=NOW + timedelta(days=1)
    )
    assert admit(signed)
    with pytest.raises(ManifestNotValid):
        admit(signed, now=NOW + timedelta(days=2))


SCALARS = (
    st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.text("abcdef0123456789 xyz-", min_size=1, max_size=40)
)


@settings(deadline=None, max_examples=60)
@given(
    st.dictionaries(st.from_regex(r"[a-z][a-z0-9_]{0,20}", fullmatch=True), SCALARS, min_size=1, max_size=5)
)
def test_any_scalar_comes_back_as_it_was(scalars: dict[str, Any]) -> None:
    values = [value(name, item) for name, item in scalars.items() if name != MEASUREMENT]
    if values:
        assert imported(values) == stated(values)


def test_the_structure_is_that_of_real_corims(vectors: Path) -> None:
    """Labels and types at every level that both use, against a CoRIM of another project."""
    real = cbor2.loads((vectors / "evidence" / "corim" / "sevsnp-valid" / "corim.cbor").read_bytes())
    ours = cbor2.loads(corim_export.export([value(), value("snp_bootloader", 4, scalar=True)]))
    assert ours.tag == real.tag == 501
    assert {type(ours.value[label]) for label in (0,)} == {type(real.value[0])}
    assert ours.value[1][0].tag == real.value[1][0].tag == 506
    theirs, mine = (cbor2.loads(item.value[1][0].value) for item in (real, ours))
    assert type(mine[1][0]) is type(theirs[1][0])
    (environment, claims), (real_environment, real_claims) = mine[4][0][0], theirs[4][0][0]
    assert set(environment[0]) <= {0, 1, 2}
    assert set(real_environment) <= {0, 1, 2}
    by_label = {label: item for claim in real_claims for label, item in claim[1].items()}
    for claim in claims:
        for label, item in claim[1].items():
            assert type(item) is type(by_label[label])
    assert by_label[2][0][0] == 7
