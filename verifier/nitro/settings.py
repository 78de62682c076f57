"""What an operator decides about AWS Nitro Enclaves: how old a document may be."""

from __future__ import annotations

from datetime import timedelta

import msgspec

from common.errors import InvalidSetting

_NONE = timedelta(0)


class NitroSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of the Nitro verifier.

    Attributes:
        max_age: of a document; None: as long as its certificate is valid (three hours).
        max_ahead: by which the module's clock may be ahead of ours.
    """

    max_age: timedelta | None = timedelta(minutes=10)
    max_ahead: timedelta = timedelta(minutes=1)

    def __post_init__(self) -> None:
        """Refuse what no document could meet.

        Raises:
            InvalidSetting: an age that is not positive, a negative lead.
        """
        if (self.max_age is not None and self.max_age <= _NONE) or self.max_ahead < _NONE:
            raise InvalidSetting("nitro max_age is not positive, or max_ahead is negative")
