"""``touchstone-guest secret``: keys, sealing, unsealing with keys at hand."""

from __future__ import annotations

import json

import pytest

from guest_agent import cli, sealed_keys
from tests.guest_agent.daemon.kbs import Kbs

NAME = "kbs:///default/test/secret"


@pytest.fixture
def run(monkeypatch, capsysbinary):
    def invoke(*arguments):
        monkeypatch.setattr("sys.argv", ["touchstone-guest", "secret", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        output = capsysbinary.readouterr()
        return ended.value.code or 0, output.out, output.err

    return invoke


@pytest.fixture
def keys(run, tmp_path):
    assert run("keygen", "--output", tmp_path / "key", "--public-output", tmp_path / "public")[0] == 0
    assert run("keygen", "--encryption", "--output", tmp_path / "kek")[0] == 0
    return tmp_path


def seal_envelope(run, keys, secret=b"inside"):
    (keys / "plain").write_bytes(secret)
    code, out, err = run(
        *("seal", "envelope", "--file", keys / "plain", "--key-id", "kbs:///default/key/kek"),
        *("--key-file", keys / "kek", "--signing-key", keys / "key", "--kid", "public"),
    )
    assert (code, err) == (0, b"")
    (keys / "sealed").write_bytes(out)
    return out


def test_keys(keys):
    assert (keys / "key").stat().st_mode & 0o777 == 0o600
    assert (keys / "kek").stat().st_mode & 0o777 == 0o600
    assert "d" in json.loads((keys / "key").read_bytes())
    assert "d" not in json.loads((keys / "public").read_bytes())
    assert len((keys / "kek").read_bytes()) == 32


def test_an_envelope_there_and_back(run, keys):
    assert seal_envelope(run, keys).startswith(b"sealed.")
    arguments = (
        "--verification-key",
        keys / "public",
        "--key-file",
        keys / "kek",
        "--file",
        keys / "sealed",
    )
    assert run("unseal", *arguments, "--stdout") == (0, b"inside", b"")
    assert run("unseal", *arguments, "--output", keys / "out")[:2] == (0, b"")
    assert (keys / "out").read_bytes() == b"inside"
    assert (keys / "out").stat().st_mode & 0o777 == 0o600


def test_a_key_file_does_not_stand_in_for_a_vault_secret(run, keys, tmp_path):
    code, out, _ = run(
        *("seal", "vault", "--resource-uri", NAME, "--signing-key", keys / "key", "--kid", "public"),
        *("--output", keys / "sealed"),
    )
    assert (code, out) == (0, b"")
    (tmp_path / "config").write_text("")
    arguments = (
        "--verification-key",
        keys / "public",
        "--key-file",
        keys / "kek",
        "--file",
        keys / "sealed",
    )
    code, out, _ = run("unseal", *arguments, "--stdout", "--config", tmp_path / "config")
    assert code != 0
    assert out == b""


def test_a_vault_secret_by_the_guest_services(run, keys, tmp_path):
    with Kbs() as kbs:
        kbs.resources |= {
            "default/test/secret": b"the secret",
            "default/sealing/key": (keys / "public").read_bytes(),
        }
        run(
            *("seal", "vault", "--resource-uri", NAME, "--signing-key", keys / "key"),
            *("--kid", "kbs:///default/sealing/key", "--output", keys / "sealed"),
        )
        (tmp_path / "config").write_text(f"allow_sample = true\n[kbs]\nurl = '{kbs.url}'\n")
        arguments = ("unseal", "--file", keys / "sealed", "--stdout", "--config", tmp_path / "config")
        assert run(*arguments, "--development") == (0, b"the secret", b"")
        code, out, err = run(*arguments)
        assert (code, out) == (3, b"")
        assert b"configuration.development_only" in err


def test_the_wrong_verification_key(run, keys):
    seal_envelope(run, keys)
    (keys / "other").write_bytes(sealed_keys.jwk_bytes(sealed_keys.new_key(), private=False))
    code, out, err = run(
        *("unseal", "--verification-key", keys / "other", "--key-file", keys / "kek"),
        *("--file", keys / "sealed", "--stdout"),
    )
    assert (code, out) == (1, b"")
    assert b"release.sealed_untrusted" in err


def test_a_signing_key_that_others_can_read(run, keys):
    (keys / "key").chmod(0o644)
    code, out, err = run(
        "seal", "vault", "--resource-uri", NAME, "--signing-key", keys / "key", "--kid", "public"
    )
    assert (code, out) == (3, b"")
    assert b"configuration.invalid" in err


@pytest.mark.parametrize(
    "arguments",
    [
        ("keygen", "--output", "x"),
        ("keygen", "--encryption", "--output", "x", "--public-output", "y"),
        ("unseal", "--file", "x"),
        ("unseal", "--file", "x", "--stdout", "--output", "y"),
    ],
)
def test_wrong_usage(run, arguments):
    assert run(*arguments)[0] == 2


def test_a_kid_that_could_lead_elsewhere(run, keys):
    code, _, err = run(
        "seal", "vault", "--resource-uri", NAME, "--signing-key", keys / "key", "--kid", "../x"
    )
    assert code == 2
    assert b"input.identifier" in err
