"""What the read side returns. The verifier sees these types and ``rvps.lookup`` only."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 (msgspec resolves it at run time)
from typing import Any, Final, Protocol

import msgspec

from policy.port import canonical_key

# Members of a declared list that are handed over whole.
MAX_MEMBERS: Final = 64
# Of a value's lineage; an attestation shows all of them.
MAX_MATERIALS_SHOWN: Final = 64


class MaterialRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """Something that a build consumed: ``uri`` and ``digest`` (algorithm to hex), as stated."""

    uri: str | None = None
    digest: dict[str, str] = {}


class Lineage(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a reference value comes from.

    Attributes:
        attestation: SHA-256 of the envelope's bytes, hex.
        predicate_type: in-toto predicate type URI.
        signer: certificate identity (SAN) or ``key:<sha256 of SPKI>``.
        issuer: OIDC issuer of the signer's certificate, if any.
        builder: SLSA builder id, if stated.
        source_uri: source repository, if stated.
        source_revision: commit digest, if stated.
        log_index: transparency-log index, if logged.
        log_time: integrated (or timestamped) time, RFC 3339, if logged.
        trust_policy: digest of the trust policy that admitted it.
        rule: derivation rule and version, e.g. ``snp-launch-digest/1``.
        inputs: artefact name to digest, and the launch shape.
        submitted_by: the caller that submitted it.
        submitted_at: when, RFC 3339; absent where there is no store.
        root: trust root that vouches for the signer, by its name in the trust policy.
        co_signers: identities of further verified signers.
        log_id: id of the transparency log, hex, if logged.
        certificate: SHA-256 of the first signer's certificate, hex; of a key there is none.
        serial: the certificate's serial number, hex.
        key: SHA-256 of the first signer's key (SubjectPublicKeyInfo), hex.
        tools: what computed it, each with its version: the library, Touchstone, and what a statement
            of values names itself.
        materials: what the build consumed, by its builder's word; at most ``MAX_MATERIALS_SHOWN``.
        more_materials: how many there are beyond those.
        domains: trust domains that speak for it by this attestation.
        required_domains: how many distinct ones must agree before it counts.
        origins: attestations that the attestation rests on itself.
    """

    attestation: str
    predicate_type: str
    signer: str
    trust_policy: str
    rule: str
    submitted_by: str
    issuer: str | None = None
    builder: str | None = None
    source_uri: str | None = None
    source_revision: str | None = None
    log_index: int | None = None
    log_time: str | None = None
    inputs: dict[str, Any] = {}
    submitted_at: str | None = None
    root: str | None = None
    co_signers: tuple[str, ...] = ()
    log_id: str | None = None
    certificate: str | None = None
    serial: str | None = None
    key: str | None = None
    tools: tuple[str, ...] = ()
    materials: tuple[MaterialRecord, ...] = ()
    more_materials: int = 0
    domains: tuple[str, ...] = ()
    required_domains: int = 1
    origins: tuple[str, ...] = ()


class ReferenceValue(msgspec.Struct, frozen=True, omit_defaults=True):
    """One live reference value.

    Attributes:
        id: stable id (``rv-`` and hex).
        name: reference name (``snp_launch_measurement``).
        value: JSON scalar; digests as lower-case hex.
        tee: ``snp``, ``tpm``.
        group: values of one release share it.
        scalar: registered as a single value rather than a member of a set.
        not_before: validity start.
        expires: validity end, if bounded.
        lineage: where it comes from.
    """

    id: str
    name: str
    value: Any
    tee: str
    group: str
    not_before: datetime
    lineage: Lineage
    scalar: bool = False
    expires: datetime | None = None


class DeclaredReference(msgspec.Struct, frozen=True):
    """A value that an administrator declared (``rvps.declared``), as one appraisal may see it.

    Attributes:
        id: ``dv-`` and hex.
        name: reference name.
        members: what the evidence may equal: the members of a list, or the one value.
        scalar: it was declared as one value, not as a list.
        expires: from then on it does not count.
    """

    id: str
    name: str
    members: tuple[Any, ...]
    scalar: bool
    expires: datetime

    def relied_on(self, observed: frozenset[str]) -> bool:
        """Whether a result may rest on it: a minimum or another single value, or equal to something seen.

        Args:
            observed: ``policy.port.canonical_key`` of every comparable scalar in the evidence.
        """
        return self.scalar or any(canonical_key(member) in observed for member in self.members)


class Selection(msgspec.Struct, frozen=True):
    """The reference values one appraisal may see, all of one snapshot.

    Attributes:
        snapshot: id of the store's state (``<epoch>-<16 hex of its change chain>``).
        values: at most ``SMALL_NAME`` per name, or those equal to an observed value (``rvps.lookup``).
        unverified: likewise, of the values that nobody's signature was verified of.
        declared: what an administrator declared, where the look-up was made to count it; of a list of more
            than ``MAX_MEMBERS`` only the members that equal an observed value.
    """

    snapshot: str
    values: tuple[ReferenceValue, ...]
    unverified: tuple[ReferenceValue, ...] = ()
    declared: tuple[DeclaredReference, ...] = ()


class ReferenceLookup(Protocol):
    """The read side that the verifier uses. Its cost does not grow with the number of values."""

    def select(
        self,
        names: frozenset[str],
        observed: frozenset[str],
        now: datetime,
        *,
        unverified: frozenset[str] = frozenset(),
    ) -> Selection:
        """Values of ``names`` that count at ``now``: live, valid, attested by enough trust domains.

        Of a name with more than ``SMALL_NAME`` live values only those whose canonical text is in
        ``observed`` are returned (an index look-up), of each at most ``MAX_LINEAGES`` rows, those
        that are valid longest.

        Args:
            names: reference names that the policy mentions.
            observed: ``policy.port.canonical_key`` of every comparable scalar in the evidence.
            now: the appraisal's instant.
            unverified: names of which values that nobody signed are wanted, too.
        """

    def still_live(self, ids: frozenset[str], now: datetime) -> frozenset[str]:
        """Those of ``ids`` that count at ``now``, read from the database, uncached."""
