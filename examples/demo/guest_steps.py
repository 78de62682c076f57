"""Steps e and f: the full exchange with a guest agent, then the retraction and what it affects."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from datetime import datetime
from typing import Any

import narrator as tell
from deployment import Deployment
from provenance_steps import Build

from common.binding import thumbprint_text
from common.encoding import b64url_encode
from guest_agent.attesters import Attester
from guest_agent.attesters.tpm import TpmAttester
from guest_agent.client import GuestClient
from provenance.model import DerivedValue
from provenance.predicates import reference_statement
from testkit.authority import TestKey, sign_dsse
from testkit.snp_firmware import SnpFirmware
from testkit.swtpm import SwTpm
from verifier.ear import decode_unverified
from wire.evidence import SnpEvidence
from wire.rcar import Challenge

RESOURCE = "demo/disk-key/volume-1"
SECRET = b"the key of the encrypted volume"
_BOOT_PCRS = (0, 4, 7, 8, 9)
_SHOWN_DIGEST = 16


class FirmwareAttester:
    """A guest on the test firmware: genuine 1184-byte reports, under a root that only this demo trusts.

    Args:
        firmware: signs the reports.
        measurement: launch measurement of the guest, hex.
    """

    tee = "snp"
    binding_size = 64

    def __init__(self, firmware: SnpFirmware, measurement: str) -> None:
        self._firmware = firmware
        self._measurement = bytes.fromhex(measurement)

    def endorsement(self) -> None:
        """SNP needs none."""

    def collect(self, report_data: bytes, challenge: Challenge) -> SnpEvidence:
        """A report over ``report_data``."""
        del challenge
        return self._firmware.evidence(report_data, measurement=self._measurement)


def release_to_guests(
    deployment: Deployment,
    build: Build,
    firmware: SnpFirmware,
    key: TestKey,
    tpm: SwTpm | None,
    now: datetime,
) -> list[Callable[[], GuestClient]]:
    """Step e: returns how to make each guest again, for step f."""
    tell.heading("e", "A guest attests over HTTP and gets its secret")
    tell.say(
        "An operator stores a secret. The guest takes a challenge, binds nonce, its fresh key and our identity into"
        " evidence, gets an EAR token, and with it the secret, encrypted to that key. The agent runs in this process;"
        " the server is the other one."
    )
    deployment.admin.call("PUT", f"/v1/resources/{RESOURCE}", body={"data": b64url_encode(SECRET)})
    measurement = str(build.values[0].value)
    guests = [_guest(deployment, lambda: FirmwareAttester(firmware, measurement))]
    tell.say("SEV-SNP by a test firmware (own ARK, ASK and VCEK, trusted by this configuration alone):")
    _fetch(guests[0]())
    with tell.refusal("a guest with another measurement", "release.denied"):
        other = FirmwareAttester(firmware, hashlib.sha384(b"something else").hexdigest())
        GuestClient(deployment.url, other).get_resource(RESOURCE)
    if tpm is None:
        tell.say(
            "TPM: skipped, swtpm and tpm2-tools are not installed (apt-get install swtpm-tools tpm2-tools)."
        )
        return guests
    tell.say(
        "A real TPM implementation (swtpm): EK certificate, credential activation, a quote over the challenge and"
        " the boot's event log. Its register values come from a signed reference-value statement."
    )
    stored = deployment.submit_statement(_tpm_statement(tpm, build, key, now))
    tell.good(f"the statement is submitted: {stored} values, resting on the same build")
    guests.append(_guest(deployment, lambda: _tpm_attester(tpm)))
    _fetch(guests[1]())
    return guests


def retract(deployment: Deployment, build: Build, guests: list[Callable[[], GuestClient]]) -> None:
    """Step f."""
    tell.heading("f", "The attestation is retracted")
    attestation = build.admitted.authentic.attestation
    sessions = [(client, client.attest()) for client in (make() for make in guests)]
    tell.say(
        "Each guest holds an affirming token, valid for minutes. Then the build turns out to be compromised."
    )
    body = {"reason": "demonstration: the builder was compromised"}
    deployment.admin.call("POST", f"/v1/attestations/{attestation}/retract", body=body)
    tell.good(
        f"attestation {attestation[:_SHOWN_DIGEST]}… retracted, with everything that rests on it alone"
    )
    for client, session in sessions:
        with tell.refusal("the token from before", "release.stale"):
            client.get_resource(RESOURCE, session=session)
    for make in guests:
        with tell.refusal("the same guest, attesting anew", "release.denied"):
            make().get_resource(RESOURCE)
    impact: dict[str, Any] = deployment.admin.call(
        "GET", "/v1/impact", query={"kind": "attestation", "target": attestation}
    )
    tell.fact("affected: values", len(impact["affected"]["reference_values"]))
    tell.fact("affected: appraisals", len(impact["appraisals"]))
    for release in impact["releases"]:
        tell.fact("affected: release", f"{release['kind']} {release['id']} to {release['identity']}")
    verdict = deployment.admin.call("POST", "/v1/audit/verify")
    tell.good(f"the hash-chained audit log holds: {verdict}")


def start_tpm() -> SwTpm | None:
    """A running software TPM that has measured a boot, or None where it is not installed."""
    if any(shutil.which(program) is None for program in ("swtpm", "swtpm_setup", "tpm2_quote")):
        return None
    tpm = SwTpm()
    tpm.start()
    tpm.measured_boot()
    return tpm


def _guest(deployment: Deployment, attester: Callable[[], Attester]) -> Callable[[], GuestClient]:
    return lambda: GuestClient(deployment.url, attester())


def _tpm_attester(tpm: SwTpm) -> TpmAttester:
    return TpmAttester(tcti=tpm.tcti, ek_chain=tpm.ek_chain, event_log=tpm.event_log)


def _fetch(client: GuestClient) -> None:
    session = client.attest()
    claims = decode_unverified(session.token)
    tell.good(f"EAR status {session.status}")
    tell.fact("trust vector", claims["submods"]["cpu0"]["ear.trustworthiness-vector"])
    tell.fact("bound to key (jkt)", thumbprint_text(claims["cnf"]["jwk"]))
    tell.fact(
        "snapshot, policy", f"{claims['touchstone']['snapshot']}, {claims['touchstone']['policy_digest']}"
    )
    secret = client.get_resource(RESOURCE, session=session)
    tell.expect(secret == SECRET, "the guest must get the stored secret")
    tell.good(f"the guest decrypted its secret ({len(secret)} bytes)")


def _tpm_statement(tpm: SwTpm, build: Build, key: TestKey, now: datetime) -> bytes:
    """A reference-value statement over the registers of this boot, derived from the same build."""
    values = [
        DerivedValue(
            name=f"tpm_pcr{index:02d}",
            value=value,
            tee="tpm",
            group="image-v1.0.0",
            rule="measured-boot/1",
            inputs={"firmware": "swtpm test boot"},
            not_before=now,
        )
        for index, value in tpm.registers("sha256", _BOOT_PCRS).items()
    ]
    return sign_dsse(
        reference_statement.build([reference_statement.source_of(build.admitted)], values, now=now),
        [(key, "")],
    )
