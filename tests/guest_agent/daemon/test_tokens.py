"""How long a token is given out."""

from __future__ import annotations

import json
import threading
import time

import pytest

from common.encoding import b64url_encode
from guest_agent.daemon.tokens import KbsTokens, good_until
from guest_agent.kbs_client import KbsSession
from guest_agent.kbs_keys import TeeKey


def token(**claims):
    return f"e30.{b64url_encode(json.dumps(claims).encode())}.c2ln"


class Client:
    """Makes tokens that live so long."""

    def __init__(self, life):
        self.life = life
        self.made = 0
        self.now = 1000.0

    def attest(self):
        self.made += 1
        time.sleep(0.02)
        claims = {} if self.life is None else {"iat": self.now, "exp": self.now + self.life, "n": self.made}
        return KbsSession(token(**claims), TeeKey.generate(), "cookie")


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ({"iat": 1000, "exp": 1300}, 1270),
        ({"iat": 1000, "exp": 4600}, 4540),
        ({"exp": 1300}, 1270),
        ({"iat": 1000, "exp": 900}, 900),
        ({}, 1000),
        ({"exp": "soon"}, 1000),
        ({"exp": True}, 1000),
        ({"iat": "x", "exp": 1300}, 1000),
    ],
)
def test_until_when(claims, expected):
    assert good_until(token(**claims), 1000) == expected


@pytest.mark.parametrize("text", ["", "a.b", "a.b.c", "e30.W10.x", "e30.bm90.x"])
def test_what_is_no_token_is_not_kept(text):
    assert good_until(text, 1000) == 1000


def test_refreshed_before_it_ends():
    client = Client(300)
    tokens = KbsTokens(client, clock=lambda: client.now)
    first = tokens.token()
    client.now += 269
    assert tokens.token() == first
    client.now += 1
    assert tokens.token() != first
    assert client.made == 2


def test_one_that_does_not_end_is_not_kept():
    client = Client(None)
    tokens = KbsTokens(client, clock=lambda: client.now)
    tokens.token()
    tokens.token()
    assert client.made == 2


def test_many_who_ask_at_once_are_one_attestation():
    client = Client(300)
    tokens = KbsTokens(client, clock=lambda: client.now)
    given = []
    threads = [threading.Thread(target=lambda: given.append(tokens.token())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(given)) == 1
    assert client.made == 1
