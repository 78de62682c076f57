"""Result to secret: who gets it, who does not, and that the record comes first."""

from __future__ import annotations

import base64
import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from joserfc.errors import JoseError
from sqlalchemy import select, update

from common.errors import TouchstoneError
from kms import jwe, secret_id
from kms.checkpoints import Checkpointer, CheckpointKey, verify_checkpoints
from kms.errors import (
    AuditUnavailable,
    QuotaExceeded,
    RecipientKeyRefused,
    ReleaseDenied,
    ReleaseStale,
    SecretNotFound,
    SecretUnreadable,
    SessionUnbound,
    VersionUnusable,
)
from kms.queries import releases_by_reference_values
from kms.release_rows import Quota
from kms.tables import audit_record, release_reference, secret_release, secret_version
from policy.port import PolicyKind
from rvps.ingest import ingest
from rvps.retraction import retract
from rvps.targets import RetractionTarget, TargetKind
from testkit.reference_values import admitted_statement, derived_value
from tests.kms.world import (
    APPRAISAL,
    AUDIENCE,
    ISSUER,
    MEASUREMENT,
    NOW,
    REF,
    SECRET,
    guest_key,
    opened,
    public_of,
)
from verifier.ear import EarSigner, decode_unverified
from verifier.errors import EarInvalid

ALLOW_ALL = "package policy\n\nimport rego.v1\n\nallow := true\n"


@pytest.fixture
def key():
    return guest_key()


@pytest.fixture
def opened_plaintexts(world, monkeypatch):
    """Counts every time a secret is opened."""
    count = []
    unseal = world.secrets.unseal
    monkeypatch.setattr(world.secrets, "unseal", lambda stored: count.append(1) or unseal(stored))
    return count


def _releases(world):
    with world.database.read() as connection:
        return connection.execute(select(secret_release)).all()


def _denied(world, error, token, ref=REF, **options):
    """The release fails so, the denial is on record, and no release is."""
    before = len(_releases(world))
    with pytest.raises(error) as caught:
        world.service.release(token, ref, NOW, **options)
    assert len(_releases(world)) == before
    last = world.entries()[-1]
    assert (last["action"], last["outcome"]) == ("secret.release", "denied")
    assert last["details"]["code"] == caught.value.code
    assert world.audit.verify().holds
    return caught.value


# -- the release itself -------------------------------------------------------------------------------


def test_an_attested_guest_gets_the_secret_encrypted_to_its_key(world, key):
    token = world.token(key)
    release = world.service.release(token, REF, NOW)
    got = opened(release.jwe, key)
    assert got.plaintext == SECRET
    jti = decode_unverified(token)["jti"]
    header = got.headers()
    assert (header["resource"], header["version"], header["ear_jti"]) == (f"resource/{REF.id}", 1, jti)
    with pytest.raises(JoseError):
        opened(release.jwe, guest_key())


def test_the_record_names_what_the_release_rests_on(world, key):
    token = world.token(key)
    release = world.service.release(token, REF, NOW)
    entry = world.entries()[-1]
    claims = decode_unverified(token)
    assert (entry["sequence"], entry["outcome"], entry["target"]) == (release.sequence, "done", REF.text)
    assert entry["actor"] == claims["touchstone"]["identity"]
    assert entry["details"]["jti"] == claims["jti"]
    assert entry["details"]["reference_values"] == list(world.ingested.reference_values)
    with world.database.read() as connection:
        rows = releases_by_reference_values(connection, world.ingested.reference_values)
        assert releases_by_reference_values(connection, ["rv-unknown"]) == []
    assert [(row.sequence, row.jti, row.id, row.version) for row in rows] == [
        (release.sequence, claims["jti"], REF.id, 1)
    ]
    assert rows[0].references == world.ingested.reference_values


def test_neither_secret_nor_token_is_in_any_record(world, key):
    token = world.token(key)
    released = world.service.release(token, REF, NOW).jwe
    world.activate(PolicyKind.RELEASE, ALLOW_ALL.replace("true", "false"))
    _denied(world, ReleaseDenied, token)
    log = json.dumps(world.entries())
    for hidden in (SECRET.decode(), base64.b64encode(SECRET).decode(), SECRET.hex(), token, released):
        assert hidden not in log


