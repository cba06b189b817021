import hashlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from fake_house import SPACE, HashEmbedder, vector_of
from hypothesis import given, settings
from hypothesis import strategies as st

from embedhouse.cache.embedder import CachedEmbedder
from embedhouse.cache.sqlite import SqliteVectorCache
from embedhouse.domain.deadline import Deadline
from embedhouse.domain.errors import InvalidText, ReadOnly

DIMENSIONS = 16


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[SqliteVectorCache]:
    opened = SqliteVectorCache(tmp_path / "cache.db")
    yield opened
    opened.close()


def _put(cache: SqliteVectorCache, texts: list[str], fingerprint: str = "space") -> None:
    vectors = np.stack([vector_of(text) for text in texts])
    cache.put(fingerprint, "document", [_hash(text) for text in texts], vectors, [7] * len(texts))


def test_get_returns_what_was_put_in_the_order_asked(cache: SqliteVectorCache) -> None:
    _put(cache, ["a", "b"])
    found = cache.get("space", "document", [_hash(text) for text in ("b", "x", "a", "b")], DIMENSIONS)
    assert found.found.tolist() == [True, False, True, True]
    assert found.dropped_counts.tolist() == [7, 0, 7, 7]
    np.testing.assert_array_equal(found.vectors[[0, 2, 3]], np.stack([vector_of(t) for t in ("b", "a", "b")]))


def test_get_never_crosses_space_role_or_dimensions(cache: SqliteVectorCache) -> None:
    _put(cache, ["a"])
    for fingerprint, role, dimensions in (
        ("other", "document", DIMENSIONS),
        ("space", "query", DIMENSIONS),
        ("space", "document", DIMENSIONS - 1),
    ):
        assert not cache.get(fingerprint, role, [_hash("a")], dimensions).found.any()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE embedding SET value = substr(value, 1, 20)",
        "UPDATE embedding SET value = zeroblob(length(value))",
        "UPDATE embedding SET value = (SELECT value FROM embedding ORDER BY text_sha256 DESC LIMIT 1)",
    ],
)
def test_damaged_or_swapped_value_is_a_miss(tmp_path: Path, damage: str) -> None:
    cache = SqliteVectorCache(tmp_path / "cache.db")
    _put(cache, ["a", "b"])
    with sqlite3.connect(tmp_path / "cache.db") as connection:
        connection.execute(damage)
    connection.close()
    first = min((_hash("a"), _hash("b")))
    assert not cache.get("space", "document", [first], DIMENSIONS).found.any()
    cache.close()


def test_cache_in_a_place_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ReadOnly, match="file"):
        SqliteVectorCache(tmp_path / "file" / "cache.db")


texts = st.lists(st.sampled_from([f"text {n}" for n in range(12)]), min_size=1, max_size=20)


@settings(max_examples=40, deadline=None)
@given(batches=st.lists(texts, min_size=1, max_size=6))
def test_cached_embedder_answers_as_the_embedder_and_computes_once(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[str]]
) -> None:
    inner = HashEmbedder()
    cache = SqliteVectorCache(tmp_path_factory.mktemp("cache") / "cache.db")
    embedder = CachedEmbedder(inner, cache)
    seen: set[str] = set()
    for batch in batches:
        result = embedder.embed(batch, role="document", deadline=Deadline.never())
        np.testing.assert_array_equal(result.vectors, np.stack([vector_of(text) for text in batch]))
        fresh = [text not in seen and text not in batch[:place] for place, text in enumerate(batch)]
        assert (result.token_counts > 0).tolist() == fresh
        seen.update(batch)
    assert sorted(inner.calls) == sorted(seen)
    cache.close()


def test_cached_embedder_keys_by_the_prompt_that_is_embedded(cache: SqliteVectorCache) -> None:
    prompted = msgspec.structs.replace(SPACE, prompts=(("document", "passage: "),))
    inner = HashEmbedder(prompted)
    embedder = CachedEmbedder(inner, cache)
    embedder.embed(["a"], role="document", deadline=Deadline.never())
    embedder.embed(["a"], role="query", deadline=Deadline.never())
    assert inner.calls == ["a", "a"]


def test_cached_embedder_checks_texts_before_anything_is_embedded(cache: SqliteVectorCache) -> None:
    inner = HashEmbedder()
    with pytest.raises(InvalidText, match="number 1"):
        CachedEmbedder(inner, cache).embed(["a", " "], role="document", deadline=Deadline.never())
    assert inner.calls == []
