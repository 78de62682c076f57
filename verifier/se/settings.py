"""What an operator decides about Secure Execution: whose host keys, which images, how old a challenge."""

from __future__ import annotations

from datetime import timedelta
from typing import Final, Literal

import msgspec
from cryptography import x509  # noqa: TC002 (msgspec resolves it at run time)

from common.errors import InvalidSetting
from verifier.se.challenge import SEAL_KEY_BYTES
from verifier.se.header import ImageHeader  # noqa: TC001 (msgspec resolves it at run time)
from verifier.se.request import FLAG_ATTESTATION_PHKH, FLAG_FIRMWARE, FLAG_IMAGE_PHKH, FLAG_SECRET_STORE

Additional = Literal["secret-store", "firmware-state"]
_FLAGS: Final[dict[str, int]] = {"secret-store": FLAG_SECRET_STORE, "firmware-state": FLAG_FIRMWARE}


class SeSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of the Secure Execution verifier.

    Attributes:
        challenge_key: 32 bytes that seal challenges; the same on every replica.
        roots: certificates at which the chain of a host-key signing key must end.
        image_headers: headers of images that are known. Only of these it is known what their owner allowed
            (dumps); evidence of other images is accepted and says nothing of it.
        challenge_lifetime: how long the request of a challenge may be answered.
        permit_dumps: accept images whose header lets the host ask for dumps, which are encrypted to the
            image's owner.
        additional: what to ask for besides the two host-key hashes.
    """

    challenge_key: bytes
    roots: tuple[x509.Certificate, ...] = ()
    image_headers: tuple[ImageHeader, ...] = ()
    challenge_lifetime: timedelta = timedelta(minutes=15)
    permit_dumps: bool = False
    additional: tuple[Additional, ...] = ()

    def __post_init__(self) -> None:
        """Refuse settings under which nothing can be verified.

        Raises:
            InvalidSetting: a key of another length, no lifetime.
        """
        if len(self.challenge_key) != SEAL_KEY_BYTES:
            raise InvalidSetting(f"[se] challenge_key has {SEAL_KEY_BYTES} bytes")
        if self.challenge_lifetime <= timedelta(0):
            raise InvalidSetting("[se] challenge_lifetime is longer than nothing")

    @property
    def flags(self) -> int:
        """What challenges ask for."""
        flags = FLAG_IMAGE_PHKH | FLAG_ATTESTATION_PHKH
        for name in self.additional:
            flags |= _FLAGS[name]
        return flags
