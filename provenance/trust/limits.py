"""What a trust policy's numbers, times, environments and exceptions may say; and a policy's view in one.

Invariants:

* Every environment is checked as the whole policy that it makes, so that none can say what no policy may.
* A policy that has environments is used in one of them or not at all: whoever forgets to name it does
  not get the laxest.
* An exception names one envelope by digest, the rules that it lifts, a reason and an end.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import msgspec

from common.encoding import identifier
from common.errors import InvalidIdentifier
from provenance.errors import TrustPolicyInvalid
from provenance.instants import rfc3339
from provenance.trust.model import (
    DEFAULT_DOMAIN,
    EXCEPTABLE,
    MAX_DOMAIN_CHARS,
    MAX_DOMAINS,
    MAX_LEVEL,
    Environment,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from provenance.trust.model import TrustDocument, TrustedSigner, TrustException

_MAX_SERIAL: Final = 2**53 - 1  # the largest integer of RFC 8785
_SHA256: Final = re.compile(r"[0-9a-f]{64}\Z")


def check(document: TrustDocument) -> None:
    """Check the members that this module knows.

    Raises:
        TrustPolicyInvalid: naming the member.
    """
    if document.serial is not None and not 1 <= document.serial <= _MAX_SERIAL:
        raise TrustPolicyInvalid("serial is not a positive integer below 2**53")
    if document.expires is not None:
        _instant(document.expires, "expires")
    _check_domains(document)
    _check_level(document.min_level, "min_level")
    for builder in document.builders:
        _check_level(builder.level, f"builder {builder.id!a}: level")
    if document.min_level and not any(builder.level for builder in document.builders):
        raise TrustPolicyInvalid("min_level needs builders with a level")
    if not set(document.required_predicates) <= set(document.predicate_types):
        raise TrustPolicyInvalid("required_predicates are not all among predicate_types")
    if not set(document.supporting_predicates) < set(document.predicate_types):
        raise TrustPolicyInvalid("supporting_predicates are not some, and not all, of predicate_types")
    if any(not values for values in document.parameter_values.values()):
        raise TrustPolicyInvalid("parameter_values accepts no value for a parameter")
    for exception in document.exceptions:
        _check_exception(exception)
    names = [exception.name for exception in document.exceptions]
    if len(set(names)) != len(names):
        raise TrustPolicyInvalid("one exception stands twice in the policy")


def merged(document: TrustDocument, environment: Environment) -> TrustDocument:
    """The document as it is in one of its environments."""
    changes: dict[str, Any] = {
        name: getattr(environment, name)
        for name in Environment.__struct_fields__
        if getattr(environment, name) is not msgspec.UNSET
    }
    return msgspec.structs.replace(document, environments={}, **changes)


def in_environment(document: TrustDocument, name: str | None) -> TrustDocument:
    """The document as it decides in environment ``name``; itself where it has no environments.

    Raises:
        TrustPolicyInvalid: it has environments, and not this one, or none was named.
    """
    if not document.environments:
        return document
    if name is None or name not in document.environments:
        known = ", ".join(sorted(document.environments))
        raise TrustPolicyInvalid(
            f"the trust policy has the environments {known}, and "
            + ("none is named" if name is None else f"not {name!a}"),
            advice="Name one: [policy] environment of the server, --environment of a command.",
        )
    return merged(document, document.environments[name])


def expires_at(document: TrustDocument) -> datetime | None:
    """When the policy ends; None where it does not."""
    return None if document.expires is None else _instant(document.expires, "expires")


def exception_end(exception: TrustException) -> datetime:
    """When an exception ends."""
    return _instant(exception.expires, f"exception {exception.name!a}: expires")


def domains_required(document: TrustDocument, predicate_type: str) -> int:
    """How many trust domains must attest a subject of this predicate type."""
    return document.required_domains_for.get(predicate_type, document.required_domains)


def domains_of(
    document: TrustDocument, signers: Sequence[TrustedSigner], predicate_type: str
) -> tuple[str, ...]:
    """Trust domains that these signers speak for; none where the policy names none, or by mere support."""
    named = any(signer.domain is not None for signer in document.signers)
    if not named or predicate_type in document.supporting_predicates:
        return ()
    return tuple(dict.fromkeys(signer.domain or DEFAULT_DOMAIN for signer in signers))


def _check_domains(document: TrustDocument) -> None:
    domains = {DEFAULT_DOMAIN if item.domain is None else item.domain for item in document.signers}
    if len(domains) > MAX_DOMAINS or any(len(domain) > MAX_DOMAIN_CHARS for domain in domains):
        raise TrustPolicyInvalid(
            f"more than {MAX_DOMAINS} domains, or one of more than {MAX_DOMAIN_CHARS} characters"
        )
    for domain in (*domains, *document.environments):
        try:
            identifier(domain, what="domain or environment")
        except InvalidIdentifier as error:
            raise TrustPolicyInvalid(error.message) from error
    if not set(document.required_domains_for) <= set(document.predicate_types):
        raise TrustPolicyInvalid("required_domains_for names a type that is not among predicate_types")
    for count in (document.required_domains, *document.required_domains_for.values()):
        if not 1 <= count <= len(domains):
            raise TrustPolicyInvalid("required_domains is not between 1 and the number of signers' domains")


def _check_level(level: int | None, what: str) -> None:
    if level is not None and not 0 <= level <= MAX_LEVEL:
        raise TrustPolicyInvalid(f"{what} is not between 0 and {MAX_LEVEL}")


def _check_exception(exception: TrustException) -> None:
    what = f"exception {exception.name!a}"
    if not exception.name or not exception.reason.strip():
        raise TrustPolicyInvalid(f"{what}: name or reason is empty")
    if not _SHA256.match(exception.attestation):
        raise TrustPolicyInvalid(f"{what}: attestation is not a SHA-256 in lower-case hex")
    if not exception.rules or not set(exception.rules) <= set(EXCEPTABLE):
        raise TrustPolicyInvalid(f"{what}: rules are not all among {', '.join(EXCEPTABLE)}")
    exception_end(exception)


def _instant(text: str, what: str) -> datetime:
    moment = rfc3339(text)
    if moment is None:
        raise TrustPolicyInvalid(f"{what} is not RFC 3339")
    return moment
