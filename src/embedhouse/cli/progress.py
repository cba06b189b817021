"""Progress of anything long, on stderr: a bar on a terminal, otherwise a line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from embedhouse.domain.reports import Progress

__all__ = ["describe", "show_progress"]

_SECONDS_BETWEEN_LINES = 5.0
_KIB = 1024


@contextmanager
def show_progress() -> Iterator[Callable[[Progress], None]]:
    """A callback for everything that reports `Progress`. Thread-safe."""
    if sys.stderr.isatty():
        with _bars() as report:
            yield report
    else:
        yield _Lines()


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


@contextmanager
def _bars() -> Iterator[Callable[[Progress], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, SpinnerColumn, TaskID, TextColumn
    from rich.progress import Progress as Bars

    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[line]}"))
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        tasks: dict[str, tuple[TaskID, float]] = {}

        def report(step: Progress) -> None:
            now = time.monotonic()
            if step.stage not in tasks:
                tasks[step.stage] = bars.add_task(step.stage, total=step.total, line=""), now
            task, started = tasks[step.stage]
            line = describe(step, now - started).removeprefix(f"{step.stage}: ")
            bars.update(task, completed=step.done, total=step.total, line=line)

        yield report
