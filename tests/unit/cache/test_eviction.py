import hashlib
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from fake_house import vector_of

from embedhouse.cache.sqlite import SqliteVectorCache
from embedhouse.domain.embeddings import Embeddings
from embedhouse.domain.errors import StorageError
from embedhouse.domain.spaces import Role
from embedhouse.telemetry import COUNTERS

DIMENSIONS = 384
ENTRY_BYTES = 20 + DIMENSIONS * 4 + 150
TEXTS = [f"text {number}" for number in range(2000)]


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


class Filled:
    """A cache with room for 1000 vectors. Time is what the test says: `used` sets when texts were used last."""

    def __init__(self, path: Path, needed: frozenset[str] = frozenset(), fingerprint: str = "space") -> None:
        self.path = path
        self._needed = {_hash(text) for text in needed}
        self._fingerprint = fingerprint
        self.open()

    def open(self, vectors: int = 1000) -> None:
        self.cache = SqliteVectorCache(self.path, max_bytes=vectors * ENTRY_BYTES, needed=self._is_needed)

    def _is_needed(self, fingerprint: str, hashes: Sequence[bytes]) -> set[bytes]:
        return self._needed & set(hashes) if fingerprint == self._fingerprint else set()

    def put(self, texts: Sequence[str], role: Role = "document") -> None:
        for start in range(0, len(texts), 100):
            block = texts[start : start + 100]
            ones = np.ones(len(block), np.int64)
            vectors = np.stack([vector_of(text, DIMENSIONS) for text in block])
            computed = Embeddings(vectors=vectors, token_counts=ones, dropped_counts=ones)
            self.cache.put("space", role, [_hash(text) for text in block], computed)

    def held(self, texts: Sequence[str], role: Role = "document") -> int:
        return int(self.cache.get("space", role, [_hash(text) for text in texts], DIMENSIONS).found.sum())

    def used(self, texts: Sequence[str], at: int) -> None:
        connection = sqlite3.connect(self.path)
        connection.execute("CREATE INDEX IF NOT EXISTS for_this_test ON value (text_sha256)")
        with connection:
            connection.executemany(
                "UPDATE entry SET used_at = ? WHERE value_id = (SELECT id FROM value WHERE text_sha256 = ?)",
                [(at, _hash(text)) for text in texts],
            )
        connection.close()


def test_cache_without_a_limit_keeps_everything(tmp_path: Path) -> None:
    filled = Filled(tmp_path / "cache.db")
    filled.open(vectors=0)
    filled.put(TEXTS)
    assert filled.held(TEXTS) == 2000
    filled.cache.close()


def test_cache_stays_within_its_size_and_counts_what_goes(tmp_path: Path) -> None:
    filled = Filled(tmp_path / "cache.db")
    before = COUNTERS.snapshot().get("cache_evicted", 0)
    filled.put(TEXTS)
    assert 800 <= filled.held(TEXTS) <= 1000
    assert COUNTERS.snapshot()["cache_evicted"] - before == 2000 - filled.held(TEXTS)
    filled.cache.close()
    assert filled.path.stat().st_size < 1.25 * 1000 * ENTRY_BYTES


def test_least_recently_used_go_first(tmp_path: Path) -> None:
    filled = Filled(tmp_path / "cache.db")
    filled.put(TEXTS[:1000])
    filled.used(TEXTS[:500], at=2_000)
    filled.used(TEXTS[500:1000], at=1_000)
    filled.put(TEXTS[1000:1300])
    assert filled.held(TEXTS[1000:1300]) == 300
    assert filled.held(TEXTS[:500]) == 500
    assert filled.held(TEXTS[500:1000]) <= 200
    filled.cache.close()


def test_reading_counts_as_use(tmp_path: Path) -> None:
    filled = Filled(tmp_path / "cache.db")
    filled.put(TEXTS[:900])
    filled.used(TEXTS[:900], at=1_000)
    assert filled.held(TEXTS[:300]) == 300  # read
    filled.cache.close()  # writes down what was read
    filled.open()
    filled.put(TEXTS[1000:1500])
    assert filled.held(TEXTS[:300]) == 300
    filled.cache.close()


def test_what_an_index_needs_never_goes(tmp_path: Path) -> None:
    filled = Filled(tmp_path / "cache.db", needed=frozenset(TEXTS[:600]))
    filled.put(TEXTS[:600])
    filled.used(TEXTS[:600], at=1)
    filled.put(TEXTS[600:])
    assert filled.held(TEXTS[:600]) == 600
    assert filled.held(TEXTS) <= 1000
    filled.cache.close()


