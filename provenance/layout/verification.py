"""Verification of a layout with its links (in-toto specification v1.0, 5.2), without files or clock.

Order, at every level: signatures of the layout -> expiry against ``now`` -> links by path -> their
signatures, distinct functionaries against the step's threshold -> sublayouts, recursively, each signed
by the functionary that delegates -> agreement of a step's links -> commands (a difference is a warning,
as the specification has it) -> artefact rules of steps -> inspections and their rules.

What the specification or in-toto 3.1.0 leaves open, and how it is here:

* Distinct functionaries are counted by key, not by key id.
* A link whose signature does not verify, or that is of another step, does not count; a link that no
  step asks for is not looked at. Both leave a record.
* All counted links of a step must agree, also where its threshold is 1.
* Parameters are not substituted (``provenance.layout.parsing``).
* Inspections see the final product only: each runs on the same files, not on what the one before left.

Bounded: every link is visited at most once, and sublayouts nest at most ``MAX_DEPTH`` deep.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from provenance.errors import (
    InspectionFailed,
    InspectionNotRun,
    LayoutExpired,
    LayoutMalformed,
    LinkMissing,
    LinksDisagree,
    LinkThresholdMissed,
)
from provenance.instants import rfc3339
from provenance.layout import functionaries, parsing, rules
from provenance.layout.model import Inspection, Layout, Link
from provenance.layout.verified import VerifiedLayout, VerifiedLink, VerifiedStep
from provenance.steps import step as record

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from common.checks import Checks
    from provenance.keys import VerificationKey
    from provenance.layout.inspection import InspectionRunner
    from provenance.layout.model import FunctionaryKey, Metadata, Step

MAX_DEPTH: Final = 4
_SOURCE: Final = "in-toto specification v1.0"


class LayoutVerifier:
    """Verifies layouts against one set of links.

    Args:
        links: signed links and sublayouts by path, as in-toto names the files
            (``step.keyid8.link``, ``step.keyid8/inner.keyid8.link``).
        now: aware UTC.
        checks: takes the records.
        inspections: runs inspections, if the caller configured a sandbox.
        skip_inspections: admit a layout whose inspections cannot be run.
    """

    def __init__(
        self,
        links: Mapping[str, Metadata],
        now: datetime,
        checks: Checks,
        *,
        inspections: InspectionRunner | None = None,
        skip_inspections: bool = False,
    ) -> None:
        """Keep what verification needs."""
        self._links = links
        self._now = now
        self._checks = checks
        self._inspections = inspections
        self._skip_inspections = skip_inspections
        self._asked: set[str] = set()

    def verify(self, signed: Metadata) -> VerifiedLayout:
        """Verify a layout whose own signatures were verified.

        Raises:
            LayoutMalformed: it is a link, or sublayouts nest too deep.
            StatementError: one of the layout classes, by the step that failed, with every record so far.
        """
        layout = self._layout(signed, "", 0)
        for path in sorted(set(self._links) - self._asked):
            self._checks.warn(
                "layout.unused_link", observed=path[:256], note="no step asks for this link: not looked at"
            )
        return layout

    def _layout(self, signed: Metadata, folder: str, depth: int) -> VerifiedLayout:
        layout = signed.payload
        if not isinstance(layout, Layout):
            raise LayoutMalformed("the layout is a link", checks=self._checks.records)
        if depth > MAX_DEPTH:
            raise LayoutMalformed(f"sublayouts nest deeper than {MAX_DEPTH}", checks=self._checks.records)
        self._require_not_expired(layout, folder)
        steps = tuple(self._step(step, layout, folder, depth) for step in layout.steps)
        recorded = {step.name: step.link for step in steps}
        for step in layout.steps:
            self._apply_rules(step, folder, recorded)
        inspected = self._inspect(layout, folder, recorded)
        return VerifiedLayout(
            digest=signed.digest,
            expires=layout.expires,
            steps=steps,
            inspected=inspected,
            skipped=() if inspected else tuple(item.name for item in layout.inspect),
        )

    def _require_not_expired(self, layout: Layout, folder: str) -> None:
        expires = rfc3339(layout.expires) if layout.expires.endswith("Z") else None
        if expires is None:
            raise LayoutMalformed("expires is not YYYY-MM-DDTHH:MM:SSZ", checks=self._checks.records)
        self._checks.require(
            "layout.expiry",
            self._now < expires,
            LayoutExpired,
            expected=f"after {self._now.isoformat()}",
            observed=layout.expires,
            source=f"{_SOURCE}, section 5.2",
            note="" if self._now < expires else f"the layout {folder!a} expired at {layout.expires}",
        )

    def _step(self, step: Step, layout: Layout, folder: str, depth: int) -> VerifiedStep:
        where = f"step {folder + step.name!a}"
        found = self._found(step, folder)
        self._checks.require(
            "layout.links",
            len(found) >= step.threshold,
            LinkMissing,
            expected=step.threshold,
            observed=sorted(path for path, _ in found.values()),
            source=f"{_SOURCE}, section 5.2",
            note=""
            if len(found) >= step.threshold
            else f"{where} needs {step.threshold} links of its functionaries, the bundle has {len(found)}",
        )
        links: dict[str, VerifiedLink] = {}
        for keyid, (path, signed) in found.items():
            listed = layout.keys.get(keyid)
            if listed is None:
                self._discount(path, "the layout does not list the functionary's key")
                continue
            link = self._link(step.name, listed, path, signed, depth)
            if link is not None:
                links.setdefault(link.key, link)
        self._checks.require(
            "layout.threshold",
            len(links) >= step.threshold,
            LinkThresholdMissed,
            expected=step.threshold,
            observed=[{"keyid": item.keyid, "key": item.key} for item in links.values()],
            source=f"{_SOURCE}, section 5.2 (distinct functionaries)",
            note=""
            if len(links) >= step.threshold
            else f"{where} needs {step.threshold} functionaries whose link verifies, not {len(links)}",
        )
        verified = VerifiedStep(step.name, step.threshold, tuple(links.values()))
        self._require_agreement(verified, where)
        self._compare_commands(step, verified, where)
        return verified

    def _found(self, step: Step, folder: str) -> dict[str, tuple[str, Metadata]]:
        """Key id of an authorised functionary to the path and content of the link under its name."""
        paths = {
            keyid: f"{folder}{step.name}.{keyid[: parsing.KEYID_PREFIX]}.link" for keyid in step.pubkeys
        }
        self._asked.update(paths.values())
        return {keyid: (path, self._links[path]) for keyid, path in paths.items() if path in self._links}

    def _link(
        self, step: str, listed: FunctionaryKey, path: str, signed: Metadata, depth: int
    ) -> VerifiedLink | None:
        """The link under ``path`` as the functionary's, or None where it does not count."""
        key, keyid = functionaries.load(listed), listed.keyid
        if not signed_by(signed, keyid, key):
            self._discount(path, "no signature of the functionary on it verifies")
            return None
        payload = signed.payload
        if isinstance(payload, Layout):
            with record(self._checks, "layout.sublayout", source=_SOURCE, observed=path):
                inner = self._layout(signed, path.removesuffix(".link") + "/", depth + 1)
            summary = Link(name=step, materials=inner.materials, products=inner.products)
            return VerifiedLink(keyid, key.spki_sha256, signed.digest, summary, inner)
        if payload.name != step:
            self._discount(path, "it is a link of another step")
            return None
        return VerifiedLink(keyid, key.spki_sha256, signed.digest, payload)

    def _discount(self, path: str, why: str) -> None:
        self._checks.warn("layout.link", observed=path, source=_SOURCE, note=f"does not count: {why}")

    def _require_agreement(self, step: VerifiedStep, where: str) -> None:
        first = step.link
        agree = all(
            item.link.materials == first.materials and item.link.products == first.products
            for item in step.links
        )
        self._checks.require(
            "layout.agreement",
            agree,
            LinksDisagree,
            expected="one set of materials and products",
            observed=[item.keyid for item in step.links],
            source=f"{_SOURCE}, section 5.2",
            note="" if agree else f"{where}: the functionaries' links differ in materials or products",
        )

    def _compare_commands(self, step: Step, verified: VerifiedStep, where: str) -> None:
        for item in verified.links:
            if item.sublayout is None and item.link.command != step.expected_command:
                self._checks.warn(
                    "layout.command",
                    observed=list(item.link.command)[:16],
                    source=f"{_SOURCE}, section 4.3.1",
                    note=f"{where}: the command differs from the expected one, which decides nothing",
                )

    def _apply_rules(self, item: Step | Inspection, folder: str, links: Mapping[str, Link]) -> None:
        kind = "inspection" if isinstance(item, Inspection) else "step"
        where = f"{kind} {folder + item.name!a}"
        with record(self._checks, "layout.rules", source=f"{_SOURCE}, section 4.3.3", observed=where):
            rules.apply(where, "materials", item.expected_materials, links[item.name], links)
            rules.apply(where, "products", item.expected_products, links[item.name], links)

    def _inspect(self, layout: Layout, folder: str, recorded: Mapping[str, Link]) -> tuple[str, ...]:
        if not layout.inspect:
            return ()
        names = [folder + item.name for item in layout.inspect]
        runner = self._inspections
        if runner is None and self._skip_inspections:
            for name in names:
                self._checks.skip(
                    "layout.inspection",
                    f"the trust root lets inspection {name!a} be skipped",
                    source=_SOURCE,
                )
            return ()
        if runner is None:
            self._checks.fail(
                "layout.inspection",
                InspectionNotRun,
                expected=names,
                source=f"{_SOURCE}, section 4.3.2",
                note="the layout demands inspections, and their commands run in a sandbox or not at all",
            )
        links = dict(recorded)
        for item in layout.inspect:
            links[item.name] = self._run(item, runner, folder)
        for item in layout.inspect:
            self._apply_rules(item, folder, links)
        return tuple(item.name for item in layout.inspect)

    def _run(self, item: Inspection, runner: InspectionRunner, folder: str) -> Link:
        with record(self._checks, "layout.inspection", source=_SOURCE, observed=folder + item.name):
            ran = runner.run(item.run)
            if ran.status != 0:
                raise InspectionFailed(f"inspection {folder + item.name!a} ended with status {ran.status}")
            link = Link(name=item.name, materials=ran.materials, products=ran.products, command=item.run)
            for artifacts in (link.materials, link.products):
                parsing.check_artifacts(artifacts)
            return link


def signed_by(signed: Metadata, keyid: str, key: VerificationKey) -> bool:
    """Whether a signature that names this key id (or, in DSSE, none) is the key's."""
    return any(
        key.verifies(item.value, signed.message) for item in signed.signatures if item.keyid in {keyid, ""}
    )
