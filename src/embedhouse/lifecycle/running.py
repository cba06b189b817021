"""Builds that run in this process, waited for or in the background."""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.errors import EmbedhouseError
from embedhouse.domain.models import attributed
from embedhouse.domain.reports import Progress
from embedhouse.indexing.open_collection import OpenCollection
from embedhouse.indexing.served import ServedGeneration
from embedhouse.ledger import builds
from embedhouse.lifecycle.building import Builder

__all__ = ["RunningBuilds"]

_log = structlog.get_logger("embedhouse.lifecycle")

_Tell = Callable[[Progress], None]


class RunningBuilds:
    """One builder a generation. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[int, tuple[Builder, threading.Thread | None]] = {}

    def run(self, opened: OpenCollection, served: ServedGeneration, progress: _Tell, deadline: Deadline) -> None:
        """Build it now, unless it is being built. Errors: those of Builder.run, noted with the build."""
        builder = Builder(opened, served)
        if self._take(served, builder, None):
            self._build(opened, served, builder, progress, deadline)

    def run_behind(self, opened: OpenCollection, served: ServedGeneration) -> None:
        """Build it in the background, unless it is being built. What goes wrong is logged and noted with the
        build."""
        builder = Builder(opened, served)
        thread = threading.Thread(
            target=self._build_quietly,
            args=(opened, served, builder),
            name=f"build-{served.opened.generation.id}",
            daemon=True,
        )
        if self._take(served, builder, thread):
            thread.start()

    def stop(self, generation_id: int) -> None:
        """Let one end after the batch under way, and wait for it."""
        with self._lock:
            running = self._running.get(generation_id)
        if running is not None:
            _end(*running)

    def close(self) -> None:
        """The same with all."""
        with self._lock:
            running = list(self._running.values())
        for each in running:
            _end(*each)

    def _take(self, served: ServedGeneration, builder: Builder, thread: threading.Thread | None) -> bool:
        with self._lock:
            if served.opened.generation.id in self._running:
                return False
            self._running[served.opened.generation.id] = (builder, thread)
            return True

    def _build(
        self,
        opened: OpenCollection,
        served: ServedGeneration,
        builder: Builder,
        progress: _Tell,
        deadline: Deadline,
    ) -> None:
        generation_id = served.opened.generation.id
        try:
            with attributed(collection=opened.collection.name):
                builder.run(progress, deadline)
        except EmbedhouseError as error:
            with served.opened.parts.database.write() as ledger:
                builds.set_build(ledger, generation_id, error=str(error))
            raise
        finally:
            with self._lock:
                self._running.pop(generation_id, None)

    def _build_quietly(self, opened: OpenCollection, served: ServedGeneration, builder: Builder) -> None:
        try:
            self._build(opened, served, builder, lambda _: None, Deadline.never())
        except EmbedhouseError as error:
            _log.warning("building a generation stopped", reason=str(error))
        except Exception:
            _log.exception("building a generation stopped")


def _end(builder: Builder, thread: threading.Thread | None) -> None:
    builder.stop()
    if thread is not None:
        thread.join()
