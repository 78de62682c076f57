"""``/v1/sources``: what is pulled on a schedule, and how that fares."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from service.access import Scope
from service.routing import Answer, Call, RouteTable
from service.sources import plan, runner, state
from service.sources.state import SourceState  # noqa: TC001 (msgspec resolves it at run time)

if TYPE_CHECKING:
    from service.composition import Services

ROUTES = RouteTable("sources")


class SourceList(msgspec.Struct, frozen=True):
    """Every source of the settings, in their order."""

    items: tuple[SourceState, ...]


@ROUTES.add("GET", "/v1/sources", scope=Scope.ATTESTATIONS_READ, answers={200: SourceList})
def list_(services: Services, call: Call) -> Answer:
    """List the sources that attestations are pulled from, each with its last success and failure."""
    del call
    known = state.read(services.settings)
    sources = plan.sources_of(services.settings)
    states = tuple(runner.begin(source, known.get(source.name)) for source in sources)
    return Answer(200, SourceList(states))
