"""Log entry and time: that the signature is in a trusted log, and when it provably existed.

Order: the log is one of the root's -> inclusion proof and checkpoint, or the promise alone where the
policy allows it for version 0.1 bundles -> times. A time counts only if something signed it: the log's
promise (which covers ``integratedTime``) or an RFC 3161 response over the signature. A bundle without
any such time is refused; a claimed time is never used.

A timestamp by an authority that the root does not name proves nothing and is recorded as a warning.

Source: sigstore client specification, "Transparency log entry" and "Time"; RFC 3161; RFC 6962.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from provenance.errors import LogEntryInvalid, StatementIncomplete
from provenance.sigstore import backend
from provenance.sigstore.trust_root import find_logs
from provenance.steps import step

if TYPE_CHECKING:
    from common.checks import Checks
    from provenance.sigstore.bundle_format import Bundle, LogEntry
    from provenance.sigstore.trust_root import LogKey, SigstoreRoot


class SigningTime(msgspec.Struct, frozen=True):
    """Verified times of a signature.

    Attributes:
        all: each verified time, at least one.
        log_index: of the entry.
        log_id: of the log, hex.
    """

    all: tuple[datetime, ...]
    log_index: int
    log_id: str

    @property
    def earliest(self) -> datetime:
        """The earliest."""
        return min(self.all)


def establish(bundle: Bundle, root: SigstoreRoot, *, promise_suffices: bool, checks: Checks) -> SigningTime:
    """Verify the log entry and collect verified times.

    Args:
        bundle: the parsed bundle.
        root: the trusted root.
        promise_suffices: accept an entry that has a promise and no inclusion proof.
        checks: where the records go.

    Raises:
        LogEntryInvalid: unknown log, a proof, checkpoint or promise that does not verify, or no
            verified time.
        StatementIncomplete: no inclusion proof, and the policy wants one.
    """
    entry = bundle.entry
    logs = find_logs(root.logs, entry.log_id)
    checks.require(
        "log.known",
        bool(logs),
        LogEntryInvalid,
        expected="a log of the trust root",
        observed=entry.log_id.hex(),
        source="sigstore_trustroot.proto, TrustedRoot.tlogs",
    )
    _verify_entry(entry, logs, promise_suffices=promise_suffices, checks=checks)
    times = (*_promised(entry), *_timestamped(bundle, root, checks))
    in_force = [log for log in logs if all(log.window.contains(moment) for moment in times)]
    checks.require(
        "log.window",
        bool(in_force),
        LogEntryInvalid,
        expected="a time at which the trust root says that the log signed",
        observed=[moment.isoformat() for moment in times],
        source="sigstore_common.proto, PublicKey.valid_for",
    )
    checks.require(
        "log.time",
        bool(times),
        LogEntryInvalid,
        expected="a promise or a timestamp by an authority of the trust root",
        observed=[moment.isoformat() for moment in times],
        source="sigstore client specification, Time",
    )
    return SigningTime(all=times, log_index=entry.log_index, log_id=entry.log_id.hex())


def _verify_entry(
    entry: LogEntry, logs: tuple[LogKey, ...], *, promise_suffices: bool, checks: Checks
) -> None:
    observed = {"log": entry.log_id.hex(), "index": entry.log_index}
    if entry.has_proof:
        with step(checks, "log.inclusion", observed=observed, source="RFC 6962 section 2.1.1"):
            backend.verify_inclusion(entry, logs)
        return
    if not promise_suffices:
        checks.fail(
            "log.inclusion",
            StatementIncomplete,
            expected="an inclusion proof with checkpoint",
            observed="a promise alone",
            source="sigstore_bundle.proto, version 0.1",
            note="the bundle has a promise and no inclusion proof; the trust policy wants a proof",
        )
    with step(checks, "log.promise", observed=observed, source="sigstore/rekor openapi.yaml"):
        backend.verify_promise(entry, logs)


def _promised(entry: LogEntry) -> tuple[datetime, ...]:
    # Both branches of _verify_entry verified the promise if there is one with a time.
    if entry.promise is None or not entry.integrated_time:
        return ()
    try:
        return (datetime.fromtimestamp(entry.integrated_time, tz=UTC),)
    except (OverflowError, ValueError, OSError) as error:
        raise LogEntryInvalid("the log entry's time is out of range") from error


def _timestamped(bundle: Bundle, root: SigstoreRoot, checks: Checks) -> tuple[datetime, ...]:
    times = []
    for response in bundle.timestamps:
        moment = backend.verified_timestamp(response, bundle.signature, root.timestamp_authorities)
        if moment is None:
            checks.warn(
                "log.timestamp",
                observed="not by an authority of the trust root over this signature",
                source="RFC 3161 section 2.4.2",
            )
        else:
            times.append(moment)
    return tuple(times)
