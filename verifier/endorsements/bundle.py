"""The store as one file, to be carried where nothing can be fetched.

A bundle is a JSON document::

    {"format": "touchstone-collateral-1", "created": "…",
     "manifest": [{"name": "crl/vcek-Milan.crl", "kind": "snp.crl",
                   "files": {"crl/vcek-Milan.crl": "<SHA-256>"}}],
     "contents": {"crl/vcek-Milan.crl": "<base64>"}}

Order of ``unpack``: strict JSON; form; every file that the manifest names is there with its digest, and no
other; every item verified by its kind, as one that is to be kept; then all are written, or none.

Invariants:

* The manifest shows that a file arrived whole. It is no authority: an item counts because it leads to a
  pinned root, wherever it came from.
* What is missing cannot be seen in the bundle itself: compare the bundle's own digest, which is shown where
  it is made and where it is read.
"""

from __future__ import annotations

import hashlib
from datetime import datetime  # noqa: TC003 (msgspec resolves it at run time)
from typing import TYPE_CHECKING, Final

import msgspec

from common import strict_json
from common.encoding import b64_decode, b64_encode
from common.errors import Malformed
from verifier.endorsements.kinds import Item, companion_name
from verifier.endorsements.listing import judge

if TYPE_CHECKING:
    from collections.abc import Collection

    from verifier.endorsements.listing import Listed
    from verifier.endorsements.store import EndorsementStore, Kept

FORMAT: Final = "touchstone-collateral-1"
MAX_BYTES: Final = 64 << 20
_USABLE: Final = ("valid", "expiring")


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One item of the manifest.

    Attributes:
        name: of the item.
        kind: of the item.
        files: name of each of its files to the SHA-256 of its bytes, hex.
    """

    name: str
    kind: str
    files: dict[str, str]


class Bundle(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The document; see the module."""

    format: str
    created: datetime
    manifest: tuple[Entry, ...]
    contents: dict[str, str]


def pack(
    store: EndorsementStore, now: datetime, *, kinds: Collection[str] | None = None
) -> tuple[bytes, tuple[Listed, ...], tuple[Listed, ...]]:
    """The items that are in force, as one file.

    Args:
        store: whose items.
        now: verification time.
        kinds: names of the kinds that are wanted; all otherwise.

    Returns:
        The file, what is in it, and what was left out because it does not hold or has expired.
    """
    taken: list[Listed] = []
    left: list[Listed] = []
    manifest: list[Entry] = []
    contents: dict[str, str] = {}
    for held in store.items():
        kind = store.kind_of(held.item.name)
        if kinds is not None and kind.name not in kinds:
            continue
        found = judge(store, held, now)
        if found.state not in _USABLE:
            left.append(found)
            continue
        taken.append(found)
        files = kind.files(held.item)
        contents |= {name: b64_encode(data) for name, data in files.items()}
        digests = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
        manifest.append(Entry(held.item.name, kind.name, digests))
    bundle = Bundle(FORMAT, now, tuple(manifest), contents)
    return msgspec.json.format(msgspec.json.encode(bundle), indent=1) + b"\n", tuple(taken), tuple(left)


def read(store: EndorsementStore, data: bytes) -> tuple[Item, ...]:
    """The items of a bundle, whole, and verified by nobody yet.

    Raises:
        InputError: not a bundle, not whole, or with an item that the store has no kind for.
    """
    document = strict_json.loads(data, what="collateral bundle", max_bytes=MAX_BYTES)
    try:
        bundle = msgspec.convert(document, Bundle)
    except msgspec.MsgspecError as error:
        raise Malformed(f"this is no collateral bundle: {error}") from error
    if bundle.format != FORMAT:
        raise Malformed("this is no collateral bundle of a form that is known here")
    items = tuple(_item(store, entry, bundle) for entry in bundle.manifest)
    if len({item.name for item in items}) != len(items):
        raise Malformed("the bundle names an item twice")
    if {name for entry in bundle.manifest for name in entry.files} != set(bundle.contents):
        raise Malformed("the bundle has a file that its manifest does not name")
    return items


def unpack(store: EndorsementStore, data: bytes, now: datetime) -> tuple[Kept, ...]:
    """Write all items of a bundle, or none; what is older than the one at hand is left out.

    Raises:
        InputError: as ``read``.
        EndorsementError: an item does not hold, or is not in force.
        InvalidSetting: the folder cannot be written.
    """
    return store.keep_all(read(store, data), now)


def _item(store: EndorsementStore, entry: Entry, bundle: Bundle) -> Item:
    kind = store.kind_of(entry.name)
    if kind.name != entry.kind:
        raise Malformed(f"{entry.name} is {kind.name}, not {entry.kind[:64]}")
    names = {ending: companion_name(entry.name, ending) for ending in kind.companions}
    if set(entry.files) != {entry.name, *names.values()}:
        raise Malformed(f"{entry.name} has not the files that its kind has")
    return Item(
        entry.name,
        _file(entry, bundle, entry.name),
        {ending: _file(entry, bundle, name) for ending, name in names.items()},
    )


def _file(entry: Entry, bundle: Bundle, name: str) -> bytes:
    if name not in bundle.contents:
        raise Malformed(f"the bundle is not whole: {name} is missing")
    data = b64_decode(bundle.contents[name], what=name)
    if hashlib.sha256(data).hexdigest() != entry.files[name]:
        raise Malformed(f"the bundle is not whole: {name} has another digest than its manifest says")
    return data
