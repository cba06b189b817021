import hashlib

import numpy as np
import pytest
from fake_house import vector_of

from embedhouse.cache.values import decode, encode, seal_of
from embedhouse.domain.embeddings import Embeddings
from embedhouse.telemetry import COUNTERS

SEAL = seal_of("space", "document")
TEXTS = ["a", "b", "c"]
HASHES = [hashlib.sha256(text.encode()).digest() for text in TEXTS]
COMPUTED = Embeddings(
    vectors=np.stack([vector_of(text) for text in TEXTS]),
    token_counts=np.array([1, 300, 2**31]),
    dropped_counts=np.array([0, 44, 0]),
)
DIMENSIONS = COMPUTED.vectors.shape[1]


def _counted(name: str) -> int:
    return COUNTERS.snapshot().get(name, 0)


def test_decode_returns_what_was_encoded_bit_by_bit() -> None:
    found = decode(SEAL, HASHES, encode(SEAL, HASHES, COMPUTED), DIMENSIONS)
    assert found.found.all()
    np.testing.assert_array_equal(found.vectors, COMPUTED.vectors)
    assert found.token_counts.tolist() == [1, 300, 2**31]
    assert found.dropped_counts.tolist() == [0, 44, 0]
    found.vectors[:] = 0  # a caller may change its own


def test_decode_of_a_miss_among_hits_keeps_every_other_in_its_place() -> None:
    first, _, last = encode(SEAL, HASHES, COMPUTED)
    found = decode(SEAL, HASHES, [first, None, last], DIMENSIONS)
    assert found.found.tolist() == [True, False, True]
    np.testing.assert_array_equal(found.vectors[[0, 2]], COMPUTED.vectors[[0, 2]])
    assert not found.vectors[1].any()


def test_decode_never_takes_a_value_with_any_flipped_bit() -> None:
    value = encode(SEAL, HASHES[:1], Embeddings(
        vectors=COMPUTED.vectors[:1], token_counts=np.array([1]), dropped_counts=np.array([0])
    ))[0]  # fmt: skip
    for bit in range(len(value) * 8):
        damaged = bytearray(value)
        damaged[bit // 8] ^= 1 << bit % 8
        assert not decode(SEAL, HASHES[:1], [bytes(damaged)], DIMENSIONS).found.any()


@pytest.mark.parametrize("size", [0, 4, 20, 83, 85, 400])
def test_decode_of_a_wrong_size_is_a_damaged_miss(size: int) -> None:
    before = _counted("cache_damaged_entries")
    assert not decode(SEAL, HASHES[:1], [b"\0" * size], DIMENSIONS).found.any()
    assert _counted("cache_damaged_entries") == before + 1


@pytest.mark.parametrize("seal", [seal_of("other", "document"), seal_of("space", "query")])
def test_decode_of_another_space_or_role_is_a_foreign_miss(seal: object) -> None:
    before = _counted("cache_foreign_entries")
    values = encode(SEAL, HASHES, COMPUTED)
    assert not decode(seal, HASHES, values, DIMENSIONS).found.any()  # type: ignore[arg-type]
    assert _counted("cache_foreign_entries") == before + 3


def test_decode_of_another_text_is_a_damaged_miss() -> None:
    first, second, last = encode(SEAL, HASHES, COMPUTED)
    assert decode(SEAL, HASHES, [second, first, last], DIMENSIONS).found.tolist() == [False, False, True]


def test_decode_of_nothing_is_nothing() -> None:
    found = decode(SEAL, [], [], DIMENSIONS)
    assert (found.found.shape, found.vectors.shape) == ((0,), (0, DIMENSIONS))
