"""Threads of a process take turns over calls of the KBS protocol (``storage.turns``): when and when not."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import pytest

from tests.service.coco.conftest import SECRET, Kbs
from tests.service.coco.kbs import Guest

PATH = "resource/default/test/dummy"


@pytest.fixture
def seen(kbs: Kbs, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bool]]:
    """Where calls came by, and whether somebody had the turn."""
    noted: list[tuple[str, bool]] = []
    api = kbs.services.coco.kbs
    handle = api.handle

    def note(what: str) -> None:
        noted.append((what, kbs.services.database._turns._lock.locked()))

    def handled(*given: Any) -> Any:
        note("handled")
        return handle(*given)

    class Body(BytesIO):
        """A body that comes in small pieces, as from a slow client."""

        def read(self, size: int | None = -1) -> bytes:
            note("read")
            return super().read(None if size is None else min(size, 50))

    monkeypatch.setattr(api, "handle", handled)
    monkeypatch.setattr("werkzeug.test.BytesIO", Body)
    return noted


def test_a_client_that_sends_slowly_has_no_turn_until_its_body_is_here(
    kbs: Kbs, seen: list[tuple[str, bool]]
) -> None:
    guest = kbs.guest()
    assert guest.auth().status == 200
    assert len(seen) > 2
    assert seen == [("read", False)] * (len(seen) - 1) + [("handled", True)]


def test_the_turn_is_given_up_whatever_comes_of_a_call(kbs: Kbs, seen: list[tuple[str, bool]]) -> None:
    guest: Guest = kbs.guest()
    assert guest.attest().status == 200
    assert guest.open(guest.call("GET", PATH).json) == SECRET
    assert guest.call("GET", "resource/default/test/other").status >= 400
    assert guest.call("POST", "attest", b"{").status == 401
    assert all(held for what, held in seen if what == "handled")
    assert not kbs.services.database._turns._lock.locked()