def test_a_particular_version_is_released_when_it_is_active(world, key):
    world.secrets.put(REF, b"new", by="admin", now=NOW)
    token = world.token(key)
    assert opened(world.service.release(token, REF, NOW).jwe, key).plaintext == b"new"
    assert opened(world.service.release(token, REF, NOW, version=1).jwe, key).plaintext == SECRET


def test_keys_are_released_like_resources(world, key):
    ref = secret_id.key("volume-key")
    world.secrets.generate(ref, by="admin", now=NOW)
    got = opened(world.service.release(world.token(key), ref, NOW).jwe, key)
    assert len(got.plaintext) == 32
    assert got.headers()["resource"] == "key/volume-key"


# -- tokens (abuse cases 1 to 4, 43) ------------------------------------------------------------------


def _b64(data):
    return base64.urlsafe_b64encode(json.dumps(data).encode()).rstrip(b"=").decode()


def _bad_tokens(world, token):
    head, payload, signature = token.split(".")
    other = EarSigner(ec.generate_private_key(ec.SECP256R1()), issuer=ISSUER, developer="x", build="0")
    claims = decode_unverified(token)
    expires = NOW + timedelta(minutes=5)
    header = {"alg": "ES256", "typ": "ear+jwt", "kid": world.signer.kid}
    return {
        "alg none": f"{_b64(header | {'alg': 'none'})}.{payload}.",
        "alg HS256": f"{_b64(header | {'alg': 'HS256'})}.{payload}.{signature}",
        "own jwk": f"{_b64(header | {'jwk': other.public_jwk})}.{payload}.{signature}",
        "jku": f"{_b64(header | {'jku': 'https://evil.example/jwks'})}.{payload}.{signature}",
        "crit": f"{_b64(header | {'crit': ['x'], 'x': 1})}.{payload}.{signature}",
        "foreign key": other.sign(claims, now=NOW, expires=expires),
        "issuer": world.forged(token, lambda body: body.update(iss=[ISSUER])),
        "no audience": world.forged(token, lambda body: body.pop("aud")),
        "audience of another": world.forged(token, lambda body: body.update(aud=AUDIENCE + ".evil")),
        "expired": world.forged(token, lambda body: None, lifetime=timedelta(0)),
        "payload swapped": f"{head}.{_b64(claims | {'jti': 'x'})}.{signature}",
        "garbage": "x.y.z",
        "empty": "",
    }


def test_a_token_that_is_not_authentic_is_refused_without_a_record(world, key):
    before = world.audit.head()
    for name, token in _bad_tokens(world, world.token(key)).items():
        with pytest.raises(EarInvalid):
            pytest.fail(f"{name}: {world.service.release(token, REF, NOW)}")
    assert world.audit.head() == before
    assert _releases(world) == []


# -- session binding (abuse case 16) ------------------------------------------------------------------


def test_a_result_over_a_relying_partys_own_report_data_releases_nothing(world):
    token = world.token(guest_key(), bound="report-data", tee_pubkey=None)
    _denied(world, SessionUnbound, token)


@pytest.mark.parametrize(
    "patch",
    [
        lambda claims: claims.pop("cnf"),
        lambda claims: claims.update(cnf={}),
        lambda claims: claims.pop("eat_nonce"),
        lambda claims: claims["touchstone"].update(bound="unbound"),
        lambda claims: claims["touchstone"].pop("reference_values"),
        lambda claims: claims["touchstone"].update(reference_values="rv-1"),
        lambda claims: claims.pop("touchstone"),
        lambda claims: claims.update(touchstone=3),
        lambda claims: claims["submods"].pop("cpu0"),
        lambda claims: claims["submods"]["cpu0"].pop("ear.status"),
    ],
)
def test_a_result_without_nonce_key_or_lineage_releases_nothing(world, key, patch):
    world.activate(PolicyKind.RELEASE, ALLOW_ALL)
    _denied(world, SessionUnbound, world.forged(world.token(key), patch))


