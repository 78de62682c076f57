"""Settings: strict, overridable, and refused where they weaken a production server."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.errors import InvalidSetting, NotFound
from service import settings, settings_doc
from service.profile import insecure_switches, is_loopback, listen_address

ROOT = Path(__file__).resolve().parent.parent.parent


def write(folder: Path, text: str) -> Path:
    path = folder / "touchstone.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("[server]\nlistne = '127.0.0.1:1'", "server.listne"),
        ("[sever]\nlisten = '127.0.0.1:1'", "sever"),
        ("profil = 'production'", "profil"),
        ("[policy.opa]\nurll = 'https://x'", "policy.opa.urll"),
        ("[server]\nworkers = 0", "server.workers"),
        ("[token]\nlifetime_s = 90000", "token.lifetime_s"),
        ("profile = 'test'", "profile"),
    ],
)
def test_unknown_key_or_unusable_value_is_refused_and_named(tmp_path: Path, text: str, names: str) -> None:
    with pytest.raises(InvalidSetting, match=names):
        settings.load(write(tmp_path, text), {})


@pytest.mark.parametrize(
    "variable", ["TOUCHSTONE_SEVER__LISTEN", "TOUCHSTONE_SERVER__LISTNE", "TOUCHSTONE_SERVER__LISTEN__X"]
)
def test_misspelt_environment_variable_is_refused(variable: str) -> None:
    with pytest.raises(InvalidSetting):
        settings.load(None, {variable: "127.0.0.1:1"})


def test_value_of_a_refused_setting_is_not_quoted(tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting) as caught:
        settings.load(write(tmp_path, "[storage]\nurl = ['postgresql://u:hunter2@h/d']"), {})
    assert "hunter2" not in str(caught.value)


def test_file_that_is_not_toml_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match="not TOML"):
        settings.load(write(tmp_path, "[server"), {})


def test_missing_file_is_an_error_not_the_defaults(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        settings.load(tmp_path / "absent.toml", {})


def test_environment_overrides_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, "[server]\nworkers = 3\nthreads = 2\n[policy.opa]\ntimeout_s = 1.5")
    loaded = settings.load(
        path, {"TOUCHSTONE_SERVER__WORKERS": "5", "TOUCHSTONE_SNP__PRODUCTS": '["Milan"]', "PATH": "/bin"}
    )
    assert (loaded.server.workers, loaded.server.threads) == (5, 2)
    assert loaded.policy.opa.timeout_s == 1.5
    assert loaded.snp.products == ("Milan",)


def test_config_variable_names_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, "[token]\nissuer = 'https://ts.example'")
    assert settings.load(None, {"TOUCHSTONE_CONFIG": str(path)}).token.issuer == "https://ts.example"


def test_defaults_are_the_production_profile_without_insecure_switches() -> None:
    loaded = settings.load(None, {})
    assert loaded.profile == "production"
    assert insecure_switches(loaded) == ()


@pytest.mark.parametrize(
    "text",
    [
        "[snp]\nextra_anchors = ['test-ark.pem']",
        "[snp]\nrevocation = 'if-present'",
        "[server]\nlisten = '0.0.0.0:8080'",
        "[server]\nlisten = 'ts.example:8080'",
        "[policy]\nengine = 'opa'\n[policy.opa]\nurl = 'http://opa.example:8181'",
    ],
)
def test_production_refuses_what_development_names_as_insecure(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidSetting, match="production profile refuses"):
        settings.load(write(tmp_path, text), {})
    development = settings.load(write(tmp_path, "profile = 'development'\n" + text), {})
    assert len(insecure_switches(development)) == 1


def test_production_listens_beyond_loopback_with_tls(tmp_path: Path) -> None:
    tls = "[server]\nlisten = '0.0.0.0:8443'\ntls_certificate = 'c.pem'\ntls_key = 'k.pem'"
    assert settings.load(write(tmp_path, tls), {}).server.listen == "0.0.0.0:8443"
    with pytest.raises(InvalidSetting, match="go together"):
        settings.load(write(tmp_path, "[server]\ntls_certificate = 'c.pem'"), {})


@pytest.mark.parametrize("listen", ["8080", ":8080", "localhost:", "localhost:http", "h:65536", "h:٣"])
def test_listen_address_of_another_shape_is_refused(listen: str) -> None:
    with pytest.raises(InvalidSetting):
        listen_address(listen)


def test_listen_address_reads_ipv6_in_brackets() -> None:
    assert listen_address("[::1]:8443") == ("::1", 8443)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.2", True),
        ("::1", True),
        ("localhost", True),
        ("192.0.2.1", False),
        ("localhost.evil", False),
    ],
)
def test_loopback_is_told_by_address(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_configuration_page_is_the_generated_one() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert page == settings_doc.render(), "run: python -m service.settings_doc > docs/configuration.md"
