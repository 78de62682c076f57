"""The registry's token flow: from a 401 and its challenge to an Authorization header for one repository.

* ``Basic``: the credential goes to the registry itself, and nowhere else.
* ``Bearer``: the credential goes to the token service (``realm``), which must be an allowed host; what is
  asked for is always ``repository:<name>:pull``, whatever scope the challenge names.

Without a credential a token is asked for anonymously. No error holds a credential, a token or an answer.

Source: distribution, docs/content/spec/auth/token.md and oauth.md; RFC 9110 section 11.6.1; RFC 7617.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode, urlsplit

from common import strict_json
from common.encoding import b64_encode
from common.errors import InputError
from provenance.oci.errors import RegistryAccessDenied, RegistryForbidden, RegistryUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provenance.oci.credentials import Credential
    from provenance.oci.transport import Response, Transport

_MAX_CHALLENGE: Final = 4096
_MAX_TOKEN_ANSWER: Final = 64 * 1024
_OK: Final = 200
_CLIENT_ID: Final = "touchstone"
_PARAMETER = re.compile(
    r'\s*,?\s*([A-Za-z_]{1,32})=(?:"([^"\\]{0,2048})"|([!#$%&\'*+.^_`|~0-9A-Za-z:/-]{1,2048}))'
)
# RFC 6750 section 2.1, b64token: what may stand in the header.
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]{1,16384}=*\Z")


def authorization(
    transport: Transport, challenge: str, repository: str, credential: Credential | None
) -> str:
    """The Authorization header that answers a challenge.

    Args:
        transport: asks the token service.
        challenge: the WWW-Authenticate header.
        repository: to be pulled from.
        credential: of the registry, or None.

    Raises:
        RegistryAccessDenied: a credential is needed and there is none, or it was refused.
        RegistryForbidden: the token service is not an allowed host.
        RegistryUnavailable: a challenge or answer that cannot be read.
    """
    scheme, parameters = parse_challenge(challenge)
    if scheme == "basic":
        if credential is None or not credential.username:
            raise RegistryAccessDenied("the registry wants a user and password, and none are configured")
        return _basic(credential)
    if scheme == "bearer":
        return f"Bearer {_token(transport, parameters, repository, credential)}"
    raise RegistryUnavailable("the registry asks for an authentication scheme that is not known")


def parse_challenge(text: str) -> tuple[str, dict[str, str]]:
    """Scheme (lower case) and parameters of one challenge.

    Raises:
        RegistryUnavailable: too long, or not a challenge.
    """
    scheme, _, rest = text.strip().partition(" ")
    if len(text) > _MAX_CHALLENGE or not scheme.isalpha():
        raise RegistryUnavailable("the registry's challenge cannot be read")
    parameters: dict[str, str] = {}
    position = 0
    while found := _PARAMETER.match(rest, position):
        parameters.setdefault(found[1].lower(), found[2] if found[2] is not None else found[3])
        position = found.end()
    return scheme.lower(), parameters


def _token(
    transport: Transport, parameters: Mapping[str, str], repository: str, credential: Credential | None
) -> str:
    realm = parameters.get("realm", "")
    if urlsplit(realm).query or urlsplit(realm).fragment:
        raise RegistryForbidden("the token service's address has a query")
    fields = [("scope", f"repository:{repository}:pull")]
    if parameters.get("service"):
        fields.append(("service", parameters["service"]))
    if credential is not None and credential.identity_token:
        fields += [
            ("grant_type", "refresh_token"),
            ("refresh_token", credential.identity_token),
            ("client_id", _CLIENT_ID),
        ]
        return _token_of(transport.post_form(realm, fields, max_bytes=_MAX_TOKEN_ANSWER))
    header = None if credential is None else _basic(credential)
    url = f"{realm}?{urlencode(fields)}"
    return _token_of(transport.get(url, max_bytes=_MAX_TOKEN_ANSWER, authorization=header))


def _token_of(response: Response) -> str:
    if response.status != _OK:
        raise RegistryAccessDenied(f"the token service refused: status {response.status}")
    try:
        document = strict_json.loads(response.body, what="the token", max_bytes=_MAX_TOKEN_ANSWER)
    except InputError:
        raise RegistryUnavailable("the token service's answer is not JSON") from None
    members = document if isinstance(document, dict) else {}
    token = members.get("token") or members.get("access_token")
    if not isinstance(token, str) or not _TOKEN.match(token):
        raise RegistryUnavailable("the token service's answer has no token that fits a header")
    return token


def _basic(credential: Credential) -> str:
    """RFC 7617 section 2."""
    return f"Basic {b64_encode(f'{credential.username}:{credential.password}'.encode())}"