def test_a_weak_or_private_guest_key_gets_nothing(world, key):
    world.activate(PolicyKind.RELEASE, ALLOW_ALL)
    token = world.token(key)
    for jwk in ({"kty": "oct", "k": "AAAA"}, key.as_dict(private=True)):
        _denied(
            world, RecipientKeyRefused, world.forged(token, lambda c, jwk=jwk: c.update(cnf={"jwk": jwk}))
        )


def test_a_jwe_recorded_in_one_session_names_that_session(world, key):
    first, second = world.token(key), world.token(key)
    headers = [
        opened(world.service.release(token, REF, NOW).jwe, key).headers() for token in (first, second)
    ]
    assert headers[0]["ear_jti"] != headers[1]["ear_jti"]


# -- decision (abuse cases 5, 12) ---------------------------------------------------------------------


@pytest.mark.parametrize("claim", ["hardware", "configuration", "executables", "instance-identity"])
def test_affirming_status_with_a_claim_that_nothing_affirms_is_denied_by_name(world, key, claim):
    def patch(claims):
        claims["submods"]["cpu0"]["ear.status"] = "affirming"
        claims["submods"]["cpu0"]["ear.trustworthiness-vector"][claim] = 0

    error = _denied(world, ReleaseDenied, world.forged(world.token(key), patch))
    assert any(claim in reason for reason in error.details["reasons"])


@pytest.mark.parametrize("value", [96, 97, 127, -97, -128])
def test_no_policy_releases_to_a_contraindicated_guest(world, key, value):
    world.activate(PolicyKind.RELEASE, ALLOW_ALL)

    def patch(claims):
        claims["submods"]["cpu0"]["ear.trustworthiness-vector"]["configuration"] = value

    error = _denied(world, ReleaseDenied, world.forged(world.token(key), patch))
    assert any("configuration" in reason for reason in error.details["reasons"])


@pytest.mark.parametrize("status", ["contraindicated", "none", "", "AFFIRMING"])
def test_no_policy_releases_below_the_status_floor(world, key, status):
    world.activate(PolicyKind.RELEASE, ALLOW_ALL)
    token = world.forged(
        world.token(key), lambda claims: claims["submods"]["cpu0"].update({"ear.status": status})
    )
    _denied(world, ReleaseDenied, token)


def test_a_debuggable_guest_gets_nothing_even_if_the_policies_forget_it(world, key):
    world.activate(PolicyKind.RELEASE, ALLOW_ALL)
    token = world.token(key, floors={"configuration": 96})
    _denied(world, ReleaseDenied, token)


def test_a_measurement_that_nobody_vouched_for_gets_nothing(world, key):
    token = world.token(key, claims={"snp": {"measurement": "00" * 48}})
    error = _denied(world, ReleaseDenied, token)
    assert any("executables" in reason for reason in error.details["reasons"])


@pytest.mark.parametrize(
    "rule",
    [
        "allow if false",  # undefined
        'allow := "true"',
        "allow := 1",
        'allow := {"a"}',
        'allow := to_number("x") == 1',  # error
    ],
)
def test_anything_but_true_is_a_denial(world, key, rule):
    world.activate(PolicyKind.RELEASE, f"package policy\n\nimport rego.v1\n\n{rule}\n")
    _denied(world, ReleaseDenied, world.token(key))


def test_each_secret_is_decided_by_the_policy_it_names(world, key):
    world.activate(PolicyKind.RELEASE, ALLOW_ALL.replace("true", "false"), name="never")
    ref = secret_id.resource("default/other/key")
    world.secrets.put(ref, b"other", by="admin", now=NOW, policy="never")
    _denied(world, ReleaseDenied, world.token(key), ref)
    missing = secret_id.resource("default/another/key")
    world.secrets.put(missing, b"another", by="admin", now=NOW, policy="not-put-yet")
    _denied(world, ReleaseDenied, world.token(key), missing)


