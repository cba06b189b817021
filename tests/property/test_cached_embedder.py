"""The cached embedder against a plain dictionary: whatever fails, is slow, damaged or asked for at once, a caller
gets the vector of exactly its text and role, in its order, or an error of its own."""

import random
import shutil
import sqlite3
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from fake_house import HashEmbedder, vector_of
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from embedhouse.cache.embedder import CachedEmbedder
from embedhouse.cache.none import NoVectorCache
from embedhouse.cache.sqlite import SqliteVectorCache
from embedhouse.domain.deadline import Deadline
from embedhouse.domain.embeddings import Embeddings
from embedhouse.domain.errors import Cancelled, DeadlineExceeded, ModelError
from embedhouse.domain.spaces import Lane, Role

TEXTS = [f"{'word ' * number}text {number}" for number in range(8)]


class Unlucky(HashEmbedder):
    """Takes a while, and fails as often as it is told to."""

    def __init__(self, slowness_s: float = 0.0) -> None:
        super().__init__()
        self.failures_left = 0
        self.computed: Counter[tuple[str, str]] = Counter()
        self._slowness_s = slowness_s
        self._lock = threading.Lock()
        self._random = random.Random(0)

    def embed(self, texts: Sequence[str], *, role: Role, lane: Lane = "bulk", deadline: Deadline) -> Embeddings:
        with self._lock:
            fails, self.failures_left = self.failures_left > 0, max(0, self.failures_left - 1)
            nap = self._random.random() * self._slowness_s
        time.sleep(nap)
        deadline.check("embedding")
        if fails:
            raise ModelError(reason="not today")
        with self._lock:
            self.computed.update((role, text) for text in texts)
        counts = np.asarray(self.tokenizer.count(texts), np.int64)
        vectors = np.stack([expected_vector(role, text) for text in texts])
        return Embeddings(vectors=vectors, token_counts=counts, dropped_counts=counts * 3)


def expected_vector(role: str, text: str) -> np.ndarray[Any, Any]:
    return vector_of(f"{role}: {text}")


def check(found: Embeddings, role: str, texts: Sequence[str]) -> None:
    np.testing.assert_array_equal(found.vectors, np.stack([expected_vector(role, text) for text in texts]))
    tokens = [len(text.split()) for text in texts]
    assert found.token_counts.tolist() == tokens
    assert found.dropped_counts.tolist() == [3 * count for count in tokens]
    assert found.cached is not None
    assert len(found.cached) == len(texts)


batches = st.lists(st.sampled_from(TEXTS), min_size=1, max_size=12)
roles: st.SearchStrategy[Role] = st.sampled_from(["document", "query"])
lanes: st.SearchStrategy[Lane] = st.sampled_from(["interactive", "bulk"])


