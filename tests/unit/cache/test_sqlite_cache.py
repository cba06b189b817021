import hashlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from fake_house import SPACE, HashEmbedder, vector_of

from embedhouse.cache.embedder import CachedEmbedder, text_sha256
from embedhouse.cache.sqlite import SqliteVectorCache
from embedhouse.cache.values import LAYOUT
from embedhouse.domain.deadline import Deadline
from embedhouse.domain.embeddings import Embeddings
from embedhouse.domain.errors import CacheTooNew, InvalidText, ReadOnly
from embedhouse.telemetry import COUNTERS

DIMENSIONS = 16


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _counted(name: str) -> int:
    return COUNTERS.snapshot().get(name, 0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache.db"


@pytest.fixture
def cache(path: Path) -> Iterator[SqliteVectorCache]:
    opened = SqliteVectorCache(path)
    yield opened
    opened.close()


def _put(cache: SqliteVectorCache, texts: list[str]) -> None:
    ones = np.ones(len(texts), np.int64)
    computed = Embeddings(
        vectors=np.stack([vector_of(text) for text in texts]), token_counts=ones, dropped_counts=ones
    )
    cache.put("space", "document", [_hash(text) for text in texts], computed)


def _found(cache: SqliteVectorCache, texts: list[str]) -> list[bool]:
    found = cache.get("space", "document", [_hash(text) for text in texts], DIMENSIONS)
    for text, vector in zip(np.array(texts)[found.found], found.vectors[found.found], strict=True):
        np.testing.assert_array_equal(vector, vector_of(str(text)))
    there: list[bool] = found.found.tolist()
    return there


def _execute(path: Path, sql: str) -> None:
    connection = sqlite3.connect(path)
    with connection:
        connection.execute(sql)
    connection.close()


def test_what_was_put_is_there_when_the_file_is_opened_again(path: Path) -> None:
    cache = SqliteVectorCache(path)
    _put(cache, ["a", "b"])
    cache.close()
    again = SqliteVectorCache(path)
    assert _found(again, ["a", "x", "b"]) == [True, False, True]
    again.close()


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE value SET value = substr(value, 1, 20)",
        "UPDATE value SET value = zeroblob(length(value))",
        "UPDATE value SET value = (SELECT value FROM value ORDER BY id DESC LIMIT 1) WHERE id = 1",
        "DELETE FROM value WHERE id = 1",
    ],
)
def test_damaged_swapped_or_lost_value_is_a_miss(cache: SqliteVectorCache, path: Path, damage: str) -> None:
    _put(cache, ["a", "b"])
    _execute(path, damage)
    assert _found(cache, ["a"]) == [False]
    _put(cache, ["a"])
    assert _found(cache, ["a"]) == [True]


def test_texts_whose_hashes_begin_alike_are_told_apart(cache: SqliteVectorCache) -> None:
    alike = [_hash("a"), _hash("a")[:8] + bytes(24)]
    ones = np.ones(1, np.int64)
    for text, one in zip("ab", alike, strict=True):
        computed = Embeddings(vectors=np.stack([vector_of(text)]), token_counts=ones, dropped_counts=ones)
        cache.put("space", "document", [one], computed)
    found = cache.get("space", "document", alike, DIMENSIONS)
    assert found.found.tolist() == [False, True]
    np.testing.assert_array_equal(found.vectors[1], vector_of("b"))


def test_cache_in_a_place_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ReadOnly, match="file"):
        SqliteVectorCache(tmp_path / "file" / "cache.db")


def test_file_of_a_newer_version_is_refused_and_left_as_it_is(path: Path) -> None:
    SqliteVectorCache(path).close()
    _execute(path, f"PRAGMA user_version={LAYOUT + 1}")
    before = path.read_bytes()
    with pytest.raises(CacheTooNew, match=f"layout {LAYOUT + 1}"):
        SqliteVectorCache(path)
    assert path.read_bytes() == before


def test_file_of_an_older_version_is_made_anew(path: Path) -> None:
    _execute(path, "CREATE TABLE embedding (space_id INTEGER, role TEXT, text_sha256 BLOB, value BLOB)")
    cache = SqliteVectorCache(path)
    _put(cache, ["a"])
    assert _found(cache, ["a"]) == [True]
    cache.close()