def test_the_policy_sees_which_secret_is_asked_for(world, key):
    rule = (
        'allow if { input.resource.kind == "resource"; input.resource.repository == "default";'
        ' input.resource.type == "disk"; input.resource.tag == "key"; input.resource.version == 1 }'
    )
    world.activate(PolicyKind.RELEASE, f"package policy\n\nimport rego.v1\n\n{rule}\n")
    assert world.service.release(world.token(key), REF, NOW).version == 1
    world.secrets.put(REF, b"new", by="admin", now=NOW)
    _denied(world, ReleaseDenied, world.token(key))


def test_who_is_not_allowed_is_not_told_whether_a_secret_exists(world, key):
    absent = secret_id.resource("default/no/such")
    denied = world.token(key, claims={"snp": {"measurement": "00" * 48}})
    there = _denied(world, ReleaseDenied, denied)
    not_there = _denied(world, ReleaseDenied, denied, absent)
    assert (str(there), there.details) == (str(not_there), not_there.details)
    _denied(world, SecretNotFound, world.token(key), absent)
    _denied(world, SecretNotFound, world.token(key), REF, version=2)


# -- what changed since (abuse case 39) ---------------------------------------------------------------


def test_a_retraction_denies_the_next_release_of_an_unexpired_token(world, key):
    token = world.token(key)
    world.service.release(token, REF, NOW)
    target = RetractionTarget(TargetKind.ATTESTATION, world.ingested.attestation)
    retract(world.database, target, reason="compromised", by="responder", now=NOW)
    error = _denied(world, ReleaseStale, token)
    assert error.code == "release.stale"
    assert error.details["reference_values"] == list(world.ingested.reference_values)


def test_an_expired_reference_value_denies_the_release(world, key):
    admitted = admitted_statement("short-lived")
    value = derived_value("ee" * 48, expires=NOW + timedelta(minutes=1))
    ingest(world.database, admitted, [value], submitted_by="ci", now=NOW)
    token = world.token(key, claims={"snp": {"measurement": "ee" * 48}})
    world.service.release(token, REF, NOW)
    # A token of ours expires with the value; one that does not is stopped all the same.
    longer = world.forged(token, lambda claims: None)
    with pytest.raises(ReleaseStale):
        world.service.release(longer, REF, NOW + timedelta(minutes=2))


def test_one_dead_value_of_many_is_enough(world, key):
    token = world.forged(
        world.token(key), lambda claims: claims["touchstone"]["reference_values"].append("rv-" + "0" * 32)
    )
    _denied(world, ReleaseStale, token)


def test_another_appraisal_policy_since_denies_the_release(world, key):
    token = world.token(key)
    world.activate(PolicyKind.APPRAISAL, APPRAISAL + "# stricter\n")
    _denied(world, ReleaseStale, token)
    assert world.service.release(world.token(key), REF, NOW)


def test_a_rolled_back_appraisal_policy_denies_the_release(world, key):
    world.activate(PolicyKind.APPRAISAL, APPRAISAL + "# stricter\n")
    token = world.token(key)
    world.store.rollback(PolicyKind.APPRAISAL, "default", by="admin", now=NOW)
    _denied(world, ReleaseStale, token)


def test_a_release_policy_that_changes_while_it_decides_denies_the_release(world, key, monkeypatch):
    find = world.secrets.find

    class Racing:
        """The real policies; another admin activates a new version right after one was handed out."""

        def active(self, kind, name):
            policy = world.policies.active(kind, name)
            world.activate(PolicyKind.RELEASE, ALLOW_ALL.replace("true", "false"))
            return policy

    service = world.release_service()
    monkeypatch.setattr(service, "_policies", Racing())
    with pytest.raises(ReleaseStale):
        service.release(world.token(key), REF, NOW)
    assert find(REF) is not None
    assert _releases(world) == []


