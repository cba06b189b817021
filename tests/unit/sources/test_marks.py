"""Marks: kept as JSON, a little before, never in the future."""

import datetime as dt
import decimal
from typing import Any

import pytest

from embedhouse.sources.marks import Mark

AT = dt.datetime(2024, 3, 1, 12, 0, 0, 500, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    "version", [AT, AT.replace(tzinfo=None), AT.date(), 7, decimal.Decimal("7.5"), "2024-03-01 12:00:00", "v7"]
)
def test_mark_gives_back_the_version_it_was_made_of(version: Any) -> None:
    mark = Mark.of(version)
    assert mark is not None
    assert Mark.from_json(mark.to_json()) == mark
    assert mark.version() == version


@pytest.mark.parametrize("nothing", [None, "", True, b"x", [1]])
def test_mark_of_what_does_not_grow_is_none(nothing: object) -> None:
    assert Mark.of(nothing) is None
    assert Mark.from_json("") is None


@pytest.mark.parametrize(
    ("version", "start"),
    [
        (AT, AT - dt.timedelta(seconds=60)),
        (dt.date(2024, 3, 1), dt.date(2024, 2, 29)),
        (100, 90),
        ("2024-03-01 12:00:00.25", "2024-03-01 11:59:00"),
        ("2024-03-01T12:00:00+00:00", "2024-03-01T11:59:00"),
        ("v7", "v7"),
    ],
)
def test_start_is_a_little_before(version: Any, start: Any) -> None:
    mark = Mark.of(version)
    assert mark is not None
    assert mark.start(60, 10) == start


@pytest.mark.parametrize(
    ("version", "now", "capped"),
    [
        (AT, AT - dt.timedelta(hours=1), AT - dt.timedelta(hours=1)),
        (AT, AT + dt.timedelta(hours=1), AT),
        (AT.replace(tzinfo=None), AT - dt.timedelta(hours=1), (AT - dt.timedelta(hours=1)).replace(tzinfo=None)),
        ("2999-01-01 00:00:00", "2024-03-01 12:00:00", "2024-03-01 12:00:00"),
        ("2999-01-01T00:00:00", "2024-03-01 12:00:00", "2024-03-01T12:00:00"),
        (10**12, AT, 10**12),
        ("v7", AT, "v7"),
        (AT, None, AT),
    ],
)
def test_mark_is_never_later_than_the_databases_own_time(version: Any, now: Any, capped: Any) -> None:
    mark = Mark.of(version)
    assert mark is not None
    assert mark.capped(now).version() == capped
