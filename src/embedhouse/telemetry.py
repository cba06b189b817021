"""Timings of every stage, and counters. Hooks from the first day; exporters read them later."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["COUNTERS", "STAGES", "Counters", "StageTotals", "Trace"]


class Counters:
    """Named totals since the process started. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._totals: Counter[str] = Counter()

    def add(self, name: str, amount: int = 1) -> None:
        """Add to a counter; it starts at 0."""
        with self._lock:
            self._totals[name] += amount

    def snapshot(self) -> dict[str, int]:
        """All totals now."""
        with self._lock:
            return dict(self._totals)


class StageTotals:
    """How often each stage ran and for how long since the process started. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._runs: Counter[str] = Counter()

    def record(self, stage: str, seconds: float) -> None:
        """Add one run of a stage."""
        with self._lock:
            self._seconds[stage] += seconds
            self._runs[stage] += 1

    def snapshot(self) -> dict[str, tuple[int, float]]:
        """Stage -> (runs, seconds)."""
        with self._lock:
            return {stage: (self._runs[stage], self._seconds[stage]) for stage in self._runs}


COUNTERS = Counters()
STAGES = StageTotals()


class Trace:
    """The stages of one request, in milliseconds. Stages of parallel threads may overlap. Thread-safe enough:
    each stage is written by one thread."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self.timings_ms: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the body as a run of the stage."""
        started = time.perf_counter()
        try:
            yield
        finally:
            seconds = time.perf_counter() - started
            self.timings_ms[name] = self.timings_ms.get(name, 0.0) + seconds * 1e3
            STAGES.record(name, seconds)

    @property
    def took_ms(self) -> float:
        """Milliseconds since the trace began."""
        return (time.perf_counter() - self._started) * 1e3
