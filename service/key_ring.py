"""Which token-signing keys there are, and what each may do at a given time. Pure: no file, no clock.

Keys stand in the order in which they begin to sign. At any time

* the *present* key signs: the last whose ``active_from`` has come;
* a *next* key, if there is one, is published already, so that relying parties know it in time;
* a *retired* key verifies for as long as the longest token that it can have signed lives.

Which is which follows from the document and the time alone: every process that has read the document
turns to the next key at the same moment, without being told.

A key's certificate chain may be renewed. Tokens signed before carry the earlier chain, which stays in the
document for as long as such tokens live.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

# The longest lifetime that [token] lifetime_s admits: until then a retired key must verify.
MAX_TOKEN_LIFETIME = timedelta(days=1)


class EarlierChain(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A certificate chain that was replaced.

    Attributes:
        chain: DER certificates, leaf first, without the root.
        until: end of the longest token that can carry it.
    """

    chain: tuple[bytes, ...]
    until: datetime


class KeyEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One key.

    Attributes:
        jwk: its public JWK, with ``kid``.
        active_from: when it begins to sign.
        file: name of the private key in the folder; None for a key of the settings.
        chain: DER certificates, leaf first, without the root; empty before it is certified.
        earlier: chains that were replaced.
    """

    jwk: dict[str, str]
    active_from: datetime
    file: str | None = None
    chain: tuple[bytes, ...] = ()
    earlier: tuple[EarlierChain, ...] = ()

    @property
    def kid(self) -> str:
        """RFC 7638 thumbprint."""
        return self.jwk["kid"]


class Ring(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The document; ``token-keys.json``.

    Attributes:
        keys: in the order in which they begin to sign.
        version: of the format.
    """

    keys: tuple[KeyEntry, ...] = ()
    version: int = 1


def present(ring: Ring, now: datetime) -> KeyEntry | None:
    """The key that signs; None in an empty ring. Before every key's time the first signs."""
    begun = [key for key in ring.keys if key.active_from <= now]
    return begun[-1] if begun else ring.keys[0] if ring.keys else None


def upcoming(ring: Ring, now: datetime) -> KeyEntry | None:
    """The key that will sign next, if one is published."""
    current = present(ring, now)
    later = [key for key in ring.keys if key.active_from > now and key is not current]
    return later[0] if later else None


def retired_at(ring: Ring, kid: str) -> datetime | None:
    """When a key stops signing, if that is known."""
    kids = [key.kid for key in ring.keys]
    place = kids.index(kid) + 1
    return ring.keys[place].active_from if place < len(kids) else None


def verifying(ring: Ring, now: datetime) -> Iterator[tuple[KeyEntry, datetime | None]]:
    """Each key that a token may be signed with at ``now``, and until when: the present one first."""
    current = present(ring, now)
    ordered = sorted(ring.keys, key=lambda key: (key is not current, -key.active_from.timestamp()))
    for key in ordered:
        end = retired_at(ring, key.kid)
        until = None if end is None else end + MAX_TOKEN_LIFETIME
        if until is None or until > now:
            yield key, until


def appended(ring: Ring, key: KeyEntry, now: datetime) -> Ring:
    """With a further key; one that was still to come is dropped when the new one signs before it."""
    kept = tuple(old for old in ring.keys if old.active_from < key.active_from or old.active_from <= now)
    return Ring((*kept, key))


def replaced(ring: Ring, key: KeyEntry) -> Ring:
    """With the key of the same id changed."""
    return Ring(tuple(key if old.kid == key.kid else old for old in ring.keys))


def certified(key: KeyEntry, chain: tuple[bytes, ...], now: datetime) -> KeyEntry:
    """With another chain; the present one is kept for the tokens that carry it."""
    if chain == key.chain:
        return key
    earlier = key.earlier
    if key.chain:
        earlier = (*earlier, EarlierChain(key.chain, now + MAX_TOKEN_LIFETIME))
    return msgspec.structs.replace(key, chain=chain, earlier=earlier)


def pruned(ring: Ring, now: datetime) -> Ring:
    """Without the keys and chains that no living token can need."""
    living = {key.kid for key, _ in verifying(ring, now)}
    kept = [key for key in ring.keys if key.kid in living]
    return Ring(
        tuple(
            msgspec.structs.replace(key, earlier=tuple(old for old in key.earlier if old.until > now))
            for key in kept
        )
    )
