"""The reference-value provider service over a real store, with signed and unsigned messages."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from cbor2 import CBORTag, dumps
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from coco.errors import ExtractorUnknown, MessageMalformed, MessageVersion, UnsignedRefused
from coco.reference_values import ReferenceValueService
from common.errors import DerivationError, InputError, StatementError
from kms.audit import AuditLog
from kms.tables import audit_record
from provenance import trust
from provenance.errors import NotDerivable, PredicateUnexpected
from provenance.model import DerivedValue
from provenance.pipeline import Pipeline
from provenance.predicates import reference_statement
from rvps.lookup import DatabaseReferenceLookup
from rvps.retraction import RetractionTarget, TargetKind, retract
from testkit.reference_values import admitted_statement, derived_value
from tests.provenance.manifests import material

if TYPE_CHECKING:
    from storage.database import Database

NOW = datetime(2026, 5, 1, tzinfo=UTC)
AA, BB = "aa" * 48, "bb" * 48
LATER = NOW + timedelta(days=400)
KEY = ed25519.Ed25519PrivateKey.generate()
STRANGER = ed25519.Ed25519PrivateKey.generate()


def pipeline() -> Pipeline:
    pem = KEY.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    document: dict[str, Any] = {
        "version": 1,
        "name": "test",
        "roots": [{"name": "carrier", "kind": "public-key", "algorithm": "ed25519", "key": pem.decode()}],
        "signers": [{"name": "carrier", "root": "carrier"}],
        "predicate_types": ["urn:touchstone:reference-values:v1"],
    }
    return Pipeline(trust.parse(json.dumps(document).encode()))


class Pipelines:
    """The pipeline of one trust policy, as the server's gives that of the active one."""

    def __init__(self, one: Pipeline) -> None:
        self._one = one

    def of(self, name: str) -> Pipeline:
        assert name == "default"
        return self._one


def service(database: Database, *, declared_values: bool = True) -> ReferenceValueService:
    return ReferenceValueService(
        database, AuditLog(database), declared_values=declared_values, pipelines=Pipelines(pipeline())
    )


def message(content: object, kind: str = "sample", **more: object) -> str:
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    text = base64.b64encode(data).decode()
    return json.dumps({"version": "0.1.0", "type": kind, "payload": text} | more)


def statement(*values: DerivedValue, key: ed25519.Ed25519PrivateKey = KEY) -> bytes:
    origin = reference_statement.source_of(admitted_statement("origin"))
    return reference_statement.sign(reference_statement.build([origin], list(values), now=NOW), key)


def events(database: Database) -> list[tuple[str, str]]:
    with database.read() as connection:
        rows = connection.execute(audit_record.select().order_by(audit_record.c.sequence)).all()
    entries = [json.loads(row.entry) for row in rows]
    return [(entry["action"], entry["target"]) for entry in entries]


def test_what_kbs_client_registers_is_answered_and_reaches_policies(database: Database) -> None:
    rvps = service(database)
    sent = {"svn": ["1"], "major_version": 1, "flag": False, "object": {"a": [1.5, None]}, "none": None}
    rvps.register(message(sent), by="admin", now=NOW)
    assert {name: rvps.query(name, NOW) for name in sent} == sent
    assert rvps.list(NOW) == sent
    lookup = DatabaseReferenceLookup(database, declared_values=True)
    found = lookup.select(frozenset(sent), frozenset(), NOW).declared
    assert {item.name: item.scalar for item in found} == {name: name != "svn" for name in sent}
    assert events(database) == [("reference.declare", f"declared/{name}") for name in sorted(sent)]


def test_a_message_replaces_by_name_and_the_log_keeps_what_was_there(database: Database) -> None:
    rvps = service(database)
    rvps.register(message({"svn": ["1"], "other": [1]}), by="admin", now=NOW)
    rvps.register(message({"svn": "2"}), by="admin", now=NOW)
    assert rvps.list(NOW) == {"svn": "2", "other": [1]}
    with database.read() as connection:
        entries = [json.loads(row.entry) for row in connection.execute(audit_record.select())]
    values = [entry["details"]["value"] for entry in entries if entry["target"] == "declared/svn"]
    assert values == ['["1"]', '"2"']


