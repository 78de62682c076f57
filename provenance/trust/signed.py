"""Signed trust policies: a DSSE envelope over the policy document, by N of the keys that an operator pins.

Order: envelope -> payload type -> signatures, counted by distinct key -> policy document -> serial and end
of validity, which a signed policy must have. What was not signed by enough keys is not parsed.

Invariants: a threshold counts keys (by SubjectPublicKeyInfo), never signatures; a signature that names a
pinned key and does not verify refuses the whole; the identity of the policy is that of its document
(``TrustPolicy.digest``), so that more signatures on the same document are not another policy.

Not done here: that serials only rise. That needs the store's memory (``policy.store``).

Sources: DSSE v1.0, protocol.md; TUF specification, section 5.3.5 (rollback) for the serial's purpose.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from common import strict_json
from common.encoding import b64_encode
from common.errors import InputError, StatementError
from common.files import read_limited
from provenance import dsse, dsse_signing
from provenance.errors import (
    SignerUntrusted,
    TrustPolicyInvalid,
    TrustPolicySignatureInvalid,
    TrustPolicyUnsigned,
)
from provenance.keys import VerificationKey  # noqa: TC001 (msgspec resolves it at run time)
from provenance.trust import document
from provenance.trust.document import TrustPolicy  # noqa: TC001 (as above)

if TYPE_CHECKING:
    from pathlib import Path

PAYLOAD_TYPE: Final = "application/vnd.touchstone.trust-policy+json"


class PolicyKeys(msgspec.Struct, frozen=True):
    """The keys that an operator pins.

    Attributes:
        keys: at least ``threshold``, distinct.
        threshold: how many of them must have signed.
    """

    keys: tuple[VerificationKey, ...]
    threshold: int = 1

    def check(self) -> None:
        """Demand that the keys are distinct and enough.

        Raises:
            TrustPolicyInvalid: they are not.
        """
        if len({key.spki_sha256 for key in self.keys}) != len(self.keys):
            raise TrustPolicyInvalid("one policy key is pinned twice")
        if not 1 <= self.threshold <= len(self.keys):
            raise TrustPolicyInvalid("the threshold of policy keys is not between 1 and their number")


class SignedPolicy(msgspec.Struct, frozen=True):
    """A policy that enough of the pinned keys signed.

    Attributes:
        policy: the policy.
        signers: SHA-256 of each pinned key that signed, hex.
    """

    policy: TrustPolicy
    signers: tuple[str, ...]


def is_signed(data: bytes) -> bool:
    """Whether a document means to be a signed policy; by its members alone. Never raises."""
    try:
        value = strict_json.loads(data, what="the trust policy", max_bytes=dsse.MAX_ENVELOPE_BYTES)
    except InputError:
        return False
    return isinstance(value, dict) and "payloadType" in value


def verify(data: bytes, keys: PolicyKeys) -> SignedPolicy:
    """Verify a signed policy.

    Args:
        data: the envelope, JSON.
        keys: the pinned keys.

    Raises:
        TrustPolicyUnsigned: no envelope.
        TrustPolicySignatureInvalid: a signature that does not hold, or too few of the pinned keys.
        TrustPolicyInvalid: another payload type, or the document does not hold.
    """
    keys.check()
    if not is_signed(data):
        raise TrustPolicyUnsigned("the trust policy is not signed")
    envelope = _parse(data)
    pinned = {key.spki_sha256: key for key in keys.keys}
    try:
        signers = dsse.verify_with_keys(envelope, pinned, {name: name for name in pinned})
    except SignerUntrusted as error:
        raise TrustPolicySignatureInvalid("no signature is by a pinned policy key") from error
    except StatementError as error:
        raise TrustPolicySignatureInvalid(error.message) from error
    if len(signers) < keys.threshold:
        raise TrustPolicySignatureInvalid(
            f"{len(signers)} of the pinned keys signed, {keys.threshold} are needed",
            details={"signed": list(signers), "threshold": keys.threshold},
        )
    return SignedPolicy(policy=_policy(envelope.payload), signers=signers)


def unverified(data: bytes) -> TrustPolicy:
    """The policy in an envelope, without a look at its signatures: to show, and to sign again.

    Raises:
        TrustPolicyInvalid: no envelope, another payload type, or the document does not hold.
    """
    return _policy(_parse(data).payload)


def sign(data: bytes, private_key: object) -> bytes:
    """Sign a policy, or add a signature to a signed one.

    Args:
        data: a self-contained policy (JSON), or an envelope over one.
        private_key: Ed25519, ECDSA P-256 or P-384.

    Returns:
        The envelope, canonical JSON; a key that had signed before signs anew.

    Raises:
        TrustPolicyInvalid: the document does not hold, or has no serial or end of validity.
        InvalidSetting: another kind of key.
    """
    present: list[dsse.DsseSignature] = []
    if is_signed(data):
        envelope = _parse(data)
        present, payload = list(envelope.signatures), envelope.payload
        _policy(payload)
    else:
        payload = document.parse(data).to_json()
        _policy(payload)
    added = dsse.parse(dsse.load_json(dsse_signing.sign(PAYLOAD_TYPE, payload, private_key)))
    kept = [item for item in present if item.keyid != added.signatures[0].keyid]
    return strict_json.canonical(
        {
            "payload": b64_encode(payload),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [
                {"keyid": item.keyid, "sig": b64_encode(item.signature)}
                if item.keyid
                else {"sig": b64_encode(item.signature)}
                for item in (*kept, *added.signatures)
            ],
        }
    )


def load_file(path: Path, keys: PolicyKeys | None = None) -> SignedPolicy:
    """Read a policy file, signed or not.

    Args:
        path: ``.toml``, JSON, or an envelope.
        keys: the pinned keys; without them a signature is not looked at, and an unsigned file is taken.

    Returns:
        The policy; ``signers`` is empty where no keys are given.

    Raises:
        NotFound, TooLarge: a file cannot be read.
        TrustPolicyUnsigned, TrustPolicySignatureInvalid, TrustPolicyInvalid: see ``verify``.
    """
    if path.suffix != ".toml":
        data = read_limited(path, what="trust policy", max_bytes=dsse.MAX_ENVELOPE_BYTES)
        if is_signed(data):
            return verify(data, keys) if keys is not None else SignedPolicy(unverified(data), ())
    if keys is not None:
        raise TrustPolicyUnsigned(f"{path.name} is not signed")
    return SignedPolicy(document.load_file(path), ())


def _parse(data: bytes) -> dsse.DsseEnvelope:
    try:
        envelope = dsse.parse(dsse.load_json(data))
    except StatementError as error:
        raise TrustPolicyInvalid(f"the signed trust policy: {error.message}") from error
    if envelope.payload_type != PAYLOAD_TYPE:
        raise TrustPolicyInvalid(f"the envelope's payloadType is not {PAYLOAD_TYPE}")
    return envelope


def _policy(payload: bytes) -> TrustPolicy:
    policy = document.parse(payload)
    if policy.document.serial is None or policy.document.expires is None:
        raise TrustPolicyInvalid("a signed trust policy needs serial and expires")
    return policy
