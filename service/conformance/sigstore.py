"""Runs Sigstore bundle cases.

* ``sigstore-bundle``: authenticity and signer alone, which is all that suite defines.
* ``sigstore-bundle+slsa-provenance``, ``sigstore-bundle+slsa (private PKI)``: authenticate and admit.
* ``dsse+embedded-cert (no tlog)``: the same; the refusal must be ``statement.incomplete`` or worse.

Cases of the slsa-verifier corpus contain version 0.1 bundles with the log's promise alone, which that
verifier accepts: their policy says ``legacy_bundles``. Builders of slsa-github-generator's "bring your
own builder" framework are signed for by its two delegators, which that verifier has built in: their
policy says ``delegated_by``.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

from common import strict_json
from common.checks import Checks
from provenance import dsse
from provenance.pipeline import Pipeline
from provenance.predicates import github
from provenance.sigstore.reader import SigstoreReader
from provenance.trust import admission
from service.conformance.provenance_case import (
    admit_bundle,
    params_of,
    policy_of,
    read,
    require_subject,
    source_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from pathlib import Path

_ROOT: Final = "manifest"
_GENERATOR: Final = "https://github.com/slsa-framework/slsa-github-generator/.github/workflows/"
# slsa-verifier aaf98fd, verifiers/internal/gha/builder.go: the trusted delegators.
_DELEGATORS: Final = (
    _GENERATOR + "delegator_generic_slsa3.yml",
    _GENERATOR + "delegator_lowperms-generic_slsa3.yml",
)

# The same file, verifyTrustedBuilderRef: for this one source, whose builds test the builders, the
# builders' main branch is taken as well as their release tags.
_E2E_SOURCE: Final = "github.com/slsa-framework/example-package"


def run_bundle(case: Mapping[str, Any], folder: Path, now: datetime) -> None:
    """Authenticity and signer, and the artefact where the statement names it."""
    params = params_of(case, "identity", "issuer")
    roots = [_sigstore_root(case, folder)]
    signer: dict[str, Any] = {"name": "case", "root": _ROOT}
    if case.get("key") is not None:
        roots.append(_key_root(read(case, folder, "key")))
        signer["root"] = "key"
    else:
        signer |= {"issuer": params["issuer"], "identity": params["identity"]}
    policy = policy_of(case, roots=roots, signers=[signer])
    envelope = read(case, folder, "bundle")
    artifact = read(case, folder, "artifact")
    document = dsse.load_json(envelope)
    if "messageSignature" in document:
        found = SigstoreReader(policy).authenticate_artifact(document, artifact, now)
        admission.require_signers((found,), policy.document, Checks())
        return
    authentic = Pipeline(policy).authenticate(envelope, now)
    admission.require_signers(authentic.signers, policy.document, Checks())
    require_subject(authentic.statement, hashlib.sha256(artifact).hexdigest())


def run_slsa(case: Mapping[str, Any], folder: Path, now: datetime) -> None:
    """SLSA provenance of the public-good instance, with builder and source."""
    params = params_of(case, "builder_id", "source_uri")
    builder, at, ref = params["builder_id"].partition("@")
    entry: dict[str, Any] = {"id": builder}
    if at:
        entry["ref"] = ref if ref.startswith("refs/") else f"refs/tags/{ref}"
    signed_by = [(builder, "refs/tags/*"), *_delegators(params)]
    policy = policy_of(
        case,
        roots=[_sigstore_root(case, folder) | {"legacy_bundles": True}],
        signers=[
            {
                "name": f"workflow-{index}",
                "root": _ROOT,
                "issuer": github.ISSUER,
                "identity": f"{workflow}@{workflow_ref}",
            }
            for index, (workflow, workflow_ref) in enumerate(signed_by)
        ],
        builders=[
            entry,
            *(
                entry | {"delegated_by": workflow, "delegator_ref": workflow_ref}
                for workflow, workflow_ref in _delegators(params)
            ),
        ],
        sources=[source_of(params)],
    )
    admit_bundle(case, folder, policy, now)


def _delegators(params: Mapping[str, str]) -> list[tuple[str, str]]:
    """Delegator workflows and the refs at which slsa-verifier takes them."""
    refs = ["refs/tags/*"]
    if params["source_uri"] == _E2E_SOURCE:
        refs.append("refs/heads/main")
    return [(workflow, ref) for workflow in _DELEGATORS for ref in refs]


def run_private(case: Mapping[str, Any], folder: Path, now: datetime) -> None:
    """The same of a private instance."""
    params = params_of(case, "builder_id", "source_uri", "identity", "issuer")
    policy = policy_of(
        case,
        roots=[_sigstore_root(case, folder)],
        signers=[
            {"name": "case", "root": _ROOT, "issuer": params["issuer"], "identity": params["identity"]}
        ],
        builders=[{"id": params["builder_id"]}],
        sources=[source_of(params)],
    )
    admit_bundle(case, folder, policy, now)


def run_embedded(case: Mapping[str, Any], folder: Path, now: datetime) -> None:
    """An envelope with a certificate and no log entry: incomplete, whatever else."""
    policy = policy_of(
        case,
        roots=[_sigstore_root(case, folder)],
        signers=[
            {
                "name": "case",
                "root": _ROOT,
                "issuer": github.ISSUER,
                "identity": f"{_GENERATOR}*@refs/tags/*",
            }
        ],
    )
    admit_bundle(case, folder, policy, now)


def _sigstore_root(case: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    data = read(case, folder, "trusted_root")
    return {
        "name": _ROOT,
        "kind": "sigstore",
        "trusted_root": strict_json.loads(data, what="trusted root"),
    }


def _key_root(pem: bytes) -> dict[str, Any]:
    # The suite's managed keys are all of this one algorithm; another key type is refused on parsing.
    return {
        "name": "key",
        "kind": "public-key",
        "algorithm": "ecdsa-p256-sha256",
        "key": pem.decode("ascii", "replace"),
        "log": _ROOT,
    }
