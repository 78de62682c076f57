"""Documents that cross a boundary: evidence and the native RCAR exchange. No logic lives here.

RCAR is Request, Challenge, Attestation, Response. Every struct forbids unknown members; byte strings
are unpadded base64url text unless a docstring says otherwise; times are RFC 3339 UTC.
"""
