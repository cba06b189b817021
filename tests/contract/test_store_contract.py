"""The store itself: making, finding and dropping indexes, what is not the house's, and a server that goes away."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from index_cases import NEVER, Subject, dense, entry, keys_of, skip_gaps, vectors_of, write
from stores_under_test import MAKERS, StoreUnderTest

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.errors import DeadlineExceeded, IndexDamaged, StoreRefused, StoreUnavailable
from embedhouse.ports import IndexSpec

# ---- Indexes by name ---------------------------------------------------------------------------------------------


def test_store_makes_an_index_once_and_finds_it_again(able: StoreUnderTest, spec: IndexSpec) -> None:
    assert not able.store.exists(spec.name)
    subject = Subject(able, spec)
    assert able.store.exists(spec.name)
    write(subject.index, entry(1), entry(2))
    subject.reopen()
    assert able.store.exists(spec.name)
    assert sorted(keys_of(dense(subject.index))) == [1, 2]
    assert subject.index.info().count == 2
    subject.remove()


def test_store_drops_an_index_with_all_that_is_in_it(able: StoreUnderTest, spec: IndexSpec) -> None:
    subject = Subject(able, spec)
    write(subject.index, entry(1))
    subject.remove()
    assert not able.store.exists(spec.name)
    again = Subject(able, spec)
    assert list(again.index.keys()) == []
    again.remove()


def test_store_drops_what_is_not_there(able: StoreUnderTest, spec: IndexSpec) -> None:
    able.store.drop(spec.name)
    assert not able.store.exists(spec.name)


def test_store_keeps_indexes_apart(able: StoreUnderTest, spec: IndexSpec) -> None:
    other = msgspec.structs.replace(spec, name=f"{spec.name}x", dimensions=8)
    first, second = Subject(able, spec), Subject(able, other)
    write(first.index, entry(1))
    write(second.index, entry(2, vector=vectors_of(1)[0][:8]))
    assert list(first.index.keys()) == [1]
    assert list(second.index.keys()) == [2]
    first.remove()
    assert able.store.exists(other.name)
    assert list(second.index.keys()) == [2]
    second.remove()


def test_store_opens_no_index_of_other_dimensions(able: StoreUnderTest, spec: IndexSpec) -> None:
    subject = Subject(able, spec)
    write(subject.index, entry(1))
    subject.index.close()
    with pytest.raises(IndexDamaged):
        able.store.open(msgspec.structs.replace(spec, dimensions=spec.dimensions + 1))
    subject.index = able.store.open(spec)
    assert list(subject.index.keys()) == [1]
    subject.remove()


@pytest.mark.parametrize("dimensions", [1, 3, 1_536])
def test_store_takes_vectors_of_any_usual_length(able: StoreUnderTest, spec: IndexSpec, dimensions: int) -> None:
    subject = Subject(able, msgspec.structs.replace(spec, dimensions=dimensions))
    vector = vectors_of(48).reshape(-1)[:dimensions]
    write(subject.index, entry(1, vector=vector), entry(2, vector=-vector))
    subject.settle()
    found = subject.index.search_dense(vector, 2, None, NEVER)
    assert keys_of(found) == [1, 2]
    assert found.scores == pytest.approx([1.0, -1.0], abs=able.tolerance)
    subject.remove()


def test_store_reopened_keeps_what_was_replaced_and_deleted(able: StoreUnderTest, spec: IndexSpec) -> None:
    subject = Subject(able, spec)
    write(subject.index, *(entry(key) for key in range(1, 30)))
    write(subject.index, entry(5, seed=777))
    subject.index.write(deletes=[1, 2], deadline=NEVER)
    subject.index.flush()
    subject.reopen()
    assert list(subject.index.keys()) == list(range(3, 30))
    assert keys_of(subject.index.search_dense(vectors_of(1, 777)[0], 1, None, NEVER)) == [5]
    subject.remove()


def test_store_keeps_an_index_that_is_optimised_again_and_again(subject: Subject) -> None:
    for start in (1, 51):
        write(subject.index, *(entry(key) for key in range(start, start + 50)))
        for _ in range(2):
            subject.index.optimise()
    assert subject.index.info().count == 100
    assert list(subject.index.keys()) == list(range(1, 101))
    assert len(keys_of(dense(subject.index, 200))) == 100


# ---- What is not ours --------------------------------------------------------------------------------------------


def test_store_never_touches_what_is_not_its_own(able: StoreUnderTest, spec: IndexSpec) -> None:
    if able.make_foreign is None:
        pytest.skip("nothing else can have the name of an index here")
    untouched = able.make_foreign(spec)
    with pytest.raises(StoreRefused) as caught:
        able.store.open(spec)
    assert str(caught.value)
    try:
        able.store.drop(spec.name)
    except StoreRefused:
        assert untouched()
    assert untouched()


# ---- A server that goes away -------------------------------------------------------------------------------------


@pytest.fixture
def leaving(request: pytest.FixtureRequest, able: StoreUnderTest, tmp_path: Path) -> Iterator[StoreUnderTest]:
    """A store of its own, whose server the test may stop."""
    if able.go_away is None:
        pytest.skip("the store is part of this process, or its server is not the test's to stop")
    with MAKERS[request.node.callspec.params["under_test"]](tmp_path) as made:
        skip_gaps(request, made.gaps)
        yield made
        if made.come_back is not None:
            made.come_back()
        made.store.close()


def test_store_says_so_when_its_server_is_away(leaving: StoreUnderTest, spec: IndexSpec) -> None:
    assert leaving.go_away is not None
    index = leaving.store.open(spec)
    write(index, entry(1))
    leaving.go_away()
    for call in (
        lambda: write(index, entry(2)),
        lambda: dense(index),
        lambda: list(index.keys()),
        lambda: leaving.store.open(spec),
    ):
        with pytest.raises(StoreUnavailable):
            call()
    with pytest.raises((StoreUnavailable, DeadlineExceeded)):
        index.search_dense(vectors_of(1)[0], 5, None, Deadline(0.5))
    index.close()


def test_store_loses_nothing_when_its_server_goes_away_in_the_middle(
    leaving: StoreUnderTest, spec: IndexSpec
) -> None:
    if leaving.come_back is None:
        pytest.skip("the server cannot be started again with what it had")
    assert leaving.go_away is not None
    index = leaving.store.open(spec)
    written: list[int] = []
    wrong: list[BaseException] = []
    enough = threading.Event()

    def work() -> None:
        for start in range(1, 4_000, 20):
            try:
                write(index, *(entry(key, "") for key in range(start, start + 20)))
            except StoreUnavailable:
                return
            except BaseException as error:
                wrong.append(error)
                return
            finally:
                enough.set() if start > 100 else None
            written.extend(range(start, start + 20))

    writer = threading.Thread(target=work)
    writer.start()
    enough.wait(60)
    leaving.go_away()
    writer.join()
    assert wrong == []
    leaving.come_back()
    index = leaving.store.open(spec)
    assert set(written) <= set(index.keys())
    again = range(1, len(written) + 41)  # the batch that was under way, and one more
    write(index, *(entry(key, "") for key in again))
    assert list(index.keys()) == list(again)
    assert index.info().count == len(again)
    index.close()
