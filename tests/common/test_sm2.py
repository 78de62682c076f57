"""SM2 against the standard's example and against what the library leaves to its caller."""

from __future__ import annotations

import gmalg
import pytest
from cryptography.hazmat.primitives.hashes import SM3, Hash
from hypothesis import given
from hypothesis import strategies as st

from common import sm2
from common.errors import Malformed
from common.sm2 import PublicKey, Signature

# GB/T 32918.5-2017 annex A.2 (GM/T 0003.5): the signature example over the recommended curve.
ID = b"1234567812345678"
MESSAGE = b"message digest"
KEY = PublicKey(
    0x09F9DF311E5421A150DD7D161E4BC5C672179FAD1833FC076BB08FF356F35020,
    0xCCEA490CE26775A52DC6EA718CC1AA600AED05FBF35E084A6632F6072DA9AD13,
)
R = 0xF5A03B0648D2C4630EEAC513E1BB81A15944DA3827D5B74143AC7EACEEE720B3
S = 0xB1B6AA29DF212FD8763182BC0D421CA1BB9038FD1F7F42D4840B69C485BBC1AA
GX = 0x32C4AE2C1F1981195F9904466A39C9948FE30BBFF2660BE1715A4589334C74C7
GY = 0xBC3736A2F4F6779C59BDCEE36B692153D0A9877CC62A474002DF32E52139F0A0


def test_the_standards_example_verifies() -> None:
    assert sm2.verify(KEY, ID, MESSAGE, Signature(R, S))


@pytest.mark.parametrize(
    ("user_id", "message", "r", "s"),
    [
        (b"1234567812345679", MESSAGE, R, S),
        (ID, MESSAGE + b"\0", R, S),
        (ID, MESSAGE, S, R),
        (ID, MESSAGE, R ^ 1, S),
        (ID, MESSAGE, R, S ^ 1),
        (ID, MESSAGE, R, sm2.N - S),
        (b"", MESSAGE, R, S),
        (b"1" * 8192, MESSAGE, R, S),
    ],
)
def test_anything_else_does_not(user_id: bytes, message: bytes, r: int, s: int) -> None:
    assert not sm2.verify(KEY, user_id, message, Signature(r, s))


@pytest.mark.parametrize("r", [0, -1, sm2.N, sm2.N + R, 1 << 576])
def test_numbers_out_of_range_are_bad_signatures(r: int) -> None:
    assert not sm2.verify(KEY, ID, MESSAGE, Signature(r, S))
    assert not sm2.verify(KEY, ID, MESSAGE, Signature(R, r))


def test_a_sum_of_zero_and_the_point_at_infinity_are_bad_signatures() -> None:
    assert not sm2.verify(KEY, ID, MESSAGE, Signature(R, sm2.N - R))
    # With the generator as key (secret 1), s + t = 0 leads to the point at infinity: s = -(r + s).
    generator = PublicKey(GX, GY)
    s = 7
    assert not sm2.verify(generator, ID, MESSAGE, Signature(sm2.N - 2 * s, s))
    # And s = t to a doubling.
    assert not sm2.verify(generator, ID, MESSAGE, Signature(sm2.N - 1, 1))


@pytest.mark.parametrize(
    ("x", "y"), [(0, 0), (GX, GY + 1), (GX + sm2.P, GY), (GX, GY + sm2.P), (-GX, GY), (5, 7), (GX, -GY)]
)
def test_what_is_no_point_of_the_curve_is_no_key(x: int, y: int) -> None:
    assert not sm2.on_curve(x, y)
    with pytest.raises(Malformed):
        PublicKey(x, y)


def test_the_curve_is_that_of_the_standard() -> None:
    assert sm2.on_curve(GX, GY)
    assert sm2.A == 0xFFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF00000000FFFFFFFFFFFFFFFC


@given(st.binary(max_size=300))
def test_the_librarys_sm3_is_that_of_cryptography(data: bytes) -> None:
    ours = Hash(SM3())
    ours.update(data)
    theirs = gmalg.SM3()
    theirs.update(data)
    assert theirs.value() == ours.finalize()
