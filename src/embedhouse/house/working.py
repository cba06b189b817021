"""`house.work`: index what any process of a shared ledger has accepted, until told to stop."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import TypeVar

import msgspec
import structlog

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.errors import Cancelled, EmbedhouseError, UnknownCollection
from embedhouse.domain.models import attributed
from embedhouse.domain.reports import Progress
from embedhouse.house.shelf import Shelf
from embedhouse.indexing.indexer import Drained
from embedhouse.indexing.open_collection import OpenCollection
from embedhouse.ledger import changes

__all__ = ["Worked", "Working"]

Result = TypeVar("Result")

_AGAIN_AFTER_S = 60.0

_log = structlog.get_logger("embedhouse.indexing")


class Worked(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker did: changes applied, chunks that the model embedded, and tokens that it read."""

    changes: int
    embedded_chunks: int
    tokens: int


def _nothing() -> None:
    pass


class Working:
    """One worker. What another process works on is left to it; what that process leaves when it dies is taken over.
    A collection that fails is tried again in a minute, and never stops the others."""

    def __init__(self, shelf: Shelf, progress: Callable[[Progress], None]) -> None:
        self._shelf = shelf
        self._progress = progress
        self._done = Drained()
        self._not_before: dict[str, float] = {}

    def run(
        self,
        stop: Deadline,
        *,
        once: bool,
        poll_s: float,
        in_turn: Callable[[], None] = _nothing,
        when_idle: Callable[[], None] = _nothing,
    ) -> Worked:
        """Until `stop` is over or cancelled, which is looked at after each batch; or `once`: until nothing waits
        that this process could do. `in_turn` is called between rounds. Looks again every `poll_s` when there is
        nothing to do, after `when_idle`."""
        while not stop.over:
            with contextlib.suppress(Cancelled):
                self._try(in_turn)
            before = self._done.changes
            self._round(stop)
            if self._done.changes > before:
                continue
            if once:
                break
            self._try(when_idle)
            stop.nap(poll_s)
        return Worked(
            changes=self._done.changes, embedded_chunks=self._done.embedded_chunks, tokens=self._done.tokens
        )

    def _round(self, stop: Deadline) -> None:
        for name in self._try(self._waiting) or ():
            if not stop.over and self._not_before.get(name, 0.0) <= time.monotonic():
                self._work_on(name, stop)

    def _waiting(self) -> list[str]:
        with self._shelf.parts.database.read() as ledger:
            return changes.collections_with_pending(ledger)

    @staticmethod
    def _try(look: Callable[[], Result]) -> Result | None:
        try:
            return look()
        except EmbedhouseError as error:  # a ledger that is away for a while
            _log.warning("the ledger cannot be read; it is tried again", reason=str(error))
            return None

    def _work_on(self, name: str, stop: Deadline) -> None:
        try:
            self._drain(self._shelf.get(name), stop)
        except (UnknownCollection, Cancelled):  # deleted in the meantime; told to stop
            return
        except EmbedhouseError as error:
            _log.warning("indexing failed; it is tried again in a minute", collection=name, reason=str(error))
            self._not_before[name] = time.monotonic() + _AGAIN_AFTER_S
        except Exception:
            _log.exception("indexing failed; it is tried again in a minute", collection=name)
            self._not_before[name] = time.monotonic() + _AGAIN_AFTER_S

    def _drain(self, opened: OpenCollection, stop: Deadline) -> None:
        def count(done: Drained) -> None:
            self._done = self._done.plus(done)
            self._progress(Progress(stage="index", done=self._done.changes, total=None, unit="chunks"))
            stop.check("working")  # the batch is finished, and its leases are given back

        with attributed(collection=opened.collection.name):
            for served in opened.served:
                if served.opened.generation.state != "building":  # that one's builder sees to it
                    served.indexer.drain(Deadline.never(), count)
