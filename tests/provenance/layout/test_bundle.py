"""Supply-chain bundles: one document, the same for the same files, strict in what it takes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import TouchstoneError
from provenance.errors import EnvelopeMalformed, LayoutMalformed
from provenance.layout import bundle
from tests.provenance.layout import chains
from tests.provenance.layout.chains import OWNER


def _files() -> tuple[bytes, dict[str, bytes]]:
    root = json.dumps(chains.signed(chains.layout(), OWNER), indent=1).encode()
    return root, {
        path: json.dumps(document, indent=2).encode() for path, document in chains.links().items()
    }


def test_what_is_assembled_is_admitted_and_does_not_depend_on_the_order_of_files() -> None:
    root, links = _files()
    data = bundle.assemble(root, links)
    assert data == bundle.assemble(root, dict(reversed(links.items())))
    chains.admit(data)


def test_the_signatures_cover_what_was_received_and_not_how_it_was_laid_out() -> None:
    root, links = _files()
    data = json.dumps(json.loads(bundle.assemble(root, links)), separators=(",", ":")).encode()
    chains.admit(data)


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"{}", b'{"signed": {}, "signatures": []}', b'{"a": 1, "a": 1}', b"\xff"]
)
def test_a_file_that_is_no_layout_is_refused(text: bytes) -> None:
    with pytest.raises(LayoutMalformed):
        bundle.assemble(text, {})
    with pytest.raises(LayoutMalformed):
        bundle.assemble(_files()[0], {"build.00000000.link": text})


@pytest.mark.parametrize(
    "document",
    [
        {"format": bundle.FORMAT},
        {"format": bundle.FORMAT, "layout": {}, "links": {}},
        {"format": bundle.FORMAT, "layout": None, "links": []},
        {"format": bundle.FORMAT, "layout": {}, "links": {}, "more": 1},
    ],
)
def test_a_bundle_with_other_members_is_refused(document: dict[str, Any]) -> None:
    with pytest.raises(LayoutMalformed):
        chains.admit(json.dumps(document).encode())


def test_a_layout_without_a_bundle_is_no_bundle() -> None:
    with pytest.raises(EnvelopeMalformed):
        chains.admit(json.dumps(chains.signed(chains.layout(), OWNER)).encode())


def test_the_number_of_links_is_bounded() -> None:
    document = json.loads(chains.chain())
    (some,) = list(document["links"].values())[:1]
    document["links"] = {f"build.{number:08x}.link": some for number in range(bundle.MAX_LINKS + 1)}
    with pytest.raises(LayoutMalformed):
        chains.admit(json.dumps(document).encode())


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None, max_examples=150)
@given(value=_JSON, data=st.data())
def test_only_our_errors_come_out_of_a_foreign_document(value: Any, data: st.DataObject) -> None:
    """Puts arbitrary JSON in the place of some member of a good bundle."""
    document = json.loads(chains.chain())
    where: Any = document
    while True:
        key = data.draw(st.sampled_from(sorted(where) if isinstance(where, dict) else range(len(where))))
        inner = where[key]
        if not isinstance(inner, (dict, list)) or not inner or data.draw(st.booleans()):
            where[key] = value
            break
        where = inner
    try:
        chains.admit(json.dumps(document).encode("utf-8", "surrogatepass"))
    except TouchstoneError:
        pass


@settings(deadline=None, max_examples=80)
@given(st.binary(max_size=64))
def test_only_our_errors_come_out_of_foreign_bytes(data: bytes) -> None:
    try:
        bundle.assemble(data, {})
    except TouchstoneError:
        pass


def test_the_example_of_the_document_has_the_members_and_paths_of_a_bundle() -> None:
    text = (Path(__file__).parents[3] / "docs" / "formats.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```json supply-chain\n(.*?)```", text, re.DOTALL)
    document = json.loads(example)
    assert bundle.is_bundle(document)
    assert set(document) == set(json.loads(chains.chain()))
    assert all(bundle.is_link_path(path) for path in document["links"])
    assert f"{bundle.MAX_LINKS} links" in text
