"""Attestation tokens of other attestation services (passport mode): verified against what we configure.

Order of steps, for one token:

1. Which of the trusted issuers it can be from: those whose ``issuer`` is the token's ``iss``, and those
   without one. Nothing is believed yet.
2. The key. A header ``jwk`` needs an ``x5c`` chain that leads to a certificate of the issuer, and its leaf
   must hold the same key; a token without ``jwk`` names by ``kid`` a key of the issuer's JWK Sets. Nothing
   that a header names is fetched, and a ``jwk`` without a trusted chain is nobody's. Where two issuers have
   the key, the token is refused, not tried.
3. The algorithm, by the key alone (``coco.token_keys``): the header's must be the same.
4. The signature; then ``iss``, ``aud``, ``exp`` (mandatory), ``nbf``.
5. The TEE's public key, at the first JSON pointer (RFC 6901) that leads to an object.

Files are looked at once a second at most, and read anew when they changed; files that cannot be read leave
what was known, with an error in the log.
"""

from __future__ import annotations

import logging
from pathlib import Path  # noqa: TC003 (msgspec resolves it at run time)
from typing import TYPE_CHECKING, Any, Final

import msgspec
from cryptography import x509

from coco.errors import CocoSetting, ForeignTokenInvalid
from coco.numeric_date import numeric_date
from coco.token_keys import jwk_set, key_of_chain
from common import strict_json
from common.encoding import b64url_decode
from common.errors import InputError, TouchstoneError
from common.files import read_limited
from common.watch import WatchedFiles
from verifier.compact import MAX_TOKEN_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from coco.verifying_key import VerifyingKey

_LOG = logging.getLogger("touchstone.coco.issuers")
_MAX_FILE_BYTES: Final = 1 << 20
_SIGNATURE_PARTS: Final = 3
_NOT_BEFORE_LEEWAY_S: Final = 60  # the other service's clock may be ahead of ours
# Where tokens of known services hold the TEE's key (reference: KBS token verifier, in this order).
_TEE_KEY_PATHS: Final = (
    "/tdx/attester_runtime_data/tee-pubkey",
    "/tdx/attester_user_data/tee-pubkey",
    "/customized_claims/runtime_data/tee-pubkey",
    "/submods/cpu0/ear.veraison.annotated-evidence/runtime_data_claims/tee-pubkey",
    "/tee-pubkey",
)


class TrustedIssuer(msgspec.Struct, frozen=True):
    """One attestation service whose tokens are taken.

    Attributes:
        name: how we call it.
        issuer: the exact ``iss``; None where tokens have none, or any.
        audience: the exact ``aud``; None to not look at it.
        jwk_sets: JWK Set files.
        certificates: PEM files; a chain must lead to one of the certificates in them.
        tee_key_paths: JSON pointers to the TEE's key, tried before the known ones.
    """

    name: str
    issuer: str | None = None
    audience: str | None = None
    jwk_sets: tuple[Path, ...] = ()
    certificates: tuple[Path, ...] = ()
    tee_key_paths: tuple[str, ...] = ()


class ForeignToken(msgspec.Struct, frozen=True):
    """A token that holds.

    Attributes:
        claims: all of them.
        tee_pubkey: public JWK of the TEE, as the claims have it.
        issuer: our name of the service.
    """

    claims: dict[str, Any]
    tee_pubkey: dict[str, Any]
    issuer: str


class _Trust(msgspec.Struct, frozen=True):
    """What the files of an issuer say."""

    keys: Mapping[str, VerifyingKey]
    roots: tuple[x509.Certificate, ...]


class ForeignTokens:
    """Verifies tokens of the trusted issuers. Safe to use from many threads.

    Args:
        issuers: the configured services.
        on_failure: called when files that changed cannot be used.

    Raises:
        CocoSetting: two have one name; one names no file, or a pointer that is none; a file is unusable.
        NotFound: a file cannot be read.
    """

    def __init__(
        self, issuers: Sequence[TrustedIssuer], on_failure: Callable[[], None] = lambda: None
    ) -> None:
        """Read the files."""
        _check(issuers)
        self._issuers = tuple(issuers)
        self._on_failure = on_failure
        self._trust = WatchedFiles(
            [path for each in issuers for path in (*each.jwk_sets, *each.certificates)],
            self._read,
            failed=self._not_taken,
        )

    def verify(self, token: str, now: datetime) -> ForeignToken:
        """What a token says, if it holds at ``now``.

        Raises:
            ForeignTokenInvalid: it does not, or holds no TEE key. The message never quotes the token.
        """
        header, claims = _unverified(token)
        trust = self._trust.current()
        candidates = [each for each in self._issuers if each.issuer in (None, claims.get("iss"))]
        found = [
            (issuer, key)
            for issuer in candidates
            if (key := _key_of(trust[issuer.name], header, now)) is not None
        ]
        if len(found) != 1:
            raise ForeignTokenInvalid(
                "several trusted issuers have the token's key" if found else "no trusted issuer signed this"
            )
        issuer, key = found[0]
        _require_signature(token, header, key)
        _require_claims(claims, issuer, now)
        return ForeignToken(claims, _tee_key(claims, issuer), issuer.name)

    def roots(self) -> dict[str, tuple[x509.Certificate, ...]]:
        """The certificates of each issuer, by its name: for warnings before they expire."""
        return {name: trust.roots for name, trust in self._trust.current().items()}

    def _not_taken(self, error: TouchstoneError) -> None:
        _LOG.error("files of trusted issuers are not usable, the former ones stay: %s", error.message)
        self._on_failure()

    def _read(self) -> dict[str, _Trust]:
        return {each.name: _trust_of(each) for each in self._issuers}


