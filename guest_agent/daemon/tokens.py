"""Attestation tokens of the KBS, kept while they are good.

Invariants:

* One attestation at a time; who asks meanwhile gets its result.
* A token is given out only while it is good for ``_MARGIN_S`` more seconds, or a tenth of its life where
  that is less; one that does not say when it ends is given to those who waited for it and not kept.
* The agent does not verify the token: it is for the workload and for relying parties.

Source: Confidential Containers, attestation agent, token kind ``kbs``: JSON ``{"token", "tee_keypair"}``.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec

from common import strict_json
from common.encoding import b64url_decode
from common.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from guest_agent.kbs_client import KbsSession

_MARGIN_S: Final = 60.0
_PARTS: Final = 3
_MAX_CLAIMS: Final = 1 << 20


class Attests(Protocol):
    """Makes sessions."""

    def attest(self) -> KbsSession:
        """A new session."""


class _TokenAnswer(msgspec.Struct, frozen=True):
    token: str
    tee_keypair: str


class KbsTokens:
    """Tokens of kind ``kbs``.

    Args:
        client: attests.
        clock: seconds since the epoch.
    """

    def __init__(self, client: Attests, *, clock: Callable[[], float] = time.time) -> None:
        """Nothing is attested yet."""
        self._client = client
        self._clock = clock
        self._lock = threading.Lock()
        self._session: KbsSession | None = None
        self._until = 0.0

    def token(self) -> bytes:
        """JSON of the token and the PKCS #8 PEM of the key that it names.

        Raises:
            TouchstoneError: attestation fails.
        """
        session = self.session()
        return msgspec.json.encode(_TokenAnswer(session.token, session.key.private_pem()))

    def session(self) -> KbsSession:
        """A session that is good for a while; errors as for ``token``."""
        with self._lock:
            now = self._clock()
            if self._session is None or now >= self._until:
                self._session = None
                session = self._client.attest()
                self._until = good_until(session.token, now)
                self._session = session
            return self._session


def good_until(token: str, now: float) -> float:
    """Until when a token may be given out: a margin before ``exp``; ``now`` where it says nothing.

    Args:
        token: compact JWS; its signature is not verified.
        now: seconds since the epoch.
    """
    claims = _claims(token)
    expires, issued = _time(claims.get("exp")), _time(claims.get("iat", now))
    if expires is None or issued is None:
        return now
    return expires - min(_MARGIN_S, max(0.0, (expires - issued) / 10))


def _claims(token: str) -> dict[str, Any]:
    parts = token.split(".")
    if len(parts) != _PARTS:
        return {}
    try:
        claims = strict_json.loads(b64url_decode(parts[1]), what="the token", max_bytes=_MAX_CLAIMS)
    except InputError:
        return {}
    return claims if isinstance(claims, dict) else {}


def _time(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
