"""The transcripts of the reference servers, replayed request for request against ours."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519, padding
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.service.coco.comparison import compare, compare_tokens
from tests.service.coco.conftest import SECRET, Kbs, make
from tests.service.coco.differences import DIFFERENCES
from tests.service.coco.kbs import Guest, claims_of, unb64url
from tests.service.coco.replay import Observed, Replayer, private_key
from tests.service.coco.transcripts import Exchange, Message, read, transcripts

KBS = (
    *("01", "02", "03", "04", "05", "06", "07", "08", "09a", "09b", "09c", "09d"),
    *("10", "11", "12", "13", "14", "15", "16", "17", "20", "21", "23"),
)
REST = ("30", "32")
OURS = {key: seen for difference in DIFFERENCES for key, seen in difference.seen.items()}
# Set off the record between two exchanges of a file.
POLICIES = {
    "23/32": "package policy\ndefault allow = false\n",
    "23/34": "package policy\nx := 1\n",
    "23/35": "package other\nallow := true\n",
}

Replayed = dict[str, tuple[Exchange, Observed]]


@pytest.fixture(scope="module")
def folder() -> Path:
    return transcripts()


def server(folder: Path, key: ed25519.Ed25519PrivateKey, **coco: Any) -> Kbs:
    pem = folder / "admin.pem"
    pem.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    admin = {
        "providers": [{"name": "peer", "issuer": "peer-admin", "public_key": str(pem)}],
        "acls": [{"role": "admin", "allowed_endpoints": "^/kbs/.+$"}],
    }
    section = {
        "declared_reference_values": True,
        "statuses": "reference",
        "admin": admin,
    }
    return make(
        folder,
        {
            "profile": "development",
            "sample": {"enabled": True},
            "snp": {"revocation": "if-present"},
            "coco": section | coco,
        },
    )


@pytest.fixture(scope="module")
def kbs_replayed(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replayed]:
    """All files of the KBS, in order, on one server."""
    key = ed25519.Ed25519PrivateKey.generate()
    kbs = server(tmp_path_factory.mktemp("kbs"), key, lift_release_floors=True)
    replayer = Replayer(kbs.http, key)
    done: Replayed = {}
    for exchange in (one for number in KBS for one in read(folder, number)):
        if exchange.key in POLICIES:
            kbs.admin.resource_policy(POLICIES[exchange.key])
        done[exchange.key] = (exchange, replayer.send(exchange))
    yield done
    kbs.services.close()


@pytest.fixture(scope="module")
def rest_replayed(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replayed]:
    """The files of the attestation service's REST API; policies are set with an administrator's token."""
    key = ed25519.Ed25519PrivateKey.generate()
    kbs = server(tmp_path_factory.mktemp("rest"), key)
    replayer = Replayer(kbs.http, key)
    done: Replayed = {}
    for exchange in (one for number in REST for one in read(folder, number)):
        sent = exchange
        if (exchange.target.startswith("/policy") and exchange.target != "/policy") or (
            exchange.target == "/policy" and exchange.method == "POST"
        ):
            refused = replayer.send(exchange)
            assert refused.status == 401, exchange.key
            headers = exchange.request.headers | {"authorization": f"Bearer {kbs.admin.token}"}
            sent = dataclasses.replace(
                exchange, request=Message(exchange.request.start, headers, exchange.request.body)
            )
        done[exchange.key] = (exchange, replayer.send(sent))
    yield done
    kbs.services.close()


def test_every_exchange_of_the_kbs_is_answered_as_the_reference_does(kbs_replayed: Replayed) -> None:
    assert len(kbs_replayed) == 112
    assert not faults(kbs_replayed)


def test_every_exchange_of_the_attestation_service_is_answered_as_the_reference_does(
    rest_replayed: Replayed,
) -> None:
    assert len(rest_replayed) == 42
    assert not faults(rest_replayed)


def test_every_named_difference_is_one(kbs_replayed: Replayed, rest_replayed: Replayed) -> None:
    replayed = kbs_replayed | rest_replayed
    assert OURS.keys() <= replayed.keys()
    for key in OURS:
        exchange, ours = replayed[key]
        theirs = exchange.response
        assert theirs is None or (exchange.status, theirs.body) != (ours.status, ours.body), key


@pytest.mark.parametrize("key", ["04/4", "06/1", "11/4", "21/3", "21/4", "21/5"])
def test_resources_open_with_the_guests_key(kbs_replayed: Replayed, key: str) -> None:
    exchange, ours = kbs_replayed[key]
    document = json.loads(ours.body)
    theirs = json.loads(exchange.response.body)
    header = json.loads(unb64url(document["protected"]))
    assert {name: header[name] for name in ("alg", "enc")} == {
        name: json.loads(unb64url(theirs["protected"]))[name] for name in ("alg", "enc")
    }
    if header["alg"] == "ECDH-ES+A256KW":
        assert Guest(None, key=private_key("EC")).open(document) == SECRET
        return
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    cek = private_key("RSA").decrypt(unb64url(document["encrypted_key"]), oaep)
    sealed = unb64url(document["ciphertext"]) + unb64url(document["tag"])
    assert AESGCM(cek).decrypt(unb64url(document["iv"]), sealed, document["protected"].encode()) == SECRET


@pytest.mark.parametrize(("file", "key"), [("22", "21/2"), ("31", "30/1")])
def test_tokens_have_every_member_of_the_references(
    folder: Path, kbs_replayed: Replayed, rest_replayed: Replayed, file: str, key: str
) -> None:
    (path,) = folder.glob(f"{file}_*.txt")
    text = path.read_text(encoding="utf-8")
    theirs = text[text.index("\neyJ") :].strip()
    body = (kbs_replayed | rest_replayed)[key][1].body.decode()
    ours = json.loads(body)["token"] if body.startswith("{") else body
    assert list(compare_tokens(theirs, ours)) == []
    claims = claims_of(ours)
    assert claims["exp"] - claims["iat"] == 300
    assert list(claims["submods"]) == ["cpu0"]


def test_tokens_of_one_session_are_not_issued_twice(kbs_replayed: Replayed) -> None:
    tokens = [
        ours.body
        for exchange, ours in kbs_replayed.values()
        if exchange.target.endswith("/attest") and ours.status == 200
    ]
    assert len(set(tokens)) == len(tokens) > 10


def test_a_body_over_two_mebibytes_is_refused(kbs_replayed: Replayed, tmp_path: Path) -> None:
    del kbs_replayed
    kbs = server(tmp_path, ed25519.Ed25519PrivateKey.generate())
    answer = kbs.guest().call("POST", "auth", b"x" * ((2 << 20) + 1))
    assert (answer.status, answer.variant) == (413, "SerdeError")
    kbs.services.close()


def test_a_token_that_the_caller_signed_opens_nothing(folder: Path, tmp_path: Path) -> None:
    """Transcript 52: the reference takes it with its shipped configuration."""
    key = ed25519.Ed25519PrivateKey.generate()
    kbs = server(tmp_path, key, lift_release_floors=True)
    kbs.admin.call("POST", "resource/default/test/dummy", SECRET)
    kbs.admin.resource_policy("package policy\nallow := true\n")
    (exchange,) = read(folder, "52")
    assert exchange.status == 200
    ours = Replayer(kbs.http, key).send(exchange)
    assert ours.status == 401
    assert b"errors/TokenVerifierError" in ours.body
    kbs.services.close()


def faults(replayed: Replayed) -> list[str]:
    """What is neither the reference's answer nor a difference that is named."""
    found = []
    for key, (exchange, ours) in replayed.items():
        if key in OURS:
            status, part = OURS[key]
            if ours.status != status or part not in ours.body.decode():
                found.append(f"{key} {exchange.title}: {ours.status} {ours.body[:300]!r}")
            continue
        found += [f"{key} {exchange.title}: {fault}" for fault in compare(exchange, ours)]
    return found
