"""Compares our answers with those of the reference: equal, but for what must differ."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from tests.service.coco.kbs import claims_of
from tests.service.coco.replay import Observed
from tests.service.coco.transcripts import Exchange


def compare(exchange: Exchange, ours: Observed) -> Iterator[str]:
    theirs = exchange.response
    assert theirs is not None, exchange.key
    if ours.status != exchange.status:
        yield f"status {ours.status}, not {exchange.status}: {ours.body[:200]!r}"
        return
    expected = theirs.headers.get("content-type")
    given = ours.headers.get("Content-Type")
    if expected is None and ours.status >= 400 and ours.body:
        expected = "application/json"  # a difference: refusals say what they are
    if expected is not None and given != expected:
        yield f"content type {given}, not {expected}"
    if "set-cookie" in theirs.headers:
        yield from compare_cookies(theirs.headers["set-cookie"], ours.headers.get("Set-Cookie", ""))
    elif "Set-Cookie" in ours.headers:
        yield "a cookie where there was none"
    if "allow" in theirs.headers and ours.headers.get("Allow", "") != theirs.headers["allow"]:
        got = {name.strip() for name in ours.headers.get("Allow", "").split(",")}
        if got != {name.strip() for name in theirs.headers["allow"].split(",")}:
            yield f"allowed {got}"
    yield from compare_bodies(theirs.body, ours.body)


def compare_cookies(theirs: str, ours: str) -> Iterator[str]:
    name, *attributes = (part.strip() for part in theirs.split(";"))
    own_name, *own = (part.strip() for part in ours.split(";"))
    if own_name.partition("=")[0] != name.partition("=")[0]:
        yield f"cookie {ours}"
    given = [item.partition("=")[0] for item in own]
    if not {item.partition("=")[0] for item in attributes} <= set(given):
        yield f"cookie attributes {given}"
    if given[1:] != ["Path", "HttpOnly", "SameSite"]:
        yield f"cookie attributes {given}"


def compare_bodies(theirs: bytes, ours: bytes) -> Iterator[str]:
    if theirs == ours:
        return
    if theirs.startswith(b"eyJ"):
        yield from compare_tokens(theirs.decode(), ours.decode())
        return
    different = f"body {ours[:200]!r}, not {theirs[:200]!r}"
    if not theirs or not ours:
        yield different
        return
    one, other = json.loads(theirs), json.loads(ours)
    kind = next((kind for kind in _COMPARED if isinstance(one, dict) and kind <= one.keys()), None)
    if kind is None or (kind != _JWKS and list(one) != list(other)):
        yield different
        return
    yield from _COMPARED[kind](one, other)


def compare_challenges(theirs: Any, ours: Any) -> Iterator[str]:
    if len(theirs["nonce"]) != len(ours["nonce"]) or theirs["extra-params"] != ours["extra-params"]:
        yield f"challenge {ours}"


def compare_resources(theirs: Any, ours: Any) -> Iterator[str]:
    for name in theirs:
        if len(theirs[name]) != len(ours[name]):
            yield f"{name} has another length"


def compare_tokens(theirs: str, ours: str) -> Iterator[str]:
    yield from compare_members(claims_of("." + theirs), claims_of("." + ours), "header")
    yield from compare_members(claims_of(theirs), claims_of(ours), "")


VARY = frozenset({"iat", "exp", "build", "x", "y", "n", "nonce", "report_data"})


def compare_members(theirs: Any, ours: Any, path: str) -> Iterator[str]:
    """Ours may have more members; never fewer, of another type, or another value where that is given."""
    if type(theirs) is not type(ours):
        yield f"{path} is {type(ours).__name__}, not {type(theirs).__name__}"
    elif isinstance(theirs, dict):
        for name, value in theirs.items():
            if name not in ours:
                yield f"{path}/{name} is missing"
            else:
                yield from compare_members(value, ours[name], f"{path}/{name}")
    elif isinstance(theirs, list):
        for index, (one, other) in enumerate(zip(theirs, ours, strict=True)):
            yield from compare_members(one, other, f"{path}/{index}")
    elif path.rpartition("/")[2] in VARY:
        if isinstance(theirs, str) and path.rpartition("/")[2] != "build" and len(theirs) != len(ours):
            yield f"{path} has another length"
    elif theirs != ours:
        yield f"{path} is {ours!r}, not {theirs!r}"


_JWKS = frozenset({"keys"})
# By the members that a body has.
_COMPARED = {
    frozenset({"token"}): lambda one, other: compare_tokens(one["token"], other["token"]),
    frozenset({"nonce", "extra-params"}): compare_challenges,
    frozenset({"protected", "encrypted_key", "iv", "ciphertext", "tag"}): compare_resources,
    _JWKS: lambda one, other: compare_members(one, other, ""),
}
