"""Sealed secrets: what opens, and every way in which one must not."""

from __future__ import annotations

import hmac
import json

import msgspec
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from joserfc.jwk import ECKey, OctKey

from common.encoding import b64_decode, b64_encode, b64url_decode, b64url_encode
from common.errors import InvalidIdentifier, NotFound, TooLarge, TouchstoneError
from guest_agent import sealed, sealed_keys
from guest_agent.daemon.services import read_key
from guest_agent.errors import SealedSecretMalformed, SealedSecretUntrusted, Unsupported, UnwrapFailed

KEK = bytes(range(32))
KEY = sealed_keys.new_key()
PUBLIC = sealed_keys.jwk_bytes(KEY, private=False)
KID = "kbs:///default/sealing/key"
NAME = "kbs:///default/test/secret"


class Source:
    """Resources by URI path, local keys from a folder; remembers what was asked."""

    def __init__(self, folder=None, **changes):
        self.folder = folder
        self.asked = []
        self.resources = {
            "default/sealing/key": PUBLIC,
            "default/test/secret": b"the secret",
            "default/key/kek": KEK,
        } | changes.pop("resources", {})

    def resource(self, uri):
        self.asked.append(uri.path)
        if uri.path not in self.resources:
            raise NotFound("no such resource")
        return self.resources[uri.path]

    def local_key(self, name):
        return read_key(self.folder, name)


def signed(payload, *, header=None, key=KEY):
    """A sealed secret with any payload and header, well signed."""
    document = {"alg": "ES256", "kid": KID} if header is None else header
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    signing_input = f"{b64url_encode(json.dumps(document).encode())}.{b64url_encode(body)}"
    if isinstance(key, OctKey):
        signature = hmac.digest(key.raw_value, signing_input.encode(), "sha256")
    else:
        der = key.private_key.sign(signing_input.encode(), ec.ECDSA(hashes.SHA256()))
        signature = b"".join(number.to_bytes(32, "big") for number in decode_dss_signature(der))
    return f"{sealed.PREFIX}{signing_input}.{b64url_encode(signature)}"


def content(**changes):
    return json.loads(msgspec.json.encode(sealed.vault(NAME))) | changes


def envelope(**changes):
    made = sealed.envelope(b"inside", key_id="kbs:///default/key/kek", kek=KEK)
    return json.loads(msgspec.json.encode(made)) | changes


def test_a_vault_secret():
    text = sealed.seal(sealed.vault(NAME), KEY, KID)
    source = Source()
    assert sealed.unseal(text, source) == b"the secret"
    assert source.asked == ["default/sealing/key", "default/test/secret"]


def test_an_envelope():
    text = sealed.seal(sealed.envelope(b"inside", key_id="kbs:///default/key/kek", kek=KEK), KEY, KID)
    assert sealed.unseal(text, Source()) == b"inside"


