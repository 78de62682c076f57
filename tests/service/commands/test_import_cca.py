"""``touchstone import cca-keys``: signed CoRIMs and trust-anchor stores."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from common.encoding import b64url_encode
from common.errors import InvalidSetting, TouchstoneError
from service.cli import cli
from tests.provenance.manifests.material import sign
from tests.service.test_cca_endorsements import FIRST, SECOND, corim, triple
from verifier.cca.endorsements import FolderEndorsements

SIGNER = ec.generate_private_key(ec.SECP256R1())


def run(tmp_path: Path, *arguments: object) -> Result:
    store = tmp_path / "store"
    return CliRunner().invoke(cli, ["import", "cca-keys", *map(str, arguments), "--folder", str(store)])


def pem(path: Path, key: ec.EllipticCurvePrivateKey) -> Path:
    path.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return path


def test_keys_of_a_signed_corim(tmp_path: Path) -> None:
    file = tmp_path / "platforms.corim"
    file.write_bytes(sign(corim(triple(FIRST), triple(SECOND)), key=SIGNER))
    key = pem(tmp_path / "signer.pem", SIGNER)
    first = run(tmp_path, file, "--key", key)
    assert first.exit_code == 0, first.output
    assert "2 of 2 keys are new" in first.output
    assert json.loads(run(tmp_path, file, "--key", key, "--json").output)["added"] == 0
    found = FolderEndorsements(tmp_path / "store").attestation_key(*FIRST.ids)
    assert found == FIRST.cpak.public_key()


def test_another_signer_an_unsigned_corim_and_no_key_are_refused(tmp_path: Path) -> None:
    signed, bare = tmp_path / "signed.corim", tmp_path / "bare.corim"
    signed.write_bytes(sign(corim(triple(FIRST)), key=SIGNER))
    bare.write_bytes(corim(triple(FIRST)))
    other = pem(tmp_path / "other.pem", ec.generate_private_key(ec.SECP256R1()))
    own = pem(tmp_path / "own.pem", SIGNER)
    for arguments in ((signed, "--key", other), (bare, "--key", own), (signed,), (bare,)):
        assert isinstance(run(tmp_path, *arguments).exception, TouchstoneError)
    assert not (tmp_path / "store").exists()


def test_a_trust_anchor_store_never_replaces_a_key(tmp_path: Path) -> None:
    def entry(key: ec.EllipticCurvePrivateKey) -> dict[str, object]:
        numbers = key.public_key().public_numbers()
        x, y = (b64url_encode(value.to_bytes(48, "big")) for value in (numbers.x, numbers.y))
        return {
            "pkey": {"kty": "EC", "crv": "P-384", "x": x, "y": y},
            "implementation-id": FIRST.implementation_id.hex(),
            "instance-id": FIRST.instance_id.hex(),
        }

    file = tmp_path / "store.json"
    file.write_text(json.dumps([entry(FIRST.cpak)]))
    assert run(tmp_path, file).exit_code == 0
    file.write_text(json.dumps([entry(ec.generate_private_key(ec.SECP384R1()))]))
    assert isinstance(run(tmp_path, file).exception, InvalidSetting)
