"""KBS sessions: carried by the cookie until the nonce is spent, then kept with the token.

``POST /auth`` stores nothing: the cookie holds expiry, TEE and 16 random bytes, authenticated with a key of
ours, and the nonce is derived from them with that key. Anybody may call it as often as they like; it costs
two hashes and no row.

Invariants:

* A nonce is 32 bytes that nobody can compute without the key, and never repeats (128 random bits).
* A nonce is spent once: ``attest`` inserts the session's row, whose id is the primary key, with the token
  in one statement. Of any number of attestations with one nonce, on any number of replicas, at most one
  has a result; one that fails spends the nonce too. One that comes later, or at the same time to the same
  process, is refused before anything of its evidence is looked at.
* Expired rows are removed in passing.
* Rows of sessions are not waited for until they are on the disk. A power cut may so forget spent nonces,
  and ends every session with them: with SQLite the keys depend on the machine's boot (``boot_id``).

Cookie: base64url of version (1 byte), expiry (4, seconds since the epoch), TEE (1), random (16) and tag
(16), the first 16 bytes of HMAC-SHA-256 over what precedes it.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import msgspec
from sqlalchemy import bindparam, delete, insert, select
from sqlalchemy.exc import IntegrityError

from coco import tees
from coco.errors import SessionInvalid
from coco.tables import kbs_session
from common.encoding import b64_encode, b64url_decode, b64url_encode
from common.errors import Malformed
from rvps.generations import Generations
from storage.database import to_micros
from storage.prepared import Prepared

if TYPE_CHECKING:
    from collections.abc import Callable

    from coco.tees import Tee
    from storage.database import Database

KEY_BYTES: Final = 32
_VERSION, _CHALLENGED = 1, 2
_RANDOM: Final = 16
_TAG: Final = 16
_PAYLOAD: Final = 1 + 4 + 1 + _RANDOM
_DIGEST: Final = 32
_MAX_COOKIE: Final = 96
# Of a payload without the verifier's challenge, and with the digest of one.
_SIZES: Final = {1: _PAYLOAD, 2: _PAYLOAD + _DIGEST}
# The order is part of the cookie's format: append, never reorder.
_TEES: Final = (
    "sample", "snp", "tdx", "sgx", "az-snp-vtpm", "az-tdx-vtpm", "cca", "csv", "se", "tpm",
)  # fmt: skip
_SWEEP_EVERY: Final = 256
_TOKENS_KEPT: Final = 256
_SPEND: Final = Prepared(
    lambda: insert(kbs_session).values({name: bindparam(name) for name in ("id", "expires_at", "token")})
)
_OF_SESSION = kbs_session.c.id == bindparam("session_id")
_TOKEN: Final = Prepared(lambda: select(kbs_session.c.token).where(_OF_SESSION))


class KbsSession(msgspec.Struct, frozen=True):
    """A session whose cookie is ours and has not expired.

    Attributes:
        id: hex, names it in the database and in logs.
        cookie: the cookie's value.
        tee: of the handshake's request.
        nonce: 32 bytes in base64, as the challenge gives it.
        challenge: SHA-256 of the challenge that the TEE's verifier made in place of the nonce; None: the
            nonce it is.
        expires: when cookie, nonce and token of the session end.
    """

    id: str
    cookie: str
    tee: Tee
    nonce: str
    expires: datetime
    challenge: bytes | None = None

    def gave(self, nonce: str) -> bool:
        """Whether this is what the session's challenge gave as its nonce."""
        if self.challenge is None:
            return hmac.compare_digest(nonce.encode(), self.nonce.encode())
        return hmac.compare_digest(hashlib.sha256(nonce.encode()).digest(), self.challenge)


