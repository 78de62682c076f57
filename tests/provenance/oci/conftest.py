"""The real registries."""

from tests.registries import account_pusher, distribution, oci_registry, pusher, repository

__all__ = ["account_pusher", "distribution", "oci_registry", "pusher", "repository"]
