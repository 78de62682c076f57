"""``touchstone layout``: bundle what in-toto wrote, and verify a bundle; both offline."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from service.commands import output
from service.commands.output import json_option

if TYPE_CHECKING:
    from collections.abc import Iterator

    from provenance.model import AdmittedStatement

_FILE = click.Path(path_type=Path, dir_okay=False)
_FOLDER = click.Path(path_type=Path, file_okay=False)
_MAX_LAYOUT_BYTES: Final = 4 << 20
_MAX_BUNDLE_BYTES: Final = 8 << 20
_MAX_PRODUCT_BYTES: Final = 1 << 30
_MAX_ENTRIES: Final = 10_000


@click.group()
def command() -> None:
    """Bundle in-toto layouts with their links, and verify such bundles."""


@command.command()
@click.argument("folder", type=_FOLDER)
@click.option("-o", "--output", "output_file", required=True, type=_FILE, help="The bundle to write.")
@click.option(
    "--layout", "layout_name", default="root.layout", show_default=True, help="The layout in FOLDER."
)
@json_option
def bundle(folder: Path, output_file: Path, layout_name: str, as_json: bool) -> None:
    """Make one document of the layout in FOLDER and every link below it.

    Links are files that in-toto names STEP.KEYID8.link, those of a sublayout in a folder STEP.KEYID8.
    Nothing is verified but that each is a strict layout or link.
    """
    import hashlib

    from common.files import read_limited, write_public
    from provenance.layout import bundle as bundles

    layout = read_limited(folder / layout_name, what="layout", max_bytes=_MAX_LAYOUT_BYTES)
    found = [path for path in _files(folder) if path.endswith(".link")]
    links = {
        path: read_limited(folder / path, what="link", max_bytes=_MAX_LAYOUT_BYTES)
        for path in found
        if bundles.is_link_path(path)
    }
    data = bundles.assemble(layout, links)
    write_public(output_file, data)
    document = {
        "written": str(output_file),
        "sha256": hashlib.sha256(data).hexdigest(),
        "links": sorted(links),
        "left_out": sorted(set(found) - set(links)),
    }
    output.emit(document, as_json=as_json, text=lambda: _bundled(document))


@command.command()
@click.argument("file", type=_FILE)
@click.option(
    "--policy", required=True, type=_FILE, help="Trust policy with a root of kind in-toto-layout."
)
@click.option("--environment", metavar="NAME", help="Environment of the trust policy.")
@click.option("--at", metavar="RFC3339", help="Verification time; now otherwise.")
@click.option(
    "--sandbox",
    "product",
    type=_FOLDER,
    metavar="DIR",
    help="Run the layout's inspections on the files in DIR, in a sandbox. Without it none is run.",
)
@json_option
def verify(
    file: Path, policy: Path, environment: str | None, at: str | None, product: Path | None, as_json: bool
) -> None:
    """Verify the supply-chain bundle FILE against a trust policy.

    Commands in a layout are never run unless --sandbox is given: then each runs without a shell on a
    copy of the files in DIR, in namespaces of its own without network, for at most a minute.
    """
    from common.files import read_limited
    from policy.regorus_engine import RegorusEngine
    from provenance import trust
    from provenance.pipeline import Pipeline
    from service.layout_sandbox import SandboxRunner

    data = read_limited(file, what="bundle", max_bytes=_MAX_BUNDLE_BYTES)
    runner = None if product is None else SandboxRunner(_product(product))
    pipeline = Pipeline(
        trust.load_file(policy), RegorusEngine(), environment=environment, inspections=runner
    )
    admitted = pipeline.admit(data, _instant(at))
    document = _admitted(admitted)
    output.emit(document, as_json=as_json, text=lambda: _text(document))


def _files(folder: Path) -> Iterator[str]:
    """Regular files below a folder by relative path, in order; links in the file system are not followed.

    Raises:
        NotFound: the folder cannot be read.
        TooLarge: it has more than ``_MAX_ENTRIES``.
    """
    from common.errors import NotFound, TooLarge

    def unreadable(error: OSError) -> None:
        raise NotFound(f"cannot read {folder} ({error.strerror})") from error

    seen = 0
    for current, folders, names in os.walk(folder, onerror=unreadable):
        folders.sort()
        seen += len(folders) + len(names)
        if seen > _MAX_ENTRIES:
            raise TooLarge(f"{folder} has more than {_MAX_ENTRIES} files and folders")
        for name in sorted(names):
            path = Path(current) / name
            if path.is_file() and not path.is_symlink():
                yield path.relative_to(folder).as_posix()


def _product(folder: Path) -> dict[str, bytes]:
    from common.errors import TooLarge
    from common.files import read_limited

    files: dict[str, bytes] = {}
    left = _MAX_PRODUCT_BYTES
    for path in _files(folder):
        files[path] = read_limited(folder / path, what="product", max_bytes=_MAX_PRODUCT_BYTES)
        left -= len(files[path])
        if left < 0:
            raise TooLarge(f"the files in {folder} are larger than {_MAX_PRODUCT_BYTES} bytes")
    return files


def _instant(text: str | None) -> datetime:
    from common.errors import Malformed
    from provenance.instants import rfc3339

    if text is None:
        return datetime.now(UTC)
    instant = rfc3339(text)
    if instant is None:
        raise Malformed("--at is not RFC 3339 with an offset")
    return instant


def _admitted(admitted: AdmittedStatement) -> dict[str, Any]:
    authentic = admitted.authentic
    return {
        "attestation": authentic.attestation,
        "signers": [
            {"kind": item.kind, "identity": item.identity, "steps": item.claims.get("steps")}
            for item in authentic.signers
        ],
        "products": msgspec.to_builtins(authentic.statement.subjects),
        "predicate": authentic.statement.predicate,
        "checks": msgspec.to_builtins(admitted.checks),
    }


def _bundled(document: dict[str, Any]) -> str:
    lines = [f"written  {document['written']} (sha256 {document['sha256']})"]
    lines += [f"link     {path}" for path in document["links"]]
    lines += [f"left out {path}: not a link of a step" for path in document["left_out"]]
    return "\n".join(lines)


def _text(document: dict[str, Any]) -> str:
    lines = [f"attestation  {document['attestation']}"]
    for signer in document["signers"]:
        steps = "" if signer["steps"] is None else f" ({signer['steps']})"
        role = "functionary" if signer["kind"] == "functionary" else "owner"
        lines.append(f"{role:<12} {signer['identity']}{steps}")
    for product in document["products"]:
        digests = ", ".join(f"{name}:{value}" for name, value in product["digest"].items())
        lines.append(f"product      {product['name']} {digests}")
    skipped = document["predicate"]["inspections"]["skipped"]
    lines += [f"skipped      inspection {name}" for name in skipped]
    return "\n".join(lines)