def _check(issuers: Sequence[TrustedIssuer]) -> None:
    names = [each.name for each in issuers]
    if len(set(names)) != len(names):
        raise CocoSetting("[[coco.trusted_issuers]] has a name twice")
    for each in issuers:
        if not each.jwk_sets and not each.certificates:
            raise CocoSetting(f"[[coco.trusted_issuers]] {each.name} needs jwk_sets or certificates")
        if not all(path.startswith("/") for path in each.tee_key_paths):
            raise CocoSetting(f"[[coco.trusted_issuers]] {each.name}: tee_key_paths are JSON pointers")


def _trust_of(issuer: TrustedIssuer) -> _Trust:
    keys: dict[str, VerifyingKey] = {}
    for path in issuer.jwk_sets:
        data = read_limited(path, what="JWK Set of a trusted issuer", max_bytes=_MAX_FILE_BYTES)
        for kid, key in jwk_set(data, str(path)).items():
            if kid in keys:
                raise CocoSetting(f"{path} has a key id that another file of {issuer.name} has")
            keys[kid] = key
    roots: list[x509.Certificate] = []
    for path in issuer.certificates:
        data = read_limited(path, what="certificates of a trusted issuer", max_bytes=_MAX_FILE_BYTES)
        try:
            roots += x509.load_pem_x509_certificates(data)
        except ValueError as error:
            raise CocoSetting(f"{path} is not PEM certificates") from error
    return _Trust(keys, tuple(roots))


def _unverified(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    parts = token.split(".")
    if not token.isascii() or len(token) > MAX_TOKEN_BYTES or len(parts) != _SIGNATURE_PARTS:
        raise ForeignTokenInvalid("the token is not a compact JWS")
    try:
        header, claims = (
            strict_json.loads(b64url_decode(part, what="token"), what="token") for part in parts[:2]
        )
    except InputError as error:
        raise ForeignTokenInvalid("the token's header or payload is not JSON") from error
    if not isinstance(header, dict) or not isinstance(claims, dict):
        raise ForeignTokenInvalid("the token's header or payload is not an object")
    if "crit" in header:
        raise ForeignTokenInvalid("the token demands an extension that is not understood")
    return header, claims


def _key_of(trust: _Trust, header: Mapping[str, Any], now: datetime) -> VerifyingKey | None:
    if "jwk" in header:
        return key_of_chain(header["jwk"], trust.roots, now) if trust.roots else None
    kid = header.get("kid")
    return trust.keys.get(kid) if isinstance(kid, str) else None


def _require_signature(token: str, header: dict[str, Any], key: VerifyingKey) -> None:
    if not key.fits(header | {"kid": key.kid}):  # by the kid, or by the chain, the key was found already
        raise ForeignTokenInvalid("the token's algorithm is not that of the key")
    signed, _, signature = token.rpartition(".")
    try:
        holds = key.verifies(b64url_decode(signature, what="signature"), signed.encode("ascii"))
    except InputError:
        holds = False
    if not holds:
        raise ForeignTokenInvalid("the token's signature does not hold")


def _require_claims(claims: Mapping[str, Any], issuer: TrustedIssuer, now: datetime) -> None:
    if issuer.issuer is not None and claims.get("iss") != issuer.issuer:
        raise ForeignTokenInvalid("the token's issuer is another one")
    if issuer.audience is not None and claims.get("aud") not in (issuer.audience, [issuer.audience]):
        raise ForeignTokenInvalid("the token is meant for another audience")
    moment = now.timestamp()
    if moment >= _time(claims, "exp"):
        raise ForeignTokenInvalid("the token has expired")
    if "nbf" in claims and moment + _NOT_BEFORE_LEEWAY_S < _time(claims, "nbf"):
        raise ForeignTokenInvalid("the token is not valid yet")


def _time(claims: Mapping[str, Any], name: str) -> float:
    try:
        value = numeric_date(claims, name)
    except InputError:
        value = None
    if value is None:
        raise ForeignTokenInvalid(f"the token has no {name}")
    return value


def _tee_key(claims: Mapping[str, Any], issuer: TrustedIssuer) -> dict[str, Any]:
    for pointer in (*issuer.tee_key_paths, *_TEE_KEY_PATHS):
        found = _resolve(claims, pointer)
        if isinstance(found, dict):
            return found
    raise ForeignTokenInvalid("the token holds no public key of the TEE")


def _resolve(document: Any, pointer: str) -> Any:
    """RFC 6901, members of objects and elements of arrays; None where it leads nowhere."""
    for segment in pointer.split("/")[1:]:
        name = segment.replace("~1", "/").replace("~0", "~")
        if isinstance(document, dict):
            document = document.get(name)
        elif isinstance(document, list) and name.isascii() and name.isdigit() and int(name) < len(document):
            document = document[int(name)]
        else:
            return None
    return document
