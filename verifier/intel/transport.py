"""What evidence documents of both TEEs carry as text."""

from __future__ import annotations

from common.encoding import b64url_decode
from common.errors import TooLarge
from verifier.intel.endorsements import MAX_COLLATERAL_BYTES, FixedEndorsements


def decoded(text: str, what: str, most: int) -> bytes:
    """Bytes of base64url text, at most ``most``.

    Raises:
        TooLarge: more. Malformed: not base64url.
    """
    if len(text) > most * 4 // 3 + 4:
        raise TooLarge(f"the {what} has more than {most} bytes")
    return b64url_decode(text, what=what)


def carried_collateral(text: str | None) -> FixedEndorsements | None:
    """Collateral that came with evidence.

    Raises:
        InputError, CollateralInvalid: not of its form.
    """
    if text is None:
        return None
    return FixedEndorsements.from_json(decoded(text, "collateral", MAX_COLLATERAL_BYTES))