class KbsSessions:
    """Begins, spends and finds sessions.

    Args:
        database: where the spent ones are.
        key: 32 bytes, the same on every replica.
        lifetime: of a session.
        boot_id: of the machine, where the database is a file of it; empty for a database server.
    """

    def __init__(
        self,
        database: Database,
        key: bytes,
        *,
        lifetime: timedelta = timedelta(minutes=5),
        boot_id: bytes = b"",
    ) -> None:
        """Derive a key for the nonces and one for the cookies."""
        if len(key) != KEY_BYTES:
            raise ValueError(f"a session key has {KEY_BYTES} bytes")
        self._database = database
        self._nonce_key = hmac.digest(key, b"touchstone kbs nonce" + boot_id, "sha256")
        self._cookie_key = hmac.digest(key, b"touchstone kbs cookie" + boot_id, "sha256")
        self._lifetime = lifetime
        self._spent = 0
        self._lock = threading.Lock()
        self._in_hand: set[str] = set()
        self._tokens: Generations[str, str] = Generations(_TOKENS_KEPT)

    def begin(self, tee: Tee, now: datetime, challenge: str | None = None) -> KbsSession:
        """A fresh session; nothing is stored.

        Args:
            tee: of the request.
            now: when it begins.
            challenge: what the TEE's verifier gives the guest in place of the nonce, if it does.
        """
        expires = int((now + self._lifetime).timestamp())
        payload = (
            bytes([_VERSION if challenge is None else _CHALLENGED])
            + expires.to_bytes(4, "big")
            + bytes([_TEES.index(tee.name)])
            + secrets.token_bytes(_RANDOM)
            + (b"" if challenge is None else hashlib.sha256(challenge.encode()).digest())
        )
        return self._session(payload, b64url_encode(payload + self._tag(payload)))

    def open(self, cookie: str | None, now: datetime) -> KbsSession:
        """The session of a cookie.

        Raises:
            SessionInvalid: no cookie, not one of ours, or expired.
        """
        if cookie is None or len(cookie) > _MAX_COOKIE:
            raise SessionInvalid("there is no session cookie of this server")
        try:
            data = b64url_decode(cookie, what="session cookie")
        except Malformed as error:
            raise SessionInvalid("the session cookie is not one of this server") from error
        payload, tag = data[:-_TAG], data[-_TAG:]
        known = len(payload) == _SIZES.get(payload[0] if payload else 0)
        if not known or not hmac.compare_digest(tag, self._tag(payload)):
            raise SessionInvalid("the session cookie is not one of this server")
        session = self._session(payload, cookie)
        if session.expires <= now:
            raise SessionInvalid("the session has expired")
        return session

    def attest(self, session: KbsSession, now: datetime, evaluate: Callable[[], str]) -> str:
        """Use the session's nonce up with what ``evaluate`` comes to, and keep the result.

        Args:
            session: of the cookie.
            now: the instant of the attestation.
            evaluate: verifies the evidence; gives the token, or raises.

        Raises:
            SessionInvalid: the nonce is spent, or being spent by another call.
            Exception: what ``evaluate`` raised; the nonce is spent all the same.
        """
        if self._database.fast_first(_TOKEN, session_id=session.id) is not None:
            raise SessionInvalid("the session's nonce is spent")
        with self._lock:
            if session.id in self._in_hand:
                raise SessionInvalid("the session's nonce is being spent")
            self._in_hand.add(session.id)
        try:
            token = self._evaluated(session, now, evaluate)
            self._spend(session, token, now)
            self._tokens.put(session.id, token)
        finally:
            with self._lock:
                self._in_hand.discard(session.id)
        return token

    def _evaluated(self, session: KbsSession, now: datetime, evaluate: Callable[[], str]) -> str:
        try:
            return evaluate()
        except Exception:
            self._spend(session, None, now)
            raise

    def _spend(self, session: KbsSession, token: str | None, now: datetime) -> None:
        try:
            with self._database.write(durable=False) as connection:
                if self._spent % _SWEEP_EVERY == 0:
                    past = kbs_session.c.expires_at <= to_micros(now)
                    connection.execute(delete(kbs_session).where(past))
                _SPEND.run(connection, id=session.id, expires_at=to_micros(session.expires), token=token)
        except IntegrityError as error:
            raise SessionInvalid("the session's nonce is spent") from error
        self._spent += 1

    def token(self, session: KbsSession) -> str | None:
        """The attestation result of a session; None before it attested, and where that failed.

        A row never changes once it is there: what this process put into one need not be read again.
        """
        known = self._tokens.get(session.id)
        if known is not None:
            return known
        row = self._database.fast_first(_TOKEN, session_id=session.id)
        return None if row is None else row[0]

    def _session(self, payload: bytes, cookie: str) -> KbsSession:
        nonce = hmac.digest(self._nonce_key, payload, "sha256")
        return KbsSession(
            id=hashlib.sha256(payload).hexdigest()[:32],
            cookie=cookie,
            tee=tees.BY_NAME[_TEES[payload[5]]],
            nonce=b64_encode(nonce),
            expires=datetime.fromtimestamp(int.from_bytes(payload[1:5], "big"), UTC),
            challenge=payload[_PAYLOAD:] or None,
        )

    def _tag(self, payload: bytes) -> bytes:
        return hmac.digest(self._cookie_key, payload, "sha256")[:_TAG]
