"""Progress lines."""

from __future__ import annotations

import io

import pytest

from embedhouse.cli.progress import describe, downloads, show_progress
from embedhouse.domain.reports import Progress


def test_describe_gives_share_rate_and_time_left() -> None:
    step = Progress(stage="index", done=1200, total=4800, unit="documents")
    assert describe(step, 10.0) == "index: 1,200 documents of 4,800 documents (25%), 120 documents/s, 30 s left"


def test_describe_counts_bytes_in_binary_units() -> None:
    step = Progress(stage="model", done=3 * 2**20, total=6 * 2**20, unit="bytes")
    assert describe(step, 3.0) == "model: 3.0 MiB of 6.0 MiB (50%), 1.0 MiB/s, 3 s left"


@pytest.mark.parametrize(("left", "shown"), [(59, "59 s"), (61, "1 min 01 s"), (3660, "1 h 01 min")])
def test_describe_shows_long_times_in_minutes_and_hours(left: int, shown: str) -> None:
    step = Progress(stage="eval", done=1, total=1 + left, unit="queries")
    assert describe(step, 1.0).endswith(f", {shown} left")


def test_describe_without_total_or_time_makes_no_promise() -> None:
    assert describe(Progress(stage="read", done=5, total=None, unit="files"), 0.0) == "read: 5 files"
    assert describe(Progress(stage="read", done=0, total=0, unit="files"), 1.0) == "read: 0 files of 0 files"


def test_show_progress_off_terminal_writes_lines_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = iter([0.0, 0.0, 1.0, 6.0, 7.0])
    monkeypatch.setattr("embedhouse.cli.progress.time.monotonic", lambda: next(now))
    with show_progress() as report:
        for done in (1, 2, 60, 70):
            report(Progress(stage="index", done=done, total=100, unit="documents"))
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.splitlines() == ["index: 60 documents of 100 documents (60%), 10 documents/s, 4 s left"]


def test_downloads_report_bytes_and_remark_on_what_has_no_size(capsys: pytest.CaptureFixture[str]) -> None:
    heard: list[Progress] = []
    report = downloads(heard.append)
    report("the hub is out of reach", 0, None)
    report("model", 5, 10)
    assert heard == [Progress(stage="model", done=5, total=10, unit="bytes")]
    assert capsys.readouterr().err == "the hub is out of reach\n"


def test_show_progress_on_a_terminal_draws_bars_and_takes_them_away(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(screen, "isatty", lambda: True)
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    with show_progress() as report:
        assert screen.getvalue() == ""
        report(Progress(stage="index", done=5, total=10, unit="documents"))
    assert "5 documents of 10 documents (50%)" in screen.getvalue()
    assert screen.getvalue().rstrip().endswith(("\x1b[2K", "\x1b[1A\x1b[2K"))
