"""The endorsement store of this machine: its kinds, its folder, whom it asks.

The kinds are those that TEEs name in their records, and those of the vendors in ``verifier.endorsements``.
Hosts that may be asked are those of ``[fetch] allowed_hosts``, of the sources in ``[collateral]`` and of a
command's options: all of them written down by whoever runs this machine.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from common.errors import Conflict, InvalidSetting, TouchstoneError
from common.fetch import FetchLimits, HttpFetcher
from verifier.endorsements import amd_kinds, intel_addresses, intel_kinds
from verifier.endorsements.fetching import Fetched, Origin, asks_of, fetch
from verifier.endorsements.kinds import Sources
from verifier.endorsements.store import EndorsementStore
from verifier.tees import TEES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime
    from pathlib import Path
    from typing import Any

    from service.sections_collateral import CollateralSettings
    from service.settings import Settings
    from verifier.endorsements.kinds import Ask, CollateralKind

# Beside each base: addresses that its vendor serves elsewhere.
_ELSEWHERE: Final = {intel_addresses.PCS: (intel_addresses.ROOT_CRL_URL,)}


def kinds_of_tees() -> dict[str, tuple[CollateralKind, ...]]:
    """TEE to the kinds of items that its verification needs; TEEs without any are left out."""
    known = {
        "sgx": intel_kinds.kinds("sgx"),
        "snp": amd_kinds.kinds(),
        "tdx": intel_kinds.kinds("tdx"),
    }
    named = {tee.name: tee.collateral for tee in TEES.values() if tee.collateral}
    return dict(sorted((known | named).items()))


def open_store(folder: Path) -> EndorsementStore:
    """The store in a folder, with the kinds of all TEEs."""
    return EndorsementStore(folder, [kind for kinds in kinds_of_tees().values() for kind in kinds])


def section_of(settings: Settings) -> CollateralSettings:
    """``[collateral]``."""
    return settings.collateral


def sources_of(section: CollateralSettings, more: Mapping[str, tuple[str, ...]] | None = None) -> Sources:
    """Whom the settings name; those of ``more`` (vendor to bases) in the place of its vendor's."""
    bases = {amd_kinds.VENDOR: section.kds_urls, intel_addresses.VENDOR: section.pcs_urls, **(more or {})}
    return Sources(
        bases=bases,
        update=section.pcs_update,
        max_age={intel_addresses.VENDOR: timedelta(days=section.pcs_max_age_days)},
    )


def fetcher_of(
    settings: Settings,
    sources: Sources,
    *,
    section: CollateralSettings | None = None,
    keep_failure_s: float = 60.0,
) -> HttpFetcher:
    """What asks the sources.

    Args:
        settings: limits, allowed hosts.
        sources: whose hosts are allowed too.
        section: ``[collateral]``; that of the settings otherwise.
        keep_failure_s: how long a failure is given again without asking.

    Raises:
        InvalidSetting: a base is no ``https`` address.
    """
    section = section or section_of(settings)
    bases = [base for found in sources.bases.values() for base in found]
    bases += [url for base in bases for url in _ELSEWHERE.get(base.rstrip("/"), ())]
    hosts = {*settings.fetch.allowed_hosts, *(_host(base) for base in bases)}
    limits = FetchLimits(
        timeout_s=settings.fetch.timeout_s,
        max_bytes=settings.fetch.max_bytes,
        keep_failure_s=keep_failure_s,
    )
    return HttpFetcher(
        sorted(hosts), limits=limits, ca_file=section.ca_file, allow_private=section.allow_private
    )


def asks_for(tee: str, given: Mapping[str, str], sources: Sources, evidence: Any | None) -> tuple[Ask, ...]:
    """What to ask for: of parameters, or everything that a piece of evidence needs.

    Args:
        tee: whose kinds.
        given: parameters; they win over those in evidence.
        sources: whom.
        evidence: document of that TEE.

    Raises:
        InputError: a parameter is none, the evidence is broken, or nothing follows from what is given.
        EndorsementError, EvidenceError: the evidence does not bear out whose it is.
    """
    kinds = kinds_of_tees()[tee]
    if evidence is None:
        found = asks_of(kinds, given, sources)
    else:
        found = tuple(
            ask
            for kind in kinds
            for need in kind.needs(evidence)
            for ask in kind.asks({**need, **given}, sources)
        )
    if not found:
        raise Conflict(
            "nothing to fetch follows from what is given",
            advice="Give the options that name the platform, or evidence that lacks something.",
        )
    return found


def asks_again(store: EndorsementStore, sources: Sources) -> tuple[Ask, ...]:
    """Every item at hand that changes, and can be asked for."""
    return tuple(
        ask
        for held in store.items()
        if (kind := store.kind_of(held.item.name)).changes
        if (given := kind.again(held.item.name)) is not None
        for ask in kind.asks(given, sources)
        if ask.name == held.item.name
    )


def fetch_all(
    store: EndorsementStore, origin: Origin, asks: Iterable[Ask], now: datetime
) -> Iterator[tuple[Ask, Fetched | TouchstoneError]]:
    """Ask for each item anew; one that fails does not keep the others from it.

    Raises:
        InvalidSetting: the folder cannot be written.
    """
    for ask in asks:
        try:
            yield ask, fetch(store, origin, ask, now, stale=lambda _: True)
        except InvalidSetting:
            raise
        except TouchstoneError as error:
            yield ask, error


def _host(base: str) -> str:
    try:
        parts = urlsplit(base)
        port = parts.port
    except ValueError as error:
        raise InvalidSetting("a source of collateral is not a URL") from error
    if parts.scheme != "https" or not parts.hostname or parts.query or parts.fragment or parts.username:
        raise InvalidSetting("a source of collateral is not https://host[:port][/path]")
    return parts.hostname if port is None else f"{parts.hostname}:{port}"
