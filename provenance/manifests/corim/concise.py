"""corim-map and its tags: identity, validity, profile, and which CoMIDs are active.

Order: decode (tag 501; the outer tag 500 of older drafts is taken off) -> members -> validity at ``now`` ->
profile accepted by the trust root -> every CoMID and tag list -> no tag id twice -> activation, where the
trust root asks for it.

A concise tag list (CoTL) activates tags: with activation on, a CoMID counts only if a list that is valid
now names its id and version. Lists come in the CoRIM itself or in signed CoRIMs that the trust root
carries. CoSWID tags are not read and are named as such; other tags are refused.

Not done: dependent RIMs are not fetched; they are named in ``unsupported``.

Source: draft-ietf-rats-corim-11 sections 4.1, 6 and 7.3, appendix A.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final, NoReturn

import msgspec
from cbor2 import CBORTag

from provenance.errors import ManifestMalformed, ManifestNotValid
from provenance.manifests.corim import cbor, comid, identifiers, profiles
from provenance.manifests.corim.comid import Comid, TagId  # noqa: TC001 (msgspec resolves them)

UNSIGNED_TAG: Final = 501
_OUTER_TAG: Final = 500  # drafts before 07: corim = #6.500(...)
_COSWID_TAG, _COMID_TAG, _COTL_TAG = 505, 506, 508
_URI_TAG, _TIME_TAG = 32, 1
_TAGS: Final = identifiers.TAGS | {
    UNSIGNED_TAG,
    _OUTER_TAG,
    _COSWID_TAG,
    _COMID_TAG,
    _COTL_TAG,
    _URI_TAG,
    _TIME_TAG,
}
_ID, _TAG_LIST, _DEPENDENT, _PROFILE, _VALIDITY, _ENTITIES = range(6)
_MAX_TAGS: Final = 256
# Seconds since 1970 that a datetime can hold: the end of year 9999.
_LAST_SECOND: Final = 253402300799


class Period(msgspec.Struct, frozen=True):
    """A validity-map, both ends included; ``start`` may be open."""

    start: datetime | None
    end: datetime

    def require(self, now: datetime, what: str) -> None:
        """Demand that ``now`` lies in it.

        Raises:
            ManifestNotValid: it does not.
        """
        if now > self.end or (self.start is not None and now < self.start):
            expired(what, now)


class TagList(msgspec.Struct, frozen=True):
    """A CoTL: the tags that it activates, and until when."""

    tags: frozenset[TagId]
    period: Period


class Corim(msgspec.Struct, frozen=True):
    """A corim-map.

    Attributes:
        id: ``text:...`` or ``uuid:...``.
        profile: URI, or ``oid:...``; None where it has none.
        comids: its CoMIDs.
        lists: its tag lists.
        unsupported: what is in it and not read.
        period: its validity.
    """

    id: str
    profile: str | None
    comids: tuple[Comid, ...]
    lists: tuple[TagList, ...]
    unsupported: tuple[str, ...]
    period: Period | None


def parse(data: bytes, *, now: datetime, accepted_profiles: tuple[str, ...]) -> Corim:
    """Read a CoRIM, whose signature was verified or whose bytes are accepted without one.

    Args:
        data: tag 501, encoded.
        now: for its validity.
        accepted_profiles: what the trust root accepts. A profile may change what members mean.

    Raises:
        ManifestMalformed: not one, or it says what cannot be read.
        ManifestNotValid: outside its validity.
    """
    value = cbor.decode(data, what="the CoRIM", tags=_TAGS)
    if isinstance(value, CBORTag) and value.tag == _OUTER_TAG:
        value = value.value
    if not isinstance(value, CBORTag) or value.tag != UNSIGNED_TAG:
        raise ManifestMalformed("the CoRIM has no tag 501")
    corim = value.value
    known = {_ID, _TAG_LIST, _DEPENDENT, _PROFILE, _VALIDITY, _ENTITIES}
    if not isinstance(corim, dict) or not {_ID, _TAG_LIST} <= set(corim) <= known:
        raise ManifestMalformed("the CoRIM lacks its id or tags, or has a member that is not read")
    period = period_of(corim[_VALIDITY]) if _VALIDITY in corim else None
    if period is not None:
        period.require(now, "the CoRIM")
    profile = _profile(corim.get(_PROFILE))
    if profile is not None and profile not in accepted_profiles:
        raise ManifestMalformed(f"the CoRIM's profile {profile[:80]!a} is not one that the root accepts")
    comids, lists, others = _tags(corim[_TAG_LIST], scalars=profile == profiles.TOUCHSTONE)
    profiles.require(profile, comids)
    unsupported = {*others, *(name for item in comids for name in item.unsupported)}
    if _DEPENDENT in corim:
        unsupported.add("dependent-rims")
    return Corim(comid.id_text(corim[_ID]), profile, comids, lists, tuple(sorted(unsupported)), period)


def activate(comids: tuple[Comid, ...], lists: tuple[TagList, ...], now: datetime) -> tuple[Comid, ...]:
    """The CoMIDs that a tag list valid at ``now`` names, by id and version.

    Raises:
        ManifestNotValid: none is.
    """
    active: set[TagId] = set()
    for item in lists:
        try:
            item.period.require(now, "a tag list")
        except ManifestNotValid:
            continue
        active |= item.tags
    chosen = tuple(item for item in comids if item.id in active)
    if not chosen:
        raise ManifestNotValid(
            "no CoMID is activated by a tag list that is valid now, as the root asks for"
        )
    return chosen


def period_of(value: object) -> Period:
    """Read a ``validity-map``: times are tag 1, whole seconds.

    Raises:
        ManifestMalformed: not one.
    """
    if not isinstance(value, dict) or not {1} <= set(value) <= {0, 1}:
        raise ManifestMalformed("a validity is not a validity-map")
    return Period(instant(value[0]) if 0 in value else None, instant(value[1]))


def instant(value: object) -> datetime:
    """A time: tag 1, or the plain number of a CWT claim.

    Raises:
        ManifestMalformed: not whole seconds between 1970 and 9999.
    """
    if isinstance(value, CBORTag) and value.tag == _TIME_TAG:
        value = value.value
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _LAST_SECOND:
        raise ManifestMalformed("a time is not in whole seconds between 1970 and 9999")
    return datetime.fromtimestamp(value, UTC)


def expired(what: str, now: datetime) -> NoReturn:
    """Refuse.

    Raises:
        ManifestNotValid: always.
    """
    raise ManifestNotValid(f"{what} is not valid at {now.isoformat()}")


def _profile(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, CBORTag) and value.tag == identifiers.OID:
        return f"oid:{identifiers.oid(value.value)}"
    if isinstance(value, CBORTag) and value.tag == _URI_TAG:
        value = value.value
    return identifiers.text(value, "the profile")


def _tags(value: object, *, scalars: bool) -> tuple[tuple[Comid, ...], tuple[TagList, ...], set[str]]:
    if not isinstance(value, list) or not 1 <= len(value) <= _MAX_TAGS:
        raise ManifestMalformed(f"the CoRIM has no tags, or more than {_MAX_TAGS}")
    comids, lists, others = [], [], set()
    seen: set[str] = set()
    for tag in value:
        if not isinstance(tag, CBORTag) or not isinstance(tag.value, bytes):
            raise ManifestMalformed("a tag of the CoRIM is not a tagged byte string")
        if tag.tag == _COMID_TAG:
            item = comid.parse(tag.value, scalars=scalars)
            comids.append(item)
            _once(seen, item.id[0])
        elif tag.tag == _COTL_TAG:
            name, tag_list = _tag_list(tag.value)
            lists.append(tag_list)
            _once(seen, name)
        elif tag.tag == _COSWID_TAG:
            others.add("coswid-tags")
        else:
            raise ManifestMalformed(f"the CoRIM has a tag {tag.tag}, which is not known")
    return tuple(comids), tuple(lists), others


def _once(seen: set[str], name: str) -> None:
    # Section 5.1.1.1: the tag id is the key for look-ups. Two versions in one CoRIM contradict each other.
    if name in seen:
        raise ManifestMalformed("the CoRIM has one tag id twice")
    seen.add(name)


def _tag_list(data: bytes) -> tuple[str, TagList]:
    value = cbor.decode(data, what="a tag list", tags=frozenset({_TIME_TAG, identifiers.UUID}))
    if not isinstance(value, dict) or set(value) != {0, 1, 2}:
        raise ManifestMalformed("a tag list is not a concise-tl-tag")
    tags = value[1]
    if not isinstance(tags, list) or not tags:
        raise ManifestMalformed("a tag list names no tag")
    return comid.tag_id(value[0])[0], TagList(
        frozenset(comid.tag_id(item) for item in tags), period_of(value[2])
    )
