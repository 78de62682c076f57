"""Rule ``tdx-rtmr``: what is not determined is refused; what is equals the logs of real machines."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import TouchstoneError
from provenance.derivation import derive as apply_rule
from provenance.derivation.tdx import runtime_events, tdx_shape
from provenance.derivation.tdx.tdx_events import TdxArtifacts
from provenance.errors import ArtifactInvalid, LaunchShapeInvalid, NotDerivable, SubjectMismatch
from provenance.model import Artifact, DerivationRequest
from tests.provenance.derivation.bzimage import as_qemu, bzimage
from tests.provenance.derivation.material import admitted, subject
from tests.provenance.derivation.pe_files import digest_by_deletion, pe_image
from tests.provenance.derivation.tdx_boot import (
    CALLING,
    EXIT,
    GIB,
    SEPARATOR,
    derive,
    replayed,
    sha384,
    value_of,
)
from tests.provenance.derivation.tdx_firmware import PAYLOAD, changed, firmware


@pytest.mark.parametrize(
    "launch",
    [
        {},
        {"rtmr4": [SEPARATOR]},
        {"rtmr0": []},
        {"rtmr0": SEPARATOR},
        {"rtmr0": [SEPARATOR] * 513},
        {"rtmr0": [{"kind": "unheard-of"}]},
        {"rtmr0": [{"kind": "separator", "value": 1}]},
        {"rtmr0": [{"kind": "image", "role": "kernel"}]},
        {"rtmr0": [{"kind": "qemu-kernel", "role": "k", "initrd": None, "cmdline": None, "acpi_size": 0}]},
        {"rtmr0": [SEPARATOR, {"kind": "td-hob", "role": "firmware"}], "memory": GIB},
        {"rtmr0": [{"kind": "td-hob", "role": "firmware"}] * 2, "memory": GIB},
        {"rtmr1": [{"kind": "td-hob", "role": "firmware"}], "memory": GIB},
        {"rtmr1": [{"kind": "load-options", "role": "cmdline"}]},
        {"rtmr2": [{"kind": "secure-boot", "enabled": True}]},
        {"rtmr2": [CALLING]},
        {"rtmr1": [{"kind": "aael-events", "role": "events"}]},
        {"rtmr2": [{"kind": "dstack-events", "role": "events"}]},
        {"rtmr0": [{"kind": "td-hob", "role": "firmware"}]},
        {"rtmr0": [{"kind": "td-hob", "role": "firmware"}], "memory": []},
        {"rtmr0": [{"kind": "td-hob", "role": "firmware"}], "memory": [GIB, GIB]},
        {"rtmr0": [{"kind": "td-hob", "role": "firmware"}], "memory": GIB + 1},
        {"rtmr0": [{"kind": "td-hob", "role": "firmware"}], "memory": -GIB},
        {"rtmr0": [{"kind": "td-hob", "role": "firmware"}], "memory": 1 << 60},
        {"rtmr0": [{"kind": "td-hob", "role": "firmware"}], "memory": "1G"},
        {"rtmr0": [SEPARATOR], "memory": GIB},
        {"rtmr0": [{"kind": "logged", "role": "log", "first": 1, "last": 0}]},
        {"rtmr0": [{"kind": "logged", "role": "log", "first": -1, "last": 0}]},
        {"rtmr0": [{"kind": "variable", "name": "PK", "role": None, "guid": "x"}]},
    ],
)
def test_a_shape_that_does_not_hold_is_refused(launch: dict[str, Any]) -> None:
    with pytest.raises(LaunchShapeInvalid):
        derive(launch)


def test_an_action_that_firmware_does_not_measure_is_refused() -> None:
    with pytest.raises(NotDerivable, match="no EFI action"):
        derive({"rtmr1": [{"kind": "action", "text": "Calling EFI application"}]})


def test_an_artefact_that_is_no_subject_is_refused() -> None:
    request = DerivationRequest("tdx-rtmr", {"rtmr2": [{"kind": "file", "role": "initrd"}]})
    with pytest.raises(SubjectMismatch):
        apply_rule(admitted(subject("initrd", b"a")), request, [Artifact("initrd", "initrd", b"b")])


def test_a_digest_of_a_file_does_not_suffice() -> None:
    request = DerivationRequest(
        "tdx-rtmr", {"rtmr2": [{"kind": "file", "role": "initrd"}]}, subjects={"initrd": "initrd"}
    )
    with pytest.raises(NotDerivable, match="does not suffice"):
        apply_rule(admitted(subject("initrd", b"a")), request, [])


def test_a_missing_and_a_superfluous_artefact_are_refused() -> None:
    launch = {"rtmr2": [{"kind": "file", "role": "initrd"}]}
    with pytest.raises(NotDerivable, match="'initrd' is needed"):
        derive(launch)
    with pytest.raises(NotDerivable, match="no event of the launch shape measures: 'cmdline'"):
        derive(launch, initrd=b"initrd", cmdline=b"quiet")


@pytest.mark.parametrize(
    ("event", "artefact"),
    [
        ({"kind": "aael-events", "role": "x"}, b"{}"),
        ({"kind": "aael-events", "role": "x"}, b"[]"),
        ({"kind": "aael-events", "role": "x"}, b'[{"domain":"a b","operation":"c","content":""}]'),
        ({"kind": "aael-events", "role": "x"}, b'[{"domain":"","operation":"c","content":""}]'),
        ({"kind": "aael-events", "role": "x"}, b'[{"domain":"a","operation":"c"}]'),
        ({"kind": "dstack-events", "role": "x"}, b'[{"event":"a","payload":"0"}]'),
        ({"kind": "dstack-events", "role": "x"}, b'[{"event":"a","payload":"AA"}]'),
        ({"kind": "dstack-events", "role": "x"}, b'[{"event":"","payload":""}]'),
        ({"kind": "dstack-events", "role": "x"}, b'[{"event":"a","payload":"","digest":"00"}]'),
        ({"kind": "logged", "role": "x", "first": 0, "last": 0}, b"no log"),
        ({"kind": "logged", "role": "x", "first": 0, "last": 0}, b""),
    ],
)
def test_a_list_of_events_that_cannot_be_read_is_refused(event: dict[str, Any], artefact: bytes) -> None:
    with pytest.raises(ArtifactInvalid):
        derive({"rtmr3": [event]}, x=artefact)


def test_runtime_events_are_measured_as_their_agents_do() -> None:
    entries = [{"domain": "d", "operation": "o", "content": "c c"}]
    expected = sha384(b"LEAA" + struct.pack("<I", 7) + b"d o c c")
    launch = {"rtmr3": [{"kind": "aael-events", "role": "events"}]}
    assert value_of(launch, events=json.dumps(entries).encode()) == replayed(expected)
    events = [{"event": "app-id", "payload": "00ff"}, {"event": "system-ready", "payload": ""}]
    expected = sha384(b"\x01\x00\x00\x08:app-id:\x00\xff")
    launch = {"rtmr3": [{"kind": "dstack-events", "role": "events"}]}
    assert value_of(launch, events=json.dumps(events).encode()) == replayed(
        expected, sha384(b"\x01\x00\x00\x08:system-ready:")
    )


def test_direct_boot_measures_the_kernel_that_qemu_changed_for_every_memory_size() -> None:
    kernel, initrd, cmdline = bzimage(), b"i" * (1 << 20), b"console=ttyS0"
    launch = {
        "rtmr1": [
            {
                "kind": "qemu-kernel",
                "role": "kernel",
                "initrd": "initrd",
                "cmdline": "cmdline",
                "acpi_size": 0x28000,
            },
            CALLING,
            SEPARATOR,
            *EXIT,
        ],
        "rtmr2": [
            {"kind": "qemu-load-options", "role": "cmdline", "initrd": True},
            {"kind": "file", "role": "initrd"},
        ],
        "memory": [8 * GIB, 4 * GIB, GIB],
    }
    one, two, third = derive(launch, kernel=kernel, initrd=initrd, cmdline=cmdline)

    def expected(address: int) -> str:
        image = as_qemu(kernel, initrd_at=address, initrd_size=len(initrd))
        return replayed(
            digest_by_deletion(image, "sha384"),
            sha384(b"Calling EFI Application from Boot Option"),
            sha384(bytes(4)),
            sha384(b"Exit Boot Services Invocation"),
            sha384(b"Exit Boot Services Returned with Success"),
        )

    assert (one.name, one.value) == ("rtmr_1", expected(0x3FED7000))
    assert (two.name, two.value) == ("rtmr_1", expected(0x7FED7000))
    # Sizes that lead to one value give it once, and say so.
    assert (one.inputs["launch"]["memory"], two.inputs["launch"]["memory"]) == ([GIB], [4 * GIB, 8 * GIB])
    options = sha384("console=ttyS0 initrd=initrd\0".encode("utf-16-le"))
    assert (third.name, third.value) == ("rtmr_2", replayed(options, sha384(initrd)))
    assert "memory" not in third.inputs["launch"]


def test_an_unchanged_image_is_measured_by_its_authenticode_digest() -> None:
    image = pe_image(b"t" * 512)
    launch = {"rtmr1": [{"kind": "image", "role": "uki"}]}
    assert value_of(launch, uki=image) == replayed(digest_by_deletion(image, "sha384"))
    with pytest.raises(ArtifactInvalid, match="no section"):
        derive({"rtmr1": [{"kind": "image", "role": "uki", "section": ".linux"}]}, uki=image)


def test_a_unified_kernel_image_is_measured_section_by_section() -> None:
    kernel = pe_image(b"k" * 512)
    image = bytearray(pe_image(kernel, b"quiet".ljust(512, b"\0")))
    for index, name in enumerate((b".linux", b".cmdline")):
        at = image.index(b".s%d" % index)
        image[at : at + 8] = name.ljust(8, b"\0")
    launch: dict[str, Any] = {
        "rtmr1": [{"kind": "image", "role": "uki"}, {"kind": "image", "role": "uki", "section": ".linux"}],
        "rtmr2": [{"kind": "uki-sections", "role": "uki", "sections": [".linux", ".cmdline"]}],
    }
    loaded, stub = derive(launch, uki=bytes(image))
    assert loaded.value == replayed(
        digest_by_deletion(bytes(image), "sha384"), digest_by_deletion(kernel, "sha384")
    )
    contents = (b".linux\0", kernel, b".cmdline\0", b"quiet".ljust(512, b"\0"))
    assert stub.value == replayed(*(sha384(part) for part in contents))
    launch["rtmr2"][0]["sections"] = [".linux"]
    with pytest.raises(NotDerivable, match="not stated"):
        derive(launch, uki=bytes(image))


def test_memory_that_ends_before_the_firmwares_sections_has_no_hand_off_block() -> None:
    launch: dict[str, Any] = {"rtmr0": [{"kind": "td-hob", "role": "firmware"}], "memory": 8 << 20}
    with pytest.raises(NotDerivable, match="memory ends"):
        derive(launch, firmware=firmware())
    with pytest.raises(NotDerivable, match="QEMU does not launch"):
        derive(launch | {"memory": GIB}, firmware=changed(2, type=PAYLOAD))


@settings(deadline=None, max_examples=150)
@given(
    st.dictionaries(
        st.sampled_from(["rtmr0", "rtmr1", "rtmr2", "rtmr3", "memory", "x"]),
        st.one_of(
            st.integers(),
            st.text(max_size=5),
            st.lists(
                st.fixed_dictionaries(
                    {
                        "kind": st.sampled_from(
                            ["separator", "td-hob", "logged", "file", "gpt", "image", "q"]
                        )
                    },
                    optional={
                        "role": st.just("a"),
                        "first": st.integers(-2, 3),
                        "last": st.integers(-2, 600),
                    },
                ),
                max_size=3,
            ),
        ),
    ),
    st.binary(max_size=200),
)
def test_only_our_errors_come_out(launch: dict[str, Any], artefact: bytes) -> None:
    for call in (
        lambda: derive(launch, a=artefact),
        lambda: runtime_events.agent_events(artefact),
        lambda: runtime_events.dstack_events(artefact),
    ):
        try:
            call()
        except TouchstoneError:
            continue


def test_artefacts_know_what_was_measured() -> None:
    shape = tdx_shape.parse({"rtmr1": [SEPARATOR]})
    boot = TdxArtifacts({})
    assert boot.digests(1, shape.events[1][0], None) == (sha384(bytes(4)),)
    boot.check_all_used()
