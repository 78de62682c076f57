"""One token of a PKCS#11 module: generic secrets by label, and RSA-OAEP under a key pair of the token.

Invariants:

* One session, and one call at a time: the module is initialised without locks of its own, and login belongs
  to the process. A call that waits longer than ``_WAIT_S`` for its turn is refused.
* A process opens its own session. After a fork the module is initialised again (PKCS #11 v3.1 section
  5.4: a child must), so that no session is shared; what the parent held is not touched.
* A session that broke (token removed, module restarted) is dropped, and opened again at the next call.
* The PIN is read from its file when a session is opened and kept nowhere.
* ``store`` writes the new object before it destroys those it replaces, and ``read`` takes the newest (by
  ``CKA_ID``): a crash between leaves an old copy, never no copy.
* Objects are stored on the token. The reference stores session objects, which end with the process.

Sources: PKCS #11 Specification v3.1, sections 4.10, 5.4, 6.1.8.
"""

from __future__ import annotations

import os
import secrets
import threading
import weakref
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import msgspec
import pkcs11
from pkcs11 import MGF, Attribute, KeyType, Mechanism, ObjectClass
from pkcs11 import exceptions as faults

from coco.errors import CocoSetting, PluginFailed, PluginUnavailable
from common.errors import TouchstoneError
from common.files import read_private
from storage.database import to_micros

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

_WAIT_S: Final = 30.0
_ID_RANDOM: Final = 4
_OAEP: Final = {
    "SHA-256": (Mechanism.SHA256, MGF.SHA256, None),
    "SHA-1": (Mechanism.SHA_1, MGF.SHA1, None),
}
OAEP_HASHES: Final = tuple(_OAEP)
# Faults of what was sent, not of the token.
_OF_THE_INPUT: Final = (
    faults.DataInvalid,
    faults.DataLenRange,
    faults.EncryptedDataInvalid,
    faults.EncryptedDataLenRange,
    faults.AttributeValueInvalid,
)


class HsmConfig(msgspec.Struct, frozen=True):
    """A token.

    Attributes:
        module: the PKCS#11 library.
        pin_file: file with the user PIN, mode 0600.
        token_label: which token; None: by ``slot_index``.
        slot_index: among the slots with a token.
        lookup_label: ``CKA_LABEL`` of the RSA pair.
        oaep_hash: of OAEP and MGF1, one of ``OAEP_HASHES``.
    """

    module: Path
    pin_file: Path
    token_label: str | None = None
    slot_index: int = 0
    lookup_label: str = ""
    oaep_hash: str = "SHA-256"


