"""The folder of the token-signing keys: made, certified, rotated, retired. All file work is here.

Files in ``<data_dir>/keys``:

* ``token-keys.json`` (``service.key_ring.Ring``): which keys there are, their public parts, times and
  certificates. It is replaced whole, by a rename, after everything that it names is in place: readers see
  the old state or the new one, and see that it changed by one ``stat``.
* ``token-signing.pem`` and ``token-<kid>.pem``: private keys, PKCS#8, mode 0600. That of a retired key is
  deleted.
* ``token-ca.key`` and ``token-ca.pem``: the local authority that certifies keys without a chain of their
  own.

Every change is made under an exclusive lock on the folder, so that replicas that share it agree. Keys are
ES256 (P-256, RFC 7518 section 3.4); an id is the RFC 7638 thumbprint.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path  # noqa: TC003 (msgspec resolves it at run time)
from typing import TYPE_CHECKING

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from common.errors import Conflict, InvalidSetting
from common.files import read_limited, version_of, write_private
from kms.files import create_once
from service import certificates, key_ring, legacy_keys
from service.key_files import new_key, pem, read_key
from service.key_ring import KeyEntry, Ring
from verifier.compact import public_jwk

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

_FOLDER_MODE = 0o700
_RING_FILE = "token-keys.json"
_FIRST_KEY_FILE = "token-signing.pem"
_CA_KEY_FILE = "token-ca.key"
_CA_FILE = "token-ca.pem"
_MAX_RING_BYTES = 1 << 20
_RETIREMENT_GRACE = timedelta(minutes=5)
_MAX_CHAIN_BYTES = 64 << 10


class KeyOptions(msgspec.Struct, frozen=True):
    """What the settings say (``service.sections_keys``).

    Attributes:
        signing_key: private key file of the operator's own.
        certificate_chain: its PEM chain.
        certificate_lifetime: of leaves of the local authority.
        lead: how long a new key is published before it signs.
        rotate_after: how long a key signs before the next is made; None for no schedule.
    """

    signing_key: Path | None = None
    certificate_chain: Path | None = None
    certificate_lifetime: timedelta = timedelta(days=30)
    lead: timedelta = timedelta(minutes=10)
    rotate_after: timedelta | None = None


class KeyFolder:
    """The keys of one folder.

    Args:
        folder: created with mode 0700 where it is missing.
        options: what the settings say.

    Raises:
        InvalidSetting: the folder cannot be made.
    """

    def __init__(self, folder: Path, options: KeyOptions | None = None) -> None:
        """Open the folder; nothing is in it before the first ``maintain``."""
        try:
            folder.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
        except OSError as error:
            raise InvalidSetting(f"cannot create {folder} ({error.strerror})") from error
        self._folder = folder
        self.options = options or KeyOptions()

    def signature(self) -> tuple[object, ...]:
        """What changes when the keys change: identity, size and time of each file that decides."""
        paths = (self._folder / _RING_FILE, self.options.signing_key, self.options.certificate_chain)
        return tuple(version_of(path) for path in paths if path is not None)

    def ring(self) -> Ring:
        """The present document; empty where there is none yet.

        Raises:
            InvalidSetting: it is damaged.
        """
        path = self._folder / _RING_FILE
        if not path.exists():
            return Ring()
        data = read_limited(path, what="token keys", max_bytes=_MAX_RING_BYTES)
        try:
            ring = msgspec.json.decode(data, type=Ring)
        except msgspec.MsgspecError as error:
            raise InvalidSetting(f"{path} is not a list of token keys") from error
        if ring.version != 1:
            raise InvalidSetting(f"{path} is of a newer version")
        return ring

    def private_key(self, entry: KeyEntry) -> EllipticCurvePrivateKey:
        """The private key of an entry.

        Raises:
            NotFound: it is gone.
            InvalidSetting: the file is not a P-256 key, can be read by others, or is another key.
        """
        path = self._folder / entry.file if entry.file is not None else self.options.signing_key
        if path is None:
            raise InvalidSetting("the token-signing key was a file of the settings, which name none now")
        key = read_key(path)
        if public_jwk(key) != entry.jwk:
            raise InvalidSetting(f"{path} is another key than {_RING_FILE} says")
        return key

    def maintain(self, now: datetime) -> Ring:
        """Do what is due: make the first key, certify, renew, rotate by schedule, retire.

        Raises:
            NotFound: a file of the settings is not there.
            InvalidSetting: the folder cannot be written, or a file is not usable.
        """
        with self._locked():
            return self._store(self._maintained(self.ring(), now), now)

    def rotate(
        self, now: datetime, *, lead: timedelta | None = None, compromised: bool = False
    ) -> KeyEntry:
        """Make the next key.

        Args:
            now: the instant of the operation.
            lead: how long it is published before it signs; that of the options otherwise.
            compromised: the present key is not to be trusted any more: the new one signs at once, what
                the present one signed verifies no more, and the local authority is replaced too.

        Returns:
            The new key.

        Raises:
            Conflict: a next key is published already.
            InvalidSetting: the key is a file of the operator's own.
        """
        if self.options.signing_key is not None:
            raise InvalidSetting(
                "the token-signing key is a file of your own",
                advice="Replace the file that [token] signing_key names: servers take it up by themselves.",
            )
        with self._locked():
            ring = self._maintained(self.ring(), now)
            coming = key_ring.upcoming(ring, now)
            current = key_ring.present(ring, now)
            if compromised:
                ring = Ring(tuple(key for key in ring.keys if key not in (current, coming)))
                lead = timedelta(0)
                # Relying parties know no revocation: only with another authority they refuse the old key.
                (self._folder / _CA_KEY_FILE).unlink(missing_ok=True)
                (self._folder / _CA_FILE).unlink(missing_ok=True)
            elif coming is not None:
                raise Conflict(
                    f"a next key is published already: {coming.kid}, from {coming.active_from:%F %T} UTC"
                )
            ring = self._with_new_key(ring, now, self.options.lead if lead is None else lead)
            self._store(self._certified(ring, now), now)
            return ring.keys[-1]

    def authority(self) -> x509.Certificate | None:
        """The certificate of the local authority, if there is one."""
        path = self._folder / _CA_FILE
        if not path.exists():
            return None
        text = read_limited(path, what="token authority", max_bytes=_MAX_CHAIN_BYTES)
        try:
            return x509.load_pem_x509_certificate(text)
        except ValueError as error:
            raise InvalidSetting(f"{path} is not a PEM certificate") from error

    def _maintained(self, ring: Ring, now: datetime) -> Ring:
        if not ring.keys:
            ring = legacy_keys.imported(self._folder, _FIRST_KEY_FILE)
        if self.options.signing_key is not None:
            ring = self._with_own_key(ring, self.options.signing_key, now)
        elif not ring.keys or ring.keys[-1].file is None:
            ring = self._with_new_key(ring, now, timedelta(0))
        elif self._rotation_is_due(ring, now):
            ring = self._with_new_key(ring, now, self.options.lead)
        return key_ring.pruned(self._certified(ring, now), now)

    def _rotation_is_due(self, ring: Ring, now: datetime) -> bool:
        at = next_rotation(ring, self.options, now)
        return at is not None and key_ring.upcoming(ring, now) is None and at - self.options.lead <= now

    def _with_own_key(self, ring: Ring, path: Path, now: datetime) -> Ring:
        jwk = public_jwk(read_key(path))
        if ring.keys and ring.keys[-1].jwk == jwk:
            return key_ring.replaced(ring, msgspec.structs.replace(ring.keys[-1], file=None))
        if any(key.jwk == jwk for key in ring.keys):
            raise InvalidSetting("[token] signing_key is a key that was replaced already: take a new one")
        return key_ring.appended(ring, KeyEntry(jwk, now), now)

    def _with_new_key(self, ring: Ring, now: datetime, lead: timedelta) -> Ring:
        key = new_key()
        jwk = public_jwk(key)
        file = f"token-{jwk['kid']}.pem"
        if not ring.keys and not (self._folder / _FIRST_KEY_FILE).exists():
            file = _FIRST_KEY_FILE
        write_private(self._folder / file, pem(key))
        return key_ring.appended(ring, KeyEntry(jwk, now + lead, file), now)

    def _certified(self, ring: Ring, now: datetime) -> Ring:
        """With a good chain for the key that signs and the one that will."""
        for key in (key_ring.present(ring, now), key_ring.upcoming(ring, now)):
            if key is None:
                continue
            if key.file is None and self.options.certificate_chain is not None:
                chain = self._own_chain(self.options.certificate_chain, key, now)
            else:
                chain = self._local_chain(key, now)
            ring = key_ring.replaced(ring, key_ring.certified(key, chain, now))
        return ring

    def _own_chain(self, path: Path, key: KeyEntry, now: datetime) -> tuple[bytes, ...]:
        text = read_limited(path, what="certificate chain", max_bytes=_MAX_CHAIN_BYTES)
        return certificates.chain_of(text, self.private_key(key).public_key(), now)

    def _local_chain(self, key: KeyEntry, now: datetime) -> tuple[bytes, ...]:
        authority_key, authority = self._authority(now)
        if len(key.chain) == 1:
            leaf = x509.load_der_x509_certificate(key.chain[0])
            if certificates.directly_issued(leaf, authority) and now < certificates.renew_at(leaf):
                return key.chain
        leaf = certificates.issue(
            self.private_key(key).public_key(),
            authority,
            authority_key,
            now=now,
            lifetime=self.options.certificate_lifetime,
        )
        return (leaf.public_bytes(Encoding.DER),)

    def _authority(self, now: datetime) -> tuple[EllipticCurvePrivateKey, x509.Certificate]:
        path = self._folder / _CA_KEY_FILE
        if not path.exists():
            create_once(path, pem(new_key()))
        key = read_key(path)
        authority = self.authority()
        if authority is None:
            authority = certificates.new_authority(key, now)
            write_private(self._folder / _CA_FILE, authority.public_bytes(Encoding.PEM))
        if certificates.public_bytes(authority.public_key()) != certificates.public_bytes(key.public_key()):
            raise InvalidSetting(f"{self._folder / _CA_FILE} is not the certificate of {_CA_KEY_FILE}")
        if authority.not_valid_after_utc <= now:
            raise InvalidSetting(
                f"the authority {self._folder / _CA_FILE} has expired",
                advice=f"Move {_CA_KEY_FILE} and {_CA_FILE} away, and give relying parties the new one.",
            )
        return key, authority

    def _store(self, ring: Ring, now: datetime) -> Ring:
        """Write what changed, then delete the private keys that nothing signs with any more."""
        if ring != self.ring():
            write_private(self._folder / _RING_FILE, msgspec.json.encode(ring))
        # A replica whose clock is behind may need the private key a little longer.
        before = now - _RETIREMENT_GRACE
        signed = key_ring.present(ring, before)
        signing = {key.file for key in ring.keys if key is signed or key.active_from > before}
        for path in self._folder.glob("token-*.pem"):
            if path.name not in {_CA_FILE, *signing}:
                path.unlink(missing_ok=True)
        legacy_keys.forget(self._folder)
        return ring

    @contextmanager
    def _locked(self) -> Iterator[None]:
        descriptor = os.open(self._folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def next_rotation(ring: Ring, options: KeyOptions, now: datetime) -> datetime | None:
    """When the signing key changes next: that of a published next key, else that of the schedule."""
    coming = key_ring.upcoming(ring, now)
    if coming is not None:
        return coming.active_from
    current = key_ring.present(ring, now)
    if current is None or options.rotate_after is None or options.signing_key is not None:
        return None
    return max(current.active_from + options.rotate_after, now)
