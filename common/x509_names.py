"""Names of X.509 structures, read at once.

The library reads subject and issuer when they are first asked for, and raises ``TypeError`` for some that
are malformed: whoever loads what others made asks for them there, where a typed error is made of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from cryptography import x509

_Named = TypeVar("_Named", "x509.Certificate", "x509.CertificateRevocationList")


def with_names(item: _Named) -> _Named:
    """The item itself.

    Raises:
        ValueError: its subject or issuer cannot be read.
    """
    try:
        _ = item.issuer, getattr(item, "subject", None)
    except TypeError as error:
        raise ValueError("a name cannot be read") from error
    return item
