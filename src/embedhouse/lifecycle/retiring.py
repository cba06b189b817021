"""The end of a generation: nobody asks it any more, then its index and its chunks go."""

from __future__ import annotations

import contextlib
import time

from embedhouse.domain.errors import UnknownCollection
from embedhouse.indexing.open_collection import OpenCollection
from embedhouse.indexing.open_generation import OpenGeneration
from embedhouse.ledger import builds, collections
from embedhouse.ledger.database import Database

__all__ = ["retire", "sweep"]

_LONGEST_WAIT_S = 60.0
_PAUSE_S = 0.02
_GRACE_S = 5.0


def retire(opened: OpenCollection, generation: OpenGeneration) -> None:
    """Take a generation out of use, and free what it takes. Killed anywhere, `sweep` ends it."""
    database = generation.parts.database
    with database.write() as ledger:
        collections.set_state(ledger, opened.collection.id, generation.generation.id, "retired")
    opened.refresh()
    give_up = time.monotonic() + _LONGEST_WAIT_S
    while generation.slot.is_open and time.monotonic() < give_up:  # a search that began before
        time.sleep(_PAUSE_S)
    if database.server is not None:  # searches of other processes, which look at the ledger each time they begin
        time.sleep(_GRACE_S)
    _free(database, generation)


def sweep(database: Database, opened: OpenCollection) -> None:
    """Free what retired generations of a collection still take, because a process stopped in the middle."""
    with database.read() as ledger:
        left = collections.generations(ledger, opened.collection.id, ("retired",))
    for generation in left:
        with contextlib.suppress(UnknownCollection):  # another process has just done so
            _free(database, OpenGeneration(opened.live.parts, opened.collection, generation))


def _free(database: Database, generation: OpenGeneration) -> None:
    """The index first: without its row in the ledger nobody would know that it is there."""
    generation.drop_index(generation.current_name())
    more = True
    while more:  # in pieces, so that no writer waits for long
        with database.write() as ledger:
            more = builds.delete_some_of_generation(ledger, generation.generation.id)