@settings(max_examples=60, deadline=None)
@given(calls=st.lists(st.tuples(batches, roles, lanes, st.booleans()), min_size=1, max_size=6), kept=st.booleans())
def test_cached_embedder_answers_as_a_dictionary_and_computes_once(
    calls: list[tuple[list[str], Role, Lane, bool]], kept: bool
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        cache = SqliteVectorCache(Path(folder) / "cache.db") if kept else NoVectorCache()
        inner = Unlucky()
        embedder = CachedEmbedder(inner, cache)
        seen: set[tuple[str, str]] = set()
        for texts, role, lane, fails in calls:
            fresh = [
                ((role, text) not in seen or not kept) and text not in texts[:place]
                for place, text in enumerate(texts)
            ]
            inner.failures_left = int(fails)
            try:
                found = embedder.embed(texts, role=role, lane=lane, deadline=Deadline.never())
            except ModelError:
                assert fails
                continue
            inner.failures_left = 0
            check(found, role, texts)
            assert found.cached is not None
            assert (~found.cached).tolist() == fresh
            assert found.embedded_token_count == sum(
                len(t.split()) for t, new in zip(texts, fresh, strict=True) if new
            )
            seen.update((role, text) for text in texts)
        if kept:
            assert inner.computed == Counter(seen)
        cache.close()


@settings(max_examples=25, deadline=None)
@given(calls=st.lists(batches, min_size=2, max_size=8), lane=lanes)
def test_callers_at_once_compute_each_text_once_between_them(calls: list[list[str]], lane: Lane) -> None:
    with tempfile.TemporaryDirectory() as folder:
        cache = SqliteVectorCache(Path(folder) / "cache.db")
        inner = Unlucky(slowness_s=0.004)
        # Two embedders of one space, as for a model that was named in two ways.
        embedders = [CachedEmbedder(inner, cache), CachedEmbedder(inner, cache)]

        def call(number: int) -> Embeddings:
            texts = calls[number]
            return embedders[number % 2].embed(texts, role="document", lane=lane, deadline=Deadline.never())

        with ThreadPoolExecutor(len(calls)) as pool:
            for texts, found in zip(calls, pool.map(call, range(len(calls))), strict=True):
                check(found, "document", texts)
        asked = {("document", text) for texts in calls for text in texts}
        assert inner.computed == Counter(asked)
        cache.close()


class ManyCallers(RuleBasedStateMachine):
    """Threads that call at once, with deadlines and cancellations; a model that fails and is slow; a cache file
    whose entries are damaged, lost, and evicted, and which is opened anew."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.path = self.folder / "cache.db"
        self.inner = Unlucky(slowness_s=0.003)

    @initialize(max_bytes=st.sampled_from([0, 1500]))
    def begin(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._open()

    def _open(self) -> None:
        self.cache = SqliteVectorCache(self.path, max_bytes=self.max_bytes)
        self.embedder = CachedEmbedder(self.inner, self.cache)

    @rule(
        calls=st.lists(
            st.tuples(batches, roles, lanes, st.sampled_from([None, None, 0.001, "cancel"])), min_size=1, max_size=6
        )
    )
    def call_at_once(self, calls: list[tuple[list[str], Role, Lane, float | str | None]]) -> None:
        failures_before = self.inner.failures_left
        with ThreadPoolExecutor(len(calls)) as pool:
            for outcome in pool.map(self._call, calls):
                assert outcome in {"found", "late", "cancelled"} or (outcome == "failed" and failures_before)

    def _call(self, call: tuple[list[str], Role, Lane, float | str | None]) -> str:
        texts, role, lane, limit = call
        deadline = Deadline(limit) if isinstance(limit, float) else Deadline.never()
        if limit == "cancel":
            threading.Timer(0.001, deadline.cancel).start()
        try:
            found = self.embedder.embed(texts, role=role, lane=lane, deadline=deadline)
        except DeadlineExceeded:
            assert isinstance(limit, float)
            return "late"
        except Cancelled:
            assert limit == "cancel"
            return "cancelled"
        except ModelError:
            return "failed"
        check(found, role, texts)
        return "found"

    @rule(count=st.integers(1, 4))
    def fail_next(self, count: int) -> None:
        self.inner.failures_left = count

    @rule(
        what=st.sampled_from(["zeroblob(length(value))", "substr(value, 1, 30)", "x'00'"]), which=st.integers(1, 3)
    )
    def damage_values(self, what: str, which: int) -> None:
        self._execute(f"UPDATE value SET value = {what} WHERE id % 3 = {which % 3}")

    @rule()
    def swap_values(self) -> None:
        self._execute("UPDATE value SET value = (SELECT value FROM value ORDER BY id DESC LIMIT 1)")

    @rule()
    def lose_values(self) -> None:
        self._execute("DELETE FROM value WHERE id % 2 = 0")

    @rule()
    def open_anew(self) -> None:
        self.cache.close()
        self._open()

    def _execute(self, sql: str) -> None:
        connection = sqlite3.connect(self.path)
        with connection:
            connection.execute(sql)
        connection.close()

    def teardown(self) -> None:
        if hasattr(self, "cache"):
            self.cache.close()
        shutil.rmtree(self.folder)


ManyCallers.TestCase.settings = settings(max_examples=30, stateful_step_count=12, deadline=None)
TestManyCallers = ManyCallers.TestCase
