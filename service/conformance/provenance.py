"""Runs provenance cases of a conformance manifest on the real pipeline, offline.

A case's parameters become a trust policy, so that what is exercised is what a deployment runs:
``source_uri``, ``source_tag``, ``source_versioned_tag`` and ``source_branch`` a source; ``builder_id``
builders; ``identity`` and ``issuer`` a signer; ``subject_sha256`` or ``artifact`` the subject.

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
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from common import strict_json
from common.checks import Checks
from common.errors import Malformed, NotFound, TooLarge, TouchstoneError
from common.files import read_limited
from provenance import admission, dsse, github, predicates, statement, trust
from provenance.errors import SubjectMismatch
from provenance.pipeline import Pipeline
from service.conformance.outcome import case_id, passed, refused, unsupported

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from provenance.model import Statement
    from service.conformance.outcome import Outcome

BUNDLE: Final = "sigstore-bundle"
SLSA: Final = "sigstore-bundle+slsa-provenance"
PRIVATE: Final = "sigstore-bundle+slsa (private PKI)"
EMBEDDED: Final = "dsse+embedded-cert (no tlog)"

_MAX_FILE: Final = 32 << 20
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


class _Unusable(Malformed):
    """The case lacks what its type needs."""


def run_case(case: Mapping[str, Any], folder: Path, now: datetime | None = None) -> Outcome:
    """Run one case.

    Args:
        case: a record of the manifest.
        folder: the manifest's folder; file names in the case are relative to it.
        now: the verification time; the present otherwise.

    Returns:
        The outcome; a case of another type, or one that lacks what its type needs, is ``unsupported``:
        a case that was never run agrees with nothing.
    """
    kind = str(case.get("type", ""))
    runner = _RUNNERS.get(kind)
    expected = str(case.get("expect", ""))
    if runner is None:
        return unsupported(case, kind, expected, "no provenance runner for this type")
    try:
        runner(case, folder, now or datetime.now(UTC))
    except _Unusable as error:
        return unsupported(case, kind, expected, error.message)
    except TouchstoneError as error:
        return refused(case, kind, expected, error)
    return passed(case, kind, expected)


def _run_bundle(case: Mapping[str, Any], folder: Path, now: datetime) -> None:
    params = _params(case, "identity", "issuer")
    roots = [_sigstore_root(case, folder)]
    signer: dict[str, Any] = {"name": "case", "root": _ROOT}
    if case.get("key") is not None:
        roots.append(_key_root(_read(case, folder, "key")))
        signer["root"] = "key"
    else:
        signer |= {"issuer": params["issuer"], "identity": params["identity"]}
    policy = _policy(case, roots=roots, signers=[signer])
    pipeline = Pipeline(policy)
    envelope = _read(case, folder, "bundle")
    artifact = _read(case, folder, "artifact")
    document = dsse.load_json(envelope)
    if "messageSignature" in document:
        found = pipeline.authenticate_artifact(document, artifact, now)
        admission.require_signers((found,), policy.document, Checks())
        return
    authentic = pipeline.authenticate(envelope, now)
    admission.require_signers(authentic.signers, policy.document, Checks())
    _require_subject(authentic.statement, hashlib.sha256(artifact).hexdigest())


def _run_slsa(case: Mapping[str, Any], folder: Path, now: datetime) -> None:
    params = _params(case, "builder_id", "source_uri")
    builder, at, ref = params["builder_id"].partition("@")
    entry: dict[str, Any] = {"id": builder}
    if at:
        entry["ref"] = ref if ref.startswith("refs/") else f"refs/tags/{ref}"
    signed_by = [(builder, "refs/tags/*"), *_delegators(params)]
    policy = _policy(
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
        sources=[_source(params)],
    )
    _admit(case, folder, policy, now)


def _delegators(params: Mapping[str, str]) -> list[tuple[str, str]]:
    """Delegator workflows and the refs at which slsa-verifier takes them."""
    refs = ["refs/tags/*"]
    if params["source_uri"] == _E2E_SOURCE:
        refs.append("refs/heads/main")
    return [(workflow, ref) for workflow in _DELEGATORS for ref in refs]


def _run_private(case: Mapping[str, Any], folder: Path, now: datetime) -> None:
    params = _params(case, "builder_id", "source_uri", "identity", "issuer")
    policy = _policy(
        case,
        roots=[_sigstore_root(case, folder)],
        signers=[
            {"name": "case", "root": _ROOT, "issuer": params["issuer"], "identity": params["identity"]}
        ],
        builders=[{"id": params["builder_id"]}],
        sources=[_source(params)],
    )
    _admit(case, folder, policy, now)


def _run_embedded(case: Mapping[str, Any], folder: Path, now: datetime) -> None:
    policy = _policy(
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
    _admit(case, folder, policy, now)


_RUNNERS: Final[dict[str, Callable[[Mapping[str, Any], Path, datetime], None]]] = {
    BUNDLE: _run_bundle,
    SLSA: _run_slsa,
    PRIVATE: _run_private,
    EMBEDDED: _run_embedded,
}


def _admit(case: Mapping[str, Any], folder: Path, policy: trust.TrustPolicy, now: datetime) -> None:
    admitted = Pipeline(policy).admit(_read(case, folder, "bundle"), now)
    _require_subject(admitted.authentic.statement, _member(case, "subject_sha256"))


def _policy(case: Mapping[str, Any], **members: Any) -> trust.TrustPolicy:
    document = {
        "version": 1,
        "name": case_id(case),
        "predicate_types": list(predicates.SLSA_TYPES),
        **members,
    }
    return trust.parse(strict_json.canonical(document))


def _source(params: Mapping[str, str]) -> dict[str, Any]:
    refs: list[str] = []
    if "source_tag" in params:
        refs = [f"refs/tags/{params['source_tag']}"]
    elif "source_versioned_tag" in params:
        # v14 stands for v14, v14.2, v14.2.1, and not for v140.
        tag = params["source_versioned_tag"]
        refs = [f"refs/tags/{tag}", f"refs/tags/{tag}.*"]
    branches = [f"refs/heads/{params['source_branch']}"] if "source_branch" in params else []
    return {"uri": params["source_uri"], "refs": refs, "branches": branches}


def _sigstore_root(case: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    data = _read(case, folder, "trusted_root")
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


def _require_subject(parsed: Statement, digest: str) -> None:
    if statement.find_subject(parsed, "sha256", digest) is None:
        raise SubjectMismatch("the artefact is not a subject of the statement")


def _params(case: Mapping[str, Any], *needed: str) -> dict[str, str]:
    value = case.get("params")
    if not isinstance(value, dict) or not all(isinstance(value.get(name), str) for name in needed):
        raise _Unusable(f"the case's params lack {', '.join(needed)}")
    return value


def _member(case: Mapping[str, Any], name: str) -> str:
    value = case.get(name)
    if not isinstance(value, str):
        raise _Unusable(f"the case has no {name}")
    return value


def _read(case: Mapping[str, Any], folder: Path, member: str) -> bytes:
    try:
        return read_limited(folder / _member(case, member), what="case file", max_bytes=_MAX_FILE)
    except (NotFound, TooLarge) as error:
        raise _Unusable(error.message) from error
