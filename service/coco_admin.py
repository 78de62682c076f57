"""Composition of the KBS API's administrators and plugins out of the settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coco.admin import AclRule, AdminGate, AdminMode, NativeAdmin, Provider
from coco.errors import CocoSetting
from coco.plugins.external import ExternalBackend, ExternalPlugin
from coco.plugins.hsm import Hsm, HsmConfig
from coco.plugins.pkcs11_plugin import Pkcs11Plugin
from coco.plugins.port import PluginRegistry
from coco.plugins.resource import ResourcePlugin

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from coco.admin import NativeTokens
    from coco.plugins.port import Plugin
    from common.fetch import Fetcher
    from kms.audit import AuditLog
    from kms.secrets import SecretStore
    from service.access import TokenStore
    from service.sections_coco_admin import CocoAdminSection, CocoPluginSection, PluginBackendSection


def native_tokens(tokens: TokenStore) -> NativeTokens:
    """Our own tokens, as the gate asks for them."""

    def holder(authorization: str, now: datetime) -> NativeAdmin:
        principal = tokens.authenticate(authorization, now)
        return NativeAdmin(principal.name, frozenset(scope.value for scope in principal.scopes))

    return holder


def admin_gate(
    section: CocoAdminSection, *, tokens: TokenStore | None = None, fetcher: Fetcher | None = None
) -> AdminGate:
    """The gate, with keys that can be had now.

    Args:
        section: the settings.
        tokens: our own tokens.
        fetcher: for JWK Sets at URLs.

    Raises:
        CocoSetting: a provider or rule is not usable, or a provider has no key.
    """
    gate = AdminGate(
        AdminMode(section.authorization_mode),
        providers=[Provider(**provider.model_dump()) for provider in section.providers],
        rules=[
            AclRule(rule.role, rule.allowed_endpoints, frozenset(rule.methods)) for rule in section.acls
        ],
        revoked=section.revoked_token_ids,
        native=native_tokens(tokens) if tokens is not None and section.native_tokens else None,
        fetcher=fetcher,
    )
    gate.require_keys()
    return gate


def plugin_registry(
    sections: Sequence[CocoPluginSection], *, secrets: SecretStore, audit: AuditLog, release_policy: str
) -> PluginRegistry:
    """``resource`` and what is configured. Nothing is connected or opened yet.

    Args:
        sections: the settings.
        secrets: of the plugin ``resource``.
        audit: where plugins record.
        release_policy: of resources stored over the KBS API.

    Raises:
        CocoSetting: a plugin stands twice, or is not usable.
    """
    names = [section.name for section in sections]
    if len(set(names)) != len(names):
        raise CocoSetting("[[coco.plugins]] names a plugin twice")
    plugins: list[Plugin] = [ResourcePlugin(secrets, release_policy=release_policy)]
    plugins.extend(_plugin(section, audit) for section in sections)
    return PluginRegistry(plugins)


def _plugin(section: CocoPluginSection, audit: AuditLog) -> Plugin:
    if section.name == "external":
        return ExternalPlugin([_backend(backend) for backend in section.backends], audit)
    if section.module is None or section.pin_file is None:
        raise CocoSetting("[[coco.plugins]] pkcs11 needs module and pin_file")
    config = HsmConfig(
        module=section.module,
        pin_file=section.pin_file,
        token_label=section.token_label,
        slot_index=section.slot_index,
        lookup_label=section.lookup_label,
        oaep_hash=section.oaep_hash,
    )
    return Pkcs11Plugin(Hsm(config), audit)


def _backend(section: PluginBackendSection) -> ExternalBackend:
    backend = ExternalBackend(**section.model_dump(exclude={"tls_mode"}))
    if section.tls_mode != "auto" and (section.tls_mode == "tls") != backend.encrypted:
        raise CocoSetting(f"[[coco.plugins]] {section.name}: tls_mode contradicts the endpoint")
    return backend
