"""CoRIM: Concise Reference Integrity Manifests, draft-ietf-rats-corim-11.

``cbor`` (strict decoding) -> ``cose`` (COSE_Sign1) -> ``concise`` (corim-map, tags, activation by tag
lists) -> ``comid`` (triples) -> ``measurements`` (values) -> ``reader``. ``sign`` is the writing side.
"""
