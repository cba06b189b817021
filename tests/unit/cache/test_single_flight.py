import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pytest
from fake_house import HashEmbedder, vector_of

from embedhouse.cache.embedder import CachedEmbedder
from embedhouse.cache.none import NoVectorCache
from embedhouse.domain.deadline import Deadline
from embedhouse.domain.embeddings import Embeddings
from embedhouse.domain.errors import Cancelled, DeadlineExceeded, ModelError
from embedhouse.domain.models import Spent
from embedhouse.domain.spaces import Lane, Role
from embedhouse.telemetry import COUNTERS

Answer = Callable[[int], None]


class Gated(HashEmbedder):
    """Every call waits at the gate until the test lets it through, or its deadline is over. `answer` hears of the
    call's number, and may raise."""

    def __init__(self, answer: Answer = lambda number: None) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.begun: list[tuple[list[str], Lane]] = []
        self._answer = answer
        self._lock = threading.Lock()

    def embed(self, texts: Sequence[str], *, role: Role, lane: Lane = "bulk", deadline: Deadline) -> Embeddings:
        with self._lock:
            number = len(self.begun)
            self.begun.append((list(texts), lane))
        while not self.gate.wait(0.002):
            deadline.check("embedding")
        self._answer(number)
        return super().embed(texts, role=role, lane=lane, deadline=deadline)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as threads:
        yield threads


class Callers:
    """Calls of one embedder without a cache, each in a thread."""

    def __init__(self, inner: Gated, pool: ThreadPoolExecutor) -> None:
        self.inner = inner
        self._pool = pool
        self._embedder = CachedEmbedder(inner, NoVectorCache())

    def call(self, texts: list[str], lane: Lane = "bulk", deadline: Deadline | None = None) -> Future[Embeddings]:
        within = deadline or Deadline(10.0)
        return self._pool.submit(self._embedder.embed, texts, role="document", lane=lane, deadline=within)

    def wait_for(self, calls: int) -> None:
        give_up_at = time.monotonic() + 5
        while len(self.inner.begun) < calls:
            assert time.monotonic() < give_up_at, f"{len(self.inner.begun)} of {calls} calls began"
            time.sleep(0.001)


def test_followers_share_what_the_first_computes(pool: ThreadPoolExecutor) -> None:
    callers = Callers(Gated(), pool)
    first = callers.call(["a", "b"])
    callers.wait_for(1)
    followers = [callers.call(["b", "a", "b"]) for _ in range(5)]
    time.sleep(0.02)
    callers.inner.gate.set()
    for follower in followers:
        found = follower.result()
        np.testing.assert_array_equal(found.vectors, np.stack([vector_of(text) for text in "bab"]))
        assert found.cached is not None
        assert found.cached.all()
    assert first.result().embedded_token_count == 2
    assert callers.inner.calls == ["a", "b"]


def test_query_never_waits_for_bulk(pool: ThreadPoolExecutor) -> None:
    callers = Callers(Gated(), pool)
    bulk = callers.call(["a"])
    callers.wait_for(1)
    query = callers.call(["a"], lane="interactive")
    callers.wait_for(2)
    assert [lane for _, lane in callers.inner.begun] == ["bulk", "interactive"]
    another_query = callers.call(["a"], lane="interactive")
    time.sleep(0.02)
    callers.inner.gate.set()
    for call in (bulk, query, another_query):
        np.testing.assert_array_equal(call.result().vectors, [vector_of("a")])
    assert len(callers.inner.begun) == 2


def test_bulk_shares_what_a_query_computes(pool: ThreadPoolExecutor) -> None:
    callers = Callers(Gated(), pool)
    query = callers.call(["a"], lane="interactive")
    callers.wait_for(1)
    bulk = callers.call(["a"])
    time.sleep(0.02)
    callers.inner.gate.set()
    np.testing.assert_array_equal(bulk.result().vectors, query.result().vectors)
    assert len(callers.inner.begun) == 1


def test_cancelled_leader_is_taken_over_by_one_follower(pool: ThreadPoolExecutor) -> None:
    callers = Callers(Gated(), pool)
    leading = Deadline.never()
    leader = callers.call(["a"], deadline=leading)
    callers.wait_for(1)
    followers = [callers.call(["a"]) for _ in range(4)]
    time.sleep(0.02)
    leading.cancel()
    callers.wait_for(2)
    time.sleep(0.02)
    callers.inner.gate.set()
    with pytest.raises(Cancelled):
        leader.result()
    for follower in followers:
        np.testing.assert_array_equal(follower.result().vectors, [vector_of("a")])
    assert len(callers.inner.begun) == 2