def test_a_secret_disabled_while_it_is_decided_is_not_released(world, key, monkeypatch):
    class Racing:
        def active(self, kind, name):
            world.secrets.disable(REF, 1, by="admin", now=NOW)
            return world.policies.active(kind, name)

    service = world.release_service()
    monkeypatch.setattr(service, "_policies", Racing())
    with pytest.raises(VersionUnusable):
        service.release(world.token(key), REF, NOW)


# -- states, quota, integrity (abuse case 40) ---------------------------------------------------------


def test_nothing_is_released_after_disable_destroy_or_delete(world, key):
    token = world.token(key)
    world.secrets.disable(REF, 1, by="admin", now=NOW)
    _denied(world, VersionUnusable, token)
    world.secrets.enable(REF, 1, by="admin", now=NOW)
    assert world.service.release(token, REF, NOW)
    world.secrets.delete(REF, by="admin", now=NOW)
    _denied(world, VersionUnusable, token)
    _denied(world, VersionUnusable, token, version=1)


def test_a_blob_moved_from_another_row_is_not_released_and_is_seen(world, key):
    ref = secret_id.resource("default/lax/key")
    world.secrets.put(ref, b"lax", by="admin", now=NOW)
    with world.database.write() as connection:
        row = connection.execute(select(secret_version).where(secret_version.c.id == REF.id)).one()
        connection.execute(
            update(secret_version)
            .where(secret_version.c.id == ref.id)
            .values(wrapped_key=row.wrapped_key, ciphertext=row.ciphertext)
        )
    with pytest.raises(SecretUnreadable):
        world.service.release(world.token(key), ref, NOW)
    done, failed = world.entries()[-2:]
    assert (done["outcome"], failed["outcome"], failed["details"]["code"]) == (
        "done",
        "denied",
        "release.integrity",
    )


def test_a_quota_bounds_one_identity_and_no_other(world, key):
    world.service = world.release_service(quota=Quota(2, timedelta(minutes=10)))
    for _ in range(2):
        world.service.release(world.token(key), REF, NOW)
    _denied(world, QuotaExceeded, world.token(key))
    assert world.service.release(world.token(key, identity="snp-chip:" + "00" * 64), REF, NOW)
    later = NOW + timedelta(minutes=11)
    assert world.service.release(world.token(key, now=later), REF, later)


def test_concurrent_guests_of_one_identity_do_not_share_a_slot(world, key):
    world.service = world.release_service(quota=Quota(2, timedelta(minutes=10)))
    tokens = [world.token(key) for _ in range(6)]
    with ThreadPoolExecutor(6) as pool:
        attempts = [pool.submit(world.service.release, token, REF, NOW) for token in tokens]
    failures = [attempt.exception() for attempt in attempts if attempt.exception() is not None]
    assert [type(failure) for failure in failures] == [QuotaExceeded] * 4
    assert len(_releases(world)) == 2
    assert world.audit.verify().holds


def test_guests_without_identity_share_one_quota(world, key):
    world.service = world.release_service(quota=Quota(1, timedelta(minutes=10)))
    world.service.release(world.token(key, identity=None), REF, NOW)
    _denied(world, QuotaExceeded, world.token(guest_key(), identity=None))


# -- audit first --------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", ["audit_record", "audit_head", "secret_release", "release_reference"])
def test_without_its_record_nothing_is_released_nor_opened(world, key, table, opened_plaintexts):
    token = world.token(key)
    with world.database.write() as connection:
        connection.exec_driver_sql(f"ALTER TABLE {table} RENAME TO {table}_gone")
    with pytest.raises(AuditUnavailable):
        world.service.release(token, REF, NOW)
    assert opened_plaintexts == []


# What makes each database refuse the commit itself: a constraint that it looks at no earlier.
_NO_COMMIT = {
    "sqlite": [
        "CREATE TABLE parent (id INTEGER PRIMARY KEY)",
        "CREATE TABLE child (id INTEGER REFERENCES parent (id) DEFERRABLE INITIALLY DEFERRED)",
        "CREATE TRIGGER orphan AFTER INSERT ON secret_release BEGIN INSERT INTO child VALUES (1); END",
    ],
    "postgresql": [
        (
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE EXCEPTION 'no commit'; END $$"
        ),
        (
            "CREATE CONSTRAINT TRIGGER refusing AFTER INSERT ON secret_release"
            " DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()"
        ),
    ],
}


