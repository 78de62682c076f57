"""Options that name a trust policy's file, the keys that must have signed it, and its environment."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from provenance.trust import TrustPolicy
    from provenance.trust.signed import PolicyKeys

_FILE = click.Path(path_type=Path, dir_okay=False)
_MAX_KEY_BYTES = 16 << 10

environment_option: Callable[[Callable[..., Any]], Callable[..., Any]] = click.option(
    "--environment", help="Which of the trust policy's environments decides."
)


def policy_key_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """``--policy-key`` and ``--policy-threshold``."""
    for option in (
        click.option(
            "--policy-threshold",
            type=click.IntRange(min=1),
            default=1,
            show_default=True,
            help="How many of the policy keys must have signed.",
        ),
        click.option(
            "--policy-key",
            "policy_keys",
            multiple=True,
            type=_FILE,
            help="Public key (PEM) that must have signed the trust policy. May be repeated.",
        ),
    ):
        function = option(function)
    return function


def read_keys(files: Sequence[Path], threshold: int) -> PolicyKeys:
    """The keys in PEM files, each with the algorithm that follows from it.

    Raises:
        NotFound, TooLarge: a file cannot be read.
        TrustPolicyInvalid: it is not a public key, or the threshold cannot be met.
    """
    from common.files import read_limited
    from provenance import keys
    from provenance.trust.signed import PolicyKeys

    pinned = PolicyKeys(
        tuple(
            keys.from_public_pem(
                read_limited(file, what="policy key", max_bytes=_MAX_KEY_BYTES).decode("utf-8", "replace")
            )
            for file in files
        ),
        threshold,
    )
    pinned.check()
    return pinned


def read_policy(file: Path, policy_keys: Sequence[Path], threshold: int) -> TrustPolicy:
    """The trust policy in a file: with keys, a signed one that they signed.

    Raises:
        NotFound, TooLarge: a file cannot be read.
        StatementError: the policy or its signatures do not hold.
    """
    from provenance.trust import signed

    keys = read_keys(policy_keys, threshold) if policy_keys else None
    return signed.load_file(file, keys).policy


def trust_text(file: Path) -> str:
    """What a server is given: a signed policy's envelope, otherwise the document with files inlined.

    Raises:
        NotFound, TooLarge: a file cannot be read.
        TrustPolicyInvalid: the policy does not hold.
    """
    from common.files import read_limited
    from provenance import dsse, trust
    from provenance.trust import signed

    if file.suffix != ".toml":
        data = read_limited(file, what="trust policy", max_bytes=dsse.MAX_ENVELOPE_BYTES)
        if signed.is_signed(data):
            return data.decode("utf-8")
    return trust.load_file(file).to_json().decode("utf-8")
