"""What a guest is told before any file of its own: kernel command line, ``AA_KBC_PARAMS``.

Pure: the caller reads and gives the text. The command line comes from outside the guest, so that only
measured boot makes it more than a hint; of two values on it the first counts, as in the reference.

``aa_kbc_params`` is ``cc_kbc::URL``. ``cdh.kbs_resources`` is a list, by commas, of ``URI::PATH``; the
reverse order that older documents show is read too: which of the two is the URI cannot be mistaken.

Source: Confidential Containers, attestation agent and confidential data hub.
"""

from __future__ import annotations

import shlex
from typing import Final

import msgspec

from common.errors import InvalidSetting
from guest_agent.errors import Unsupported

KBC: Final = "cc_kbc"
_PARAMS: Final = "agent.aa_kbc_params"
_RESOURCES: Final = "cdh.kbs_resources"
_IGNORED: Final = (
    "agent.image_registry_auth",
    "agent.image_policy_file",
    "agent.enable_signature_verification",
    "agent.https_proxy",
    "agent.http_proxy",
    "agent.no_proxy",
)


class Credential(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A resource that is fetched to a file at start.

    Attributes:
        path: the file, under the folder for credentials.
        resource_uri: the resource.
    """

    path: str
    resource_uri: str


class Boot(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line says.

    Attributes:
        kbs_url: None where it says nothing.
        credentials: resources to fetch.
        ignored: names of parameters that nothing here reads.
    """

    kbs_url: str | None = None
    credentials: tuple[Credential, ...] = ()
    ignored: tuple[str, ...] = ()


def kbs_url(params: str) -> str:
    """The URL in an ``aa_kbc_params``.

    Raises:
        InvalidSetting: not ``KBC::URL``.
        Unsupported: another KBC than ``cc_kbc``.
    """
    kbc, found, url = params.partition("::")
    if not found or not url or "::" in url.replace("[::", "["):
        raise InvalidSetting(f"aa_kbc_params is {KBC}::URL")
    require_kbc(kbc)
    return url


def require_kbc(name: str) -> None:
    """Refuse a key broker client that is not ours to be.

    Raises:
        Unsupported: keys from a file in the image (``offline_fs_kbc``) or another kind.
    """
    if name != KBC:
        raise Unsupported(
            "the key broker client is not cc_kbc",
            advice="Keys come from a KBS after attestation: use cc_kbc::URL.",
        )


def command_line(text: str) -> Boot:
    """Read a kernel command line.

    Raises:
        InvalidSetting: a parameter of ours is not of its form.
        Unsupported: as for ``kbs_url``.
    """
    values: dict[str, str] = {}
    for word in _words(text):
        name, found, value = word.partition("=")
        if found:
            values.setdefault(name, value)
    params = values.get(_PARAMS)
    return Boot(
        kbs_url=None if params is None else kbs_url(params),
        credentials=tuple(_credential(item) for item in values.get(_RESOURCES, "").split(",") if item),
        ignored=tuple(name for name in _IGNORED if name in values),
    )


def _words(text: str) -> list[str]:
    """Words as the kernel splits them: quotes join, nothing else is special."""
    lexer = shlex.shlex(text.replace("\0", " "), posix=True)
    lexer.whitespace_split = True
    lexer.commenters = ""
    lexer.escape = ""
    lexer.quotes = '"'
    try:
        return list(lexer)
    except ValueError:  # an open quote: the kernel takes the rest, we read word by word
        return text.split()


def _credential(item: str) -> Credential:
    first, found, second = item.partition("::")
    if not found:
        raise InvalidSetting(f"{_RESOURCES} is a list of URI::PATH")
    if second.startswith(("kbs:", "kbs+")):
        first, second = second, first
    return Credential(path=second, resource_uri=first)
