"""Sigstore bundles: format, log entry, time, certificate, signer. ``bundle_verifier`` is the way in."""
