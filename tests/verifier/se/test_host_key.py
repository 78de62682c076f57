"""Host-key documents: IBM's rules, and every way in which a document, chain or list does not hold."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ObjectIdentifier
from hypothesis import given, settings
from hypothesis import strategies as st

from common.checks import Checks
from common.errors import Malformed, TooLarge, TouchstoneError
from testkit.se_host import END, START, Host, SeAuthority, ibm_name
from tests.verifier.se.conftest import NOW, World
from verifier.errors import (
    CertificateExpired,
    CertificateInvalid,
    CertificateNotYetValid,
    CertificateRevoked,
    CrlExpired,
    CrlInvalid,
    CrlMissing,
    EndorsementMissing,
    RootUntrusted,
)
from verifier.se.host_key import HostKey, load_host_key_document, verify_host_key
from verifier.se.pki import load_certificates, load_lists

DAY = timedelta(days=1)
UNKNOWN = (x509.UnrecognizedExtension(ObjectIdentifier("1.2.3.4"), b"\x05\x00"), True)


def check(world: World, host: Host | None = None, now: datetime = NOW, **changes: Any) -> HostKey:
    authority = world.authority
    members: dict[str, Any] = {
        "certificates": [authority.intermediate.certificate, authority.signing.certificate],
        "lists": world.lists,
        "roots": [authority.root.certificate],
    } | changes
    return verify_host_key(
        (host or world.host).document,
        members["certificates"],
        [crl for data in members["lists"] for crl in load_lists(data, "list")],
        members["roots"],
        now=now,
        checks=Checks(),
    )


def with_signing(world: World, name: x509.Name, **changes: Any) -> tuple[Host, dict[str, Any]]:
    """A machine certified by another signing key of the same authority."""
    authority = world.authority
    party = authority.signing_key(name, **changes)
    certificates = [party.certificate, authority.intermediate.certificate]
    lists = (authority.crl(party), *world.lists)
    return authority.host(signer=party), {"certificates": certificates, "lists": lists}


def test_a_document_holds_with_its_hash_window_and_all_that_was_relied_on(world: World) -> None:
    found = check(world)
    assert found.hash == world.host.phkh
    assert found.not_after == END
    assert len(found.endorsements) == 4 + 3  # certificates and lists


@pytest.mark.parametrize("locality", ["Armonk", "Poughkeepsie"])
@pytest.mark.parametrize("issuer", ["Armonk", "Poughkeepsie"])
@pytest.mark.parametrize("backwards", [False, True])
def test_names_may_differ_in_order_and_in_the_two_localities(
    world: World, locality: str, issuer: str, backwards: bool
) -> None:
    unit = "IBM Z Host Key Signing Service"
    party = world.authority.signing_key(ibm_name(unit, locality=locality))
    other = ibm_name(unit, locality=issuer, backwards=backwards)
    host = world.authority.host(signer=party, issuer=other)
    lists = (world.authority.crl(party, name=other), *world.lists)
    certificates = [party.certificate, world.authority.intermediate.certificate]
    assert check(world, host, certificates=certificates, lists=lists).hash == host.phkh


@pytest.mark.parametrize(
    "name",
    [
        ibm_name("IBM Z Host Key"),
        ibm_name("IBM Z Host Key Signing Service", locality="Boeblingen"),
        x509.Name(list(ibm_name("IBM Z Host Key Signing Service"))[:-2]),
        x509.Name([*ibm_name("IBM Z Host Key Signing Service"), *ibm_name("x")][:7]),
    ],
)
def test_a_certificate_without_ibms_subject_signs_no_host_key(world: World, name: x509.Name) -> None:
    host, changes = with_signing(world, name)
    with pytest.raises(EndorsementMissing):
        check(world, host, **changes)


def test_an_issuer_of_another_name_is_not_the_signing_key(world: World) -> None:
    host = world.authority.host(issuer=ibm_name("IBM LinuxONE Key Signing Service"))
    with pytest.raises(EndorsementMissing):
        check(world, host)


def test_no_signing_key_in_the_store(world: World) -> None:
    with pytest.raises(EndorsementMissing):
        check(world, certificates=[world.authority.intermediate.certificate])


def test_another_key_under_the_same_name_is_refused(world: World) -> None:
    """Its authority key identifier names another key; without one the signature fails."""
    impostor = SeAuthority()
    with pytest.raises(EndorsementMissing):
        check(world, impostor.host())
    der = bytearray(world.host.certificate.public_bytes(Encoding.DER))
    der[-1] ^= 1
    altered = Host(world.host.key, x509.load_der_x509_certificate(bytes(der)))
    with pytest.raises(CertificateInvalid):
        check(world, altered)


def test_the_chain_ends_at_a_configured_root_by_its_bytes(world: World) -> None:
    other = SeAuthority()
    with pytest.raises(RootUntrusted):
        check(world, roots=[other.root.certificate])
    with pytest.raises(RootUntrusted):
        check(world, roots=[])
    with pytest.raises(RootUntrusted):
        check(world, certificates=[world.authority.signing.certificate])


def test_a_root_may_be_the_intermediate_itself(world: World) -> None:
    """What the operator trusts is trusted: then lists of it and below are needed, and its own."""
    found = check(world, roots=[world.authority.intermediate.certificate])
    assert found.hash == world.host.phkh


def test_a_signing_key_that_may_not_sign_or_has_an_unknown_critical_extension(world: World) -> None:
    name = ibm_name("IBM Z Host Key Signing Service")
    for changes in ({"bits": ("key_encipherment",)}, {"extensions": (UNKNOWN,)}):
        host, rest = with_signing(world, name, **changes)
        with pytest.raises(CertificateInvalid):
            check(world, host, **rest)


@pytest.mark.parametrize(
    "changes", [{"bits": ("digital_signature",)}, {"ca": True}, {"extensions": (UNKNOWN,)}]
)
def test_a_document_that_is_no_host_keys(world: World, changes: dict[str, Any]) -> None:
    with pytest.raises(CertificateInvalid):
        check(world, world.authority.host(**changes))


def test_a_host_key_is_on_p521(world: World) -> None:
    with pytest.raises(Malformed, match="P-521"):
        check(world, world.authority.host(curve=ec.SECP384R1()))


@pytest.mark.parametrize(
    ("now", "error"),
    [(START - DAY, CertificateNotYetValid), (END + DAY, CertificateExpired)],
)
def test_dates(world: World, now: datetime, error: type[TouchstoneError]) -> None:
    with pytest.raises(error):
        check(world, now=now)


def test_dates_at_their_very_ends(world: World) -> None:
    assert check(world, now=START).hash == check(world, now=END).hash == world.host.phkh


def test_dates_of_the_document_and_of_the_signing_key(world: World) -> None:
    with pytest.raises(CertificateExpired):
        check(world, world.authority.host(end=NOW - DAY))
    host, rest = with_signing(world, ibm_name("IBM Z Host Key Signing Service"), start=NOW + DAY)
    with pytest.raises(CertificateNotYetValid):
        check(world, host, **rest)


def test_each_certificate_is_held_against_its_issuers_list(world: World) -> None:
    authority = world.authority
    revoked = {
        "document": (authority.signing, world.host.certificate),
        "signing key": (authority.intermediate, authority.signing.certificate),
        "intermediate": (authority.root, authority.intermediate.certificate),
        "root": (authority.root, authority.root.certificate),
    }
    for issuer, certificate in revoked.values():
        with pytest.raises(CertificateRevoked):
            check(world, lists=(*world.lists, authority.crl(issuer, [certificate])))


def test_a_list_of_every_issuer_is_needed(world: World) -> None:
    for position in range(3):
        lists = [data for place, data in enumerate(world.lists) if place != position]
        with pytest.raises(CrlMissing):
            check(world, lists=lists)


def test_lists_that_are_not_the_issuers_not_current_or_not_whole(world: World) -> None:
    authority, others = world.authority, world.lists[1:]
    impostor = SeAuthority()
    cases = {
        authority.crl(authority.intermediate, name=authority.signing.name): CrlInvalid,
        impostor.crl(impostor.signing): CrlInvalid,
        authority.crl(authority.signing, delta=True): CrlInvalid,
        authority.crl(authority.signing, end=NOW - DAY): CrlExpired,
        authority.crl(authority.signing, start=NOW + DAY): CrlExpired,
    }
    for data, error in cases.items():
        with pytest.raises(error):
            check(world, lists=(data, *others))
        # Beside a list that holds, one that does not changes nothing.
        assert check(world, lists=(data, *world.lists)).hash == world.host.phkh


def test_a_list_bounds_how_long_the_verdict_holds(world: World) -> None:
    soon = world.authority.crl(world.authority.signing, end=NOW + DAY)
    assert check(world, lists=(soon, *world.lists[1:])).not_after == NOW + DAY


def test_files_der_and_pem_with_text_around(world: World) -> None:
    der = world.host.certificate.public_bytes(Encoding.DER)
    text = b"Certificate:\n    Data:\n" + world.host.document + b"trailing\n"
    assert load_certificates(der, "x") == load_certificates(text, "x") == (world.host.certificate,)
    lists = load_lists(b"text\n" + b"".join(world.lists), "x")
    assert len(lists) == 3
    assert load_lists(lists[0].public_bytes(Encoding.DER), "x") == lists[:1]


def test_a_document_is_one_certificate(world: World) -> None:
    with pytest.raises(Malformed, match="one certificate"):
        load_host_key_document(world.host.document * 2)


def test_sizes_and_counts_are_bounded(world: World) -> None:
    with pytest.raises(TooLarge):
        load_certificates(bytes((64 << 10) + 1), "x")
    with pytest.raises(TooLarge):
        load_certificates(world.host.document * 17, "x")
    with pytest.raises(TooLarge):
        load_lists(world.lists[0] * 17, "x")
    with pytest.raises(TooLarge):
        load_lists(bytes((16 << 20) + 1), "x")


@given(data=st.binary(max_size=2000), position=st.integers(0, 3000), pem=st.booleans())
@settings(max_examples=200, deadline=None)
def test_any_bytes_give_a_value_or_a_typed_error(
    world: World, data: bytes, position: int, pem: bool
) -> None:
    der = world.host.certificate.public_bytes(Encoding.PEM if pem else Encoding.DER)
    cut = der[: position % len(der)] + data + der[position % len(der) + len(data) :]
    for candidate in (data, cut, b"-----BEGIN X509 CRL-----" + data + b"-----END X509 CRL-----"):
        for parse in (load_host_key_document, lambda item: load_lists(item, "x")):
            try:
                parse(candidate)
            except TouchstoneError:
                continue
