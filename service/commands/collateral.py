"""``touchstone collateral``: the endorsement store of this machine."""

from __future__ import annotations

import hashlib
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from service.commands import collateral_text, output
from service.commands.local import instant, load_settings, settings_options
from service.commands.output import ExitCode, json_option

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from service.sections_collateral import CollateralSettings
    from service.settings import Settings
    from verifier.endorsements.kinds import Ask, Sources
    from verifier.endorsements.listing import Listed
    from verifier.endorsements.store import EndorsementStore

_FILE = click.Path(path_type=Path, dir_okay=False)
_FOLDER = click.Path(path_type=Path, file_okay=False)
_BAD = ("expired", "invalid")
_CHAIN = ".chain.pem"


def _place_options(function: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--at", metavar="RFC3339", help="Verification time; now otherwise."),
        click.option("--folder", type=_FOLDER, help="Folder of the store; that of the settings otherwise."),
    ):
        function = option(function)
    return settings_options(function)


def _source_options(function: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--allow-private", is_flag=True, help="Also ask a private or loopback address."),
        click.option("--ca-file", type=_FILE, help="PEM authorities for a mirror or cache."),
        click.option(
            "--source",
            "sources",
            multiple=True,
            metavar="VENDOR=URL",
            help="Ask this instead of the settings' (amd, intel); repeated: in this order.",
        ),
    ):
        function = option(function)
    return function


@click.group()
def command() -> None:
    """Fetch, list, verify and carry what vendors say of their hardware."""


class _FetchGroup(click.Group):
    """One command for each TEE that needs anything, with the options of its kinds."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of TEEs."""
        del ctx
        from service import collateral

        return list(collateral.kinds_of_tees())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a TEE."""
        del ctx
        from service import collateral

        kinds = collateral.kinds_of_tees().get(cmd_name)
        if kinds is None:
            return None
        parameters = {item.name: item for kind in kinds for item in kind.parameters}

        def fetch_of_tee(**options: Any) -> None:
            given = {name: options.pop(name.replace("-", "_")) for name in parameters}
            _fetch(cmd_name, {name: value for name, value in given.items() if value is not None}, **options)

        found = json_option(_place_options(_source_options(fetch_of_tee)))
        found = click.option("--evidence", type=_FILE, help="Fetch all that the evidence in FILE needs.")(
            found
        )
        for name, item in reversed(parameters.items()):
            found = click.option(f"--{name}", metavar=item.metavar, help=item.help)(found)
        titles = ", ".join(kind.title for kind in kinds)
        return click.command(name=cmd_name, help=f"Fetch for {cmd_name}: {titles}.")(found)


@command.group(cls=_FetchGroup)
def fetch() -> None:
    """Fetch items from their vendors, and keep what holds.

    Exit code 0: all are at hand; 1: what a source gave is refused; 4: a source does not answer.
    """


@command.command()
@_source_options
@_place_options
@json_option
def refresh(as_json: bool, **options: Any) -> None:
    """Ask again for every item at hand that changes."""
    from service import collateral

    store, now, settings = _open(options)
    sources, section = _sources(settings, options)
    asks = collateral.asks_again(store, sources)
    _ask(store, (settings, section, sources), asks, now, as_json=as_json)


@command.command("list")
@_place_options
@json_option
def list_items(as_json: bool, **options: Any) -> None:
    """List what the store has, and for how long it holds."""
    collateral_text.show(_listed(options), as_json=as_json)


@command.command()
@_place_options
@json_option
def verify(as_json: bool, **options: Any) -> None:
    """Verify every item down to its pinned root. Exit code 1: one is expired or invalid."""
    found = _listed(options)
    collateral_text.show(found, as_json=as_json)
    if any(item.state in _BAD for item in found):
        sys.exit(ExitCode.NEGATIVE)


@command.command()
@click.argument("file", type=_FILE)
@click.option("--kind", "kinds", multiple=True, help="Only items of this kind; may be repeated.")
@_place_options
@json_option
def export(file: Path, kinds: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Write all items that are in force into one FILE, to be imported elsewhere."""
    from common.errors import NotFound
    from common.files import write_public
    from verifier.endorsements import bundle

    store, now, _ = _open(options)
    unknown = set(kinds) - {kind.name for kind in store.kinds}
    if unknown:
        raise NotFound(f"there is no kind {', '.join(sorted(unknown))}")
    data, taken, left = bundle.pack(store, now, kinds=kinds or None)
    write_public(file, data)
    digest = hashlib.sha256(data).hexdigest()
    for item in left:
        output.note(f"left out: {item.name} is {item.state}")
    document = {"file": str(file), "sha256": digest, "items": taken, "left_out": left}
    output.emit(document, as_json=as_json, text=lambda: f"{len(taken)} items in {file}\nsha256 {digest}")


