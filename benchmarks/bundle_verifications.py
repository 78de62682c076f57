"""Sigstore v0.3 bundles with SLSA provenance admitted per second, on one and two processes, beside cosign.

Every bundle is another one (nothing is answered from the cache of verified bundles), made by the test
authority: certificate, SCT, signature, inclusion proof and checkpoint are verified, then the trust policy
is applied. cosign is a program that is started for each bundle, so it is held against both: our pipeline
in a running process, and `touchstone policy explain`'s way of one process a bundle.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from provenance import trust
from provenance.pipeline import Pipeline
from testkit.authority import GITHUB_ISSUER, TestAuthority, slsa_v1_statement

_BUNDLES = 1200
_COSIGN_RUNS = 10
_REPOSITORY = "https://github.com/acme/cvm"
_WORKFLOW = f"{_REPOSITORY}/.github/workflows/build.yml"
_IDENTITY = f"{_WORKFLOW}@refs/tags/v1.2.3"
_BLOB = b"the artefact"


def run() -> list[str]:
    """The figures, as lines of text."""
    now = datetime.now(UTC).replace(microsecond=0)
    authority = TestAuthority(start=now - timedelta(days=1))
    policy = _policy(authority)
    bundles = [_bundle(authority, now, number) for number in range(_BUNDLES)]
    _admit_all(policy, bundles[:20], now)  # imports and keys
    one = _rate(policy, bundles, now, processes=1)
    two = _rate(policy, bundles, now, processes=2)
    lines = [f"admitted: {one:.0f}/s in one process, {two:.0f}/s in two"]
    with tempfile.TemporaryDirectory() as folder:
        lines += _beside_cosign(Path(folder), authority, bundles[0], one)
    return lines


def _policy(authority: TestAuthority) -> bytes:
    document = {
        "version": 1,
        "name": "benchmark",
        "roots": [{"name": "ours", "kind": "sigstore", "trusted_root": authority.trusted_root()}],
        "signers": [
            {"name": "ci", "root": "ours", "issuer": GITHUB_ISSUER, "identity": f"{_WORKFLOW}@refs/tags/*"}
        ],
        "predicate_types": ["https://slsa.dev/provenance/v1"],
        "builders": [{"id": _WORKFLOW}],
        "sources": [{"uri": _REPOSITORY, "refs": ["refs/tags/v*"]}],
    }
    return json.dumps(document).encode()


def _bundle(authority: TestAuthority, now: datetime, number: int) -> bytes:
    subjects = {"artefact": hashlib.sha256(_BLOB).hexdigest(), "number": f"{number:064x}"}
    payload = slsa_v1_statement(subjects, builder=_IDENTITY, source_uri=_REPOSITORY, ref="refs/tags/v1.2.3")
    return authority.sign_statement(payload, identity=_IDENTITY, now=now - timedelta(minutes=5))


def _admit_all(policy: bytes, bundles: list[bytes], now: datetime) -> None:
    pipeline = Pipeline(trust.parse(policy))
    for bundle in bundles:
        pipeline.admit(bundle, now)


def _rate(policy: bytes, bundles: list[bytes], now: datetime, *, processes: int) -> float:
    """Bundles per second; each process has its share, and starts when all are ready."""
    ready = multiprocessing.Barrier(processes + 1)
    share = len(bundles) // processes
    workers = [
        multiprocessing.Process(
            target=_work, args=(ready, policy, bundles[at * share : (at + 1) * share], now)
        )
        for at in range(processes)
    ]
    for worker in workers:
        worker.start()
    ready.wait()
    started = time.perf_counter()
    for worker in workers:
        worker.join()
    if any(worker.exitcode for worker in workers):
        sys.exit("a bundle was refused")
    return share * processes / (time.perf_counter() - started)


def _work(ready: object, policy: bytes, bundles: list[bytes], now: datetime) -> None:
    pipeline = Pipeline(trust.parse(policy))
    pipeline.admit(bundles[0], now)
    ready.wait()  # type: ignore[attr-defined]
    for bundle in bundles:
        pipeline.admit(bundle, now)


def _beside_cosign(folder: Path, authority: TestAuthority, bundle: bytes, ours: float) -> list[str]:
    cosign = shutil.which("cosign")
    if cosign is None:
        return ["cosign is not installed: go install github.com/sigstore/cosign/v2/cmd/cosign@v2.6.5"]
    blob, root, file = folder / "blob", folder / "root.json", folder / "bundle.json"
    blob.write_bytes(_BLOB)
    root.write_bytes(authority.trusted_root_json())
    file.write_bytes(bundle)
    command = [
        *(cosign, "verify-blob-attestation", "--new-bundle-format", "--bundle", str(file)),
        *("--trusted-root", str(root), "--certificate-identity", _IDENTITY),
        *(
            "--certificate-oidc-issuer",
            GITHUB_ISSUER,
            "--type",
            "https://slsa.dev/provenance/v1",
            str(blob),
        ),
    ]
    environment = os.environ | {"HOME": str(folder), "TUF_ROOT": str(folder)}
    theirs = _median(lambda: subprocess.run(command, capture_output=True, check=True, env=environment))
    text = (
        f"cosign, one process a bundle: {theirs * 1000:.0f} ms; ours in a running process:"
        f" {1000 / ours:.2f} ms, {theirs * ours:.0f} times as fast"
    )
    return [text]


def _median(action: Callable[[], object]) -> float:
    action()
    times = []
    for _ in range(_COSIGN_RUNS):
        started = time.perf_counter()
        action()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


if __name__ == "__main__":
    print("\n".join(run()))