def test_queries_and_other_spaces_are_not_needed(tmp_path: Path) -> None:
    filled = Filled(tmp_path / "cache.db", needed=frozenset(TEXTS), fingerprint="another")
    filled.put(TEXTS)
    assert filled.held(TEXTS) <= 1000
    filled.cache.close()


def test_query_vectors_go_though_the_document_of_the_same_text_is_needed(tmp_path: Path) -> None:
    filled = Filled(tmp_path / "cache.db", needed=frozenset(TEXTS[:900]))
    filled.put(TEXTS[:900], role="query")
    filled.used(TEXTS[:900], at=1)
    filled.put(TEXTS[:900])
    assert filled.held(TEXTS[:900]) == 900
    assert filled.held(TEXTS[:900], role="query") <= 100
    filled.cache.close()


def test_cache_grows_past_its_size_when_all_of_it_is_needed(tmp_path: Path) -> None:
    filled = Filled(tmp_path / "cache.db", needed=frozenset(TEXTS))
    filled.put(TEXTS)
    assert filled.held(TEXTS) == 2000
    filled.cache.close()


def test_cache_that_is_nearly_all_needed_is_not_looked_through_with_every_write(tmp_path: Path) -> None:
    filled = Filled(tmp_path / "cache.db", needed=frozenset(TEXTS[:990]))
    asked: list[int] = []

    def needed(fingerprint: str, hashes: Sequence[bytes]) -> set[bytes]:
        asked.append(len(hashes))
        return {_hash(text) for text in TEXTS[:990]} & set(hashes)

    filled.cache.close()
    filled.cache = SqliteVectorCache(filled.path, max_bytes=1000 * ENTRY_BYTES, needed=needed)
    filled.put(TEXTS[:990])
    for text in TEXTS[990:1090]:
        filled.put([text])
    assert sum(asked) <= 3 * 1100
    assert filled.held(TEXTS) <= 1060
    filled.cache.close()


def test_ledger_that_cannot_be_asked_costs_the_write_and_not_the_call(tmp_path: Path) -> None:
    def fail(fingerprint: str, hashes: Sequence[bytes]) -> set[bytes]:
        raise StorageError(reason="locked")

    filled = Filled(tmp_path / "cache.db")
    filled.put(TEXTS[:990])
    filled.cache.close()
    filled.cache = SqliteVectorCache(filled.path, max_bytes=1000 * ENTRY_BYTES, needed=fail)
    before = COUNTERS.snapshot().get("cache_failures", 0)
    filled.put(TEXTS[1000:1100])
    assert COUNTERS.snapshot()["cache_failures"] == before + 1
    assert filled.held(TEXTS[:990]) == 990
    filled.cache.close()


def test_file_shrinks_when_its_size_is_set_lower(tmp_path: Path) -> None:
    filled = Filled(tmp_path / "cache.db")
    filled.put(TEXTS[:900])
    filled.cache.close()
    before = filled.path.stat().st_size
    filled.open(vectors=100)
    filled.put(TEXTS[1000:1010])
    assert filled.held(TEXTS) <= 100
    filled.cache.close()
    assert filled.path.stat().st_size < before / 3


def test_eviction_that_fails_with_its_write_forgets_nothing(tmp_path: Path) -> None:
    filled = Filled(tmp_path / "cache.db")
    filled.put(TEXTS[:1000])
    held = filled.held(TEXTS)
    connection = sqlite3.connect(filled.path)
    connection.execute(
        "CREATE TRIGGER full BEFORE DELETE ON value WHEN old.id % 97 = 0 BEGIN SELECT RAISE(ABORT, 'full'); END"
    )
    filled.put(TEXTS[1000:1100])
    assert filled.held(TEXTS) == held
    connection.execute("DROP TRIGGER full")
    connection.close()
    filled.put(TEXTS[1000:1500])
    assert filled.held(TEXTS[1000:1500]) == 500
    assert filled.held(TEXTS) <= 1000
    filled.cache.close()


@pytest.mark.parametrize("seed", range(3))
def test_room_in_the_file_is_used_again(tmp_path: Path, seed: int) -> None:
    filled = Filled(tmp_path / "cache.db")
    order = np.random.default_rng(seed)
    filled.put(TEXTS[:900])
    for number in range(12):
        filled.used([TEXTS[int(one)] for one in order.permutation(900)[:300]], at=10_000 + number)
        filled.put([f"round {number} text {each}" for each in range(200)])
    filled.cache.close()
    assert filled.path.stat().st_size < 1.4 * 1000 * ENTRY_BYTES
