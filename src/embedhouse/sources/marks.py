"""How far the increments of a source were read: a time, a number, or a time as text, kept as JSON."""

from __future__ import annotations

import datetime as dt
import decimal
from typing import Any, Literal

import msgspec

__all__ = ["Mark"]


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """A version as a database gave it, in a form that can be kept."""

    kind: Literal["time", "date", "number", "text"]
    value: str

    @classmethod
    def of(cls, version: object) -> Mark | None:
        """The mark at this version; None where it is not of a kind that grows."""
        if isinstance(version, dt.datetime):
            return cls(kind="time", value=version.isoformat())
        if isinstance(version, dt.date):
            return cls(kind="date", value=version.isoformat())
        if isinstance(version, int | float | decimal.Decimal) and not isinstance(version, bool):
            return cls(kind="number", value=str(version))
        return cls(kind="text", value=version) if isinstance(version, str) and version else None

    @classmethod
    def from_json(cls, stored: str) -> Mark | None:
        """The mark that `to_json` wrote; None for an empty string."""
        return msgspec.json.decode(stored, type=cls) if stored else None

    def to_json(self) -> str:
        """For the ledger."""
        return msgspec.json.encode(self).decode()

    def version(self) -> Any:
        """As the database compares it."""
        if self.kind == "time":
            return dt.datetime.fromisoformat(self.value)
        if self.kind == "date":
            return dt.date.fromisoformat(self.value)
        if self.kind == "number":
            number = decimal.Decimal(self.value)
            return int(number) if number == number.to_integral_value() else number
        return self.value

    def start(self, overlap_s: float, overlap_versions: int) -> Any:
        """The version to read from: a little before the mark."""
        version = self.version()
        if self.kind == "number":
            return version - overlap_versions
        if self.kind == "text":
            return _text_before(self.value, overlap_s)
        if self.kind == "date":
            return version - dt.timedelta(days=1)
        return version - dt.timedelta(seconds=overlap_s)

    def capped(self, now: object) -> Mark:
        """This mark, or the database's own time where that is earlier: a row from the future must not hide those
        that are changed until then. Times without a zone count as UTC."""
        own, limit = _as_time(self.value), _as_time(now)
        if self.kind not in ("time", "text") or own is None or limit is None or own <= limit:
            return self
        if self.kind == "text":
            return Mark(kind="text", value=_as_text(limit, self.value))
        zone = dt.datetime.fromisoformat(self.value).tzinfo
        return Mark(kind="time", value=(limit if zone else limit.replace(tzinfo=None)).isoformat())


def _as_time(value: object) -> dt.datetime | None:
    if isinstance(value, str):
        try:
            value = dt.datetime.fromisoformat(value)
        except ValueError:
            return None
    if not isinstance(value, dt.datetime):
        return None
    return value.replace(tzinfo=dt.UTC) if value.tzinfo is None else value.astimezone(dt.UTC)


def _text_before(value: str, seconds: float) -> str:
    """A text that sorts before every time of the last `seconds` before this one; itself where it is no time."""
    try:
        time = dt.datetime.fromisoformat(value)
    except ValueError:
        return value
    return _as_text(time - dt.timedelta(seconds=seconds), value)


def _as_text(time: dt.datetime, like: str) -> str:
    """Whole seconds and no zone: what is written with more sorts after it."""
    separator = "T" if "T" in like else " "
    return time.replace(tzinfo=None).isoformat(sep=separator, timespec="seconds")
