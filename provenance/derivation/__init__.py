"""Derivation: an admitted statement, a launch shape and artefacts in; measurements out.

Invariants:

* Only an ``AdmittedStatement`` is derived from, and every artefact must be one of its subjects.
* Nothing is guessed, padded or ignored: what does not determine the measurement is refused, and so is
  an artefact that would not be measured.
* Pure: bytes in, values or a typed error out.

``provenance.derivation.registry.derive`` is the entry; one module per rule (``snp_launch``, ``stated``).
"""

from provenance.derivation.registry import derive, rules

__all__ = ["derive", "rules"]
