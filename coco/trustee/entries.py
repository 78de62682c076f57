"""What a Trustee store holds: entries of a namespace, whichever back end keeps them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

# Namespaces (coco-wire 1.12). Sessions are not taken over.
KBS: Final = "kbs"
REPOSITORY: Final = "repository"
ATTESTATION_POLICY: Final = "attestation_service_policy"
REFERENCE_VALUE: Final = "reference_value"
NAMESPACES: Final = (KBS, ATTESTATION_POLICY, REFERENCE_VALUE, REPOSITORY)
# Of one entry; the largest thing that is taken over is a resource.
MAX_ENTRY_BYTES: Final = 16 << 20
MAX_ENTRIES: Final = 100_000


class Entry(msgspec.Struct, frozen=True):
    """One entry.

    Attributes:
        namespace: one of ``NAMESPACES``.
        key: as the deployment's services name it.
        data: the value; None where it could not be read.
        problem: why not.
    """

    namespace: str
    key: str
    data: bytes | None
    problem: str = ""


class Store(Protocol):
    """Where entries of some namespaces come from."""

    @property
    def where(self) -> str:
        """For people; no password."""

    def entries(self) -> Iterator[Entry]:
        """Every entry; one that cannot be read comes with its problem.

        Raises:
            TouchstoneError: the store as a whole cannot be read.
        """
