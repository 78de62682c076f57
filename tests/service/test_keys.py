"""The folder of token-signing keys: made once, private, certified, rotated without losing a token."""

from __future__ import annotations

import stat
import subprocess
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from common.errors import Conflict, InvalidSetting
from service import certificates, key_ring
from service.key_ring import MAX_TOKEN_LIFETIME
from service.keys import KeyFolder, KeyOptions
from service.legacy_keys import RetiredKey
from verifier.compact import public_jwk

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
LEAD = timedelta(minutes=10)


def kids(folder: KeyFolder, now: datetime = NOW) -> list[str]:
    return [key.kid for key, _ in key_ring.verifying(folder.ring(), now)]


def signing(folder: KeyFolder, now: datetime = NOW) -> str:
    key = key_ring.present(folder.ring(), now)
    assert key is not None
    return key.kid


def private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def write_key(path: Path, key: ec.EllipticCurvePrivateKey | None = None) -> ec.EllipticCurvePrivateKey:
    key = key or ec.generate_private_key(ec.SECP256R1())
    path.write_bytes(private_pem(key))
    path.chmod(0o600)
    return key


def test_key_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    folder = KeyFolder(tmp_path)
    key = folder.maintain(NOW).keys[0]
    (tmp_path / "token-signing.pem").chmod(0o640)
    with pytest.raises(InvalidSetting, match="read by others"):
        folder.private_key(key)


