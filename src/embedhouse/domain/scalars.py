"""Metadata values: when two are the same, which comes first, and where they stand.

The rules that filters rest on; `filters` says them in words.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from operator import ge, gt, le, lt
from typing import Any, Literal, cast

from embedhouse.domain.documents import Metadata

__all__ = [
    "FlatMetadata",
    "Op",
    "Scalar",
    "flatten",
    "instant_us",
    "is_order",
    "is_unicode",
    "order_number",
    "same_value",
]

Scalar = str | int | float | bool | None
Op = Literal["eq", "gt", "gte", "lt", "lte"]
FlatMetadata = dict[str, tuple[Scalar, ...]]
"""Each path of the metadata with the scalars that stand there; an empty tuple where only objects or lists do."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_LONGEST_DATE = len("2024-05-01T12:00:00.123456789+00:00")
_ISO_DATE = re.compile(
    r"(\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01]))"
    r"(?:[T ]((?:[01]\d|2[0-3]):[0-5]\d(?::[0-5]\d)?)(?:\.(\d{1,9}))?"
    r"(Z|[+-](?:[01]\d|2[0-3]):?[0-5]\d)?)?",
    re.ASCII,
)


def instant_us(text: str) -> int | None:
    """Microseconds since 1970 of an ISO 8601 date (`2024-05-01`) or date and time; None for any other string.

    No offset means UTC; fractions beyond microseconds are cut.
    """
    return _parse_instant(text) if 10 <= len(text) <= _LONGEST_DATE else None


@lru_cache(maxsize=8192)
def _parse_instant(text: str) -> int | None:
    found = _ISO_DATE.fullmatch(text)
    if found is None:
        return None
    day, clock, fraction, offset = found.groups()
    clock = (clock or "00:00") + (":00" if clock is None or len(clock) == 5 else "")
    try:
        moment = datetime.fromisoformat(f"{day}T{clock}.{(fraction or '0')[:6]:0<6}+00:00")
    except ValueError:  # 30 February
        return None
    return (moment - _EPOCH) // _MICROSECOND - _offset_us(offset)


def _offset_us(offset: str | None) -> int:
    if offset is None or offset == "Z":
        return 0
    minutes = int(offset[1:3]) * 60 + int(offset[-2:])
    return minutes * 60_000_000 * (-1 if offset[0] == "-" else 1)


def order_number(value: float) -> float:
    """The float64 by which a number is ordered; integers beyond float64 stand at its ends."""
    try:
        number = float(value)
    except OverflowError:
        number = math.inf if value > 0 else -math.inf
    return max(-sys.float_info.max, min(sys.float_info.max, number)) if number == number else number


def _kind(value: Scalar) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "bool"
    return "string" if isinstance(value, str) else "number"


def same_value(left: Scalar, right: Scalar) -> bool:
    """Equality of two scalars: by type, dates as instants."""
    if _kind(left) != _kind(right):
        return False
    if left == right:
        return True
    if not (isinstance(left, str) and isinstance(right, str)):
        return False
    instant = instant_us(left)
    return instant is not None and instant == instant_us(right)


_ORDERS: dict[str, Callable[[Any, Any], bool]] = {"gt": gt, "gte": ge, "lt": lt, "lte": le}


def is_order(value: Scalar, op: Op, bound: Scalar) -> bool:
    """Whether `value op bound` for an order operator; False where the two have no order."""
    holds = _ORDERS[op]
    if _kind(value) != _kind(bound):
        return False
    if isinstance(value, str) and isinstance(bound, str):
        bound_us = instant_us(bound)
        if bound_us is None:
            return holds(value, bound)
        value_us = instant_us(value)
        return value_us is not None and holds(float(value_us), float(bound_us))
    return holds(order_number(cast(float, value)), order_number(cast(float, bound)))


def flatten(metadata: Metadata) -> FlatMetadata:
    """Every path of the metadata with its scalars: what filters look at. Strings that are not valid Unicode and
    lists directly inside lists have no value to compare, but their path exists."""
    flat: dict[str, list[Scalar]] = {}
    waiting: list[tuple[str, Any]] = [(key, value) for key, value in metadata.items()]
    while waiting:
        path, value = waiting.pop()
        values = flat.setdefault(path, [])
        for element in value if isinstance(value, list | tuple) else (value,):
            if isinstance(element, dict):
                waiting.extend((f"{path}.{key}", inner) for key, inner in element.items())
            elif _is_comparable(element):
                values.append(element)
    return {path: tuple(values) for path, values in flat.items()}


def _is_comparable(value: object) -> bool:
    if isinstance(value, str):
        return value.isascii() or is_unicode(value)
    return value is None or isinstance(value, bool | int | float)


def is_unicode(text: str) -> bool:
    """Whether the text can be written as UTF-8: no lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
