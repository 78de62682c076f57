"""One pull of one source: look, verify, ingest.

Each envelope is admitted from its first byte, must be about the image that it is attached to, and is stored
the way that every submission is (``service.submissions``). What was taken under a trust policy is
remembered and not stored again under the same one; what was refused is tried again at each pull, since a
policy's windows open and close. After a restart everything is tried once more: ingesting is idempotent,
so nothing is stored twice.
"""

from __future__ import annotations

import hashlib
import logging
from collections import OrderedDict
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import msgspec

from common.errors import TouchstoneError, UnavailableError
from provenance.oci.attachments import require_subject
from provenance.trust import domains
from service import submissions
from service.sources.collect import Refusal, collect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime

    from provenance.model import AdmittedStatement, DerivationRequest
    from provenance.oci.registry import RegistryClient
    from provenance.pipeline import Pipeline
    from service.composition import Services
    from service.sources.collect import Envelope
    from service.sources.plan import Source

_LOG = logging.getLogger("touchstone.sources")
_REMEMBERED: Final = 4096


class Pulled(msgspec.Struct, frozen=True):
    """What a pull did.

    Attributes:
        image: digest that a registry source's reference stands for.
        found: envelopes.
        added: attestations that were new.
        refused: what was not taken.
    """

    image: str | None
    found: int
    added: int
    refused: tuple[Refusal, ...]


class Puller:
    """Pulls one source.

    Args:
        services: pipelines and stores.
        source: what to pull.
        client: for registries.
    """

    def __init__(self, services: Services, source: Source, client: RegistryClient) -> None:
        """Remember nothing yet."""
        self.source = source
        self._services = services
        self._client = client
        self._taken: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._told: set[tuple[str, str]] = set()
        self._image: str | None = None

    def pull(self, now: datetime, stopping: Callable[[], bool] = lambda: False) -> Pulled:
        """Look at the source and take what is new.

        Args:
            now: aware UTC.
            stopping: asked between envelopes; true ends the pull early.

        Raises:
            TouchstoneError: the source, the trust policy or the database is not there; what was taken
                before stays.
        """
        pipeline = self._services.pipelines.of(self.source.trust_policy)
        collected = collect(self.source, self._client)
        self._tell_image(collected.image)
        admitted: list[AdmittedStatement] = []
        added, refused = 0, list(collected.unreadable)
        for envelope in collected.envelopes:
            with _refusing(envelope.where, refused):
                admitted.append(_admit(pipeline, envelope, collected.image, now))
        held = {hashlib.sha256(item.data).hexdigest(): item for item in collected.envelopes}
        for item in admitted:
            if stopping():
                break
            # What is attached to one image belongs together; the files of a folder need not.
            others = [] if collected.image is None else [other for other in admitted if other is not item]
            envelope = held[item.authentic.attestation]
            requests = () if item.supporting or envelope.is_signature else self.source.requests
            with _refusing(envelope.where, refused):
                added += self._take(pipeline, item, others, requests, now)
        self._tell_refused(refused)
        return Pulled(collected.image, len(collected.envelopes), added, tuple(refused))

    def _take(
        self,
        pipeline: Pipeline,
        admitted: AdmittedStatement,
        others: Sequence[AdmittedStatement],
        requests: Sequence[DerivationRequest],
        now: datetime,
    ) -> bool:
        """Store a statement with its values; whether it was new. The others are stored in their turn."""
        key = (admitted.authentic.attestation, pipeline.trust.digest)
        if key in self._taken:
            return False
        if requests:
            admitted = domains.together(admitted, others, ())
        by = f"source:{self.source.name}"
        result = submissions.store(self._services, pipeline, admitted, by=by, now=now, requests=requests)
        self._taken[key] = None
        while len(self._taken) > _REMEMBERED:
            self._taken.popitem(last=False)
        return result.created

    def _tell_image(self, image: str | None) -> None:
        if image != self._image:
            fields = {"source": self.source.name, "image": image, "before": self._image}
            _LOG.info("a source's reference stands for another image", extra={"fields": fields})
            self._image = image

    def _tell_refused(self, refused: list[Refusal]) -> None:
        for item in refused:
            if (item.where, item.code) not in self._told:
                fields = {"source": self.source.name, "where": item.where, "code": item.code}
                _LOG.warning("a source holds something that is not taken", extra={"fields": fields})
        self._told = {(item.where, item.code) for item in refused}


def _admit(pipeline: Pipeline, envelope: Envelope, image: str | None, now: datetime) -> AdmittedStatement:
    admitted = pipeline.admit(envelope.data, now)
    if image is not None:
        require_subject(admitted.authentic.statement, image)
    return admitted


@contextmanager
def _refusing(where: str, refused: list[Refusal]) -> Iterator[None]:
    """Note what is refused and go on; what is not there ends the pull."""
    try:
        yield
    except UnavailableError:
        raise
    except TouchstoneError as error:
        refused.append(Refusal(where, error.code, error.message))
