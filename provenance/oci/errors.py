"""Errors of the OCI room."""

from __future__ import annotations

from common.errors import ConfigurationError, InputError, StatementError, UnavailableError


class ImageReferenceInvalid(InputError):
    """An image reference is not one."""

    code = "input.image_reference"
    advice = "Write registry/repository:tag, or registry/repository@sha256:<64 hex characters>."


class RegistryUnavailable(UnavailableError):
    """A registry, or its token service, did not give a usable answer."""

    code = "unavailable.registry"
    advice = "Retry later; check the registry's address and status."


class RegistryAccessDenied(UnavailableError):
    """A registry wants other credentials than it was given."""

    code = "unavailable.registry_access"
    advice = "Name a docker config.json with credentials that may pull from this repository."


class RegistryForbidden(ConfigurationError):
    """A registry, its token service or a redirect lies outside what may be contacted."""

    code = "configuration.registry_host"
    advice = "Add the host to the allowed hosts if it is meant (docs/registries.md)."


class RegistryCredentialsInvalid(ConfigurationError):
    """A docker config.json cannot be used."""

    code = "configuration.registry_credentials"
    advice = (
        "`auths` with `auth` or `identitytoken` is read; credential helpers are programs and never run."
    )


class RegistryContentInvalid(StatementError):
    """A registry gave content that is not what its digest, size or media type says."""

    code = "statement.registry_content"
    advice = "Nothing of it was used. Check the registry, and what stands between it and this machine."


class AttachmentMisplaced(StatementError):
    """Something attached to an image is about another image."""

    code = "statement.attachment"
    advice = (
        "It was not used. Find out who attached it: a signature of one image proves nothing of another."
    )