def test_what_expired_is_never_served(database: Database) -> None:
    rvps = service(database)
    rvps.declare({"old": ["stale"]}, kind="import", by="a", now=NOW, expires=NOW + timedelta(seconds=1))
    rvps.register(message({"new": [1]}), by="admin", now=NOW)
    assert rvps.query("old", NOW) == ["stale"]
    assert rvps.query("old", NOW + timedelta(seconds=1)) is None
    assert rvps.list(LATER) == {}


def test_unsigned_messages_are_refused_where_declared_values_do_not_count(database: Database) -> None:
    rvps = service(database, declared_values=False)
    for text in (message({"svn": ["1"]}), message(material.corim(), "corim"), message(b"<a/>", "swid")):
        with pytest.raises(UnsignedRefused):
            rvps.register(text, by="admin", now=NOW)
    service(database).register(message({"svn": ["1"]}), by="admin", now=NOW)
    assert rvps.query("svn", NOW) is None
    assert rvps.list(NOW) == {}


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        (message({}, version="0.2.0"), MessageVersion, "Version unmatched! Need 0.1.0, given 0.2.0."),
        (message({}, "nosuch"), ExtractorUnknown, "Could not find extractor for nosuch"),
        ('{"type": "sample"}', MessageMalformed, "lacks type or payload"),
        ('{"type": "sample", "payload": 1}', MessageMalformed, "lacks type or payload"),
        ('{"type": "sample", "payload": "e30=", "type": "x"}', InputError, "twice"),
        ("[]", MessageMalformed, "lacks type or payload"),
        ("{", InputError, "not JSON"),
        ("\ud800", InputError, "not JSON"),
        (message([1]), MessageMalformed, "not a JSON object"),
        (message(b'{"a": 1, "a": 2}'), InputError, "twice"),
        (message(b'{"a": NaN}'), InputError, "NaN"),
        (message(b"\xff"), InputError, "not JSON"),
        ('{"type": "sample", "payload": "!!"}', InputError, "payload"),
        (message({"": 1}), InputError, "printable"),
        (message({"ok": 1, "bad\n": 1}), InputError, "printable"),
        (message({f"n{number}": 1 for number in range(4097)}), MessageMalformed, "at most 4096"),
        (message(b"<a/>", "swid"), StatementError, "SWID"),
        (message(b"<!DOCTYPE a><a/>", "swid"), StatementError, "document type"),
        (message(b"\xa0", "corim"), MessageMalformed, "no tags"),
        (message(b"", "corim"), InputError, ""),
    ],
)
def test_a_bad_message_changes_nothing(
    database: Database, text: str, error: type[Exception], words: str
) -> None:
    rvps = service(database)
    with pytest.raises((error, StatementError)) as raised:
        rvps.register(text, by="admin", now=NOW)
    assert words in str(raised.value)
    assert rvps.list(NOW) == {}
    assert events(database) == []


def test_the_version_may_be_left_out(database: Database) -> None:
    rvps = service(database)
    rvps.register('{"type": "sample", "payload": "eyJhIjogMX0="}', by="admin", now=NOW)
    assert rvps.query("a", NOW) == 1


def test_a_value_is_deleted_once(database: Database) -> None:
    rvps = service(database)
    rvps.register(message({"rvps:///example.org/image:1": ["1"]}), by="admin", now=NOW)
    assert rvps.delete("rvps:///example.org/image:1", by="admin", now=NOW)
    assert not rvps.delete("rvps:///example.org/image:1", by="admin", now=NOW)
    assert rvps.list(NOW) == {}
    assert [action for action, _ in events(database)] == ["reference.declare", "reference.undeclare"]


