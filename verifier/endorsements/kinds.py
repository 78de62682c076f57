"""What an item of the endorsement store is: its name, how it is verified, where it is asked for.

An item is a file below the store's folder, at times with companions (the chain of its signer). Its kind is
told by its name alone. A kind knows nothing of files, clocks or connections: it is given bytes and a time.

Invariants:

* ``verify`` gives facts only of what leads to a pinned root. Whether it is still in force is for whoever
  asks to hold against the dates in the facts: an item may be genuine and expired.
* Addresses are made of configured bases, constants and parsed parameters. No address out of evidence, of a
  certificate or of an answer is ever asked.
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec

from common.errors import InvalidIdentifier, Malformed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime, timedelta
    from pathlib import Path

    from common.fetch import Answer

_NAME: Final = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9._-]{0,127}/){0,4}[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
MAX_ITEM_BYTES: Final = 2 << 20


class Item(msgspec.Struct, frozen=True):
    """One item, as it is on disk.

    Attributes:
        name: path of its file below the store's folder, with ``/``.
        data: the file.
        companions: ending of a companion's name to its bytes (``.chain.pem``).
    """

    name: str
    data: bytes
    companions: Mapping[str, bytes] = {}


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What a verified item says of itself.

    Attributes:
        subject: whose it is, for readers (``Milan``, an FMSPC, a chip).
        issued: from when it is in force, UTC; None: it has no dates.
        not_after: until when: next update of a list, end of a certificate, UTC; None: it has no end.
        number: the evaluation that it belongs to, where its vendor counts them.
        revoked: entries of a list.
    """

    subject: str
    issued: datetime | None = None
    not_after: datetime | None = None
    number: int | None = None
    revoked: int | None = None

    def begun(self, now: datetime) -> bool:
        """Whether it has been issued at ``now``."""
        return self.issued is None or self.issued <= now

    def in_force(self, now: datetime) -> bool:
        """Whether it counts at ``now``."""
        return self.begun(now) and (self.not_after is None or now <= self.not_after)

    def ends_within(self, span: timedelta, now: datetime) -> bool:
        """Whether it ends within ``span`` of ``now``, or has ended."""
        return self.not_after is not None and self.not_after - now < span

    def older_than(self, other: Facts) -> bool:
        """Whether it was issued before another of the same item, or is of an earlier evaluation."""
        before = self.issued is not None and other.issued is not None and self.issued < other.issued
        return before or (self.number or 0) < (other.number or 0)


class Parameter(msgspec.Struct, frozen=True):
    """What a kind must be told before it can ask.

    Attributes:
        name: of the option, without dashes.
        help: for readers.
        metavar: what a value looks like.
    """

    name: str
    help: str
    metavar: str


class Ask(msgspec.Struct, frozen=True):
    """One item that can be asked for.

    Attributes:
        name: that it will have.
        urls: where, in the order in which they are tried.
    """

    name: str
    urls: tuple[str, ...]


class Sources(msgspec.Struct, frozen=True, kw_only=True):
    """Where vendors' services are asked: bases in the order in which they are tried.

    Attributes:
        bases: vendor (``amd``, ``intel``) to bases, without a slash at their end.
        update: Intel: which of two evaluations of a TCB recovery (``standard`` or ``early``).
        max_age: vendor to how long ago what its sources give may have been issued, of kinds that are
            renewed often; no entry: until it ends.
    """

    bases: Mapping[str, tuple[str, ...]] = {}
    update: str = "standard"
    max_age: Mapping[str, timedelta] = {}

    def of(self, vendor: str, *default: str) -> tuple[str, ...]:
        """The bases of a vendor; its own service where none is configured."""
        return tuple(base.rstrip("/") for base in self.bases.get(vendor) or default)


class Admission(Protocol):
    """Rules of a kind that outlast its items: a high-water mark beside them in the folder."""

    def require(self, folder: Path | None, item: Item, facts: Facts) -> None:
        """Refuse an item that the rules exclude.

        Raises:
            EndorsementError: they do.
        """

    def note(self, folder: Path | None, item: Item, facts: Facts) -> None:
        """Remember an item that is kept."""


def body_alone(answer: Answer) -> tuple[bytes, dict[str, bytes]]:
    """Data and companions of an answer that is the item itself."""
    return answer.body, {}


class CollateralKind(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of item.

    Attributes:
        name: ``snp.crl``, ``tdx.tcb-info``.
        title: for readers.
        vendor: whose sources are asked (``Sources``).
        glob: names of its items below the folder; ``*`` does not cross a ``/``. Globs of different kinds do
            not meet.
        verify: facts of an item, verified down to a pinned root; raises EndorsementError or InputError. The
            answer is kept for as long as the item's files stay the same.
        companions: endings of the files that belong to an item, in place of its own ending.
        max_bytes: of each of its files.
        changes: whether newer ones are issued; what never changes is kept without end.
        renewed_often: whether the greatest age of its vendor's items bounds it (``Sources.max_age``): not a
            list that is issued once a year.
        parameters: what ``asks`` understands, for every kind of the same TEE under the same names.
        asks: of parameters, the items to ask for; none where a parameter that it needs is not given. Raises
            InputError for a value that is none.
        unpack: data and companions of an answer.
        again: the parameters that a name was asked by; None: not to be asked for.
        needs: of an evidence document, the parameters of each item that its verification needs.
        admission: see there.
    """

    name: str
    title: str
    vendor: str
    glob: str
    verify: Callable[[Item, datetime], Facts]
    companions: tuple[str, ...] = ()
    max_bytes: int = 256 * 1024
    changes: bool = True
    renewed_often: bool = False
    parameters: tuple[Parameter, ...] = ()
    asks: Callable[[Mapping[str, str], Sources], tuple[Ask, ...]] = lambda _given, _sources: ()
    unpack: Callable[[Answer], tuple[bytes, dict[str, bytes]]] = body_alone
    again: Callable[[str], Mapping[str, str] | None] = lambda _name: None
    needs: Callable[[Any], tuple[Mapping[str, str], ...]] = lambda _evidence: ()
    admission: Admission | None = None

    def owns(self, name: str) -> bool:
        """Whether a name is of this kind."""
        parts, patterns = name.split("/"), self.glob.split("/")
        return len(parts) == len(patterns) and all(map(fnmatchcase, parts, patterns))

    def files(self, item: Item) -> dict[str, bytes]:
        """Name to bytes of all of an item's files.

        Raises:
            Malformed: a companion is missing, or there is one too many.
        """
        if set(item.companions) != set(self.companions):
            raise Malformed(f"{item.name} has not the companions {', '.join(self.companions) or 'none'}")
        found = {item.name: item.data}
        for ending, data in item.companions.items():
            found[companion_name(item.name, ending)] = data
        return found


def checked_name(name: str) -> str:
    """A name that cannot lead out of the folder.

    Raises:
        InvalidIdentifier: another.
    """
    if _NAME.fullmatch(name) is None:
        raise InvalidIdentifier(
            "names in the endorsement store are relative paths of letters, digits, . _ -"
        )
    return name


def companion_name(name: str, ending: str) -> str:
    """Name of a companion: ``intel/tdx/qe-identity.json`` and ``.chain.pem`` to its ``….chain.pem``."""
    path = PurePosixPath(name)
    return str(path.with_name(path.stem + ending))
