"""A house with more collections than it may hold open: the least recently used indexes are closed, unnoticed."""

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fake_house import HashEmbedder, open_fake_house

from embedhouse.domain.documents import Document
from embedhouse.domain.errors import UnknownCollection
from embedhouse.house import House

LIMIT = 2
NAMES = ("a", "b", "c", "d")


@pytest.fixture
def embedder() -> HashEmbedder:
    return HashEmbedder()


@pytest.fixture
def house(tmp_path: Path, embedder: HashEmbedder) -> Iterator[House]:
    with open_fake_house(tmp_path, embedder, open_indexes=LIMIT) as opened:
        for name in NAMES:
            opened.collections.create(name)
        yield opened


def _write(house: House, name: str, number: int = 0) -> None:
    text = f"Word{number} of {name}."
    house.documents.upsert(name, [Document(id=f"{name}{number}", text=text)])


def _found(house: House, name: str, number: int = 0) -> list[str]:
    return [hit.document_id for hit in house.search(name, f"word{number}", mode="lexical").hits]


def _open(house: House) -> list[str]:
    return [name for name in NAMES if house._shelf.get(name).live_indexer.is_open]


def _settles(question: Callable[[], object], expected: object) -> bool:
    """Whether the answer becomes this: indexes are closed in the background."""
    until = time.monotonic() + 10
    while question() != expected and time.monotonic() < until:
        time.sleep(0.005)
    return question() == expected


def test_least_recently_used_index_is_closed_and_opens_again(house: House) -> None:
    for name in NAMES:
        _write(house, name)
        assert _settles(lambda: len(_open(house)) <= LIMIT, True)
    assert _open(house) == ["c", "d"]
    assert _found(house, "c") == ["c0"]
    assert _found(house, "a") == ["a0"]
    assert _settles(lambda: _open(house), ["a", "c"])
    for name in NAMES:
        assert _found(house, name) == [f"{name}0"]
        _write(house, name, 1)
        assert _found(house, name, 1) == [f"{name}1"]
    assert house.status().clean


def test_closed_index_takes_nothing_from_the_model_to_open_again(house: House, embedder: HashEmbedder) -> None:
    for name in NAMES:
        _write(house, name)
    assert _settles(lambda: _open(house), ["c", "d"])
    calls = len(embedder.calls)
    assert _found(house, "a") == ["a0"]
    with house._parts.database.read() as ledger:
        assert ledger.exec_driver_sql("SELECT count(*) FROM change WHERE state != 1").scalar() == 0
    assert len(embedder.calls) == calls


def test_index_in_use_is_not_closed(house: House) -> None:
    _write(house, "a")
    with house._shelf.get("a").live.slot.borrow() as index:
        for name in ("b", "c", "d"):
            _write(house, name)
        assert _settles(lambda: _open(house), ["a", "d"])
        assert index.info().count == 1


def test_index_deleted_while_closed_is_built_again(house: House, embedder: HashEmbedder) -> None:
    for name in NAMES:
        _write(house, name)
    assert _settles(lambda: _open(house), ["c", "d"])
    generation = house._shelf.get("a").live.generation.id
    shutil.rmtree(house._parts.home / "indexes" / str(generation))
    calls = len(embedder.calls)
    assert _found(house, "a") == ["a0"]
    assert len(embedder.calls) == calls


def test_deleted_collection_does_not_open_again(house: House) -> None:
    _write(house, "a")
    kept = house._shelf.get("a")
    house.collections.delete("a")
    with pytest.raises(UnknownCollection), kept.live.slot.borrow():
        pass


def test_index_stays_open_while_it_is_compacted(tmp_path: Path) -> None:
    with open_fake_house(tmp_path, open_indexes=1) as house:
        for name in ("a", "b"):
            house.collections.create(name)
            _write(house, name)
        compaction = threading.Thread(target=house.collections.compact, args=("a",))
        compaction.start()
        number = 0
        while compaction.is_alive():
            number += 1
            for name in ("a", "b"):
                _write(house, name, number)
        compaction.join()
        for each in range(number + 1):
            assert _found(house, "a", each) == [f"a{each}"]
        assert house.status().clean


def test_searches_writes_and_compactions_race_with_closing(tmp_path: Path) -> None:
    failures: list[BaseException] = []
    stop = threading.Event()
    with open_fake_house(tmp_path, open_indexes=1) as house:
        for name in NAMES:
            house.collections.create(name)
            _write(house, name)

        def work(worker: int) -> None:
            try:
                for turn in range(1, 100_000):
                    if stop.is_set():
                        return
                    name = NAMES[(turn + worker) % len(NAMES)]
                    number = turn * 10 + worker
                    _write(house, name, number)
                    assert f"{name}{number}" in _found(house, name, number)
                    assert _found(house, name) == [f"{name}0"]
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=work, args=(worker,)) for worker in range(4)]
        for thread in threads:
            thread.start()
        house.collections.compact("a")
        stop.set()
        for thread in threads:
            thread.join()
        assert failures == []
        assert house.status().clean
        assert _settles(lambda: len(_open(house)) <= 1, True)
        counts = {name: house.collections.get(name).chunks for name in NAMES}
    with open_fake_house(tmp_path) as house:
        for name in NAMES:
            with house._shelf.get(name).live.slot.borrow() as index:
                assert index.info().count == counts[name]


def test_house_closes_while_indexes_are_closed(tmp_path: Path) -> None:
    for _ in range(2):
        with open_fake_house(tmp_path, open_indexes=1) as house:
            for name in NAMES:
                house.collections.ensure(name)
                _write(house, name)
        with open_fake_house(tmp_path) as house:
            assert [_found(house, name) for name in NAMES] == [[f"{name}0"] for name in NAMES]
