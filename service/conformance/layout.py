"""Runs in-toto layout cases: a layout, its links and the final product in a folder, and the owner's key.

The links are assembled into a bundle as ``touchstone layout bundle`` does, and the bundle is admitted
by the real pipeline under a policy that names the owner. Inspections run in the sandbox, on the files
of the case that are neither link, layout nor key; where there is no sandbox a case that needs one is
unsupported.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Final

import msgspec

from common import strict_json
from common.errors import InputError, NotFound, StatementError, TooLarge
from common.files import read_limited
from provenance.layout import bundle, functionaries
from provenance.layout.model import FunctionaryKey
from provenance.layout.reader import PREDICATE_TYPE
from provenance.pipeline import Pipeline
from service.conformance.provenance_case import Unusable, member, policy_of, read
from service.errors import SandboxUnavailable
from service.layout_sandbox import SandboxRunner

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from pathlib import Path

    from provenance.trust import TrustPolicy

_MAX_FILE: Final = 32 << 20


def run_layout(case: Mapping[str, Any], folder: Path, now: datetime) -> None:
    """Run one case; a refusal raises."""
    policy = _policy(case, folder)
    files = _files(case, folder)
    layout = files.pop(member(case, "layout"))
    links = {path: data for path, data in files.items() if bundle.is_link_path(path)}
    product = {path: data for path, data in files.items() if not path.endswith((".link", ".pub.json"))}
    runner = SandboxRunner(product)
    try:
        Pipeline(policy, inspections=runner).admit(bundle.assemble(layout, links), now)
    except SandboxUnavailable as error:
        raise Unusable(error.message) from error


def _files(case: Mapping[str, Any], folder: Path) -> dict[str, bytes]:
    """Files of the case by path relative to its own folder."""
    names, root = case.get("files"), PurePosixPath(member(case, "dir"))
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise Unusable("the case has no files")
    try:
        found = {
            PurePosixPath(name).relative_to(root).as_posix(): read_limited(
                folder / name, what="case file", max_bytes=_MAX_FILE
            )
            for name in names
        }
    except (NotFound, TooLarge) as error:
        raise Unusable(error.message) from error
    except ValueError as error:
        raise Unusable("a file of the case is outside its folder") from error
    if case.get("layout") not in found:
        raise Unusable("the case's layout is not among its files")
    return found


def _policy(case: Mapping[str, Any], folder: Path) -> TrustPolicy:
    try:
        owner = msgspec.convert(strict_json.loads(read(case, folder, "owner_key")), FunctionaryKey)
        key = functionaries.load(owner)
    except (InputError, StatementError, msgspec.ValidationError) as error:
        raise Unusable("the owner's key is not one that is supported") from error
    root = {
        "name": "owners",
        "kind": "in-toto-layout",
        "owners": [{"algorithm": key.algorithm, "key": functionaries.pem(key), "keyid": owner.keyid}],
    }
    return policy_of(
        case,
        roots=[root],
        signers=[{"name": "owner", "root": "owners"}],
        predicate_types=[PREDICATE_TYPE],
    )