@pytest.mark.parametrize("content", [b"", b"not a key"])
def test_key_file_without_a_key_is_refused_not_replaced(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "token-signing.pem"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(InvalidSetting):
        KeyFolder(tmp_path).maintain(NOW)
    assert path.read_bytes() == content


def test_key_of_another_curve_is_refused(tmp_path: Path) -> None:
    write_key(tmp_path / "token-signing.pem", ec.generate_private_key(ec.SECP384R1()))
    with pytest.raises(InvalidSetting, match="P-256"):
        KeyFolder(tmp_path).maintain(NOW)


def test_key_file_that_was_exchanged_is_refused(tmp_path: Path) -> None:
    folder = KeyFolder(tmp_path)
    entry = folder.maintain(NOW).keys[0]
    write_key(tmp_path / "token-signing.pem")
    with pytest.raises(InvalidSetting, match="another key"):
        folder.private_key(entry)


def test_damaged_list_of_keys_is_refused_not_replaced(tmp_path: Path) -> None:
    folder = KeyFolder(tmp_path)
    folder.maintain(NOW)
    (tmp_path / "token-keys.json").write_bytes(b"{}}")
    with pytest.raises(InvalidSetting):
        folder.maintain(NOW)
    assert (tmp_path / "token-keys.json").read_bytes() == b"{}}"


def test_key_is_made_once_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    first = KeyFolder(path).maintain(NOW)
    for name in ("token-signing.pem", "token-ca.key"):
        assert stat.S_IMODE((path / name).stat().st_mode) == 0o600
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert KeyFolder(path).maintain(NOW) == first
    assert "d" not in first.keys[0].jwk


def test_replicas_that_start_together_agree_on_one_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        rings = list(pool.map(lambda _: KeyFolder(tmp_path).maintain(NOW), range(16)))
    assert all(ring == rings[0] for ring in rings)
    names = ["token-ca.key", "token-ca.pem", "token-keys.json", "token-signing.pem"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names


def test_next_key_is_published_before_it_signs_and_the_old_one_verifies_after(tmp_path: Path) -> None:
    folder = KeyFolder(tmp_path, KeyOptions(lead=LEAD))
    old = folder.maintain(NOW).keys[0].kid
    new = folder.rotate(NOW).kid
    assert kids(folder) == [old, new]
    assert signing(folder, NOW + LEAD - timedelta(seconds=1)) == old
    at = NOW + LEAD
    assert (signing(folder, at), kids(folder, at)) == (new, [new, old])
    end = at + MAX_TOKEN_LIFETIME
    assert kids(folder, end - timedelta(seconds=1)) == [new, old]
    assert kids(folder, end) == [new]
    folder.maintain(end)
    assert [key.kid for key in folder.ring().keys] == [new]


def test_private_key_of_a_retired_key_is_deleted(tmp_path: Path) -> None:
    folder = KeyFolder(tmp_path, KeyOptions(lead=LEAD))
    folder.maintain(NOW)
    new = folder.rotate(NOW)
    folder.maintain(NOW + LEAD + timedelta(minutes=1))
    assert (tmp_path / "token-signing.pem").exists()  # a replica whose clock is behind may need it
    folder.maintain(NOW + LEAD + timedelta(minutes=6))
    assert not (tmp_path / "token-signing.pem").exists()
    assert folder.private_key(new)


def test_second_rotation_before_the_first_took_effect_is_a_conflict(tmp_path: Path) -> None:
    folder = KeyFolder(tmp_path, KeyOptions(lead=LEAD))
    folder.rotate(NOW)
    with pytest.raises(Conflict):
        folder.rotate(NOW + timedelta(minutes=1))
    folder.rotate(NOW + LEAD)


def test_compromised_key_is_out_at_once_with_the_authority_that_certified_it(tmp_path: Path) -> None:
    folder = KeyFolder(tmp_path, KeyOptions(lead=LEAD))
    old = folder.maintain(NOW).keys[0]
    authority = folder.authority()
    coming = folder.rotate(NOW)
    new = folder.rotate(NOW, compromised=True)
    assert kids(folder) == [new.kid]
    assert new.kid not in (old.kid, coming.kid)
    assert signing(folder) == new.kid
    assert folder.authority() != authority
    assert not (tmp_path / "token-signing.pem").exists()
    assert not (tmp_path / str(coming.file)).exists()


def test_schedule_makes_the_next_key_in_time(tmp_path: Path) -> None:
    folder = KeyFolder(tmp_path, KeyOptions(lead=LEAD, rotate_after=timedelta(days=90)))
    old = folder.maintain(NOW).keys[0].kid
    due = NOW + timedelta(days=90) - LEAD
    assert len(folder.maintain(due - timedelta(seconds=1)).keys) == 1
    folder.maintain(due)
    assert (signing(folder, due), len(kids(folder, due))) == (old, 2)
    assert signing(folder, due + LEAD) != old
    assert len(folder.maintain(due + timedelta(minutes=1)).keys) == 2


def test_files_of_older_versions_are_taken_over(tmp_path: Path) -> None:
    present = write_key(tmp_path / "token-signing.pem")
    retired = public_jwk(ec.generate_private_key(ec.SECP256R1()))
    forgotten = public_jwk(ec.generate_private_key(ec.SECP256R1()))
    for jwk, age in ((retired, timedelta(hours=1)), (forgotten, timedelta(days=3))):
        record = RetiredKey(jwk=jwk, retired_at=NOW - age)
        (tmp_path / f"previous-{jwk['kid']}.json").write_bytes(msgspec.json.encode(record))
    folder = KeyFolder(tmp_path)
    folder.maintain(NOW)
    assert kids(folder) == [public_jwk(present)["kid"], retired["kid"]]
    assert not list(tmp_path.glob("previous-*"))
    assert kids(folder, NOW + MAX_TOKEN_LIFETIME) == [public_jwk(present)["kid"]]


def openssl_verify(tmp_path: Path, chain: tuple[bytes, ...], ca: x509.Certificate, at: datetime) -> bool:
    """What ``openssl verify`` says of the chain, with nothing but ``ca`` trusted."""
    leaf, others, root = tmp_path / "leaf.pem", tmp_path / "others.pem", tmp_path / "root.pem"
    pems = [x509.load_der_x509_certificate(each).public_bytes(Encoding.PEM) for each in chain]
    leaf.write_bytes(pems[0])
    others.write_bytes(b"".join(pems[1:]))
    root.write_bytes(ca.public_bytes(Encoding.PEM))
    command = ["openssl", "verify", "-x509_strict", "-no-CAfile", "-no-CApath", "-no-CAstore"]
    command += ["-attime", str(int(at.timestamp())), "-CAfile", str(root)]
    command += ["-untrusted", str(others)] if pems[1:] else []
    done = subprocess.run([*command, str(leaf)], capture_output=True, check=False, timeout=30)
    return done.returncode == 0


def test_certificates_hold_for_openssl_and_have_the_right_extensions(tmp_path: Path) -> None:
    folder = KeyFolder(tmp_path / "keys")
    key = folder.maintain(NOW).keys[0]
    ca = folder.authority()
    assert ca is not None
    assert openssl_verify(tmp_path, key.chain, ca, NOW)
    assert not openssl_verify(tmp_path, key.chain, ca, NOW + timedelta(days=31))
    other = KeyFolder(tmp_path / "other")
    other.maintain(NOW)
    assert not openssl_verify(tmp_path, key.chain, other.authority(), NOW)  # type: ignore[arg-type]
    leaf = x509.load_der_x509_certificate(key.chain[0])
    constraints = leaf.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (constraints.critical, constraints.value.ca) == (True, False)
    usage = leaf.extensions.get_extension_for_class(x509.KeyUsage).value
    assert (usage.digital_signature, usage.key_cert_sign) == (True, False)
    with pytest.raises(x509.ExtensionNotFound):
        leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    authority = ca.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (authority.critical, authority.value.ca, authority.value.path_length) == (True, True, 0)
    identifier = ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    issuer = leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    assert issuer.key_identifier == identifier
    assert leaf.serial_number != ca.serial_number
    assert leaf.serial_number.bit_length() > 64


def test_leaf_is_renewed_after_two_thirds_and_the_old_one_stays_known(tmp_path: Path) -> None:
    folder = KeyFolder(tmp_path, KeyOptions(certificate_lifetime=timedelta(days=30)))
    first = folder.maintain(NOW).keys[0]
    assert folder.maintain(NOW + timedelta(days=19)).keys[0] == first
    later = NOW + timedelta(days=20, hours=1)
    renewed = folder.maintain(later).keys[0]
    assert renewed.chain != first.chain
    assert [old.chain for old in renewed.earlier] == [first.chain]
    assert folder.maintain(later + MAX_TOKEN_LIFETIME).keys[0].earlier == ()


def test_leaf_never_outlives_the_authority(tmp_path: Path) -> None:
    folder = KeyFolder(tmp_path)
    folder.maintain(NOW)
    ca = folder.authority()
    assert ca is not None
    end = ca.not_valid_after_utc
    key = folder.maintain(end - timedelta(days=5)).keys[0]
    assert certificates.not_after(key.chain) == end
    with pytest.raises(InvalidSetting, match="expired"):
        folder.maintain(end + timedelta(days=1))


class Chain:
    """A key of one's own with leaf, intermediate and root."""

    def __init__(self, folder: Path) -> None:
        self.key_file, self.chain_file = folder / "own.key", folder / "own.pem"
        self.root_key, middle_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        self.root = certificates.new_authority(self.root_key, NOW)
        middle = x509.CertificateBuilder(
            issuer_name=self.root.subject,
            subject_name=x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "middle")]),
            public_key=middle_key.public_key(),
            serial_number=x509.random_serial_number(),
            not_valid_before=NOW - timedelta(days=1),
            not_valid_after=NOW + timedelta(days=100),
        )
        middle = middle.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        identifier = x509.SubjectKeyIdentifier.from_public_key(middle_key.public_key())
        self.middle = middle.add_extension(identifier, critical=False).sign(self.root_key, hashes.SHA256())
        self.middle_key = middle_key
        self.renew()

    def renew(self, *, with_chain: bool = True) -> ec.EllipticCurvePrivateKey:
        """A new key in the file, and, unless said otherwise, its chain."""
        self.key = write_key(self.key_file)
        if with_chain:
            self.certify()
        return self.key

    def certify(self) -> None:
        leaf = certificates.issue(
            self.key.public_key(), self.middle, self.middle_key, now=NOW, lifetime=timedelta(days=50)
        )
        pems = [each.public_bytes(Encoding.PEM) for each in (leaf, self.middle, self.root)]
        self.chain_file.write_bytes(b"".join(pems))

    def options(self) -> KeyOptions:
        return KeyOptions(signing_key=self.key_file, certificate_chain=self.chain_file)


