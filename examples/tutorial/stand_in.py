"""Stands in for GitHub and for an SNP machine in the trial run of docs/tutorial.md.

``python examples/tutorial/stand_in.py build`` makes what the workflow would have made, in ./build: the
firmware (the distribution's OVMF), its provenance signed as GitHub's Sigstore would have, the same signed
by a workflow of a fork, and the roots of the authority and of the test firmware.

``python examples/tutorial/stand_in.py guest HEX`` is a guest whose report says that launch measurement: it
attests to $TOUCHSTONE_SERVER and asks for the secret, as ``touchstone-guest get-resource`` does.
"""

from __future__ import annotations

import hashlib
import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509 import load_pem_x509_certificate

from guest_agent.client import GuestClient
from testkit.authority import TestAuthority, slsa_v1_statement
from testkit.snp_firmware import AuthorityKeys, SnpFirmware
from wire.evidence import GuestEvidence
from wire.rcar import Challenge, TpmEndorsement

_BUILD = Path("build")
_OVMF = Path("/usr/share/ovmf/OVMF.fd")
_REPOSITORY = "https://github.com/acme/cvm"
_FORK = "https://github.com/mallory/cvm"
_WORKFLOW = "/.github/workflows/build.yml"
_TAG = "refs/tags/v1.0.0"
_SECRET = "default/disk/key"  # noqa: S105 (a name)
_SEED = b"tutorial"
_SERVER = "http://127.0.0.1:8080"


def build() -> None:
    """Make ./build."""
    now = datetime.now(UTC).replace(microsecond=0)
    (_BUILD / "collateral" / "crl").mkdir(parents=True)
    firmware = _OVMF.read_bytes()
    (_BUILD / "OVMF.fd").write_bytes(firmware)
    authority = TestAuthority(start=now - timedelta(days=1))
    (_BUILD / "trusted_root.json").write_bytes(authority.trusted_root_json())
    subjects = {"OVMF.fd": hashlib.sha256(firmware).hexdigest()}
    for name, repository in (("provenance", _REPOSITORY), ("fork", _FORK)):
        identity = f"{repository}{_WORKFLOW}@{_TAG}"
        payload = slsa_v1_statement(subjects, builder=identity, source_uri=repository, ref=_TAG)
        bundle = authority.sign_statement(payload, identity=identity, now=now - timedelta(minutes=5))
        (_BUILD / f"{name}.sigstore.json").write_bytes(bundle)
    chip = SnpFirmware(seed=_SEED, start=now - timedelta(days=1))
    for name, key, certificate in (
        ("ark", chip.keys.ark, chip.ark),
        ("ask", chip.keys.ask, chip.ask),
    ):
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (_BUILD / f"test-{name}.key").write_bytes(pem)
        (_BUILD / f"test-{name}.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    name = chip.ark.fingerprint(hashes.SHA256()).hex()
    crl = chip.crl(this_update=now - timedelta(hours=1))
    (_BUILD / "collateral" / "crl" / f"{name}.crl").write_bytes(crl)


def guest(measurement: str) -> None:
    """Attest with that launch measurement, and fetch the secret."""
    client = GuestClient(os.environ.get("TOUCHSTONE_SERVER", _SERVER), _Attester(_chip(), measurement))
    print(client.get_resource(_SECRET).decode())


def _chip() -> SnpFirmware:
    """The chip that ``build`` made: the same keys and certificates."""
    keys = AuthorityKeys()
    chip = SnpFirmware(keys=keys, seed=_SEED)
    for name in ("ark", "ask"):
        pem = (_BUILD / f"test-{name}.key").read_bytes()
        vars(keys)[name] = load_pem_private_key(pem, password=None)
        vars(chip)[name] = load_pem_x509_certificate((_BUILD / f"test-{name}.pem").read_bytes())
    chip.start = chip.ark.not_valid_before_utc
    return chip


class _Attester:
    """What configfs-tsm is on a real guest."""

    tee = "snp"
    binding_size = 64

    def __init__(self, chip: SnpFirmware, measurement: str) -> None:
        self._chip = chip
        self._measurement = bytes.fromhex(measurement)

    def collect(self, report_data: bytes, challenge: Challenge) -> GuestEvidence:
        """A report over ``report_data``."""
        del challenge
        return self._chip.evidence(report_data, measurement=self._measurement)

    def endorsement(self) -> TpmEndorsement | None:
        """None: this is no TPM."""
        return None


if __name__ == "__main__":
    build() if sys.argv[1] == "build" else guest(sys.argv[2])
