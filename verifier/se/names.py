"""Names in IBM's certificates, and what is irregular about them.

Two irregularities are known of the certificates and lists that IBM publishes, and allowed for, nothing
else: a list or document may hold the attributes of its issuer's name in another order than the issuer's own
certificate does, and may say ``L=Poughkeepsie`` where that says ``L=Armonk`` or the other way round.

Source: s390-tools, ``rust/pv/src/verify`` (rules of ``pvattest`` and ``pvimg`` for host-key documents).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.x509 import ObjectIdentifier

_IBM: Final = "International Business Machines Corporation"
_LOCALITIES: Final = frozenset({"Poughkeepsie", "Armonk"})
_UNIT_SUFFIX: Final = "Key Signing Service"
_SUBJECT: Final = {
    NameOID.COUNTRY_NAME: "US",
    NameOID.STATE_OR_PROVINCE_NAME: "New York",
    NameOID.ORGANIZATION_NAME: _IBM,
    NameOID.COMMON_NAME: _IBM,
}
_ATTRIBUTES: Final = len(_SUBJECT) + 2  # with locality and organisational unit


def same_name(one: x509.Name, other: x509.Name) -> bool:
    """Whether two names are one, but for the order of attributes and IBM's two localities."""
    return _normal(one) == _normal(other)


def is_signing_subject(subject: x509.Name) -> bool:
    """Whether ``subject`` is that of a host-key signing key: six attributes, each with IBM's value."""
    values = {attribute.oid: attribute.value for attribute in subject}
    unit = values.get(NameOID.ORGANIZATIONAL_UNIT_NAME)
    return (
        len(list(subject)) == _ATTRIBUTES == len(values)
        and all(values.get(oid) == value for oid, value in _SUBJECT.items())
        and values.get(NameOID.LOCALITY_NAME) in _LOCALITIES
        and isinstance(unit, str)
        and unit.endswith(_UNIT_SUFFIX)
    )


def _normal(name: x509.Name) -> list[tuple[str, str | bytes]]:
    return sorted(((item.oid.dotted_string, _value(item.oid, item.value)) for item in name), key=repr)


def _value(oid: ObjectIdentifier, value: str | bytes) -> str | bytes:
    return "Armonk or Poughkeepsie" if oid == NameOID.LOCALITY_NAME and value in _LOCALITIES else value
