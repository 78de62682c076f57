"""Parts for tests, demonstrations and our users' own tests. Nothing in production rests on them.

A test authority that issues Sigstore bundles, a test firmware that signs SNP reports under its own
roots, and launchers for real components (swtpm, OPA) on loopback.
"""
