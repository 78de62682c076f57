"""Runs the main job end to end on real input, explaining each step: `make demo`."""

from __future__ import annotations

import tempfile
from datetime import timedelta
from pathlib import Path

import narrator as tell
from cryptography.hazmat.primitives.serialization import Encoding
from deployment import Deployment
from evidence_steps import appraise_report, verify_evidence
from guest_steps import release_to_guests, retract, start_tpm
from provenance_steps import derive_from_build, now_of_the_demonstration, verify_sigstore_bundle

from testkit.authority import TestAuthority, TestKey
from testkit.snp_firmware import SnpFirmware


def main() -> None:
    """All steps, in order; ends with a failure where one does not show what it says."""
    clock = tell.Clock()
    tell.say(
        "Is this TEE running software that we built, from source that we trust, on genuine hardware, and may it"
        " therefore have this secret? The whole loop, once, offline and on loopback."
    )
    now = now_of_the_demonstration()
    authority, key = TestAuthority(), TestKey()
    firmware = SnpFirmware(start=now - timedelta(days=1))
    verify_sigstore_bundle(authority, now)
    build = derive_from_build(authority, now)
    verify_evidence(firmware, now)
    tpm = start_tpm()
    try:
        ek_root = None if tpm is None else tpm.ek_root.public_bytes(Encoding.PEM)
        with (
            tempfile.TemporaryDirectory(prefix="touchstone-demo-") as folder,
            Deployment(Path(folder), firmware, ek_root) as deployment,
        ):
            deployment.put_trust_policies(build.trust_policy, key)
            appraise_report(deployment, build, firmware)
            guests = release_to_guests(deployment, build, firmware, key, tpm, now)
            retract(deployment, build, guests)
    finally:
        if tpm is not None:
            tpm.stop()
    print(f"\nEverything above was shown in {clock.seconds():.0f} seconds.")


if __name__ == "__main__":
    main()
