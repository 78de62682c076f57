"""The carried keys: recorded, unaltered, the published ones, and limited by a trust policy."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from common.errors import InvalidSetting
from provenance.errors import SignerUntrusted, TrustPolicyInvalid
from provenance.gcb import signing_keys
from provenance.predicates.gcb import PREDICATE_V01
from provenance.predicates.slsa import SLSA_V1
from provenance.trust.model import GoogleCloudBuildRoot
from tests.provenance.gcb.cloud_build import (
    EAST,
    SIGNER,
    WEST,
    admit,
    described,
    keyid,
    occurrence,
    pem,
    policy,
    private,
    statement_v01,
)

_FOLDER = Path(signing_keys.__file__).parent / "pem"


def test_every_key_on_disk_is_recorded_with_its_source() -> None:
    found = signing_keys.sources()
    assert {path.name for path in _FOLDER.iterdir()} == {entry.file for entry in found.key}
    assert found.module_sum.startswith("h1:")
    assert len(signing_keys.carried()) == len(found.key) == len({entry.sha256 for entry in found.key})


def test_an_altered_key_is_refused() -> None:
    first, second = signing_keys.sources().key[:2]
    with pytest.raises(InvalidSetting, match="digest"):
        signing_keys.check((_FOLDER / second.file).read_bytes(), first)
    with pytest.raises(InvalidSetting):
        signing_keys.check(b"\xff", first)
    changed = msgspec.structs.replace(first, sha256="0" * 64)
    with pytest.raises(InvalidSetting, match="digest"):
        signing_keys.check((_FOLDER / first.file).read_bytes(), changed)


def test_they_are_the_keys_that_the_public_verifier_carries(vectors: Path) -> None:
    folder = vectors / "provenance" / "roots" / "gcb-keys"
    published = {
        path.name: hashlib.sha256(
            load_pem_public_key(path.read_bytes()).public_bytes(
                Encoding.DER, PublicFormat.SubjectPublicKeyInfo
            )
        ).hexdigest()
        for path in folder.glob("*.key")
    }
    ours = {entry.path: entry.sha256 for entry in signing_keys.sources().key}
    assert ours.items() <= published.items()
    # Its one further file is a second name for a key that is carried.
    assert set(published.values()) == set(ours.values())
    copies = {path.read_bytes() for path in folder.iterdir()}
    assert not copies & {path.read_bytes() for path in _FOLDER.iterdir()}


def test_a_keys_name_says_how_it_signs() -> None:
    by_name = {key.name: key for key in signing_keys.carried()}
    assert {name: (key.signs_payload, key.predicate_type) for name, key in by_name.items()} == {
        "builtByGCB": (True, PREDICATE_V01),
        "provenanceSigner": (False, PREDICATE_V01),
        "google-hosted-worker": (False, SLSA_V1),
    }
    assert all(key.location == "global" for key in signing_keys.carried() if not key.signs_payload)


@pytest.mark.parametrize(
    "name",
    [
        "",
        EAST + "\n",
        EAST.replace("verified-builder", "verified-builder-2"),
        EAST.replace("builtByGCB", "other"),
        EAST[:-1],
        EAST[:-1] + "01",
        keyid("us-west2", "google-hosted-worker"),
        keyid("us-west2", "provenanceSigner"),
        keyid("us/west2"),
    ],
)
def test_key_ids_of_others_are_refused(name: str) -> None:
    with pytest.raises(TrustPolicyInvalid):
        signing_keys.signing_key(name, pem(private(EAST)))


def test_a_root_is_limited_to_locations_and_key_ids() -> None:
    def of(**members: Any) -> set[str]:
        return {key.keyid for key in signing_keys.keys_of(GoogleCloudBuildRoot(name="r", **members))}

    every = of()
    assert of(locations=("us-west2",)) == {keyid("us-west2")}
    assert of(locations=("global",)) == {name for name in every if "/global/" in name}
    assert of(keyids=(keyid("us-west2"),), locations=("global",)) == set()
    for wrong in ({"locations": ("us-west",)}, {"keyids": (EAST,)}, {"locations": ("*",)}):
        with pytest.raises(TrustPolicyInvalid):
            of(**wrong)


def own(*names: str) -> list[dict[str, str]]:
    return [{"keyid": name, "key": pem(private(name))} for name in names]


def root(**members: Any) -> dict[str, Any]:
    return {"name": "cloud-build", "kind": "google-cloud-build", **members}


@pytest.mark.parametrize(
    "changes",
    [
        {"roots": [root(keys=own(EAST), locations=["global"])]},
        {"roots": [root(keys=own(EAST), keyids=[EAST])]},
        {"roots": [root(keys=[*own(EAST), *own(EAST)])]},
        {"roots": [root(keys=[*own(EAST), {"keyid": WEST, "key": pem(private(EAST))}])]},
        {"roots": [root(), root(name="again", locations=["us-west2"])]},
        {"roots": [root(locations=["moon"])]},
        {"roots": [root(more=1)]},
        {"signers": [{"name": "g", "root": "cloud-build", "issuer": "https://accounts.google.com"}]},
    ],
)
def test_root_that_is_not_usable_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(TrustPolicyInvalid):
        policy(**changes)


def test_two_roots_of_different_keys_are_one_policy() -> None:
    assert policy(roots=[root(locations=["global"]), root(name="west", locations=["us-west2"])])


def test_key_outside_the_root_does_not_count() -> None:
    document = described(occurrence(statement_v01(), named=WEST))
    assert admit(document, roots=[root(keys=own(EAST, WEST))]).builder
    with pytest.raises(SignerUntrusted):
        admit(document, roots=[root(keys=own(EAST))])


def test_a_signer_can_be_limited_to_key_ids() -> None:
    def signers(identity: str) -> list[dict[str, str]]:
        return [{"name": "google", "root": "cloud-build", "identity": identity}]

    document = described(occurrence(statement_v01(), named=SIGNER))
    for accepted in (SIGNER, SIGNER[:-1] + "*"):
        assert admit(document, signers=signers(accepted)).builder
    for refused in (EAST, SIGNER[:-1], "*", keyid("global", "*").replace("/1", "/2")):
        with pytest.raises(SignerUntrusted):
            admit(document, signers=signers(refused))
