"""The place of one generation's index: searches borrow it, a rebuilt one is swapped in under them."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from embedhouse.domain.errors import IndexDamaged
from embedhouse.indexing.parts import RebuildableIndex

__all__ = ["IndexSlot"]


class IndexSlot:
    """Holds an open index. Whoever borrows it keeps it open until done; a swap waits for nobody: the old one is
    closed by its last borrower."""

    def __init__(self, index: RebuildableIndex) -> None:
        self._lock = threading.Lock()
        self._current = _Counted(index)

    @contextmanager
    def borrow(self) -> Iterator[RebuildableIndex]:
        """The index as it is now."""
        with self._lock:
            counted = self._current
            counted.borrowers += 1
        try:
            yield counted.index
        finally:
            self._return(counted)

    def swap(self, index: RebuildableIndex) -> None:
        """Put another index in its place and close the old one as soon as nobody uses it."""
        with self._lock:
            old, self._current = self._current, _Counted(index)
            old.retired = True
            unused = old.borrowers == 0
        if unused:
            _close_old(old.index)

    def close(self) -> None:
        """Close the index; nobody may use it any more."""
        self._current.index.close()

    def _return(self, counted: _Counted) -> None:
        with self._lock:
            counted.borrowers -= 1
            unused = counted.retired and counted.borrowers == 0
        if unused:
            _close_old(counted.index)


def _close_old(index: RebuildableIndex) -> None:
    # It may be replaced because it is damaged: what it says about that at the end helps nobody.
    with contextlib.suppress(IndexDamaged):
        index.close()


class _Counted:
    def __init__(self, index: RebuildableIndex) -> None:
        self.index = index
        self.borrowers = 0
        self.retired = False