def test_failed_leader_fails_alone(pool: ThreadPoolExecutor) -> None:
    def fail_first(number: int) -> None:
        if number == 0:
            raise ModelError(reason="not today")

    callers = Callers(Gated(fail_first), pool)
    leader = callers.call(["a"])
    callers.wait_for(1)
    followers = [callers.call(["a"]) for _ in range(4)]
    time.sleep(0.02)
    callers.inner.gate.set()
    with pytest.raises(ModelError, match="not today"):
        leader.result()
    for follower in followers:
        np.testing.assert_array_equal(follower.result().vectors, [vector_of("a")])


def test_followers_of_a_model_that_only_fails_do_not_queue_up_behind_each_other(pool: ThreadPoolExecutor) -> None:
    def fail(number: int) -> None:
        time.sleep(0.05)
        raise ModelError(reason="not today")

    callers = Callers(Gated(fail), pool)
    calls = [callers.call(["a"]) for _ in range(10)]
    callers.wait_for(1)
    time.sleep(0.02)
    started = time.monotonic()
    callers.inner.gate.set()
    for call in calls:
        with pytest.raises(ModelError):
            call.result()
    assert time.monotonic() - started < 10 * 0.05


def test_follower_has_a_deadline_of_its_own(pool: ThreadPoolExecutor) -> None:
    callers = Callers(Gated(), pool)
    leader = callers.call(["a"])
    callers.wait_for(1)
    with pytest.raises(DeadlineExceeded):
        callers.call(["a"], deadline=Deadline(0.03)).result()
    callers.inner.gate.set()
    np.testing.assert_array_equal(leader.result().vectors, [vector_of("a")])


def test_callers_that_wait_for_each_other_both_finish(pool: ThreadPoolExecutor) -> None:
    callers = Callers(Gated(), pool)
    one = callers.call(["a", "b"])
    callers.wait_for(1)
    other = callers.call(["c", "a"])
    callers.wait_for(2)
    third = callers.call(["b", "c"])
    callers.inner.gate.set()
    for call, texts in ((one, "ab"), (other, "ca"), (third, "bc")):
        np.testing.assert_array_equal(call.result().vectors, np.stack([vector_of(text) for text in texts]))
    assert sorted(callers.inner.calls) == ["a", "b", "c"]


class Short(HashEmbedder):
    """Returns one vector, whatever it is asked for."""

    def embed(self, texts: Sequence[str], *, role: Role, lane: Lane = "bulk", deadline: Deadline) -> Embeddings:
        return super().embed(texts[:1], role=role, lane=lane, deadline=deadline)


class NotFinite(HashEmbedder):
    """Returns NaN for everything."""

    def embed(self, texts: Sequence[str], *, role: Role, lane: Lane = "bulk", deadline: Deadline) -> Embeddings:
        found = super().embed(texts, role=role, lane=lane, deadline=deadline)
        found.vectors[0, 0] = np.nan
        return found


@pytest.mark.parametrize("inner", [Short(), NotFinite()])
def test_model_that_returns_anything_else_than_a_vector_a_text_is_an_error(inner: HashEmbedder) -> None:
    with pytest.raises(ModelError, match="returned"):
        CachedEmbedder(inner, NoVectorCache()).embed(["a", "b"], role="document", deadline=Deadline.never())


class Meter:
    """Keeps what it hears."""

    def __init__(self) -> None:
        self.spent: list[Spent] = []

    def allow(self, *, provider: str, model: str, lane: Lane, tokens: int) -> None:
        """Everything is allowed."""

    def record(self, spent: Spent) -> None:
        self.spent.append(spent)


def test_meter_hears_of_what_was_not_computed() -> None:
    meter = Meter()
    embedder = CachedEmbedder(HashEmbedder(), NoVectorCache(), meter)
    embedder.embed(["a", "b"], role="document", deadline=Deadline.never())
    embedder.embed(["a", "a", "b", "a"], role="query", lane="interactive", deadline=Deadline.never())
    assert meter.spent == [Spent(provider="test", model="hash", lane="interactive", cached_items=2)]


def test_shared_texts_are_counted(pool: ThreadPoolExecutor) -> None:
    callers = Callers(Gated(), pool)
    before = COUNTERS.snapshot().get("cache_shared", 0)
    calls = [callers.call(["a"])]
    callers.wait_for(1)
    calls.append(callers.call(["a"]))
    time.sleep(0.02)
    callers.inner.gate.set()
    for call in calls:
        call.result()
    assert COUNTERS.snapshot()["cache_shared"] == before + 1
