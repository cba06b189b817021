"""The place of one generation's index: opened when it is used, closed when it rests, swapped for a rebuilt one."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from embedhouse.domain.errors import IndexDamaged
from embedhouse.ports import Index

__all__ = ["IndexSlot"]


class IndexSlot:
    """Holds an index while it is open. Whoever borrows it keeps it open until done; a swap waits for nobody: the
    old one is closed by its last borrower.

    open_index() is called under `lock`, when a borrower finds nothing open.
    """

    def __init__(self, open_index: Callable[[], Index], lock: threading.RLock) -> None:
        self._open_index = open_index
        self._opening = lock
        self._lock = threading.Lock()
        self._current: _Counted | None = None
        self.on_return: Callable[[], None] = _nothing
        """Hears of every end of a borrowing; it must not wait."""
        self.openings = 0
        """How often the index was opened."""

    @property
    def is_open(self) -> bool:
        """Whether an index is open now."""
        return self._current is not None

    @property
    def is_idle(self) -> bool:
        """Whether it is open and nobody uses it."""
        with self._lock:
            return self._current is not None and self._current.borrowers == 0

    @contextmanager
    def borrow(self) -> Iterator[Index]:
        """The index as it is now, opened first where it rests. Errors: those of opening it."""
        counted = self._take() or self._open()
        try:
            yield counted.index
        finally:
            self._give_back(counted)
            self.on_return()

    def swap(self, index: Index, once_closed: Callable[[], None]) -> None:
        """Put another index in its place and close the old one as soon as nobody uses it."""
        self._retire(_Counted(index), once_closed)

    def rest(self) -> None:
        """Close the index unless somebody uses it. The next borrower opens it again."""
        with self._opening:  # so that nobody opens the folder before it is released
            with self._lock:
                if self._current is None or self._current.borrowers:
                    return
                resting, self._current = self._current, None
            try:
                resting.index.close()
            except BaseException:
                self._current = resting
                raise

    def close(self) -> None:
        """Close the index, as soon as nobody uses it."""
        self._retire(None, _nothing)

    def _take(self) -> _Counted | None:
        with self._lock:
            if self._current is not None:
                self._current.borrowers += 1
            return self._current

    def _open(self) -> _Counted:
        with self._opening:
            if opened := self._take():  # another thread was faster
                return opened
            opened = _Counted(self._open_index())
            opened.borrowers = 1
            with self._lock:
                self._current = opened
                self.openings += 1
            return opened

    def _retire(self, successor: _Counted | None, once_closed: Callable[[], None]) -> None:
        with self._lock:
            old, self._current = self._current, successor
            if old is not None:
                old.once_closed = once_closed
            unused = old is not None and old.borrowers == 0
        if old is None:
            once_closed()
        elif unused:
            old.close()

    def _give_back(self, counted: _Counted) -> None:
        with self._lock:
            counted.borrowers -= 1
            unused = counted.once_closed is not None and counted.borrowers == 0
        if unused:
            counted.close()


def _nothing() -> None:
    pass


class _Counted:
    def __init__(self, index: Index) -> None:
        self.index = index
        self.borrowers = 0
        self.once_closed: Callable[[], None] | None = None
        """Set when its place was taken: what its last borrower does once it is closed."""

    def close(self) -> None:
        # It may be replaced because it is damaged: what it says about that at the end helps nobody.
        with contextlib.suppress(IndexDamaged):
            self.index.close()
        if self.once_closed is not None:
            self.once_closed()
