"""Scheduled pulling: registries and folders that attestations are taken from (docs/registries.md)."""
