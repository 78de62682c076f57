"""Which trust policies the server takes, and the pipeline of one.

With policy keys pinned in the settings, only policies that enough of them signed are taken, at upload, at
activation and each time one is read back: a key that is no longer pinned vouches for nothing. A signed
policy is stored as the envelope that came, under the name that its document has, so that an old one cannot
be activated under another name beside the mark of its serials (``policy.serials``).

Without policy keys an admin token with ``policies:write`` is what stands behind a trust policy; the server
says so at start (``service.profile.warnings``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from common.errors import InvalidSetting, StatementError
from common.files import read_limited
from policy.serials import Serial
from provenance import keys, trust
from provenance.errors import TrustPolicyExpired, TrustPolicyInvalid
from provenance.pipeline import Pipeline
from provenance.trust import limits, signed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from policy.port import PolicyEngine
    from provenance.sigstore.trust_root import PublicGood
    from service.sections import PolicyKeySection

_MAX_KEY_BYTES = 16 << 10


class Accepted(msgspec.Struct, frozen=True):
    """A trust policy that is fit to be stored.

    Attributes:
        text: what to store: the canonical document, or the envelope that came.
        policy: the policy.
        signers: pinned keys that signed, SHA-256 hex; empty where none are pinned.
    """

    text: str
    policy: trust.TrustPolicy
    signers: tuple[str, ...] = ()

    @property
    def serial(self) -> Serial | None:
        """Its place in the order; None where it has no serial."""
        number = self.policy.document.serial
        return None if number is None else Serial(number, self.policy.digest)


class TrustGate:
    """Takes and opens trust policies. Thread-safe.

    Args:
        engine: compiles their Rego.
        policy_keys: the pinned keys; None: policies need no signature.
        environment: the environment that the server decides for.
        public_good: stands for the public-good Sigstore root; the pinned one if None.
    """

    def __init__(
        self,
        engine: PolicyEngine,
        *,
        policy_keys: signed.PolicyKeys | None = None,
        environment: str | None = None,
        public_good: PublicGood | None = None,
    ) -> None:
        """Keep them."""
        self._engine = engine
        self._keys = policy_keys
        self._environment = environment
        self._public_good = public_good

    def accept(self, name: str, text: str) -> Accepted:
        """Check, verify and compile a policy that is to be stored as ``name``.

        Raises:
            TrustPolicyUnsigned, TrustPolicySignatureInvalid: it is not signed by enough pinned keys.
            TrustPolicyInvalid: the document does not hold, is not of this name, or has not the server's
                environment.
            PolicySyntax, PolicyRejected: the engine refuses its Rego.
        """
        data = text.encode("utf-8", "surrogatepass")
        accepted = self._open(data, text)
        if signed.is_signed(data) and accepted.policy.name != name:
            raise TrustPolicyInvalid(
                f"the signed trust policy is named {accepted.policy.name!a}, not {name!a}",
                advice="A signed policy is stored under its own name: it cannot stand in for another.",
            )
        self._pipeline(accepted.policy)
        return accepted

    def admissible(self, name: str, text: str, now: datetime) -> Accepted:
        """``accept`` of a stored policy that is to become the active one.

        Raises:
            TrustPolicyExpired: it has ended.
        """
        accepted = self.accept(name, text)
        end = limits.expires_at(accepted.policy.document)
        if end is not None and now >= end:
            raise TrustPolicyExpired("the trust policy has expired: it would admit nothing")
        return accepted

    def pipeline(self, text: str) -> Pipeline:
        """The pipeline of a stored policy.

        Raises:
            StatementError: the policy is not one that is taken (any more).
        """
        return self._pipeline(self._open(text.encode("utf-8", "surrogatepass"), text).policy)

    def _open(self, data: bytes, text: str) -> Accepted:
        if self._keys is not None:
            found = signed.verify(data, self._keys)
            return Accepted(text, found.policy, found.signers)
        if signed.is_signed(data):
            return Accepted(text, signed.unverified(data))
        policy = trust.parse(data)
        return Accepted(policy.to_json().decode("utf-8"), policy)

    def _pipeline(self, policy: trust.TrustPolicy) -> Pipeline:
        return Pipeline(policy, self._engine, environment=self._environment, public_good=self._public_good)


def read_policy_keys(sections: Sequence[PolicyKeySection], threshold: int) -> signed.PolicyKeys | None:
    """The keys that the settings pin; None where they pin none.

    Raises:
        NotFound, TooLarge: a file cannot be read.
        InvalidSetting: it is not a key of that algorithm, or the threshold cannot be met.
    """
    if not sections:
        return None
    try:
        pinned = signed.PolicyKeys(
            tuple(
                keys.from_pem(
                    item.algorithm,
                    read_limited(item.file, what="policy key", max_bytes=_MAX_KEY_BYTES).decode(
                        "utf-8", "replace"
                    ),
                )
                for item in sections
            ),
            threshold,
        )
        pinned.check()
    except StatementError as error:
        raise InvalidSetting(f"[policy] trust_policy_keys: {error.message}") from error
    return pinned
