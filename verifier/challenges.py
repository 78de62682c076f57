"""Challenges: minted here, kept in the database, spent once.

Invariants:

* A nonce is 32 bytes from the operating system's generator.
* ``spend`` deletes the row and tells whether it was there in one statement, *before* anything of the
  evidence is looked at: of two concurrent appraisals with one nonce at most one goes on, on any
  number of replicas. A failed appraisal has spent its nonce too.
* Expired rows are removed in passing; the number outstanding is bounded.
"""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import msgspec
from sqlalchemy import delete, func, insert, select

from common.binding import MIN_NONCE_BYTES
from common.encoding import b64url_decode, b64url_encode
from storage.database import from_micros, to_micros
from verifier.errors import NonceUnknown, TooManyChallenges
from verifier.tables import challenge
from wire.rcar import Challenge, Credential

if TYPE_CHECKING:
    from collections.abc import Mapping

    from storage.database import Database

# The count of outstanding rows is taken once per so many challenges of a process, not each time.
_COUNT_EVERY = 64


class SpentChallenge(msgspec.Struct, frozen=True):
    """What a challenge promised, taken out of the store.

    Attributes:
        nonce: the 32 bytes.
        tee: the TEE it was asked for.
        credential_secret: TPM: the secret inside the credential that went with it.
    """

    nonce: bytes
    tee: str
    credential_secret: bytes | None


class ChallengeStore:
    """Issues and spends challenges.

    Args:
        database: where they are kept.
        audience: the relying party's identity, told to the guest and hashed into the binding.
        lifetime: how long a nonce may stay unspent (at most five minutes is sensible).
        limit: how many may be outstanding.
        pcr_selection: TPM: bank to the indexes that must be quoted.
    """

    def __init__(
        self,
        database: Database,
        *,
        audience: str,
        lifetime: timedelta = timedelta(minutes=5),
        limit: int = 100_000,
        pcr_selection: Mapping[str, tuple[int, ...]] | None = None,
    ) -> None:
        """Keep the settings."""
        self._database = database
        self._audience = audience
        self._lifetime = lifetime
        self._limit = limit
        self.pcr_selection = dict(pcr_selection or {})
        self._issued = 0

    def issue(
        self,
        tee: str,
        now: datetime,
        *,
        credential: Credential | None = None,
        credential_secret: bytes | None = None,
    ) -> Challenge:
        """Mint a challenge.

        Raises:
            TooManyChallenges: the limit of outstanding challenges is reached.
        """
        nonce = secrets.token_bytes(MIN_NONCE_BYTES)
        expires = now + self._lifetime
        with self._database.write() as connection:
            connection.execute(delete(challenge).where(challenge.c.expires_at <= to_micros(now)))
            if self._issued % _COUNT_EVERY == 0:
                outstanding = connection.execute(select(func.count()).select_from(challenge)).scalar_one()
                if outstanding >= self._limit:
                    raise TooManyChallenges(f"{outstanding} challenges are outstanding")
            connection.execute(
                insert(challenge).values(
                    nonce=nonce.hex(),
                    tee=tee,
                    expires_at=to_micros(expires),
                    credential_secret=credential_secret,
                )
            )
        self._issued += 1
        selection = {bank: list(indexes) for bank, indexes in self.pcr_selection.items()}
        return Challenge(
            nonce=b64url_encode(nonce),
            audience=self._audience,
            expires_at=expires.strftime("%Y-%m-%dT%H:%M:%SZ"),
            pcr_selection=selection if tee == "tpm" else None,
            credential=credential,
        )

    def spend(self, nonce: str, tee: str, now: datetime) -> SpentChallenge:
        """Take a challenge out of the store.

        Args:
            nonce: base64url, as the guest sends it.
            tee: the TEE of the evidence; must be the one the challenge was asked for.
            now: the appraisal's instant.

        Raises:
            Malformed: not base64url.
            NonceUnknown: never issued, spent already, expired, or issued for another TEE.
        """
        value = b64url_decode(nonce, what="nonce")
        statement = (
            delete(challenge)
            .where(challenge.c.nonce == value.hex())
            .returning(challenge.c.tee, challenge.c.expires_at, challenge.c.credential_secret)
        )
        with self._database.write() as connection:
            row = connection.execute(statement).one_or_none()
        if row is None:
            raise NonceUnknown("the nonce was not issued here or was spent already")
        if from_micros(row.expires_at) <= now:
            raise NonceUnknown("the nonce has expired")
        if row.tee != tee:
            raise NonceUnknown(f"the nonce was issued for {row.tee} evidence, not {tee}")
        return SpentChallenge(nonce=value, tee=row.tee, credential_secret=row.credential_secret)