def test_a_commit_that_fails_releases_and_opens_nothing(world, key, opened_plaintexts):
    token = world.token(key)
    with world.database.write() as connection:
        for statement in _NO_COMMIT[world.database.dialect]:
            connection.exec_driver_sql(statement)
    for _ in range(2):  # the connection that failed does not serve the next one
        with pytest.raises(AuditUnavailable):
            world.service.release(token, REF, NOW)
    assert opened_plaintexts == []
    assert _releases(world) == []


def test_the_record_is_committed_before_the_secret_is_opened(world, key, monkeypatch):
    seen = []
    unseal = world.secrets.unseal

    def watch(stored):
        # Another connection sees committed rows only.
        seen.append((len(_releases(world)), world.entries()[-1]["outcome"]))
        return unseal(stored)

    monkeypatch.setattr(world.secrets, "unseal", watch)
    world.service.release(world.token(key), REF, NOW)
    assert seen == [(1, "done")]


def test_a_denial_that_cannot_be_recorded_says_so(world, key):
    token = world.token(key, claims={"snp": {"measurement": "00" * 48}})
    with world.database.write() as connection:
        connection.exec_driver_sql("ALTER TABLE audit_record RENAME TO gone")
    with pytest.raises(AuditUnavailable):
        world.service.release(token, REF, NOW)


def test_releases_make_checkpoints_due(world, key, tmp_path):
    signing = CheckpointKey.open_or_create(tmp_path / "checkpoint.pem")
    world.service = world.release_service(checkpointer=Checkpointer(world.database, signing, None))
    release = world.service.release(world.token(key), REF, NOW)
    found = verify_checkpoints(world.database, signing.public_jwk, None)
    assert (found.holds, found.covered) == (True, release.sequence)


def test_a_release_row_needs_its_audit_record(world, key):
    world.service.release(world.token(key), REF, NOW)
    with world.database.read() as connection:
        rows = connection.execute(
            select(secret_release.c.sequence, audit_record.c.action).join(
                audit_record, audit_record.c.sequence == secret_release.c.sequence
            )
        ).all()
        assert [row.action for row in rows] == ["secret.release"]
        assert len(connection.execute(select(release_reference)).all()) == 1


def test_reasons_of_a_policy_are_bounded_and_one_line_in_the_log(world, key):
    numbers = json.dumps(list(range(60)))
    rule = f'reasons contains r if {{ some i in {numbers}; r := sprintf("line\\nforged %v", [i]) }}'
    world.activate(
        PolicyKind.RELEASE, f"package policy\n\nimport rego.v1\n\ndefault allow := false\n\n{rule}\n"
    )
    error = _denied(world, ReleaseDenied, world.token(key))
    assert len(error.details["reasons"]) == 16
    with world.database.read() as connection:
        entry = connection.execute(
            select(audit_record.c.entry).order_by(audit_record.c.sequence.desc()).limit(1)
        ).scalar_one()
    assert b"\n" not in entry


def test_every_refusal_is_typed(world, key):
    token = world.token(key)
    for mutated in (
        token[:-1],
        token + "A",
        token.replace(".", "", 1),
        token.upper(),
        "\ud800",
        token * 50,
    ):
        with pytest.raises(TouchstoneError):
            world.service.release(mutated, REF, NOW)


def test_the_token_of_the_exchange_is_about_the_key_in_it(world, key):
    claims = decode_unverified(world.token(key))
    assert claims["cnf"]["jwk"] == public_of(key)
    assert claims["touchstone"]["reference_values"] == list(world.ingested.reference_values)
    assert jwe.recipient(claims["cnf"]["jwk"]).algorithm == "ECDH-ES+A256KW"
    assert claims["submods"]["cpu0"]["ear.veraison.annotated-evidence"]["snp"] == {
        "measurement": MEASUREMENT
    }
