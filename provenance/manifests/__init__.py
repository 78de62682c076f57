"""Reference-value manifests from elsewhere: what others say good measurements are.

One folder per format, each with a ``reader.py`` (``provenance.reader.Reader``): ``corim`` (COSE_Sign1),
``swid`` (XML signature) and ``measurement_file`` (JSON with a detached signature). Each gives the normal
form of ``provenance.manifests.values`` as the predicate of a Statement whose subject is the manifest's
SHA-256. ``roots`` says which trust roots may speak for which format. docs/manifests.md describes them.

Nothing in a manifest becomes a reference value by its own names: the rule ``manifest-values`` needs a
mapping from the derivation request.
"""
