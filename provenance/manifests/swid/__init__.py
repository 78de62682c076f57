"""SWID tags and TCG reference integrity manifests with an enveloped XML signature (ISO/IEC 19770-2)."""
