"""The token-signing keys as a running server sees them: always the present state of the folder.

``KeyFolder`` works on files; this is the view that requests use. At most once a second, on use, one
``stat`` a file tells whether the keys changed; if so they are read anew, and the whole view is replaced in
one assignment. A key id or certificate that is unknown is looked for once more in the files, so that a
token signed by another worker a moment ago verifies here. Files that cannot be read leave the view as it
is, with an error in the log and ``touchstone_reload_failures_total``.

Which key signs at ``now`` follows from the view and the time (``service.key_ring``): nothing has to happen
at the moment of a change.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from datetime import timedelta
from importlib import metadata
from typing import TYPE_CHECKING, Any

from common.errors import InvalidSetting, TouchstoneError
from service import certificates, expiry_metrics, key_ring
from service.keys import KeyFolder, KeyOptions
from verifier.coco_token import CocoForm, CocoSigner, header_jwk
from verifier.compact import VerifyingKey, publishes, verifying_key
from verifier.ear import EarSigner

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from service.key_ring import KeyEntry, Ring
    from service.settings import Settings

_LOG = logging.getLogger("touchstone.keys")
_CHECK_INTERVAL_S = 1.0
_DEVELOPER = "touchstone"
_FORMS = (CocoForm(x5c="base64"), CocoForm(x5c="base64url"))


@dataclass(frozen=True, slots=True)
class _Signers:
    """What signs from ``active_from`` on."""

    active_from: datetime
    ear: EarSigner
    coco: CocoSigner


@dataclass(frozen=True, slots=True)
class _View:
    """Everything that requests need, made from one reading of the folder."""

    ring: Ring
    signers: tuple[_Signers, ...]
    keys: Mapping[str, tuple[VerifyingKey, datetime | None]]


class TokenKeys:
    """Signs with the present key, finds every key that verifies. Safe to use from many threads.

    Args:
        folder: the key files.
        issuer: ``iss`` of our own form of tokens.
        developer: ``ear.verifier-id`` developer of them.
        build: ``ear.verifier-id`` build of them.
        form: header of tokens for Confidential Containers.
        now: the time of the first reading.

    Raises:
        InvalidSetting: the keys are not usable.
    """

    def __init__(
        self,
        folder: KeyFolder,
        *,
        issuer: str,
        developer: str,
        build: str,
        form: CocoForm,
        now: datetime,
    ) -> None:
        """Read the keys; the first is made where there is none."""
        self.folder = folder
        self._names = {"issuer": issuer, "developer": developer, "build": build}
        self._form = form
        self._lock = threading.Lock()
        self._failed: object = None
        folder.maintain(now)
        self._signature = folder.signature()
        self._view = self._read(now)
        self._check_at = time.monotonic() + _CHECK_INTERVAL_S

    def signer(self, now: datetime) -> EarSigner:
        """What signs our own form of tokens at ``now``."""
        return self._signers(now).ear

    def sign(self, claims: Mapping[str, Any], *, now: datetime, expires: datetime) -> str:
        """Sign a token of our own form with the present key (``verifier.ear.Signer``)."""
        return self._signers(now).ear.sign(claims, now=now, expires=expires)

    def sign_coco(self, claims: Mapping[str, Any], *, now: datetime, expires: datetime) -> str:
        """Sign a token for Confidential Containers with the present key (``CocoSigner.sign``).

        Raises:
            TokenCertificateExpired: nobody would accept the certificate in the header.
        """
        return self._signers(now).coco.sign(claims, now=now, expires=expires)

    def find(self, kid: str, now: datetime, jwk: object = None) -> VerifyingKey | None:
        """The key of that id, if a token may be signed with it (``verifier.compact.VerifyingKeys``)."""
        found = _find(self._current(now), kid, now, jwk)
        if found is None:
            self._refresh(now)
            found = _find(self._view, kid, now, jwk)
        return found

    def verifying(self, now: datetime) -> dict[str, VerifyingKey]:
        """Every key that a token may be signed with, by id: the present one first."""
        view = self._current(now)
        return {key.kid: view.keys[key.kid][0] for key, _ in key_ring.verifying(view.ring, now)}

    def kids(self, now: datetime) -> tuple[str, ...]:
        """The ids of the keys that ``find`` finds: one and the same tuple until these change."""
        return tuple(kid for kid, key in self._current(now).keys.items() if _accepted(key, now))

    def jwks(self, now: datetime) -> dict[str, list[dict[str, str]]]:
        """The JWK Set (RFC 7517 section 5) of ``verifying``."""
        return {"keys": [dict(key.jwk) for key in self.verifying(now).values()]}

    def maintain(self, now: datetime) -> None:
        """Do what is due in the folder (``KeyFolder.maintain``), and see it here at once.

        Raises:
            NotFound: a file of the settings is not there.
            InvalidSetting: the folder cannot be written, or a file is not usable.
        """
        self.folder.maintain(now)
        self._refresh(now)

    def ring(self, now: datetime) -> Ring:
        """The document that the view rests on."""
        return self._current(now).ring

    def _signers(self, now: datetime) -> _Signers:
        signers = self._current(now).signers
        for each in reversed(signers):
            if each.active_from <= now:
                return each
        return signers[0]

    def _current(self, now: datetime) -> _View:
        if time.monotonic() >= self._check_at:
            self._refresh(now)
        return self._view

    def _refresh(self, now: datetime) -> None:
        """Read the folder anew if it changed."""
        with self._lock:
            self._check_at = time.monotonic() + _CHECK_INTERVAL_S
            signature = self.folder.signature()
            if signature in (self._signature, self._failed):
                return
            try:
                if self.folder.options.signing_key is not None:
                    self.folder.maintain(now)  # the operator's own files may be what changed
                    signature = self.folder.signature()
                self._view = self._read(now)
            except (TouchstoneError, OSError) as error:
                self._failed = signature
                expiry_metrics.reload_failed("token_keys")
                reason = error.message if isinstance(error, TouchstoneError) else error.strerror
                _LOG.error("the token keys cannot be read, the former ones stay: %s", reason)
            else:
                self._signature, self._failed = signature, None

    def _read(self, now: datetime) -> _View:
        ring = self.folder.ring()
        current = key_ring.present(ring, now)
        if current is None:
            raise InvalidSetting("there is no token-signing key")
        signing = [key for key in ring.keys if key is current or key.active_from > now]
        return _View(
            ring=ring,
            signers=tuple(self._signers_of(key) for key in signing),
            keys={
                key.kid: (verifying_key(key.jwk, _header_jwks(key)), until)
                for key, until in key_ring.verifying(ring, now)
            },
        )

    def _signers_of(self, key: KeyEntry) -> _Signers:
        private = self.folder.private_key(key)
        coco = CocoSigner(
            private, form=self._form, chain=key.chain, not_after=certificates.not_after(key.chain)
        )
        return _Signers(key.active_from, EarSigner(private, **self._names), coco)


def open_folder(settings: Settings) -> KeyFolder:
    """The folder of the settings.

    Raises:
        InvalidSetting: it cannot be made.
    """
    token = settings.token
    options = KeyOptions(
        signing_key=token.signing_key,
        certificate_chain=token.certificate_chain,
        certificate_lifetime=timedelta(days=token.certificate_days),
        lead=timedelta(seconds=token.rotation_lead_s),
        rotate_after=None if token.rotation_days is None else timedelta(days=token.rotation_days),
    )
    return KeyFolder(settings.keys_dir, options)


def token_keys(settings: Settings, now: datetime) -> TokenKeys:
    """The keys of the settings.

    Raises:
        InvalidSetting: they are not usable.
    """
    return TokenKeys(
        open_folder(settings),
        issuer=settings.token.issuer,
        developer=_DEVELOPER,
        build=metadata.version("touchstone"),
        form=CocoForm(header=settings.token.coco_header, x5c=settings.token.x5c_encoding),
        now=now,
    )


def _find(view: _View, kid: str, now: datetime, jwk: object) -> VerifyingKey | None:
    found = view.keys.get(kid)
    if found is None or not _accepted(found, now) or not publishes(found[0], jwk):
        return None
    return found[0]


def _accepted(key: tuple[VerifyingKey, datetime | None], now: datetime) -> bool:
    """Whether a token may be signed with it: a key that was followed by another, for a while longer."""
    until = key[1]
    return until is None or until > now


def _header_jwks(key: KeyEntry) -> tuple[dict[str, Any], ...]:
    """Each ``jwk`` that headers of the key's tokens may carry: either text of either chain."""
    chains = [key.chain, *(old.chain for old in key.earlier)]
    return tuple(header_jwk(key.jwk, chain, form) for chain in chains if chain for form in _FORMS)
