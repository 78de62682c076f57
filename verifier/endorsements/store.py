"""The folder of endorsements: items of registered kinds, verified before they are written.

Order of ``keep``: the kind by the name; sizes and companions; verification down to a pinned root; dates;
rules that outlast items (high-water marks); under the writers' lock, the one at hand: what is newer stays.
Then everything is written at once.

Invariants:

* What does not verify is never written, and replaces nothing.
* A newer item is never replaced by an older one. What never changes is never replaced by anything, unless
  what is at hand does not verify.
* This folder is a cache, not a root of trust: whoever uses an item verifies it again.
* Files are read again when they change; an item and its companions are read together.
* Without a folder everything is in memory, under the same rules.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from contextlib import nullcontext
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from common.errors import EndorsementError, InputError, InvalidSetting, NotFound, TooLarge
from common.files import read_limited, write_public_together
from verifier.endorsements.kinds import CollateralKind, Facts, Item, checked_name, companion_name
from verifier.endorsements.locks import Locks
from verifier.errors import EndorsementOutdated

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_MAX_HELD: Final = 4096
_Stamp = tuple[int, int, int]


class Held(msgspec.Struct):
    """An item at hand.

    Attributes:
        item: its bytes.
        got: when its file was written, UTC.
        stamps: inode, nanoseconds and size of each of its files.
        facts: what it says of itself; None where it does not verify, or nobody asked yet.
        judged: whether somebody asked.
    """

    item: Item
    got: datetime
    stamps: tuple[_Stamp, ...]
    facts: Facts | None = None
    judged: bool = False


class Kept(msgspec.Struct, frozen=True):
    """What became of an item.

    Attributes:
        name: of the item.
        outcome: ``new``, ``replaced``, ``same``, or ``older``: the one at hand stayed.
        facts: of the item that was given.
    """

    name: str
    outcome: str
    facts: Facts


class EndorsementStore:
    """Items in a folder, or in memory.

    Args:
        folder: where; it need not exist. None: in memory.
        kinds: of items; what is of none of them is not seen.
        locks: those of the folder by default.
    """

    def __init__(
        self, folder: Path | None, kinds: Sequence[CollateralKind], *, locks: Locks | None = None
    ) -> None:
        """Read nothing yet."""
        self.folder = folder
        self.kinds = tuple({kind.name: kind for kind in kinds}.values())
        self.locks = locks or Locks(folder)
        self._lock = threading.Lock()
        self._known: OrderedDict[str, Held] = OrderedDict()
        self._places = lru_cache(maxsize=_MAX_HELD)(self._place)

    def kind_of(self, name: str) -> CollateralKind:
        """The kind of a name.

        Raises:
            InvalidIdentifier: it could lead out of the folder.
            NotFound: of none.
        """
        kind = next((kind for kind in self.kinds if kind.owns(checked_name(name))), None)
        if kind is None:
            raise NotFound(f"no kind of endorsement is called {name}")
        return kind

    def held(self, name: str, *, locked: bool = False) -> Held | None:
        """An item as it is now; None: there is none. Nothing vouches for it.

        Args:
            name: of the item.
            locked: the caller has the writers' lock.

        Raises:
            NotFound: the name is of no kind. TooLarge: the file is.
        """
        if self.folder is None:
            return self._known.get(name)
        kind, paths = self._places(name)
        stamps = _stamps(paths)
        if stamps is None:
            return None
        known = self._known.get(name)
        if known is None or known.stamps != stamps:
            with nullcontext() if locked else self.locks.shared():
                known = self._read(kind, name, paths)
            if known is not None:
                self._remember(name, known)
        return known

    def facts(self, name: str, now: datetime) -> Facts | None:
        """What the item at hand says of itself; None where there is none, or it does not verify."""
        return self._facts(self.held(name), now)

    def _facts(self, held: Held | None, now: datetime) -> Facts | None:
        if held is None:
            return None
        if not held.judged:
            try:
                held.facts = self.examine(held.item, now)
            except (EndorsementError, InputError):
                held.facts = None
            held.judged = True
        return held.facts

    def examine(self, item: Item, now: datetime) -> Facts:
        """Verify an item, without regard to its dates and to what is at hand.

        Raises:
            InputError: not of a kind, too large, broken. EndorsementError: it does not hold.
        """
        kind = self.kind_of(item.name)
        for name, data in kind.files(item).items():
            if len(data) > kind.max_bytes:
                raise TooLarge(f"{name} has {len(data)} bytes, the limit is {kind.max_bytes}")
        return kind.verify(item, now)

    def admit(self, item: Item, now: datetime) -> Facts:
        """Verify an item as one that is to be kept: it is in force, and no rule of its kind excludes it.

        Raises:
            InputError, EndorsementError: as ``examine``.
            EndorsementOutdated: it is not in force.
        """
        facts = self.examine(item, now)
        if not facts.in_force(now):
            raise EndorsementOutdated(
                f"{item.name} is in force from {facts.issued} to {facts.not_after}, not at {now}"
            )
        admission = self.kind_of(item.name).admission
        if admission is not None:
            admission.require(self.folder, item, facts)
        return facts

    def keep(self, item: Item, now: datetime) -> Kept:
        """Verify an item, and write it.

        Raises:
            InputError, EndorsementError: as ``admit``.
            EndorsementOutdated: the one at hand is newer.
            InvalidSetting: the folder cannot be written.
        """
        (kept,) = self.keep_all((item,), now)
        if kept.outcome == "older":
            raise EndorsementOutdated(f"{item.name} is older than the one at hand")
        return kept

    def keep_all(self, items: Iterable[Item], now: datetime) -> tuple[Kept, ...]:
        """Verify all items, then write them all: or none.

        What is older than the one at hand is left out.

        Raises:
            InputError, EndorsementError: as ``admit``; nothing was written.
            InvalidSetting: the folder cannot be written.
        """
        admitted = [(item, self.admit(item, now)) for item in items]
        with self.locks.exclusive():
            decided = [(item, facts, self._outcome(item, facts, now)) for item, facts in admitted]
            chosen = [(item, facts) for item, facts, outcome in decided if outcome != "older"]
            # Marks are raised before their items are there: the other way round, a stop in between would
            # leave an item that no mark protects.
            for item, facts in chosen:
                admission = self.kind_of(item.name).admission
                if admission is not None:
                    admission.require(self.folder, item, facts)
                    admission.note(self.folder, item, facts)
            self._write([item for item, _ in chosen], now)
        return tuple(Kept(item.name, outcome, facts) for item, facts, outcome in decided)

    def items(self) -> Iterator[Held]:
        """Every item of a known kind, by kind and name; one that cannot be read, without its bytes."""
        if self.folder is None:
            yield from (self._known[name] for name in sorted(self._known))
            return
        for kind in self.kinds:
            for path in sorted(self.folder.glob(kind.glob)):
                name = path.relative_to(self.folder).as_posix()
                if path.is_file() and not path.name.startswith("."):
                    yield self._listed(kind, name)

    def _listed(self, kind: CollateralKind, name: str) -> Held:
        try:
            held = self.held(name)
        except InputError:
            held = None
        return held or Held(Item(name, b"", dict.fromkeys(kind.companions, b"")), datetime.now(UTC), ())

    def _outcome(self, item: Item, facts: Facts, now: datetime) -> str:
        try:
            held = self.held(item.name, locked=True)
        except TooLarge:
            return "replaced"
        if held is None:
            return "new"
        if held.item == item:
            return "same"
        before = self._facts(held, now)
        if before is None:
            return "replaced"
        if not self.kind_of(item.name).changes:
            return "older"
        return "older" if facts.older_than(before) else "replaced"

    def _write(self, items: Sequence[Item], now: datetime) -> None:
        if self.folder is None:
            for item in items:
                self._remember(item.name, Held(item, now, ()))
            return
        files: dict[Path, bytes] = {}
        for item in items:
            # Companions last: they take their places first.
            for name, data in self.kind_of(item.name).files(item).items():
                files[self.folder / name] = data
        write_public_together(files)

    def _remember(self, name: str, held: Held) -> None:
        with self._lock:
            self._known[name] = held
            self._known.move_to_end(name)
            while len(self._known) > _MAX_HELD:
                self._known.popitem(last=False)

    def _place(self, name: str) -> tuple[CollateralKind, tuple[str, ...]]:
        kind = self.kind_of(name)
        names = (name, *(companion_name(name, ending) for ending in kind.companions))
        return kind, tuple(os.path.join(str(self.folder), part) for part in names)  # noqa: PTH118 (hot path)

    def _read(self, kind: CollateralKind, name: str, paths: tuple[str, ...]) -> Held | None:
        stamps = _stamps(paths)
        if stamps is None:
            return None
        try:
            data, *companions = (
                read_limited(Path(path), what=kind.title, max_bytes=kind.max_bytes) for path in paths
            )
        except NotFound:
            return None
        item = Item(name, data, dict(zip(kind.companions, companions, strict=True)))
        return Held(item, datetime.fromtimestamp(stamps[0][1] / 1e9, UTC), stamps)


def _stamps(paths: tuple[str, ...]) -> tuple[_Stamp, ...] | None:
    try:
        found = [os.stat(path) for path in paths]  # noqa: PTH116 (on the hot path)
    except OSError:
        return None
    return tuple((status.st_ino, status.st_mtime_ns, status.st_size) for status in found)


def require_folder(folder: Path) -> Path:
    """A folder that exists.

    Raises:
        InvalidSetting: it does not.
    """
    if not folder.is_dir():
        raise InvalidSetting(f"there is no folder {folder}", advice="Name the endorsement store's folder.")
    return folder