def test_the_form_is_the_reference_one():
    text = sealed.seal(sealed.vault(NAME), KEY, KID)
    word, header, payload, signature = text.split(".")
    assert word == "sealed"
    assert json.loads(b64url_decode(header)) == {"alg": "ES256", "kid": KID}
    assert json.loads(b64url_decode(payload)) == {
        "version": "0.1.0",
        "type": "vault",
        "provider": "kbs",
        "name": NAME,
        "provider_settings": {},
        "annotations": {},
    }
    # The signature is over HEADER.PAYLOAD, without the word before them.
    raw = b64url_decode(signature)
    numbers = [int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big")]
    KEY.public_key.verify(
        encode_dss_signature(*numbers), f"{header}.{payload}".encode(), ec.ECDSA(hashes.SHA256())
    )


def test_an_envelope_holds_what_it_says():
    made = envelope()
    data_key = AESGCM(KEK).decrypt(
        b64_decode(made["annotations"]["iv"]), b64_decode(made["encrypted_key"]), None
    )
    assert (
        AESGCM(data_key).decrypt(b64_decode(made["iv"]), b64_decode(made["encrypted_data"]), None)
        == b"inside"
    )


def test_a_key_that_lies_in_the_guest(tmp_path):
    (tmp_path / "sealing-key").write_bytes(PUBLIC)
    text = sealed.seal(sealed.vault(NAME), KEY, "sealing-key")
    assert sealed.unseal(text, Source(tmp_path)) == b"the secret"


@pytest.mark.parametrize(
    "kid",
    ["../sealing-key", "..", ".", "a/../b", "/etc/passwd", "a/b", "a\\b/c", "", "key\n", "kéy", "k" * 200],
)
def test_a_kid_that_could_lead_elsewhere(tmp_path, kid):
    folder = tmp_path / "keys"
    folder.mkdir()
    (tmp_path / "sealing-key").write_bytes(PUBLIC)
    with pytest.raises(InvalidIdentifier):
        sealed.unseal(signed(content(), header={"alg": "ES256", "kid": kid}), Source(folder))
    with pytest.raises(InvalidIdentifier):
        sealed.seal(sealed.vault(NAME), KEY, kid)


def test_a_link_out_of_the_folder_is_not_followed(tmp_path):
    folder = tmp_path / "keys"
    folder.mkdir()
    (tmp_path / "outside").write_bytes(PUBLIC)
    (folder / "key").symlink_to(tmp_path / "outside")
    (folder / "folder").mkdir()
    (folder / "large").write_bytes(b"x" * 10_000)
    for name in ("key", "folder", "large", "missing"):
        with pytest.raises(NotFound):
            read_key(folder, name)


def test_unsigned():
    header, payload, _ = sealed.seal(sealed.vault(NAME), KEY, KID).removeprefix("sealed.").split(".")
    for text in (
        f"sealed.{header}.{payload}.",
        f"sealed.{header}.{payload}",
        f"sealed.{header}.{payload}.fakesignature",
    ):
        source = Source()
        with pytest.raises((SealedSecretMalformed, SealedSecretUntrusted)):
            sealed.unseal(text, source)
        assert "default/test/secret" not in source.asked


@pytest.mark.parametrize("alg", ["none", "HS256", "ES384", "RS256", "es256", "", None, 1])
def test_another_algorithm(alg):
    _, payload, signature = sealed.seal(sealed.vault(NAME), KEY, KID).removeprefix("sealed.").split(".")
    header = b64url_encode(json.dumps({"alg": alg, "kid": KID}).encode())
    with pytest.raises(Unsupported):
        sealed.unseal(f"sealed.{header}.{payload}.{signature}", Source())


def test_the_public_key_as_a_shared_secret():
    forged = signed(content(), header={"alg": "HS256", "kid": KID}, key=OctKey.import_key(PUBLIC))
    with pytest.raises(Unsupported):
        sealed.unseal(forged, Source())


def test_the_wrong_key():
    with pytest.raises(SealedSecretUntrusted):
        sealed.unseal(signed(content(), key=sealed_keys.new_key()), Source())


@pytest.mark.parametrize("member", ["jwk", "x5c", "jku", "crit", "b64", "x"])
def test_a_header_that_brings_more(member):
    with pytest.raises(Unsupported):
        sealed.unseal(signed(content(), header={"alg": "ES256", "kid": KID, member: ["b64"]}), Source())


def test_every_changed_byte():
    text = sealed.seal(sealed.vault(NAME), KEY, KID)
    for index in range(0, len(text), 3):
        other = "B" if text[index] == "A" else "A"
        changed = text[:index] + other + text[index + 1 :]
        source = Source()
        with pytest.raises(TouchstoneError):
            sealed.unseal(changed, source)
        assert "default/test/secret" not in source.asked


@pytest.mark.parametrize(
    "text",
    ["", "sealed.", "sealed...", "sealed.a.b", "a.b.c", "sealed.a.b.c.d", "sealed.!.b.c", "Sealed.a.b.c"],
)
def test_not_the_form(text):
    with pytest.raises(SealedSecretMalformed):
        sealed.unseal(text, Source())


def test_a_second_spelling_of_the_same_bytes():
    text = sealed.seal(sealed.vault(NAME), KEY, KID)
    for changed in (text + "=", text + "\n", " " + text, text.replace("sealed.", "sealed.sealed.")):
        with pytest.raises(SealedSecretMalformed):
            sealed.unseal(changed, Source())


def test_too_large():
    with pytest.raises(TooLarge):
        sealed.unseal("sealed." + "A" * sealed.MAX_SEALED, Source())
    with pytest.raises(TooLarge):
        sealed.envelope(b"x" * sealed.MAX_SEALED, key_id=NAME, kek=KEK)


def test_as_large_as_may_be():
    secret = b"x" * (sealed.MAX_SEALED // 2)
    made = sealed.envelope(secret, key_id="kbs:///default/key/kek", kek=KEK)
    assert sealed.unseal(sealed.seal(made, KEY, KID), Source()) == secret


@pytest.mark.parametrize(
    ("payload", "error"),
    [
        (b"not json", SealedSecretMalformed),
        (b"[]", SealedSecretMalformed),
        (b'{"type":"vault","type":"vault"}', SealedSecretMalformed),
        (content(version="0.2.0"), Unsupported),
        (content(provider="aliyun"), Unsupported),
        (content(provider="KBS"), Unsupported),
        (content(type="other"), Unsupported),
        (content(type=None), Unsupported),
        (content(name=1), SealedSecretMalformed),
        (content(name="https://evil.example/a/b/c"), InvalidIdentifier),
        (content(name="kbs:///a/../c"), InvalidIdentifier),
        (envelope(wrap_type="A256CTR"), Unsupported),
        (envelope(annotations={}), SealedSecretMalformed),
        (envelope(provider="aws"), Unsupported),
        (envelope(iv=b64_encode(bytes(16))), UnwrapFailed),
        (envelope(encrypted_data=b64_encode(bytes(40))), UnwrapFailed),
        (envelope(encrypted_key=b64_encode(bytes(48))), UnwrapFailed),
        (envelope(encrypted_key=""), UnwrapFailed),
    ],
)
def test_contents_that_are_refused(payload, error):
    with pytest.raises(error):
        sealed.unseal(signed(payload), Source())


def test_a_key_of_another_size():
    source = Source(resources={"default/key/kek": bytes(16)})
    with pytest.raises(UnwrapFailed):
        sealed.unseal(signed(envelope()), source)


def jwk(**changes):
    return json.dumps(json.loads(PUBLIC) | changes).encode()


@pytest.mark.parametrize(
    "key",
    [
        sealed_keys.jwk_bytes(KEY, private=True),
        jwk(alg="ES384"),
        jwk(use="enc"),
        jwk(kty="oct", k="AAAA"),
        jwk(crv="P-384"),
        jwk(x="AAAA"),
        jwk(x=1),
        ECKey.generate_key("P-384").as_dict(private=False).__repr__().encode(),
        json.dumps(ECKey.generate_key("P-384").as_dict(private=False)).encode(),
        b"{}",
        b"[]",
        b"-----BEGIN PUBLIC KEY-----",
        b"x" * 10_000,
    ],
)
def test_verification_keys_that_are_refused(key):
    with pytest.raises(SealedSecretUntrusted):
        sealed.unseal(signed(content()), Source(resources={"default/sealing/key": key}))


def test_without_verification_nobody_has_signed():
    _, payload, _ = sealed.seal(sealed.vault(NAME), KEY, KID).removeprefix("sealed.").split(".")
    fake = f"sealed.{b64url_encode(b'{}')}.{payload}.{b64url_encode(b'fake')}"
    with pytest.raises(Unsupported):
        sealed.unseal(fake, Source())
    assert sealed.unseal(fake, Source(), verify=False) == b"the secret"


def test_a_public_key_does_not_seal():
    with pytest.raises(SealedSecretUntrusted):
        sealed_keys.private_key(PUBLIC)
    with pytest.raises(SealedSecretUntrusted):
        sealed.seal(sealed.vault(NAME), ECKey.generate_key("P-384"), KID)
