"""The port of plugins: what a plugin is asked, what it answers, and which there are.

The order of one call, which the KBS routes keep: ``validate_auth``; if it says so the administrators' gate,
else the attestation token and the resource policy; ``handle``; and where no administrator calls and
``needs_encryption`` says so, encryption to the guest's key.

Invariants:

* A plugin that cannot say who may call, or whether its answer is secret, raises; nothing is assumed.
* A change that an administrator makes leaves an audit record, written before the change where the change
  is outside the database.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from coco.errors import PluginFailed, PluginUnknown

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

OCTETS: Final = "application/octet-stream"
JSON: Final = "application/json"
# What the reference sends with the empty answer of a write; clients ignore it.
EMPTY: Final = "text/xml"
_OK: Final = 200
_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,63}\Z")


class PluginCall(msgspec.Struct, frozen=True):
    """A request under ``/kbs/v0/<plugin>/``.

    Attributes:
        method: upper case.
        path: the segments after the plugin's name, as they were sent.
        query: decoded; one value for a name.
        body: the request's body.
    """

    method: str
    path: tuple[str, ...]
    query: Mapping[str, str] = {}
    body: bytes = b""


class PluginAnswer(msgspec.Struct, frozen=True):
    """What a plugin answers.

    Attributes:
        status: HTTP status, 200 to 299.
        body: plaintext; the caller encrypts.
        content_type: of the plaintext.
    """

    status: int = _OK
    body: bytes = b""
    content_type: str = EMPTY


class Plugin(Protocol):
    """One plugin. Its methods raise ``PluginFailed`` for a call that is none of its own."""

    @property
    def name(self) -> str:
        """The segment after ``/kbs/v0/``."""

    def validate_auth(self, call: PluginCall) -> bool:
        """Whether the call is for administrators only.

        Raises:
            PluginFailed: no call of this plugin.
            PluginUnavailable: it cannot say.
        """

    def needs_encryption(self, call: PluginCall) -> bool:
        """Whether the answer to an attested guest must be encrypted to its key; errors as before."""

    def handle(self, call: PluginCall, *, by: str, now: datetime) -> PluginAnswer:
        """Do it.

        Args:
            call: admitted.
            by: who calls, as records name him: an administrator, or a guest.
            now: when.

        Raises:
            PluginFailed: refused or not possible.
            PluginUnavailable: what the plugin rests on does not answer.
            AuditUnavailable: the record could not be written; nothing was done.
        """


class PluginRegistry:
    """The plugins of one server.

    Args:
        plugins: with names of their own.
    """

    def __init__(self, plugins: Iterable[Plugin]) -> None:
        """Keep them by name."""
        self._plugins = {plugin.name: plugin for plugin in plugins}

    @property
    def names(self) -> tuple[str, ...]:
        """What is configured, sorted."""
        return tuple(sorted(self._plugins))

    def get(self, name: str) -> Plugin:
        """The plugin of that name.

        Raises:
            PluginUnknown: none is configured.
        """
        plugin = self._plugins.get(name)
        if plugin is None:
            shown = f"Plugin {name}" if _NAME.match(name) else "The plugin"
            raise PluginUnknown(f"{shown} not found")
        return plugin


def no_such_call() -> PluginFailed:
    """The error for a path or method that the plugin does not have."""
    return PluginFailed("the plugin has no such path, or not this method on it")
