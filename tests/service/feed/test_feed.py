"""Two instances: what one publishes, the other takes only as far as its own policy admits it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from common.encoding import b64url_decode, b64url_encode
from common.errors import FetchFailed, TouchstoneError
from provenance import dsse, dsse_signing
from provenance.keys import from_pem
from provenance.predicates.reference import PREDICATE_TYPE
from service import composition, settings
from service.app import create_app
from service.client import RemoteError
from service.composition import Services
from service.feed import event as events
from service.feed import publisher
from service.feed.deliverer import Subscription
from service.feed.key import public_pem
from tests.service.harness import NOW, Clock, ContractClient
from tests.service.world import GOOD, OTHER, Publisher

SITE = "site-a"


@dataclass
class Site:
    services: Services
    client: ContractClient

    def trust(self, document: dict[str, Any]) -> None:
        answer = self.client.put(
            "/v1/policies/trust/default", {"text": json.dumps(document), "activate": True}
        )
        assert answer.status == 201, answer.body

    def publish(self, source: Publisher, *measurements: bytes, **options: Any) -> dict[str, Any]:
        answer = self.client.post("/v1/attestations", source.submission(*measurements, **options))
        assert answer.status == 201, answer.body
        return answer.json

    def events(self, after: int = 0) -> list[bytes]:
        answer = self.client.get("/v1/changes", after=after)
        assert answer.status == 200
        return [b64url_decode(item) for item in answer.json["events"]]

    def take(self, *found: bytes) -> Any:
        return self.client.post("/v1/changes", {"events": [b64url_encode(item) for item in found]})

    def live(self) -> list[str]:
        page = self.client.get("/v1/reference-values", state="live").json
        return sorted(item["value"] for item in page["items"])


@pytest.fixture
def make_site(prepared: Path, tmp_path: Path, clock: Clock) -> Iterator[Callable[..., Site]]:
    made: list[Services] = []

    def make(name: str, **sections: Any) -> Site:
        folder = tmp_path / name
        shutil.copytree(prepared, folder)
        (folder / "keys" / "feed.pem").unlink()  # each instance has a key of its own
        values = {"storage": {"data_dir": str(folder)}, "token": {"issuer": name}} | sections
        services = composition.build(settings.build(values), clock)
        made.append(services)
        token = (folder / "admin.token").read_text(encoding="ascii").strip()
        return Site(services, ContractClient(create_app(services), token))

    yield make
    for services in made:
        services.close()


@pytest.fixture
def source() -> Publisher:
    return Publisher()


@pytest.fixture
def site(make_site: Callable[..., Site], source: Publisher) -> Site:
    made = make_site(SITE)
    made.trust(source.trust_policy())
    return made


@pytest.fixture
def follower(make_site: Callable[..., Site], site: Site, source: Publisher, tmp_path: Path) -> Site:
    key = tmp_path / "site-a.pem"
    key.write_text(public_pem(site.services.feed_key))
    made = make_site("site-b", feed={"peers": [{"instance": SITE, "key": str(key)}]})
    made.trust(both(source, site))
    return made


def both(source: Publisher, site: Site) -> dict[str, Any]:
    """Trusts the publisher's key and the site's feed key."""
    document = source.trust_policy()
    feed = {
        "name": "site-a",
        "kind": "public-key",
        "algorithm": "ed25519",
        "key": public_pem(site.services.feed_key),
    }
    document["roots"].append(feed)
    document["signers"].append({"name": "site-a", "root": "site-a"})
    return document


def resigned(site: Site, data: bytes, **changes: Any) -> bytes:
    """The event with other members, signed by the site itself."""
    decoded = msgspec.json.decode(dsse.parse(dsse.load_json(data)).payload, type=events.ChangeEvent)
    return events.sign(msgspec.structs.replace(decoded, **changes), site.services.feed_key)


def test_what_one_site_ingests_the_other_matches(site: Site, follower: Site, source: Publisher) -> None:
    site.publish(source, GOOD)
    assert follower.live() == []
    answer = follower.take(*site.events())
    assert [item["result"] for item in answer.json["outcomes"]] == ["applied"]
    assert GOOD.hex() in follower.live()


def test_event_is_the_same_bytes_each_time(site: Site, source: Publisher) -> None:
    site.publish(source, GOOD)
    assert site.events() == site.events()


def test_event_that_was_taken_is_passed_over(site: Site, follower: Site, source: Publisher) -> None:
    site.publish(source, GOOD)
    follower.take(*site.events())
    before = follower.client.get("/v1/reference-values").json["items"]
    answer = follower.take(*site.events())
    assert [item["result"] for item in answer.json["outcomes"]] == ["repeated"]
    assert follower.client.get("/v1/reference-values").json["items"] == before


def test_retraction_reaches_the_other_site(site: Site, follower: Site, source: Publisher) -> None:
    published = site.publish(source, GOOD)
    site.publish(source, OTHER, revision="b" * 40)
    follower.take(*site.events())
    site.client.post(
        f"/v1/attestations/{published['attestation']}/retract", {"reason": "the runner was broken into"}
    )
    follower.take(*site.events(after=2))
    assert set(follower.live()) == {OTHER.hex()}


def test_retraction_of_one_value_reaches_the_same_value_there(
    site: Site, follower: Site, source: Publisher
) -> None:
    published = site.publish(source, GOOD, OTHER)
    follower.take(*site.events())
    id_ = next(
        item["id"]
        for item in site.client.get("/v1/reference-values").json["items"]
        if item["value"] == GOOD.hex()
    )
    assert id_ in published["reference_values"]
    answer = site.client.post(f"/v1/reference-values/{id_}/retract", {"reason": "x"})
    assert answer.status == 200, answer.body
    answer = follower.take(*site.events(after=1))
    assert answer.json["outcomes"][0]["result"] == "applied"
    assert GOOD.hex() not in set(follower.live())


def test_site_that_is_not_followed_is_refused(
    make_site: Callable[..., Site], site: Site, source: Publisher
) -> None:
    site.publish(source, GOOD)
    stranger = make_site("site-c")
    assert stranger.take(*site.events()).code == "feed.peer_unknown"
    assert stranger.live() == []


def test_event_signed_by_another_key_is_refused(site: Site, follower: Site, source: Publisher) -> None:
    site.publish(source, GOOD)
    payload = dsse.parse(dsse.load_json(site.events()[0])).payload
    forged = dsse_signing.sign(events.PAYLOAD_TYPE, payload, Ed25519PrivateKey.generate())
    assert follower.take(forged).code == "feed.event_invalid"
    assert follower.live() == []


def test_event_of_another_payload_type_is_refused(site: Site, follower: Site, source: Publisher) -> None:
    site.publish(source, GOOD)
    payload = dsse.parse(dsse.load_json(site.events()[0])).payload
    other = dsse_signing.sign("application/vnd.in-toto+json", payload, site.services.feed_key)
    assert follower.take(other).code == "feed.event_invalid"


@pytest.mark.parametrize(
    "changes",
    [
        {"chain": "0" * 64},
        {"previous": "0" * 64},
        {"record": "{}"},
        {"epoch": 2},
        {"envelope": "aGVsbG8="},
        {"envelope": None},
        {"format": "urn:touchstone:change:v2"},
        {"instance": "site-z"},
    ],
)
def test_event_that_contradicts_itself_is_refused(
    site: Site, follower: Site, source: Publisher, changes: dict[str, Any]
) -> None:
    site.publish(source, GOOD)
    answer = follower.take(resigned(site, site.events()[0], **changes))
    assert answer.status in (404, 422, 400), answer.body
    assert answer.code in ("feed.event_invalid", "feed.peer_unknown")
    assert follower.live() == []


def test_left_out_event_is_noticed(site: Site, follower: Site, source: Publisher) -> None:
    site.publish(source, GOOD)
    site.publish(source, OTHER, revision="b" * 40)
    answer = follower.take(site.events()[1])
    assert (answer.status, answer.code) == (409, "feed.gap")
    assert answer.json["details"]["epoch"] == 0
    assert follower.live() == []


def test_restored_peer_with_another_history_is_noticed(
    make_site: Callable[..., Site], site: Site, follower: Site, source: Publisher
) -> None:
    site.publish(source, GOOD)
    follower.take(*site.events())
    # The same key over another store, as after a restore from a backup.
    twin = make_site("twin")
    twin.trust(source.trust_policy())
    twin.publish(source, OTHER, revision="c" * 40)
    twin.publish(source, OTHER, revision="d" * 40)
    forged = publisher.events_after(twin.services.database, 0, instance=SITE, key=site.services.feed_key)
    assert follower.take(forged[0]).code == "feed.forked"
    assert follower.take(forged[1]).code == "feed.forked"
    follower.services.subscriber.forget(SITE)
    assert follower.take(*forged).status == 200


def test_peer_adds_nothing_that_our_policy_refuses(site: Site, follower: Site, source: Publisher) -> None:
    # The follower trusts the site's feed key, and not the publisher whose envelope the value rests on.
    document = both(source, site)
    document["roots"] = document["roots"][1:]
    document["signers"] = document["signers"][1:]
    follower.trust(document)
    site.publish(source, GOOD)
    answer = follower.take(*site.events())
    (outcome,) = answer.json["outcomes"]
    assert (outcome["result"], outcome["code"]) == ("skipped", "statement.untrusted_signer")
    assert follower.live() == []


def test_event_waits_for_a_trust_policy(
    make_site: Callable[..., Site], site: Site, source: Publisher, tmp_path: Path
) -> None:
    key = tmp_path / "key.pem"
    key.write_text(public_pem(site.services.feed_key))
    follower = make_site("site-b", feed={"peers": [{"instance": SITE, "key": str(key)}]})
    site.publish(source, GOOD)
    assert follower.take(*site.events()).code == "policy.not_found"
    follower.trust(both(source, site))
    assert follower.take(*site.events()).json["outcomes"][0]["result"] == "applied"


def test_peer_whose_word_is_enough_needs_only_its_own_key(
    make_site: Callable[..., Site], site: Site, source: Publisher, tmp_path: Path
) -> None:
    key = tmp_path / "key.pem"
    key.write_text(public_pem(site.services.feed_key))
    peer = {"instance": SITE, "key": str(key), "verify_envelopes": False}
    follower = make_site("site-b", feed={"peers": [peer]})
    document = both(source, site)
    document["roots"] = document["roots"][1:]
    document["signers"] = document["signers"][1:]
    follower.trust(document)
    site.publish(source, GOOD)
    assert follower.take(*site.events()).json["outcomes"][0]["result"] == "applied"
    assert follower.live() == [GOOD.hex()]


def test_our_own_retraction_is_not_undone_by_a_peer(site: Site, follower: Site, source: Publisher) -> None:
    answer = follower.client.post(
        "/v1/retractions", {"kind": "source_revision", "target": "a" * 40, "reason": "bad commit"}
    )
    assert answer.status == 200, answer.body
    site.publish(source, GOOD)
    follower.take(*site.events())
    assert follower.live() == []


def test_events_need_a_token(site: Site, follower: Site, source: Publisher) -> None:
    site.publish(source, GOOD)
    assert site.client.call("GET", "/v1/changes", token=None).status == 401
    body = {"events": [b64url_encode(item) for item in site.events()]}
    assert follower.client.call("POST", "/v1/changes", body, token=None).status == 401


@hypothesis_settings(deadline=None, max_examples=60)
@given(st.binary(max_size=300) | st.text(max_size=200).map(str.encode))
def test_foreign_bytes_get_a_typed_error(data: bytes) -> None:
    pem = public_pem(Ed25519PrivateKey.generate())
    with pytest.raises(TouchstoneError):
        events.verify(data, {SITE: from_pem("ed25519", pem)})


@hypothesis_settings(deadline=None, max_examples=60)
@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=8),
        lambda x: st.dictionaries(st.text(max_size=8), x, max_size=4),
    )
)
def test_signed_nonsense_gets_a_typed_error(document: Any) -> None:
    key = Ed25519PrivateKey.generate()
    data = dsse_signing.sign(events.PAYLOAD_TYPE, json.dumps(document).encode(), key)
    with pytest.raises(TouchstoneError):
        events.verify(data, {SITE: from_pem("ed25519", public_pem(key))})


def test_deliverer_finds_the_subscribers_place_and_goes_on_from_there(
    site: Site, follower: Site, source: Publisher
) -> None:
    for number in range(3):
        site.publish(source, GOOD, revision=f"{number}" * 40)
    follower.take(site.events()[0])

    def call(found: list[str]) -> Any:
        answer = follower.client.post("/v1/changes", {"events": found})
        if answer.status >= 400:
            raise RemoteError(answer.json, answer.status)
        return answer.json

    def events_after(epoch: int) -> list[bytes]:
        return site.events(after=epoch)

    subscription = Subscription("https://b.example", call)
    assert subscription.deliver(events_after) == 3
    assert follower.services.subscriber.cursor(SITE) == 3
    assert subscription.deliver(events_after) == 0
    follower.services.subscriber.forget(SITE)
    site.publish(source, OTHER)
    assert subscription.deliver(events_after) == 4


def test_subscriber_that_does_not_answer_is_asked_ever_more_seldom() -> None:
    asked: list[int] = []

    def call(found: list[str]) -> Any:
        asked.append(len(found))
        raise FetchFailed("does not answer")

    subscription = Subscription("https://b.example", call)
    for _ in range(40):
        assert subscription.deliver(lambda epoch: [b"{}"]) == 0
    assert 3 <= len(asked) <= 6


def test_value_that_needs_two_domains_is_not_published_as_one_sites_word(
    site: Site, follower: Site, source: Publisher
) -> None:
    document = source.trust_policy() | {"required_domains": 2}
    document["signers"][0]["domain"] = "builder-a"
    second = Publisher().key
    document["roots"].append(second.root("other"))
    document["signers"].append({"name": "other", "root": "other", "domain": "builder-b"})
    site.trust(document)
    site.publish(source, GOOD)
    payload = dsse.parse(dsse.load_json(site.events()[0])).payload
    event = msgspec.json.decode(payload, type=events.ChangeEvent)
    assert (event.statements, event.envelope is None) == ((), False)


def test_predicate_of_statements_is_ours(site: Site, source: Publisher) -> None:
    site.publish(source, GOOD)
    payload = dsse.parse(dsse.load_json(site.events()[0])).payload
    event = msgspec.json.decode(payload, type=events.ChangeEvent)
    statement = dsse.parse(dsse.load_json(events.decode(event.statements[0])))
    assert json.loads(statement.payload)["predicateType"] == PREDICATE_TYPE
    assert event.change["at"] == int(NOW.timestamp() * 1_000_000)