RIM = """<SoftwareIdentity xmlns="http://standards.iso.org/iso/19770/-2/2015/schema.xsd"
 xmlns:rim="https://trustedcomputinggroup.org/resource/tcg-reference-integrity-manifest-rim-information-model/"
 xmlns:h="http://www.w3.org/2001/04/xmlenc#sha384" name="x" tagId="t" version="1">
<Entity name="NVIDIA" role="tagCreator"/>
<Meta rim:PlatformManufacturerStr="NVIDIA Corporation" edition="GPU-1"/>
<Payload>
<Resource type="Measurement" index="12" active="True" alternatives="2" h:Hash0="{a}" h:Hash1="{b}"/>
<Resource type="Measurement" index="13" active="True" alternatives="1" h:Hash0="{zero}"/>
</Payload></SoftwareIdentity>""".format(a="aa" * 48, b="bb" * 48, zero="00" * 48)


def test_a_rim_gives_the_names_of_the_reference(database: Database) -> None:
    rvps = service(database)
    rvps.register(message(RIM.encode(), "swid"), by="admin", now=NOW)
    assert rvps.list(NOW) == {"NVIDIA_Corporation.GPU_1.measurement_12": ["aa" * 48, "bb" * 48]}


def measured(key: object, values: dict[int, Any]) -> dict[int, Any]:
    return {1: values} if key is None else {0: key, 1: values}


def corim(*claims: dict[int, Any], **members: Any) -> bytes:
    comid = {1: {0: "id"}, 4: {0: [[{0: {1: "ACME", 2: "RoadRunner"}}, list(claims)]]}}
    extra = {int(name[1:]): value for name, value in members.items()}
    return dumps(CBORTag(501, {0: "corim", 1: [CBORTag(506, dumps(comid))]} | extra))


UUID = CBORTag(37, bytes.fromhex("31fb5abf023e4992aa4e95f9c1503bfa"))
CLAIMS = (
    measured(UUID, {2: [[1, b"\xaa" * 32], [7, b"\xbb" * 48]]}),
    measured("key", {2: [[1, b"\xcc" * 32]], 11: "a name", 8: "serial"}),
    measured(3, {4: CBORTag(560, b"\x01\x02")}),
    measured(None, {2: [[1, b"\xdd" * 32]]}),
    measured(None, {2: [[1, b"\xee" * 32]]}),
    measured("flags", {3: {0: True}}),
)
STATED = {
    "ACME/RoadRunner/31fb5abf-023e-4992-aa4e-95f9c1503bfa/digests": ["aa" * 32, "bb" * 48],
    "ACME/RoadRunner/key/a name/serial/digests": ["cc" * 32],
    "ACME/RoadRunner/claim3/raw_bytes": "0102",
    "ACME/RoadRunner/digests": ["dd" * 32, "ee" * 32],
}


@pytest.mark.parametrize("wrap", [b"", b"\xd9\x01\xf4", b"\xd9\x01\xf4\xd9\x01\xf6"])
def test_a_corim_without_a_signature_gives_the_names_of_the_reference(
    database: Database, wrap: bytes
) -> None:
    rvps = service(database)
    rvps.register(message(wrap + corim(*CLAIMS), "corim"), by="admin", now=NOW)
    assert rvps.list(NOW) == STATED


def test_a_corim_outside_its_validity_is_refused(database: Database) -> None:
    ended = {1: CBORTag(1, int(NOW.timestamp()) - 1)}
    with pytest.raises(StatementError):
        service(database).register(message(corim(*CLAIMS, k4=ended), "corim"), by="admin", now=NOW)


@pytest.mark.parametrize("kind", ["dsse", "in-toto"])
@pytest.mark.parametrize("form", ["base64", "text"])
def test_a_signed_statement_counts_without_declared_values(
    database: Database, kind: str, form: str
) -> None:
    rvps = service(database, declared_values=False)
    envelope = statement(derived_value(AA), derived_value(BB))
    text = message(envelope, kind)
    if form == "text":
        text = message(b"", kind, payload=envelope.decode())
    rvps.register(text, by="admin", now=NOW)
    rvps.register(text, by="admin", now=NOW)
    (name,) = rvps.list(NOW)
    assert sorted(rvps.query(name, NOW)) == [AA, BB]
    assert [action for action, _ in events(database)] == ["attestation.ingest"]


