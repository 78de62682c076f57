"""Which formats are read, in the order in which they are asked. A new format is one line here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provenance.dsse_reader import DsseReader
from provenance.sigstore.reader import SigstoreReader

if TYPE_CHECKING:
    from provenance.reader import Reader
    from provenance.trust import TrustPolicy


def readers_of(trust: TrustPolicy) -> tuple[Reader, ...]:
    """The readers of a trust policy. Their shapes exclude each other; ``DsseReader`` takes what is left."""
    return (SigstoreReader(trust), DsseReader(trust))
