"""The place of an index: opened on use, closed at rest, never while somebody uses it."""

import threading

import pytest

from embedhouse.domain.errors import DiskFull
from embedhouse.indexing.slot import IndexSlot


class Index:
    """Knows whether it is open, and fails when it is used while it is not."""

    def __init__(self) -> None:
        self.is_open = True
        self.close_error: Exception | None = None

    def close(self) -> None:
        if self.close_error:
            raise self.close_error
        assert self.is_open
        self.is_open = False


class Place:
    """A slot, and every index that it opened."""

    def __init__(self) -> None:
        self.opened: list[Index] = []
        self.slot = IndexSlot(self._open, threading.RLock())  # type: ignore[arg-type]

    def _open(self) -> Index:
        assert not any(index.is_open for index in self.opened)  # a folder is open once
        self.opened.append(Index())
        return self.opened[-1]


@pytest.fixture
def place() -> Place:
    return Place()


def test_slot_opens_when_it_is_first_borrowed(place: Place) -> None:
    assert (place.slot.is_open, place.opened) == (False, [])
    with place.slot.borrow() as index:
        assert index is place.opened[0]
        assert not place.slot.is_idle
    assert place.slot.is_idle
    with place.slot.borrow() as index:
        assert index is place.opened[0]
    assert place.slot.openings == 1


def test_slot_at_rest_is_closed_and_opens_again(place: Place) -> None:
    with place.slot.borrow():
        pass
    place.slot.rest()
    assert (place.slot.is_open, place.opened[0].is_open) == (False, False)
    with place.slot.borrow() as index:
        assert index is place.opened[1]
    assert place.slot.openings == 2


def test_slot_in_use_does_not_rest(place: Place) -> None:
    with place.slot.borrow() as index:
        place.slot.rest()
        assert index.is_open  # type: ignore[attr-defined]
    assert place.slot.is_open


def test_slot_that_cannot_close_stays_open(place: Place) -> None:
    with place.slot.borrow():
        pass
    place.opened[0].close_error = DiskFull(path="disk")
    with pytest.raises(DiskFull):
        place.slot.rest()
    with place.slot.borrow() as index:
        assert index is place.opened[0]


def test_swapped_index_is_closed_by_its_last_borrower(place: Place) -> None:
    said: list[bool] = []
    successor = Index()
    with place.slot.borrow() as index, place.slot.borrow():
        place.slot.swap(successor, lambda: said.append(index.is_open))  # type: ignore[arg-type, attr-defined]
        with place.slot.borrow() as current:
            assert current is successor
        assert (index.is_open, said) == (True, [])  # type: ignore[attr-defined]
    assert said == [False]
    assert successor.is_open


def test_swap_at_rest_has_nothing_to_close(place: Place) -> None:
    said: list[str] = []
    place.slot.swap(Index(), lambda: said.append("closed"))  # type: ignore[arg-type]
    assert said == ["closed"]
    assert place.slot.is_open


def test_slot_tells_of_every_return(place: Place) -> None:
    said: list[bool] = []
    place.slot.on_return = lambda: said.append(place.slot.is_idle)
    with place.slot.borrow():
        assert said == []
    assert said == [True]


def test_borrowers_never_see_a_closed_index(place: Place) -> None:
    stop = threading.Event()
    failures: list[BaseException] = []

    def borrow() -> None:
        try:
            while not stop.is_set():
                with place.slot.borrow() as index:
                    assert index.is_open  # type: ignore[attr-defined]
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=borrow) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(3000):
        place.slot.rest()
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert sum(index.is_open for index in place.opened) <= 1
