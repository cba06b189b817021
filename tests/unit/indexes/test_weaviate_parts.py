"""What the Weaviate adapter writes and asks, without a server: ids, filterable properties, errors."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import httpx
import pytest
from grpc import StatusCode
from hypothesis import given
from hypothesis import strategies as st
from weaviate.exceptions import (
    ResponseCannotBeDecodedError,
    UnexpectedStatusCodeError,
    WeaviateStartUpError,
    WeaviateTimeoutError,
)

from embedhouse.domain.errors import IndexDamaged, StoreRefused, StoreUnauthorized, StoreUnavailable
from embedhouse.domain.filters import parse_filter
from embedhouse.domain.scalars import flatten
from embedhouse.indexes.filter_terms import range_field
from embedhouse.indexes.weaviate.errors import error_of, error_of_code, error_of_text, is_passing
from embedhouse.indexes.weaviate.filters import condition_of, filterable, is_end
from embedhouse.indexes.weaviate.objects import key_of, object_id

KEYS = st.integers(0, 2**63 - 1)

# ---- Ids ---------------------------------------------------------------------------------------------------------


@given(KEYS, KEYS)
def test_object_id_keeps_the_key_and_its_order(left: int, right: int) -> None:
    assert key_of(object_id(left)) == left
    assert (object_id(left) < object_id(right)) == (left < right)
    assert (object_id(left).bytes < object_id(right).bytes) == (left < right)


@pytest.mark.parametrize("key", [0, 1, 2**62 - 1, 2**62, 2**63 - 1])
def test_object_id_is_a_uuid_of_the_applications_own_kind(key: int) -> None:
    made = object_id(key)
    assert (made.version, made.variant) == (8, "specified in RFC 4122")
    assert made.bytes[:6] == b"embedh"
    assert UUID(str(made)) == made


# ---- Filterable properties ---------------------------------------------------------------------------------------


def _ends(metadata: dict[str, Any]) -> list[float | str]:
    return list(filterable(flatten(metadata)).ends.values())


@given(st.text(max_size=300), st.text(max_size=300))
def test_filterable_strings_keep_their_order_as_bytes(left: str, right: str) -> None:
    low, _ = _ends({"a": left})
    bound, _ = _ends({"a": right})
    assert isinstance(low, str)
    assert isinstance(bound, str)
    assert low.strip() == low
    # Beyond the longest bound nothing is compared.
    assert (low < bound) == (left[:257] < right[:257])


@pytest.mark.parametrize("text", ["", " ", "x ", " x", "a\x00b", "\t", "\u2003", "y" * 5_000])
def test_filterable_terms_survive_trimming(text: str) -> None:
    found = filterable(flatten({"a": text}))
    others = filterable(flatten({"a": text.strip() + "!"}))
    assert [term.strip() for term in found.terms] == found.terms
    assert all("\x00" not in term and len(term) < 300 for term in found.terms)
    assert len(set(found.terms) & set(others.terms)) == 2  # that the path is there, and has a string


def test_filterable_numbers_have_no_negative_zero() -> None:
    assert [str(end) for end in _ends({"a": -0.0})] == ["0.0", "0.0"]


def test_filterable_lists_keep_their_least_and_greatest() -> None:
    found = filterable(flatten({"a": [3, -7, 5]}))
    field = range_field("a", "n")
    assert found.ends == {f"{field}_low": -7.0, f"{field}_high": 5.0}
    assert field in found.terms


def test_filterable_names_are_known_as_its_own() -> None:
    assert all(map(is_end, filterable(flatten({"a": [1, "x", "2024-01-01"]})).ends))
    assert not any(map(is_end, ["document", "text", "terms", "n_low", "title"]))


def test_condition_on_a_path_that_nothing_has_asks_for_no_property() -> None:
    asked: list[str] = []

    def has_property(name: str) -> bool:
        asked.append(name)
        return False

    for raw in ({"year": {"$gt": 1}}, {"$not": {"year": {"$gt": 1}}}):
        condition = condition_of(parse_filter(raw), has_property)
        assert "terms" in str(vars(condition) or condition)
    assert asked == [f"{range_field('year', 'n')}_high"] * 2


# ---- Errors ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("put object: store is read-only due to: disk usage too high", StoreRefused),
        ("shard is READONLY", StoreRefused),
        ('tenant not found: "a"', IndexDamaged),
        ("could not find class Embedhouse_x in schema", IndexDamaged),
        ("vector lengths don't match: 3 vs 4", IndexDamaged),
        ("broadcast: cannot reach enough replicas", StoreUnavailable),
        ("msg: leader not found", StoreUnavailable),
        ("401 unauthorized", StoreUnauthorized),
        ("something new", StoreRefused),
    ],
)
def test_error_of_text_knows_the_servers_words(text: str, kind: type[Exception]) -> None:
    found = error_of_text("Weaviate at http://h:1", text)
    assert type(found) is kind
    assert "Weaviate at http://h:1" in str(found)


@pytest.mark.parametrize(
    ("code", "kind", "passing"),
    [
        (StatusCode.UNAVAILABLE, StoreUnavailable, True),
        (StatusCode.DEADLINE_EXCEEDED, StoreUnavailable, False),
        (StatusCode.UNAUTHENTICATED, StoreUnauthorized, False),
        (StatusCode.PERMISSION_DENIED, StoreUnauthorized, False),
        (StatusCode.UNKNOWN, StoreRefused, False),
    ],
)
def test_error_of_code_says_whether_to_try_again(code: StatusCode, kind: type[Exception], passing: bool) -> None:
    found = error_of_code("w", code, "why")
    assert type(found) is kind
    assert is_passing(found) is passing


def _status(code: int, body: object = None) -> UnexpectedStatusCodeError:
    return UnexpectedStatusCodeError("no", httpx.Response(code, json=body))


@pytest.mark.parametrize(
    ("error", "kind", "says"),
    [
        (_status(401), StoreUnauthorized, "WEAVIATE_API_KEY"),
        (_status(403), StoreUnauthorized, "role"),
        (_status(503), StoreUnavailable, "503"),
        (_status(422, {"error": [{"message": "store is read-only"}]}), StoreRefused, "disk space"),
        (_status(500, {"error": [{"message": "strange"}]}), StoreRefused, "strange"),
        (WeaviateStartUpError("Weaviate version 1.20 is not supported."), StoreRefused, "Upgrade"),
        (WeaviateStartUpError("Could not connect"), StoreUnavailable, "Could not connect"),
        (WeaviateTimeoutError("x"), StoreUnavailable, "in time"),
        (httpx.ReadError("cut"), StoreUnavailable, "cut"),
        (ResponseCannotBeDecodedError("m", httpx.Response(200, text="<html>")), StoreRefused, "not Weaviate"),
        (KeyError("version"), StoreRefused, "8080"),
    ],
)
def test_error_of_names_the_remedy(error: Exception, kind: type[Exception], says: str) -> None:
    found = error_of("w", error)
    assert type(found) is kind
    assert says in str(found)
