"""Every route of the KBS API, every method, and what each is answered: tested, and shown in the page.

A row's status is for accurate statuses, then for the reference's; the variant is that of the error.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Case:
    """One row.

    Attributes:
        call: method and path below ``/kbs/v0/``.
        who: nobody, a guest (attested), a guest (contraindicated), an auditor or an administrator.
        sends: name of the body (``test_conformance`` knows it).
        accurate: status by RFC 9110.
        reference: status in the reference's manner.
        variant: of the error; empty: none.
    """

    call: str
    who: str
    sends: str
    accurate: int
    reference: int
    variant: str = ""

    @property
    def name(self) -> str:
        return f"{self.call} {self.who} {self.sends}".replace(" ", "-")


def _ok(call: str, who: str, sends: str) -> Case:
    return Case(call, who, sends, 200, 200)


def _no(  # noqa: PLR0917 (rows of a table)
    call: str, who: str, sends: str, variant: str, accurate: int = 401, reference: int = 401
) -> Case:
    return Case(call, who, sends, accurate, reference, variant)


def _only_for_administrators(call: str, sends: str) -> tuple[Case, ...]:
    """Reads are for auditors too."""
    callers = ("nobody", "guest", "forged token", *(() if call.startswith("GET") else ("auditor",)))
    return tuple(_no(call, who, sends, "AdminAuthAccess") for who in callers)


_SECRET: Final = "resource/default/test/dummy"
CASES: Final = (
    # The handshake
    _ok("POST auth", "nobody", "request"),
    _ok("POST auth", "nobody", "request, version 0.4.1"),
    _no("POST auth", "nobody", "request, version 0.5.0", "AttestationError"),
    _no("POST auth", "nobody", "request, unknown TEE", "AttestationError"),
    _no("POST auth", "nobody", "request, TEE of a device", "AttestationError"),
    _no("POST auth", "nobody", "not JSON", "AttestationError"),
    _no("POST auth", "nobody", "nothing", "AttestationError"),
    _no("POST auth", "nobody", "too much", "SerdeError", 413, 413),
    _no("GET auth", "nobody", "nothing", "PluginNotFound", 404, 404),
    _no("PUT auth", "nobody", "nothing", "PluginNotFound", 404, 404),
    _no("DELETE auth", "nobody", "nothing", "PluginNotFound", 404, 404),
    _ok("POST attest", "new session", "attestation"),
    _no("POST attest", "nobody", "attestation", "AttestationError"),
    _no("POST attest", "guest", "attestation", "AttestationError"),
    _no("POST attest", "new session", "attestation, other nonce", "AttestationError"),
    _no("POST attest", "new session", "attestation, other report data", "AttestationError"),
    _no("POST attest", "new session", "attestation, other evidence", "AttestationError"),
    _no("POST attest", "new session", "attestation, sampledevice", "AttestationError"),
    _no("POST attest", "new session", "not JSON", "AttestationError"),
    _no("POST attest", "new session", "too much", "SerdeError", 413, 413),
    _no("GET attest", "guest", "nothing", "PluginNotFound", 404, 404),
    # Resources
    _ok(f"GET {_SECRET}", "guest", "nothing"),
    _no(f"GET {_SECRET}", "nobody", "nothing", "TokenNotFound"),
    _no(f"GET {_SECRET}", "new session", "nothing", "TokenNotFound"),
    _no(f"GET {_SECRET}", "forged cookie", "nothing", "TokenNotFound"),
    _no(f"GET {_SECRET}", "forged token", "nothing", "TokenVerifierError"),
    _no(f"GET {_SECRET}", "administrator", "nothing", "TokenVerifierError"),
    _no(f"GET {_SECRET}", "contraindicated guest", "nothing", "PolicyDeny", 403),
    _no("GET resource/default/test/denied", "guest", "nothing", "PolicyDeny", 403),
    _no("GET resource/default/test/nosuch", "guest", "nothing", "PluginInternalError", 404),
    _no("GET resource/default/test", "guest", "nothing", "PluginInternalError", 400),
    _no("GET resource/default/test/dummy/more", "guest", "nothing", "PluginInternalError", 400),
    _no("GET resource/default/test/..", "guest", "nothing", "PluginInternalError", 400),
    _no("GET resource/default/test/%2e%2e", "guest", "nothing", "PluginInternalError", 400),
    _no("GET resource/default/test/dummy%0a", "guest", "nothing", "PluginInternalError", 400),
    _no("GET resource/default//dummy", "guest", "nothing", "PluginInternalError", 400),
    _no("GET resource/default/test/dummy/", "guest", "nothing", "PluginInternalError", 400),
    _no(f"GET {_SECRET}?a=1&a=2", "guest", "nothing", "SerdeError", 400),
    _ok("GET resource", "administrator", "nothing"),
    _ok("GET resource", "auditor", "nothing"),
    *_only_for_administrators("GET resource", "nothing"),
    _ok("POST resource/default/test/new", "administrator", "a secret"),
    _no("POST resource/default/test/new", "administrator", "nothing", "PluginInternalError", 400),
    _no("POST resource/default/test", "administrator", "a secret", "PluginInternalError", 400),
    _no("POST resource/default/test/.new", "administrator", "a secret", "PluginInternalError", 400),
    _no("POST resource/default/test/new", "administrator", "too much", "SerdeError", 413, 413),
    *_only_for_administrators("POST resource/default/test/new", "a secret"),
    _no(f"PUT {_SECRET}", "administrator", "a secret", "PluginInternalError", 400),
    _no(f"PUT {_SECRET}", "nobody", "a secret", "PluginInternalError", 400),
    _ok("DELETE resource/default/test/doomed", "administrator", "nothing"),
    _no("DELETE resource/default/test/nosuch", "administrator", "nothing", "PluginInternalError", 404),
    *_only_for_administrators(f"DELETE {_SECRET}", "nothing"),
    # Policies
    _ok("GET resource-policy", "administrator", "nothing"),
    _ok("GET resource-policy", "auditor", "nothing"),
    *_only_for_administrators("GET resource-policy", "nothing"),
    _ok("POST resource-policy", "administrator", "policy"),
    _ok("POST resource-policy", "administrator", "policy in standard base64"),
    _no("POST resource-policy", "administrator", "policy that does not compile", "PolicyEngineError", 400),
    _no("POST resource-policy", "administrator", "policy that is not base64", "ParsePolicyError", 400),
    _no("POST resource-policy", "administrator", "no policy", "ParsePolicyError", 400),
    _no("POST resource-policy", "administrator", "not JSON", "ParsePolicyError", 400),
    _no("POST resource-policy", "administrator", "too much", "SerdeError", 413, 413),
    *_only_for_administrators("POST resource-policy", "policy"),
    _no("PUT resource-policy", "administrator", "policy", "PluginNotFound", 404, 404),
    _no("DELETE resource-policy", "administrator", "nothing", "PluginNotFound", 404, 404),
    _ok("POST attestation-policy", "administrator", "attestation policy"),
    _no("POST attestation-policy", "administrator", "attestation policy, bad id", "ParsePolicyError", 400),
    _no("POST attestation-policy", "administrator", "no policy", "ParsePolicyError", 400),
    *_only_for_administrators("POST attestation-policy", "attestation policy"),
    _no("GET attestation-policy", "administrator", "nothing", "PluginNotFound", 404, 404),
    _no("DELETE attestation-policy", "administrator", "nothing", "PluginNotFound", 404, 404),
    # Reference values
    _ok("GET reference-value/svn", "administrator", "nothing"),
    _no("GET reference-value/nosuch", "administrator", "nothing", "RvpsError", 404),
    _ok("GET reference-value/svn", "auditor", "nothing"),
    *_only_for_administrators("GET reference-value/svn", "nothing"),
    _ok("POST reference-value", "administrator", "message"),
    _no("POST reference-value", "administrator", "message, version 0.2.0", "RvpsError", 400),
    _no("POST reference-value", "administrator", "message, unknown type", "RvpsError", 400),
    _no("POST reference-value", "administrator", "not JSON", "RvpsError", 400),
    _no("POST reference-value", "administrator", "too much", "SerdeError", 413, 413),
    *_only_for_administrators("POST reference-value", "message"),
    _no("GET reference-value", "administrator", "nothing", "PluginNotFound", 404, 404),
    _no("DELETE reference-value/svn", "administrator", "nothing", "PluginNotFound", 404, 404),
    # Anything else
    _no("GET nosuch/a", "nobody", "nothing", "PluginNotFound", 404, 404),
    _no("GET nosuch/a", "administrator", "nothing", "PluginNotFound", 404, 404),
    _no("GET ", "nobody", "nothing", "PluginNotFound", 404, 404),
    _no("POST auth/", "nobody", "request", "PluginNotFound", 404, 404),
    _no("POST //auth", "nobody", "request", "PluginNotFound", 404, 404),
    Case("HEAD auth", "nobody", "nothing", 405, 405),
    Case("OPTIONS auth", "nobody", "nothing", 405, 405),
    Case("PATCH auth", "nobody", "nothing", 405, 405),
    Case(f"PATCH {_SECRET}", "administrator", "a secret", 405, 405),
    Case("TRACE auth", "nobody", "nothing", 405, 405),
)


def table() -> str:
    """The rows in Markdown; callers who are answered alike share one."""
    callers: dict[tuple[str, str, int, int, str], list[str]] = {}
    for case in CASES:
        row = (case.call, case.sends, case.accurate, case.reference, case.variant)
        callers.setdefault(row, []).append(case.who)
    lines = ["| call | who | sends | status | reference's manner | error |", "|---|---|---|---|---|---|"]
    for (call, sends, accurate, reference, variant), who in callers.items():
        error = f"`{variant}`" if variant else ""
        lines.append(
            f"| `{call.strip()}` | {', '.join(who)} | {sends} | {accurate} | {reference} | {error} |"
        )
    return "\n".join(lines)
