"""Trust policies: ``document`` (parse, files), ``admission`` (fixed rules), ``rego`` (the policy's own)."""

from provenance.trust.document import TrustPolicy, key_window, load_file, parse

__all__ = ["TrustPolicy", "key_window", "load_file", "parse"]
