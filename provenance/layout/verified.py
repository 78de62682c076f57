"""What verification of a layout gives: layouts, steps and links whose every demand was met."""

from __future__ import annotations

import msgspec

from provenance.layout.model import Link  # noqa: TC001 (msgspec resolves it at run time)


class VerifiedLink(msgspec.Struct, frozen=True):
    """A link, or a sublayout in its place, that counts.

    Attributes:
        keyid: key id of the functionary in the layout.
        key: SHA-256 of the functionary's SubjectPublicKeyInfo, hex.
        digest: SHA-256 of the link (or sublayout) as signed, hex.
        link: the link; of a sublayout, its summary.
        sublayout: the sublayout, where the functionary delegated.
    """

    keyid: str
    key: str
    digest: str
    link: Link
    sublayout: VerifiedLayout | None = None


class VerifiedStep(msgspec.Struct, frozen=True):
    """A step and the links that count.

    Attributes:
        name: its name.
        threshold: how many were needed.
        links: how many there are; they agree on materials and products.
    """

    name: str
    threshold: int
    links: tuple[VerifiedLink, ...]

    @property
    def link(self) -> Link:
        """What its functionaries agree on."""
        return self.links[0].link


class VerifiedLayout(msgspec.Struct, frozen=True):
    """A layout whose every demand was met.

    Attributes:
        digest: SHA-256 of the layout as signed, hex.
        expires: as stated.
        steps: in order.
        inspected: names of the inspections that ran.
        skipped: names of those that the trust root let be skipped.
    """

    digest: str
    expires: str
    steps: tuple[VerifiedStep, ...]
    inspected: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()

    @property
    def materials(self) -> dict[str, dict[str, str]]:
        """Materials of the first step."""
        return self.steps[0].link.materials

    @property
    def products(self) -> dict[str, dict[str, str]]:
        """Products of the last step."""
        return self.steps[-1].link.products


def functionaries_of(layout: VerifiedLayout) -> dict[str, tuple[str, ...]]:
    """SHA-256 of each counted functionary's SubjectPublicKeyInfo, to the steps that it performed.

    Steps of sublayouts stand as ``step/inner``.
    """
    performed: dict[str, list[str]] = {}
    _collect(layout, "", performed)
    return {key: tuple(steps) for key, steps in performed.items()}


def _collect(layout: VerifiedLayout, prefix: str, performed: dict[str, list[str]]) -> None:
    for step in layout.steps:
        for link in step.links:
            performed.setdefault(link.key, []).append(prefix + step.name)
            if link.sublayout is not None:
                _collect(link.sublayout, f"{prefix}{step.name}/", performed)
