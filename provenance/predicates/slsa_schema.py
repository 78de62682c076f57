"""SLSA provenance predicates as they stand on the wire: the members that are read, with their types.

Members that the specifications do not name are ignored, as both demand of consumers.

Sources: slsa.dev/spec/v1.0/provenance (schema); slsa.dev/spec/v0.2/provenance.
"""

from __future__ import annotations

from typing import Any

import msgspec


class _Wire(msgspec.Struct, rename="camel"):
    pass


class Resource(_Wire):
    """ResourceDescriptor (v1) or material (v0.2)."""

    uri: str | None = None
    digest: dict[str, str] = {}


class BuildDefinition(_Wire):
    """v1 ``buildDefinition``."""

    build_type: str
    external_parameters: dict[str, Any]
    internal_parameters: dict[str, Any] | None = None
    resolved_dependencies: tuple[Resource, ...] | None = None


class Builder(_Wire):
    """``builder``."""

    id: str


class MetadataV1(_Wire):
    """v1 ``runDetails.metadata``."""

    # ``invocationID`` is the specification's JSON sample of early v1; builders write either.
    invocation_id: str | None = None
    invocation_id_old: str | None = msgspec.field(name="invocationID", default=None)


class RunDetails(_Wire):
    """v1 ``runDetails``."""

    builder: Builder
    metadata: MetadataV1 | None = None


class ProvenanceV1(_Wire):
    """A v1 predicate."""

    build_definition: BuildDefinition
    run_details: RunDetails


class ConfigSource(_Wire):
    """v0.2 ``invocation.configSource``."""

    uri: str | None = None
    digest: dict[str, str] = {}
    entry_point: str | None = None


class Invocation(_Wire):
    """v0.2 ``invocation``."""

    config_source: ConfigSource = msgspec.field(default_factory=ConfigSource)
    parameters: dict[str, Any] | None = None
    environment: dict[str, Any] | None = None


class MetadataV02(_Wire):
    """v0.2 ``metadata``."""

    build_invocation_id: str | None = msgspec.field(name="buildInvocationID", default=None)
    build_invocation_id_camel: str | None = msgspec.field(name="buildInvocationId", default=None)


class ProvenanceV02(_Wire):
    """A v0.2 predicate."""

    builder: Builder
    build_type: str
    invocation: Invocation = msgspec.field(default_factory=Invocation)
    metadata: MetadataV02 | None = None
    materials: tuple[Resource, ...] | None = None