class Hsm:
    """A token, opened at its first use.

    Args:
        config: which.

    Raises:
        CocoSetting: there is no such hash mechanism.
    """

    def __init__(self, config: HsmConfig) -> None:
        """Keep the configuration; nothing is loaded yet."""
        if config.oaep_hash not in _OAEP:
            raise CocoSetting(f"the hash of OAEP is one of {', '.join(OAEP_HASHES)}")
        self._config = config
        self._lock = threading.Lock()
        self._session: Any = None
        self._forked = False
        this = weakref.ref(self)
        os.register_at_fork(after_in_child=lambda: _after_fork(this()))

    def read(self, label: str) -> bytes | None:
        """The newest generic secret of that label; None if there is none.

        Raises:
            PluginUnavailable: the token does not answer, or does not give the value out.
        """
        with self._opened() as session:
            found = [(_id(item), item) for item in _secrets(session, label)]
            if not found:
                return None
            newest = max(found, key=lambda pair: pair[0])[1]
            return bytes(newest[Attribute.VALUE])

    def store(self, label: str, value: bytes, now: datetime) -> None:
        """Store a generic secret under a label, in place of what was there.

        Raises:
            PluginUnavailable: the token does not answer or take it; what was there still is.
        """
        template: dict[Any, Any] = {
            Attribute.CLASS: ObjectClass.SECRET_KEY,
            Attribute.KEY_TYPE: KeyType.GENERIC_SECRET,
            Attribute.TOKEN: True,
            Attribute.PRIVATE: True,
            Attribute.SENSITIVE: False,  # its value is read back
            Attribute.EXTRACTABLE: True,
            Attribute.ID: to_micros(now).to_bytes(8, "big") + secrets.token_bytes(_ID_RANDOM),
            Attribute.LABEL: label,
            Attribute.VALUE: value,
        }
        with self._opened() as session:
            replaced = list(_secrets(session, label))
            # Last in order even where two come at one instant, a clock went back, or another program wrote.
            last = max((_id(item) for item in replaced), default=b"")
            if template[Attribute.ID] <= last:
                template[Attribute.ID] = last + b"\x01"
            session.create_object(template)
            for item in replaced:
                item.destroy()

    def delete(self, label: str) -> bool:
        """Destroy every generic secret of a label; whether there was one.

        Raises:
            PluginUnavailable: the token does not answer.
        """
        with self._opened() as session:
            found = list(_secrets(session, label))
            for item in found:
                item.destroy()
            return bool(found)

    def wrap(self, data: bytes) -> bytes:
        """RSA-OAEP encryption under the token's public key.

        Raises:
            PluginFailed: no such key, or the data are too long for it.
            PluginUnavailable: the token does not answer or offer the mechanism.
        """
        with self._opened() as session:
            key = self._key(session, ObjectClass.PUBLIC_KEY)
            return bytes(key.encrypt(data, mechanism=Mechanism.RSA_PKCS_OAEP, mechanism_param=self._oaep))

    def unwrap(self, data: bytes) -> bytes:
        """RSA-OAEP decryption with the token's private key; errors as ``wrap``."""
        with self._opened() as session:
            key = self._key(session, ObjectClass.PRIVATE_KEY)
            return bytes(key.decrypt(data, mechanism=Mechanism.RSA_PKCS_OAEP, mechanism_param=self._oaep))

    def close(self) -> None:
        """End the session."""
        with self._lock:
            self._drop()

    @property
    def _oaep(self) -> tuple[Any, ...]:
        return _OAEP[self._config.oaep_hash]

    def _key(self, session: Any, kind: Any) -> Any:
        wanted = {
            Attribute.CLASS: kind,
            Attribute.KEY_TYPE: KeyType.RSA,
            Attribute.LABEL: self._config.lookup_label,
        }
        found = list(session.get_objects(wanted))
        if len(found) != 1:
            raise PluginFailed(f"the token has {len(found)} wrapping keys of the configured label, not one")
        return found[0]

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        if not self._lock.acquire(timeout=_WAIT_S):
            raise PluginUnavailable("the HSM is busy with another call")
        try:
            if self._session is None:
                self._session = self._open()
            yield self._session
        except _OF_THE_INPUT as error:
            raise PluginFailed("the HSM refuses what was sent") from error
        except faults.PKCS11Error as error:
            self._drop()
            # The library's errors have names of return codes alone.
            raise PluginUnavailable(f"the HSM fails: {type(error).__name__}") from error
        finally:
            self._lock.release()

    def _open(self) -> Any:
        try:
            pin = read_private(self._config.pin_file, what="PIN file").decode("utf-8").rstrip("\r\n")
        except (TouchstoneError, UnicodeDecodeError) as error:
            raise PluginUnavailable("the HSM's PIN file cannot be read, or others can read it") from error
        module = pkcs11.lib(str(self._config.module))
        if self._forked:
            module.reinitialize()
            self._forked = False
        token = self._token(module)
        try:
            return token.open(rw=True, user_pin=pin)
        except faults.UserAlreadyLoggedIn:
            # This process logged in with this PIN before; login is the process's, not the session's.
            return token.open(rw=True)

    def _token(self, module: Any) -> Any:
        if self._config.token_label is not None:
            return module.get_token(token_label=self._config.token_label)
        slots = module.get_slots(token_present=True)
        if self._config.slot_index >= len(slots):
            raise PluginUnavailable(f"the HSM has {len(slots)} slots with a token")
        return slots[self._config.slot_index].get_token()

    def _drop(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            try:
                session.close()
            except faults.PKCS11Error:
                return  # it is gone, which is why it is dropped


def _after_fork(hsm: Hsm | None) -> None:
    """In a child: the lock may be held by a thread that is not here, and the session is the parent's."""
    if hsm is not None:
        hsm._lock = threading.Lock()  # noqa: SLF001
        hsm._session = None  # noqa: SLF001
        hsm._forked = True  # noqa: SLF001


def _secrets(session: Any, label: str) -> Iterator[Any]:
    # Generic secrets only: a label must not reach a key of another purpose.
    wanted = {
        Attribute.CLASS: ObjectClass.SECRET_KEY,
        Attribute.KEY_TYPE: KeyType.GENERIC_SECRET,
        Attribute.LABEL: label,
    }
    return iter(session.get_objects(wanted))


def _id(item: Any) -> bytes:
    return bytes(item[Attribute.ID] or b"")
