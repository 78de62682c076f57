"""From a token to who asks: ours or a trusted issuer's, and what was verified is remembered for a while.

A token of ours holds until it expires or its key is withdrawn: what was verified is asked with the present
time, and forgotten when the keys change. That saves the signature check of guests that fetch several
resources with one token; everything else that can change is judged again at each release.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from coco.requester import foreign_requester, payload_of, requester_of
from rvps.generations import Generations
from verifier import compact
from verifier.errors import EarInvalid

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from datetime import datetime

    from coco.foreign_tokens import ForeignTokens
    from coco.requester import Requester, TokenVerifier

_KEPT: Final = 512
_MAX_TOKEN: Final = 1 << 20


class Requesters:
    """Verifies tokens.

    Args:
        own: verifies ours.
        kids: ids of the keys that a token of ours may be signed with at a time.
        foreign: of trusted issuers; None: there are none.
    """

    def __init__(
        self,
        own: TokenVerifier,
        kids: Callable[[datetime], Collection[str]],
        foreign: ForeignTokens | None = None,
    ) -> None:
        """Keep the parts; remember nothing yet."""
        self._own = own
        self._kids = kids
        self._foreign = foreign
        self._generation: tuple[str, ...] = ()
        self._known: Generations[str, Requester] = Generations(_KEPT)

    def remember(self, token: str) -> None:
        """Keep the requester of a token that was signed here this moment: nothing is to be verified.

        Raises:
            SessionUnbound: it is not one that secrets are released to.
        """
        payload = payload_of(token)
        self._known.put(token, requester_of(payload, msgspec.json.decode(payload)))

    def of(self, token: str, now: datetime) -> Requester:
        """Who shows this token.

        Raises:
            EarInvalid: it does not hold.
            SessionUnbound: it is not one that secrets are released to.
        """
        if len(token) > _MAX_TOKEN:
            raise EarInvalid("the token is too large")
        kids = tuple(self._kids(now))
        if kids != self._generation:
            self._generation, self._known = kids, Generations(_KEPT)
        known = self._known.get(token)
        if known is not None and now.timestamp() < known.expires:
            return known
        if self._foreign is not None and str(compact.header_of(token).get("kid")) not in kids:
            verified = self._foreign.verify(token, now)
            return foreign_requester(token, verified.claims, verified.tee_pubkey, verified.issuer)
        claims = self._own.verify(token, now)
        found = requester_of(payload_of(token), claims)
        self._known.put(token, found)
        return found
