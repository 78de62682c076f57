"""What the profiles of SGX share: signed enclaves on the build's side, quotes on the enclave's."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.encoding import b64url_encode
from testkit.intel_platform import IntelPlatform
from tests.profiles import intel
from tests.profiles.world import ProfileServer, Release, request_of, serve, values_of
from tests.provenance.derivation import enclaves
from verifier.sgx.evidence import SgxEvidence

INIT, DEBUG, MODE64, PROVISION, KSS = 1, 2, 4, 16, 128
PLAIN = INIT | MODE64
Evidence = Callable[[bytes], SgxEvidence]


@dataclass(frozen=True)
class Enclave:
    """One enclave: what its author signs, and what it then reports.

    Attributes:
        name: tells its code from others'.
        svn: security version.
        product: product id.
        family: ISVFAMILYID.
        extended: ISVEXTPRODID.
        flags: ATTRIBUTES when it runs.
    """

    name: str
    svn: int = 3
    product: int = 7
    family: bytes = bytes(16)
    extended: bytes = bytes(16)
    flags: int = PLAIN

    @property
    def measurement(self) -> bytes:
        """MRENCLAVE."""
        return hashlib.sha256(self.name.encode()).digest()

    @property
    def sigstruct(self) -> bytes:
        """What the author signs."""
        return enclaves.sigstruct(
            self.measurement,
            prod_id=self.product,
            svn=self.svn,
            family_id=self.family,
            ext_prod_id=self.extended,
            attributes=self.flags & ~INIT,
        )

    @property
    def report(self) -> dict[str, Any]:
        """Fields of its report."""
        modulus = enclaves.key().public_key().public_numbers().n.to_bytes(384, "little")
        return {
            "mr_enclave": self.measurement,
            "mr_signer": hashlib.sha256(modulus).digest(),
            "isv_prod_id": self.product,
            "isv_svn": self.svn,
            "isv_family_id": self.family,
            "isv_ext_prod_id": self.extended,
            "flags": self.flags,
        }


@dataclass
class Platform:
    """A server of an SGX profile and the platform that its enclaves run on."""

    server: ProfileServer
    intel: IntelPlatform

    def quote(self, enclave: Enclave, *, status: str = "UpToDate", **fields: Any) -> Evidence:
        """Evidence of an enclave, with changes to its report; ``status``: of the TCB."""
        collateral = intel.collateral(self.intel, "sgx", status)
        members = enclave.report | fields
        return lambda report_data: SgxEvidence(
            quote=b64url_encode(self.intel.sgx_quote(report_data=report_data, **members)),
            collateral=collateral,
        )

    def publish(self, release: Release, enclave: Enclave, **more: bytes) -> dict[str, list[Any]]:
        """Publish a build of an enclave, and of what else the profile derives from (``init_data``)."""
        artefacts = {"sigstruct": enclave.sigstruct}
        steps = [(request_of(release.profile, "derive-enclave.json", release.group), ("sigstruct",))]
        if "init_data" in more:
            artefacts["init-data"] = more["init_data"]
            request = request_of(release.profile, "derive-init-data.json", release.group)
            steps.append((request, ("init-data",)))
        self.server.release(release, steps, artefacts)
        return values_of(self.server, release.group)


def start(profile: str, folder: Path) -> Platform:
    """A server with an SGX profile, and its platform."""
    made = intel.platform()
    return Platform(serve(profile, folder, sgx=intel.section(made, folder)), made)
