"""Hygon CSV: reports of the secure processor, endorsed by HRK, HSK, CEK and PEK (docs/verifier-csv.md).

Modules: ``layout`` (what all structures share), ``certificates`` and ``report`` (parsing), ``chain`` (from
the pinned root to the PEK), ``endorsements`` and ``store`` (HSK and CEK that evidence does not carry),
``checks`` and ``assessment`` (what is demanded), ``claims``, ``coco``, ``verifier``.
"""
