"""The native API: one module per part, each with its ``RouteTable``; ``TABLES`` is all of them.

A module holds wire structs and thin handlers: it decodes, calls one room, and encodes.
"""

from __future__ import annotations

from service.api import (
    appraisals,
    attestations,
    audit,
    challenges,
    changes,
    impact,
    keys,
    operations,
    policies,
    reference_values,
    resources,
    sources,
)
from service.coco import attestation_api

TABLES = (
    operations.ROUTES,
    challenges.ROUTES,
    appraisals.ROUTES,
    attestations.ROUTES,
    reference_values.ROUTES,
    impact.ROUTES,
    policies.ROUTES,
    resources.ROUTES,
    keys.ROUTES,
    audit.ROUTES,
    changes.ROUTES,
    sources.ROUTES,
    attestation_api.ROUTES,
)
