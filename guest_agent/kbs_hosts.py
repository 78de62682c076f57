"""One client per KBS: the host of a resource URI is honoured, and must be configured.

A URI comes out of images, sealed secrets and annotations: whoever wrote it must not be able to send this
guest's evidence to a server of their own. So a host is the configured KBS's, or one of a list, or refused.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from urllib3.util import parse_url

from common.errors import InvalidSetting
from guest_agent.errors import KbsHostForbidden
from guest_agent.resource_uri import HOST, ResourceUri, parse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from guest_agent.kbs_client import KbsClient


class KbsHosts:
    """Gets resources from the KBS that their URI names.

    Args:
        default_url: the configured KBS; what a URI without a host means.
        make: makes a client for a URL. It carries attester, authorities and keys: the same for all.
        kbs_hosts: ``host[:port]`` of further KBSs; reached by the scheme of ``default_url``.

    Raises:
        InvalidSetting: ``default_url`` has no host, or an entry of the list is none.
    """

    def __init__(
        self, default_url: str, make: Callable[[str], KbsClient], *, kbs_hosts: Iterable[str] = ()
    ) -> None:
        """Keep the list; the default's client is made here, so that a bad URL is told at the start."""
        parsed = parse_url(default_url)
        if not parsed.scheme or not parsed.netloc:
            raise InvalidSetting("the KBS's URL is https://host[:port][/prefix]")
        self._make = make
        self._lock = threading.Lock()
        self.default = make(default_url)
        self._clients: dict[str, KbsClient] = {parsed.netloc.lower(): self.default}
        self._urls: dict[str, str] = {}
        for host in kbs_hosts:
            if not HOST.match(host):
                raise InvalidSetting("an entry of kbs_hosts is not host[:port]")
            self._urls[host.lower()] = f"{parsed.scheme}://{host.lower()}"

    def get_resource(self, resource: str | ResourceUri) -> bytes:
        """The plaintext of a resource, from the KBS of its URI. Errors as ``KbsClient.get_resource``.

        Raises:
            KbsHostForbidden: the URI's host is not configured; nothing was sent.
        """
        uri = resource if isinstance(resource, ResourceUri) else parse(resource)
        return self.client_of(uri.host).get_resource(uri)

    def client_of(self, host: str) -> KbsClient:
        """The client for ``host[:port]``; for an empty host the configured KBS's.

        Raises:
            KbsHostForbidden: the host is not configured.
        """
        if not host:
            return self.default
        with self._lock:
            client = self._clients.get(host)
            if client is not None:
                return client
            url = self._urls.get(host)
            if url is None:
                raise KbsHostForbidden("the resource URI names a KBS that is not configured")
            self._clients[host] = self._make(url)
            return self._clients[host]
