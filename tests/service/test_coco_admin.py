"""Settings become a gate and plugins; what weakens them is named, and what is unclear stops the start."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from pydantic import ValidationError

from coco.errors import AdminDenied, CocoSetting
from common.errors import InvalidSetting
from service import profile, settings
from service.access import TokenStore
from service.coco_admin import admin_gate, plugin_registry
from service.sections_coco_admin import CocoAdminSection, CocoPluginSection, insecure_switches
from storage.database import Database
from storage.migrate import migrate

NOW = datetime(2026, 11, 28, tzinfo=UTC)
RESOURCE = "/kbs/v0/resource/default/test/dummy"


@pytest.fixture
def tokens(tmp_path):
    database = Database(f"sqlite:///{tmp_path}/store.db")
    migrate(database)
    yield TokenStore(database)
    database.close()


def test_our_own_tokens_administer_by_their_scopes(tokens):
    gate = admin_gate(CocoAdminSection(), tokens=tokens)
    writer, info = tokens.create(label="ops", roles=["secret-admin"], by="t", now=NOW)
    author, _ = tokens.create(label="pol", roles=["policy-author"], by="t", now=NOW)
    admin = gate.admit(f"Bearer {writer}", "POST", RESOURCE, NOW)
    assert admin.name == f"ops (ts_{info.id})"
    assert gate.admit(f"Bearer {author}", "POST", "/kbs/v0/resource-policy", NOW)
    for token, target in ((writer, "/kbs/v0/resource-policy"), (author, RESOURCE)):
        with pytest.raises(AdminDenied, match="needs scope"):
            gate.admit(f"Bearer {token}", "POST", target, NOW)
    tokens.revoke(info.id, NOW)
    with pytest.raises(AdminDenied):
        gate.admit(f"Bearer {writer}", "POST", RESOURCE, NOW)


def test_our_own_tokens_can_be_left_out(tokens):
    gate = admin_gate(CocoAdminSection(native_tokens=False), tokens=tokens)
    token, _ = tokens.create(label="ops", roles=["admin"], by="t", now=NOW)
    with pytest.raises(AdminDenied):
        gate.admit(f"Bearer {token}", "POST", RESOURCE, NOW)


def test_the_default_refuses_everyone_without_a_token_of_ours():
    with pytest.raises(AdminDenied):
        admin_gate(CocoAdminSection()).admit(None, "POST", RESOURCE, NOW)


def test_a_provider_without_a_key_stops_the_start(tmp_path):
    provider = {"name": "idp", "public_key": tmp_path / "key.pem"}
    section = CocoAdminSection(providers=[provider])
    with pytest.raises(CocoSetting, match="no usable key"):
        admin_gate(section)
    key = ed25519.Ed25519PrivateKey.generate().public_key()
    (tmp_path / "key.pem").write_bytes(
        key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    admin_gate(section)


def test_plugins_are_made_by_name(tmp_path):
    sections = [
        CocoPluginSection(name="pkcs11", module=tmp_path / "m.so", pin_file=tmp_path / "pin"),
        CocoPluginSection(name="external", backends=[{"name": "a", "endpoint": "http://localhost:1"}]),
    ]
    registry = plugin_registry(sections, secrets=None, audit=None, release_policy="kbs")
    assert registry.names == ("external", "pkcs11", "resource")


@pytest.mark.parametrize(
    "sections",
    [
        [{"name": "pkcs11"}],
        [{"name": "external"}],
        [{"name": "external", "backends": [{"name": "a", "endpoint": "https://localhost:1"}]}],
        [
            {
                "name": "external",
                "backends": [{"name": "a", "endpoint": "http://localhost:1", "tls_mode": "tls"}],
            }
        ],
        [{"name": "external", "backends": [{"name": "a", "endpoint": "http://localhost:1"}]}] * 2,
    ],
    ids=str,
)
def test_a_plugin_that_is_not_clear_stops_the_start(sections):
    with pytest.raises(CocoSetting):
        plugin_registry(
            [CocoPluginSection(**section) for section in sections],
            secrets=None,
            audit=None,
            release_policy="kbs",
        )


@pytest.mark.parametrize(
    "values",
    [
        {"authorization_mode": "AllowAll"},
        {"type": "DenyAll"},
        {"providers": [{"name": "a", "public_key": "k", "rsa_algorithm": "HS256"}]},
        {"acls": [{"role": "a", "allowed_endpoints": "^/kbs/.+$", "methods": ["PATCH"]}]},
        {"acls": [{"role": "a", "allowed_endpoints": "^/kbs/.+$", "methods": []}]},
    ],
    ids=str,
)
def test_settings_that_are_not_known_are_refused(values):
    with pytest.raises(ValidationError):
        CocoAdminSection(**values)


def test_what_weakens_is_named():
    assert not list(insecure_switches(CocoAdminSection(), []))
    open_admin = CocoAdminSection(authorization_mode="InsecureAllowAll")
    backends = [
        {"name": "near", "endpoint": "http://127.0.0.1:1"},
        {"name": "far", "endpoint": "http://plugin.example:1"},
        {"name": "tls", "endpoint": "https://plugin.example:1", "ca_certificate": "ca.pem"},
    ]
    named = list(insecure_switches(open_admin, [CocoPluginSection(name="external", backends=backends)]))
    assert len(named) == 2
    assert "InsecureAllowAll" in named[0]
    assert " far " in named[1]


def test_production_refuses_what_weakens_and_development_lists_it():
    values = {"coco": {"admin": {"authorization_mode": "InsecureAllowAll"}}}
    with pytest.raises(InvalidSetting, match="InsecureAllowAll"):
        settings.build(values)
    built = settings.build({"profile": "development", **values})
    assert any("InsecureAllowAll" in switch for switch in profile.insecure_switches(built))