@command.command("import")
@click.argument("file", type=_FILE)
@click.option("--sha256", metavar="HEX", help="Digest that the file must have, as `export` showed it.")
@click.option("--name", help="FILE is one item of this name, not a bundle (crl/vcek-Milan.crl).")
@click.option("--chain", type=_FILE, help="With --name: the chain of its signer (PEM).")
@_place_options
@json_option
def import_file(
    file: Path, sha256: str | None, name: str | None, chain: Path | None, as_json: bool, **options: Any
) -> None:
    """Verify everything in FILE, then keep all of it, or nothing.

    FILE is a bundle of `export`, the collateral of a TDX or SGX quote as one JSON object, or one item. What
    is older than the one at hand is left out.
    """
    from common.errors import Malformed
    from common.files import read_limited
    from verifier.endorsements import bundle

    store, now, _ = _open(options, must_exist=False)
    data = read_limited(file, what="collateral", max_bytes=bundle.MAX_BYTES)
    digest = hashlib.sha256(data).hexdigest()
    if sha256 is not None and sha256.lower() != digest:
        raise Malformed(f"the file has SHA-256 {digest}, not the one that was given")
    kept = store.keep_all(_items(store, data, name, chain), now)
    document = {"sha256": digest, "items": [collateral_text.kept_document(item) for item in kept]}
    output.emit(document, as_json=as_json, text=lambda: collateral_text.kept_text(kept))


def _items(store: EndorsementStore, data: bytes, name: str | None, chain: Path | None) -> Sequence[Any]:
    from common.errors import Malformed
    from common.files import read_limited
    from verifier.endorsements import bundle, intel_import
    from verifier.endorsements.kinds import MAX_ITEM_BYTES, Item

    if name is not None:
        companions = {}
        if chain is not None:
            companions[_CHAIN] = read_limited(chain, what="chain", max_bytes=MAX_ITEM_BYTES)
        return (Item(name, data, companions),)
    if chain is not None:
        raise Malformed("--chain goes with --name")
    if intel_import.is_quote_collateral(data):
        return intel_import.items_of(data)
    return bundle.read(store, data)


def _fetch(
    tee: str, given: dict[str, str], *, evidence: Path | None, as_json: bool, **options: Any
) -> None:
    from service import collateral

    store, now, settings = _open(options, must_exist=False)
    sources, section = _sources(settings, options)
    document = None if evidence is None else _evidence(tee, evidence)
    asks = collateral.asks_for(tee, given, sources, document)
    _ask(store, (settings, section, sources), asks, now, as_json=as_json)


def _evidence(tee: str, path: Path) -> Any:
    from common.errors import Malformed
    from common.files import read_limited
    from service import inspection
    from verifier.tees import TEES

    data = read_limited(path, what="evidence", max_bytes=inspection.MAX_EVIDENCE_BYTES)
    document = inspection.recognise(data)
    if tee not in TEES or not isinstance(document, TEES[tee].evidence):
        raise Malformed(f"{path} is not evidence of {tee}")
    return document


def _ask(
    store: EndorsementStore,
    whom: tuple[Settings, CollateralSettings, Sources],
    asks: Sequence[Ask],
    now: datetime,
    *,
    as_json: bool,
) -> None:
    from common.errors import TouchstoneError, UnavailableError
    from service import collateral
    from verifier.endorsements.fetching import Origin

    settings, section, sources = whom
    fetcher = collateral.fetcher_of(settings, sources, section=section, keep_failure_s=0.0)
    results = list(collateral.fetch_all(store, Origin(fetcher, sources), asks, now))
    output.emit(
        {"items": [collateral_text.result_document(ask, result) for ask, result in results]},
        as_json=as_json,
        text=lambda: collateral_text.result_text(results),
    )
    errors = [result for _, result in results if isinstance(result, TouchstoneError)]
    if any(isinstance(error, UnavailableError) for error in errors):
        sys.exit(ExitCode.UNAVAILABLE)
    if errors:
        sys.exit(ExitCode.NEGATIVE)


def _open(
    options: dict[str, Any], *, must_exist: bool = True
) -> tuple[EndorsementStore, datetime, Settings]:
    from service import collateral
    from verifier.endorsements.store import require_folder

    settings = load_settings(options["config"], options["data_dir"])
    folder = options["folder"] or settings.collateral_dir
    if must_exist:
        require_folder(folder)
    return collateral.open_store(folder), instant(options["at"]), settings


def _sources(settings: Settings, options: dict[str, Any]) -> tuple[Sources, CollateralSettings]:
    from common.errors import Malformed
    from service import collateral

    given: dict[str, tuple[str, ...]] = {}
    for text in options["sources"]:
        vendor, _, url = text.partition("=")
        if not url or not vendor.isalnum():
            raise Malformed("--source is VENDOR=URL")
        given[vendor] = (*given.get(vendor, ()), url)
    changes = {"ca_file": options["ca_file"], "allow_private": options["allow_private"] or None}
    section = collateral.section_of(settings).model_copy(
        update={name: value for name, value in changes.items() if value is not None}
    )
    return collateral.sources_of(section, given), section


def _listed(options: dict[str, Any]) -> tuple[Listed, ...]:
    from service import collateral
    from verifier.endorsements.listing import listed

    store, now, settings = _open(options)
    return listed(store, now, expiring=timedelta(days=collateral.section_of(settings).expiring_days))