def test_key_and_chain_of_ones_own_replace_the_made_ones(tmp_path: Path) -> None:
    local = KeyFolder(tmp_path / "keys")
    old = local.maintain(NOW).keys[0]
    own = Chain(tmp_path)
    folder = KeyFolder(tmp_path / "keys", own.options())
    folder.maintain(NOW)
    assert kids(folder) == [public_jwk(own.key)["kid"], old.kid]
    chain = folder.ring().keys[-1].chain
    assert len(chain) == 2  # the root is what relying parties have
    middle = own.middle.public_bytes(Encoding.DER)
    assert chain[1] == middle
    with pytest.raises(InvalidSetting, match="of your own"):
        folder.rotate(NOW)
    own.renew()
    folder.maintain(NOW + timedelta(minutes=1))
    assert signing(folder, NOW + timedelta(minutes=1)) == public_jwk(own.key)["kid"]
    assert len(kids(folder, NOW + timedelta(minutes=1))) == 3
    # Without the setting a key is made again.
    back = KeyFolder(tmp_path / "keys")
    back.maintain(NOW + timedelta(minutes=2))
    assert back.private_key(back.ring().keys[-1])


def test_key_of_ones_own_without_a_chain_is_certified_by_the_local_authority(tmp_path: Path) -> None:
    path = tmp_path / "own.key"
    write_key(path)
    folder = KeyFolder(tmp_path / "keys", KeyOptions(signing_key=path))
    key = folder.maintain(NOW).keys[0]
    ca = folder.authority()
    assert ca is not None
    assert openssl_verify(tmp_path, key.chain, ca, NOW)


