"""A private Sigstore: certificate authority, certificate-transparency log, transparency log, keys.

``TestAuthority`` signs statements and artefacts so that unmodified Sigstore clients verify them offline
with ``trusted_root_json()``. It is trusted only where a trust policy names that root.
"""

from testkit.authority.authority import SigningOptions, TestAuthority
from testkit.authority.keys import TestKey, sign_dsse
from testkit.authority.statements import GITHUB_ISSUER, github_claims, slsa_v1_statement

__all__ = [
    "GITHUB_ISSUER",
    "SigningOptions",
    "TestAuthority",
    "TestKey",
    "github_claims",
    "sign_dsse",
    "slsa_v1_statement",
]
