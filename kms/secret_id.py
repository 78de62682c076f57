"""Names of secrets: a kind, and an id whose shape the kind fixes. Strict: one spelling, no decoding."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from common.encoding import identifier, resource_path
from common.errors import InvalidIdentifier


class SecretKind(StrEnum):
    """What a secret is."""

    RESOURCE = "resource"
    KEY = "key"


class SecretRef(msgspec.Struct, frozen=True, order=True):
    """The name of a secret.

    Attributes:
        kind: ``resource`` (bytes that an operator stored) or ``key`` (generated here).
        id: ``repository/type/tag`` (``common.encoding.resource_path``), or an identifier.

    Raises:
        InvalidIdentifier: at construction, if the id is not of the kind's shape.
    """

    kind: SecretKind
    id: str

    def __post_init__(self) -> None:
        """Check the id."""
        if self.kind is SecretKind.RESOURCE:
            resource_path(self.id)
        elif self.kind is SecretKind.KEY:
            identifier(self.id, what="key id")
        else:
            raise InvalidIdentifier("a secret is of kind resource or key")

    @property
    def text(self) -> str:
        """``kind/id``, as audit records and JWE headers name the secret."""
        return f"{self.kind.value}/{self.id}"


def resource(path: str) -> SecretRef:
    """The resource ``repository/type/tag``.

    Raises:
        InvalidIdentifier: not such a path.
    """
    return SecretRef(SecretKind.RESOURCE, path)


def key(key_id: str) -> SecretRef:
    """The key of that id.

    Raises:
        InvalidIdentifier: not an identifier.
    """
    return SecretRef(SecretKind.KEY, key_id)
