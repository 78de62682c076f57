"""Fuzz targets of the endorsement store: bundles, items of every kind, collateral of quotes, marks."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime

from common.errors import TouchstoneError
from verifier.endorsements import amd_kinds, bundle, intel_import, intel_kinds
from verifier.endorsements.intel_addresses import der_list
from verifier.endorsements.kinds import Item
from verifier.endorsements.store import EndorsementStore

_NOW = datetime(2026, 1, 1, tzinfo=UTC)
_KINDS = (*amd_kinds.kinds(), *intel_kinds.kinds("tdx"), *intel_kinds.kinds("sgx"))
_NAMES = (
    "crl/vcek-Milan.crl",
    f"vcek/{'00' * 64}/vcek.der",
    "intel/root-ca.crl",
    "intel/pck-platform.crl",
    "intel/tdx/tcb-00806f050000.json",
    "intel/sgx/qe-identity.json",
)


def whole_bundle(data: bytes) -> None:
    """A bundle."""
    with contextlib.suppress(TouchstoneError):
        bundle.unpack(EndorsementStore(None, _KINDS), data, _NOW)


def item(data: bytes) -> None:
    """One item of the kind that the first byte chooses; the second says where its chain begins."""
    if len(data) < 2:
        return
    name = _NAMES[data[0] % len(_NAMES)]
    body, chain = data[2 : 2 + data[1]], data[2 + data[1] :]
    store = EndorsementStore(None, _KINDS)
    companions = dict.fromkeys(store.kind_of(name).companions, chain)
    with contextlib.suppress(TouchstoneError):
        store.keep(Item(name, body, companions), _NOW)


def quote_collateral(data: bytes) -> None:
    """Collateral of a quote as one JSON object."""
    with contextlib.suppress(TouchstoneError):
        intel_import.items_of(data)


def revocation_list(data: bytes) -> None:
    """A list in DER, PEM or hex."""
    with contextlib.suppress(TouchstoneError):
        der_list(data)


TARGETS = {
    "collateral-bundle": whole_bundle,
    "collateral-item": item,
    "collateral-quote": quote_collateral,
    "collateral-list": revocation_list,
}
