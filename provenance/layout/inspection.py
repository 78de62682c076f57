"""The port through which inspections are run. Nothing here runs a command.

A layout's inspections are commands that its owner wants run on the final product. They are run only
where the caller gives an ``InspectionRunner``; without one a layout with inspections is refused, or,
where the trust root says so, admitted with the inspections recorded as not evaluated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

from provenance.layout.model import Artifacts  # noqa: TC001 (msgspec resolves it at run time)

if TYPE_CHECKING:
    from collections.abc import Sequence


class InspectionRun(msgspec.Struct, frozen=True):
    """What running an inspection gave.

    Attributes:
        status: exit status of the command.
        materials: path to digests of the files before it ran.
        products: path to digests of the files after it ran.
    """

    status: int
    materials: Artifacts
    products: Artifacts


class InspectionRunner(Protocol):
    """Runs the command of an inspection beside the final product. Thread-safe."""

    def run(self, command: Sequence[str]) -> InspectionRun:
        """Run an argument vector, without a shell.

        Raises:
            InspectionFailed: it cannot be started, takes too long, or leaves something that is not a
                regular file.
            UnavailableError: there is no sandbox to run it in.
        """
        ...