@pytest.mark.parametrize("content", [b"no database at all" * 300, b"SQLite format 3\0" + b"\xff" * 5000])
def test_file_that_is_no_cache_is_set_aside_and_counted(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    before = _counted("cache_files_set_aside")
    cache = SqliteVectorCache(path)
    _put(cache, ["a"])
    assert _found(cache, ["a"]) == [True]
    cache.close()
    assert path.with_name("cache.db.damaged").read_bytes() == content
    assert _counted("cache_files_set_aside") == before + 1


def test_file_that_is_damaged_in_the_middle_is_set_aside_when_it_is_read(path: Path) -> None:
    texts = [f"text {number}" for number in range(2000)]
    cache = SqliteVectorCache(path)
    _put(cache, texts)
    cache.close()
    content = bytearray(path.read_bytes())
    content[3 * 8192 :] = b"\xaa" * (len(content) - 3 * 8192)
    path.write_bytes(content)
    cache = SqliteVectorCache(path)
    before = _counted("cache_files_set_aside")
    assert not any(_found(cache, texts))
    assert _counted("cache_files_set_aside") == before + 1
    _put(cache, texts)
    assert all(_found(cache, texts))
    cache.close()


def test_file_that_cannot_be_written_costs_the_cache_and_not_the_call(path: Path) -> None:
    cache = SqliteVectorCache(path)
    _put(cache, ["a"])
    _execute(path, "CREATE TRIGGER full BEFORE INSERT ON entry BEGIN SELECT RAISE(ABORT, 'disk full'); END")
    before = _counted("cache_failures")
    inner = HashEmbedder()
    found = CachedEmbedder(inner, cache).embed(["b"], role="document", deadline=Deadline.never())
    np.testing.assert_array_equal(found.vectors, [vector_of("b")])
    assert _counted("cache_failures") == before + 1
    assert _found(cache, ["a"]) == [True]
    cache.close()


def test_call_after_close_is_a_miss(path: Path) -> None:
    cache = SqliteVectorCache(path)
    _put(cache, ["a"])
    cache.close()
    assert _found(cache, ["a"]) == [False]


def test_text_sha256_is_of_the_prompt_and_the_text() -> None:
    prompted = msgspec.structs.replace(SPACE, prompts=(("document", "passage: "),))
    assert text_sha256(prompted, "document", "a") == _hash("passage: a")
    assert text_sha256(prompted, "query", "a") == _hash("a")


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


def test_cached_embedder_of_no_text_answers_nothing(cache: SqliteVectorCache) -> None:
    found = CachedEmbedder(HashEmbedder(), cache).embed([], role="document", deadline=Deadline.never())
    assert found.vectors.shape == (0, DIMENSIONS)


def test_texts_found_and_not_found_are_counted_once(cache: SqliteVectorCache) -> None:
    embedder = CachedEmbedder(HashEmbedder(), cache)
    before = (_counted("cache_hits"), _counted("cache_misses"))
    for texts in (["a", "b"], ["b", "c", "b"]):
        embedder.embed(texts, role="document", deadline=Deadline.never())
    assert (_counted("cache_hits") - before[0], _counted("cache_misses") - before[1]) == (1, 3)


def test_cached_text_reports_the_tokens_that_it_has(cache: SqliteVectorCache) -> None:
    embedder = CachedEmbedder(HashEmbedder(), cache)
    for _ in range(2):
        found = embedder.embed(["one two three", "four"], role="document", deadline=Deadline.never())
        assert found.token_counts.tolist() == [3, 1]
    assert (found.cached_count, found.embedded_token_count) == (2, 0)


def test_query_does_not_wait_while_documents_are_written(cache: SqliteVectorCache) -> None:
    ones = np.ones(1, np.int64)
    computed = Embeddings(vectors=np.stack([vector_of("a")]), token_counts=ones, dropped_counts=ones)
    with cache._file.writing():
        cache.put("space", "document", [_hash("a")], computed, "interactive")
        assert _found(cache, ["a", "b"]) == [True, False]
        cache.put("space", "document", [_hash("b")], computed, "interactive")
        assert cache.info().vectors == 0
    assert _found(cache, ["a"]) == [True]


def test_close_writes_what_waits(path: Path) -> None:
    cache = SqliteVectorCache(path)
    ones = np.ones(1, np.int64)
    for number in range(300):
        text = f"text {number}"
        computed = Embeddings(vectors=np.stack([vector_of(text)]), token_counts=ones, dropped_counts=ones)
        cache.put("space", "document", [_hash(text)], computed, "interactive")
    cache.close()
    again = SqliteVectorCache(path)
    assert all(_found(again, [f"text {number}" for number in range(300)]))
    again.close()


def test_more_than_may_wait_is_written_at_once(cache: SqliteVectorCache) -> None:
    count = 5000
    texts = [f"text {number}" for number in range(count)]
    ones = np.ones(count, np.int64)
    computed = Embeddings(vectors=np.zeros((count, DIMENSIONS), np.float32), token_counts=ones, dropped_counts=ones)
    cache.put("space", "document", [_hash(text) for text in texts], computed, "interactive")
    assert cache.info().vectors == count
