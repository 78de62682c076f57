"""The KBS protocol, as a guest and an administrator see it."""

from __future__ import annotations

from tests.service.coco.conftest import SECRET, Kbs
from tests.service.coco.kbs import claims_of


def test_a_guest_attests_and_gets_its_resource(kbs: Kbs) -> None:
    guest = kbs.guest()
    assert guest.call("GET", "resource/default/test/dummy").variant == "TokenNotFound"
    answer = guest.attest()
    assert answer.status == 200
    claims = claims_of(answer.json["token"])
    assert claims["submods"]["cpu0"]["ear.status"] == "affirming"
    got = guest.call("GET", "resource/default/test/dummy")
    assert got.status == 200
    assert guest.open(got.json) == SECRET
