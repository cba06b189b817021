"""Progress of anything long, on stderr: a bar on a terminal, otherwise a line now and then."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from embedhouse.domain.reports import Progress

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

    from embedhouse.models.progress import Progress as DownloadProgress

__all__ = ["OnProgress", "describe", "downloads", "show_progress"]

_SECONDS_BETWEEN_LINES = 5.0
_KIB = 1024


OnProgress = Callable[[Progress], None]


@contextmanager
def show_progress() -> Iterator[OnProgress]:
    """A callback for everything that reports `Progress`. Thread-safe. Shows nothing before the first report."""
    if not sys.stderr.isatty():
        yield _Lines()
        return
    bars = _Bars()
    try:
        yield bars
    finally:
        bars.close()


def downloads(on_progress: OnProgress) -> DownloadProgress:
    """A callback for the model store that reports as everything else does; what has no size is a remark."""

    def report(what: str, done_bytes: int, total_bytes: int | None) -> None:
        if total_bytes is None:
            print(what, file=sys.stderr, flush=True)
            return
        on_progress(Progress(stage=what, done=done_bytes, total=total_bytes, unit="bytes"))

    return report


class _Lines:
    """Plain lines for logs: a stage's first report after a while, then one every few seconds."""

    def __init__(self) -> None:
        self._stage = ""
        self._started = self._last = time.monotonic()

    def __call__(self, step: Progress) -> None:
        now = time.monotonic()
        if step.stage != self._stage:
            self._stage, self._started, self._last = step.stage, now, now
        if now - self._last >= _SECONDS_BETWEEN_LINES:
            self._last = now
            print(describe(step, now - self._started), file=sys.stderr, flush=True)


def describe(step: Progress, elapsed_s: float) -> str:
    """One line: stage, how much of what, rate, time left."""
    parts = [_amount(step)]
    rate = step.done / elapsed_s if elapsed_s > 0 else 0.0
    if rate:
        parts.append(f"{_quantity(rate, step.unit)}/s")
        if step.total is not None:
            parts.append(f"{_duration((step.total - step.done) / rate)} left")
    return f"{step.stage}: {', '.join(parts)}"


def _amount(step: Progress) -> str:
    if step.total is None:
        return _quantity(step.done, step.unit)
    share = f" ({step.done / step.total:.0%})" if step.total else ""
    return f"{_quantity(step.done, step.unit)} of {_quantity(step.total, step.unit)}{share}"


def _quantity(number: float, unit: str) -> str:
    if unit != "bytes":
        digits = 0 if number >= 10 or number == int(number) else 1
        return f"{number:,.{digits}f} {unit}"
    for name in ("B", "KiB", "MiB"):
        if number < _KIB:
            return f"{number:.1f} {name}" if name != "B" else f"{number:.0f} B"
        number /= _KIB
    return f"{number:.2f} GiB"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


class _Bars:
    """A bar for each stage, gone when all is done. Rich is loaded when the first report comes."""

    def __init__(self) -> None:
        self._bars: Bars | None = None
        self._tasks: dict[str, tuple[TaskID, float]] = {}
        self._lock = threading.Lock()

    def __call__(self, step: Progress) -> None:
        now = time.monotonic()
        with self._lock:
            bars = self._bars = self._bars or _started_bars()
            if step.stage not in self._tasks:
                self._tasks[step.stage] = bars.add_task(step.stage, total=step.total, line=""), now
            task, started = self._tasks[step.stage]
            line = describe(step, now - started).removeprefix(f"{step.stage}: ")
            bars.update(task, completed=step.done, total=step.total, line=line)

    def close(self) -> None:
        """Take the bars off the screen."""
        if self._bars is not None:
            self._bars.stop()


def _started_bars() -> Bars:
    from rich.console import Console
    from rich.progress import BarColumn, SpinnerColumn, TextColumn
    from rich.progress import Progress as Bars

    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[line]}"))
    bars = Bars(*columns, console=Console(stderr=True), transient=True)
    bars.start()
    return bars
