"""Filters as conditions of SQL over the JSONB columns that `filter_terms` fills: `terms`, an array of strings, and
`ranges`, an object of arrays of numbers. JSONB keeps numbers as decimals, so floats have the same order there."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
from psycopg.sql import SQL, Composable, Placeholder

from embedhouse.domain.filters import All, AnyOf, Compare, Exists, Filter, Membership, Not
from embedhouse.domain.namespaces import Namespaces
from embedhouse.domain.scalars import Op, instant_us, order_number
from embedhouse.indexes.filter_terms import equality_term, exists_term, range_field, string_prefix

__all__ = ["Condition", "condition_of", "storable", "stored"]

_OPERATORS: dict[Op, SQL] = {"gt": SQL(">"), "gte": SQL(">="), "lt": SQL("<"), "lte": SQL("<=")}
_PATH_OPERATORS: dict[Op, str] = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
_EVERYTHING, _NOTHING = SQL("true"), SQL("false")


class Condition:
    """SQL that is true or false of a row, and the values that are bound in it."""

    def __init__(self, filter: Filter | None, namespaces: Namespaces) -> None:
        self.params: dict[str, Any] = {}
        parts: list[Composable] = []
        if namespaces is not None:
            parts.append(SQL("namespace = ANY({}::text[])").format(self._bind(list(namespaces))))
        if filter is not None:
            parts.append(self._of(filter))
        self.sql = _joined(parts, " AND ", _EVERYTHING)
        self.holds_always = not parts

    def _bind(self, value: object) -> Placeholder:
        name = f"f{len(self.params)}"
        self.params[name] = value
        return Placeholder(name)

    def _of(self, filter: Filter) -> Composable:
        match filter:
            case Compare(field, "eq", value):
                return self._has(equality_term(field, value))
            case Compare():
                return self._ordered(filter)
            case Membership(field, values):
                terms = [storable(equality_term(field, value)) for value in values]
                return SQL("terms ?| {}::text[]").format(self._bind(terms))
            case Exists(field):
                return self._has(exists_term(field))
            case Not(inner):
                return SQL("NOT ({})").format(self._of(inner))
            case All(parts):
                return _joined([self._of(part) for part in parts], " AND ", _EVERYTHING)
            case AnyOf(parts):
                return _joined([self._of(part) for part in parts], " OR ", _NOTHING)

    def _has(self, term: str) -> Composable:
        return SQL("terms ? {}::text").format(self._bind(storable(term)))

    def _ordered(self, filter: Compare) -> Composable:
        has_path = self._has(exists_term(filter.field))
        bound = filter.value
        if not isinstance(bound, str):
            return self._within(has_path, range_field(filter.field, "n"), filter.op, order_number(bound or 0))
        instant = instant_us(bound)
        if instant is not None:
            return self._within(has_path, range_field(filter.field, "d"), filter.op, float(instant))
        prefix = string_prefix(filter.field)
        return SQL(
            "({has_path} AND EXISTS (SELECT FROM jsonb_array_elements_text(terms) AS each(term)"
            ' WHERE starts_with(term, {prefix}::text) AND term COLLATE "C" {operator} {bound}::text))'
        ).format(
            has_path=has_path,
            prefix=self._bind(storable(prefix)),
            operator=_OPERATORS[filter.op],
            bound=self._bind(storable(prefix + bound)),
        )

    def _within(self, has_path: Composable, field: str, op: Op, number: float) -> Composable:
        path = f"$.{field}[*] ? (@ {_PATH_OPERATORS[op]} $bound)"
        bound = msgspec.json.encode({"bound": number}).decode()
        return SQL("({} AND jsonb_path_exists(ranges, {}::jsonpath, {}::jsonb))").format(
            has_path, self._bind(path), self._bind(bound)
        )


def condition_of(filter: Filter | None, namespaces: Namespaces) -> Condition:
    """What rows of these namespaces that pass the filter meet."""
    return Condition(filter, namespaces)


def _joined(parts: Iterable[Composable], word: str, none: Composable) -> Composable:
    conditions = list(parts)
    return SQL("({})").format(SQL(word).join(conditions)) if conditions else none


# PostgreSQL keeps no NUL. These two keep the order of code points, and a prefix stays a prefix.
def storable(text: str) -> str:
    """The text without NUL."""
    if "\x00" in text or "\x01" in text:
        return text.replace("\x01", "\x01\x02").replace("\x00", "\x01\x01")
    return text


def stored(text: str) -> str:
    """The text as it was before `storable`."""
    return text.replace("\x01\x01", "\x00").replace("\x01\x02", "\x01") if "\x01" in text else text
