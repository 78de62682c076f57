"""Layouts, links and their containers, as parsed. Nothing here is verified.

Source: in-toto specification v1.0, sections 4.2 (file formats) to 4.4; in-toto 3.1.0 for the members that
implementations write.
"""

from __future__ import annotations

from typing import Any

import msgspec

DigestSet = dict[str, str]
Artifacts = dict[str, DigestSet]


class _Wire(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


class Step(_Wire, frozen=True, tag="step", tag_field="_type"):
    """A step (section 4.3.1).

    Attributes:
        name: unique in the layout; names its links.
        pubkeys: key ids of the functionaries that may perform it.
        threshold: how many distinct functionaries must have performed it.
        expected_materials: artefact rules.
        expected_products: artefact rules.
        expected_command: what the functionary is expected to have run; a difference is only recorded.
    """

    name: str
    pubkeys: tuple[str, ...]
    threshold: int = 1
    expected_materials: tuple[tuple[str, ...], ...] = ()
    expected_products: tuple[tuple[str, ...], ...] = ()
    expected_command: tuple[str, ...] = ()


class Inspection(_Wire, frozen=True, tag="inspection", tag_field="_type"):
    """An inspection (section 4.3.2).

    Attributes:
        name: unique among steps and inspections.
        run: the command, as an argument vector.
        expected_materials: artefact rules.
        expected_products: artefact rules.
    """

    name: str
    run: tuple[str, ...]
    expected_materials: tuple[tuple[str, ...], ...] = ()
    expected_products: tuple[tuple[str, ...], ...] = ()


class KeyValue(_Wire, frozen=True):
    """``keyval``.

    Attributes:
        public: PEM, or 64 hex characters for Ed25519.
        private: empty; in-toto writes the member.
    """

    public: str
    private: str = ""


class FunctionaryKey(_Wire, frozen=True):
    """A public key in a layout (section 4.2, securesystemslib's form).

    Attributes:
        keyid: the id that steps and signatures use.
        keytype: ``ed25519``, ``ecdsa`` or ``rsa``.
        scheme: the one signature scheme of the key.
        keyval: the key.
        keyid_hash_algorithms: written by old versions, not used.
    """

    keyid: str
    keytype: str
    scheme: str
    keyval: KeyValue
    keyid_hash_algorithms: tuple[str, ...] = ()


class Layout(_Wire, frozen=True, tag="layout", tag_field="_type"):
    """A layout (section 4.3).

    Attributes:
        steps: at least one, in the order in which they are performed.
        keys: functionaries' keys by key id.
        expires: ``YYYY-MM-DDTHH:MM:SSZ``.
        inspect: inspections.
        readme: for people.
    """

    steps: tuple[Step, ...]
    keys: dict[str, FunctionaryKey]
    expires: str
    inspect: tuple[Inspection, ...] = ()
    readme: str = ""


class Link(_Wire, frozen=True, tag="link", tag_field="_type"):
    """A link (section 4.4).

    Attributes:
        name: the step that was performed.
        materials: path to digests of what went in.
        products: path to digests of what came out.
        command: what was run.
        byproducts: not interpreted.
        environment: not interpreted.
    """

    name: str
    materials: Artifacts = {}
    products: Artifacts = {}
    command: tuple[str, ...] = ()
    byproducts: dict[str, Any] = {}
    environment: dict[str, Any] = {}


class Signature(msgspec.Struct, frozen=True):
    """One signature.

    Attributes:
        keyid: the id that it names; may be empty in DSSE.
        value: raw bytes.
    """

    keyid: str
    value: bytes


class Metadata(msgspec.Struct, frozen=True):
    """A signed layout or link, from a Metablock or a DSSE envelope.

    Attributes:
        payload: what was signed, parsed.
        message: the bytes that are signed: canonical JSON of ``signed``, or DSSE's PAE.
        digest: SHA-256, hex, of the canonical JSON, or of the DSSE payload.
        signatures: at least one.
    """

    payload: Layout | Link
    message: bytes
    digest: str
    signatures: tuple[Signature, ...]