def test_chain_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    own = Chain(tmp_path)
    folder = KeyFolder(tmp_path / "keys", own.options())
    before = folder.maintain(NOW)
    own.renew(with_chain=False)
    with pytest.raises(InvalidSetting, match="signing_key"):
        folder.maintain(NOW)
    assert folder.ring() == before
    own.certify()
    folder.maintain(NOW)
    root_pem = own.root.public_bytes(Encoding.PEM)
    leaf_pem = own.chain_file.read_bytes().split(b"-----END")[0] + b"-----END CERTIFICATE-----\n"
    own.chain_file.write_bytes(leaf_pem + root_pem)
    with pytest.raises(InvalidSetting, match="issued by the next"):
        folder.maintain(NOW)
    own.certify()
    with pytest.raises(InvalidSetting, match="out of its time"):
        folder.maintain(NOW + timedelta(days=51))
    own.chain_file.write_bytes(b"nothing")
    with pytest.raises(InvalidSetting, match="not PEM"):
        folder.maintain(NOW)


def test_ca_as_end_entity_is_refused(tmp_path: Path) -> None:
    path, chain = tmp_path / "own.key", tmp_path / "own.pem"
    key = write_key(path)
    chain.write_bytes(certificates.new_authority(key, NOW).public_bytes(Encoding.PEM))
    folder = KeyFolder(tmp_path / "keys", KeyOptions(signing_key=path, certificate_chain=chain))
    with pytest.raises(InvalidSetting, match="end entity"):
        folder.maintain(NOW)