def test_verified_and_declared_values_are_answered_together(database: Database) -> None:
    rvps = service(database)
    rvps.register(message(statement(derived_value(AA)), "dsse"), by="admin", now=NOW)
    (name,) = rvps.list(NOW)
    rvps.register(message({name: [BB, AA]}), by="admin", now=NOW)
    assert sorted(rvps.query(name, NOW)) == [AA, BB]
    (attestation,) = {target for action, target in events(database) if action == "attestation.ingest"}
    target = RetractionTarget(TargetKind.ATTESTATION, attestation.removeprefix("attestation/"))
    retract(database, target, reason="r", by="admin", now=NOW)
    assert rvps.query(name, NOW) == [BB, AA]


def test_a_single_value_is_answered_as_one(database: Database) -> None:
    rvps = service(database)
    single = msgspec.structs.replace(derived_value(AA), name="snp_guest_abi_minor", scalar=True, value=7)
    rvps.register(message(statement(single), "dsse"), by="admin", now=NOW)
    assert rvps.query(single.name, NOW) == 7
    rvps.register(message({single.name: 8}), by="admin", now=NOW)
    assert rvps.query(single.name, NOW) is None
    rvps.register(message({single.name: [8]}), by="admin", now=NOW)
    assert rvps.query(single.name, NOW) == [8]


@pytest.mark.parametrize(
    ("kind", "envelope", "error"),
    [
        ("dsse", statement(derived_value(AA), key=STRANGER), StatementError),
        ("slsa", statement(derived_value(AA)), PredicateUnexpected),
        ("vsa", statement(derived_value(AA)), PredicateUnexpected),
        ("sigstore-bundle", statement(derived_value(AA)), MessageMalformed),
        ("dsse", b"{}", StatementError),
        ("dsse", b"plain", StatementError),
        ("corim", material.sign(), StatementError),
    ],
)
def test_a_signed_type_is_verified_and_held_to_what_it_says(
    database: Database, kind: str, envelope: bytes, error: type[Exception]
) -> None:
    rvps = service(database)
    with pytest.raises(error):
        rvps.register(message(envelope, kind), by="admin", now=NOW)
    assert rvps.list(NOW) == {}
    assert events(database) == []


def test_a_signed_type_says_what_to_derive(database: Database) -> None:
    rvps = service(database, declared_values=False)
    envelope = base64.b64encode(statement(derived_value(AA))).decode()
    asked = {"envelope": envelope, "derivation": {"rule": "reference-values", "group": "release-7"}}
    rvps.register(message(asked, "dsse"), by="admin", now=NOW)
    lookup = DatabaseReferenceLookup(database)
    (value,) = lookup.select(frozenset(rvps.list(NOW)), frozenset(), NOW).values
    assert value.group == "release-7"
    for wrong in ({"rule": "nosuch"}, {}, [], {"rule": "reference-values", "x": 1}):
        text = message({"envelope": envelope, "derivation": wrong}, "dsse")
        with pytest.raises((InputError, DerivationError)):
            rvps.register(text, by="admin", now=NOW)


def test_a_signed_corim_is_verified_and_mapped(database: Database) -> None:
    pipelines = Pipelines(Pipeline(material.policy()))
    rvps = ReferenceValueService(database, AuditLog(database), declared_values=False, pipelines=pipelines)
    signed = material.sign()
    with pytest.raises(NotDerivable):
        rvps.register(message(signed, "corim"), by="admin", now=NOW)
    entry = {"key": "text:kernel", "field": "digest.sha-384", "name": "tdvfkernel", "tee": "tdx"}
    derivation = {"rule": "manifest-values", "launch": {"mapping": [entry]}}
    asked = {"envelope": base64.b64encode(signed).decode(), "derivation": derivation}
    rvps.register(message(asked, "corim"), by="admin", now=NOW)
    assert rvps.list(NOW) == {"tdvfkernel": [material.DIGEST.hex()]}
    altered = bytearray(signed)
    altered[altered.index(material.DIGEST)] ^= 1
    with pytest.raises(StatementError):
        rvps.register(message(bytes(altered), "corim"), by="admin", now=NOW)
