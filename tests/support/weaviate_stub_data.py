"""What the protocol stub of Weaviate keeps, and how it answers: exactly, and as strictly as the server.

The rules are those of Weaviate 1.27 and later, as its documentation and its public source say: which property takes
which filter, how text is split, what a complement is, its form of BM25, one set of statistics a tenant.
"""

from __future__ import annotations

import math
import re
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any
from uuid import UUID

import numpy as np
from weaviate.proto.v1 import base_pb2

__all__ = ["Refused", "Tenant", "WeaviateClass"]

Operators = base_pb2.Filters
_BASE_TYPES = {"text": "text", "text[]": "text", "number": "number", "number[]": "number"}
_RANGES = {
    Operators.OPERATOR_GREATER_THAN: lambda value, bound: value > bound,
    Operators.OPERATOR_GREATER_THAN_EQUAL: lambda value, bound: value >= bound,
    Operators.OPERATOR_LESS_THAN: lambda value, bound: value < bound,
    Operators.OPERATOR_LESS_THAN_EQUAL: lambda value, bound: value <= bound,
}


class Refused(Exception):
    """What the server says no to, in its words."""


class WeaviateClass:
    """One class and its tenants."""

    def __init__(self, config: dict[str, Any]) -> None:
        _check_class(config)
        self.config = config
        self.properties: dict[str, dict[str, Any]] = {}
        self.tenants: dict[str, Tenant] = {}
        self.read_only = False
        self.refused: set[str] = set()
        """Documents whose objects are refused."""
        for each in config.get("properties") or []:
            self.add_property(each)

    def add_property(self, made: dict[str, Any]) -> None:
        _check_property(made)
        if made["name"] in self.properties:
            raise Refused(f"class {self.config['class']!r}: conflict for property {made['name']!r}: already exists")
        self.properties[made["name"]] = made
        self.config["properties"] = list(self.properties.values())

    def tenant(self, name: str, *, create: bool = False) -> Tenant:
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name):
            raise Refused(f"class has multi-tenancy enabled, but request was without tenant or with {name!r}")
        if name not in self.tenants:
            if not create or not self.config["multiTenancyConfig"].get("autoTenantCreation"):
                raise Refused(f'tenant not found: "{name}"')
            self.tenants[name] = Tenant(self)
        return self.tenants[name]


def _check_class(config: dict[str, Any]) -> None:
    if not re.fullmatch(r"[A-Z][_0-9A-Za-z]{0,254}", config.get("class", "")):
        raise Refused(f"{config.get('class')!r} is not a valid class name")
    if not config.get("multiTenancyConfig", {}).get("enabled"):
        raise Refused("the stub knows classes with tenants alone")
    bm25 = config["invertedIndexConfig"]["bm25"]
    if not (0 <= bm25["b"] <= 1 and bm25["k1"] >= 0):
        raise Refused("BM25.b must be <= 0 and <= 1, BM25.k1 must be >= 0")
    if config["invertedIndexConfig"]["stopwords"]["preset"] != "none":
        raise Refused("the stub has no stop words")
    for vector in config.get("vectorConfig", {}).values():
        if vector["vectorizer"] != {"none": {}} or vector["vectorIndexType"] != "hnsw":
            raise Refused(f"the stub has no such vectors: {vector}")
        index = vector["vectorIndexConfig"]
        if not index.get("skip") and index["distance"] != "cosine":
            raise Refused("the stub knows the cosine alone")


def _check_property(made: dict[str, Any]) -> None:
    (type_,) = made["dataType"]
    if not re.fullmatch(r"[_A-Za-z][_0-9A-Za-z]{0,230}", made["name"]) or type_ not in _BASE_TYPES:
        raise Refused(f"'{made['name']}' is not a valid property of type {type_}")
    if type_.startswith("text"):
        if made.get("tokenization", "word") not in ("word", "field", "whitespace"):
            raise Refused(f"tokenization {made.get('tokenization')!r} is not allowed")
    elif made.get("tokenization") or made.get("indexSearchable"):
        raise Refused("tokenization and indexSearchable are for text alone")
    if made.get("indexRangeFilters") and type_ != "number":
        raise Refused("`indexRangeFilters` is allowed only for number/int/date data types")


def _tokens(tokenization: str, text: str) -> list[str]:
    if tokenization == "field":
        return [text.strip()]
    return text.split() if tokenization == "whitespace" else re.findall(r"\w+", text.lower())


class Tenant:
    """The objects of one tenant."""

    def __init__(self, owner: WeaviateClass) -> None:
        self._class = owner
        self._lock = threading.RLock()
        self._properties: dict[UUID, dict[str, Any]] = {}
        self._vectors: dict[UUID, np.ndarray[Any, Any]] = {}
        self._stacked: tuple[list[UUID], np.ndarray[Any, Any]] | None = None
        self._counts: dict[UUID, Counter[str]] = {}

    def __len__(self) -> int:
        return len(self._properties)

    def __contains__(self, uid: UUID) -> bool:
        return uid in self._properties

    # ---- Writing ----

    def put(self, uid: UUID, properties: dict[str, Any], vectors: dict[str, np.ndarray[Any, Any]]) -> None:
        self._check_values(properties)
        if unknown := vectors.keys() - self._class.config.get("vectorConfig", {}).keys():
            raise Refused(f"vector {unknown} does not exist in schema")
        with self._lock:
            for vector in vectors.values():
                for held in list(self._vectors.values())[:1]:
                    if len(held) != len(vector):
                        raise Refused(f"vector lengths don't match: {len(held)} vs {len(vector)}")
                self._vectors[uid] = vector / (np.linalg.norm(vector) or 1.0)
            self._properties[uid] = properties
            self._count(uid)
            self._stacked = None

    def merge(self, uid: UUID, properties: dict[str, Any]) -> None:
        self._check_values({name: value for name, value in properties.items() if value is not None})
        with self._lock:
            merged = {**self._properties[uid], **properties}
            self._properties[uid] = {name: value for name, value in merged.items() if value is not None}
            self._count(uid)

    def delete(self, ids: set[UUID]) -> None:
        with self._lock:
            for uid in ids:
                self._properties.pop(uid, None)
                self._vectors.pop(uid, None)
                self._counts.pop(uid, None)
            self._stacked = None

    def _check_values(self, properties: dict[str, Any]) -> None:
        if self._class.read_only:
            raise Refused("put object: store is read-only due to: disk usage too high")
        if properties.get("document") in self._class.refused:
            raise Refused("invalid object: not this one")
        for name, value in properties.items():
            made = self._class.properties.get(name)
            if made is None:
                raise Refused(f"invalid object: no such prop with name {name!r} found, and auto schema is off")
            (type_,) = made["dataType"]
            values = value if isinstance(value, list) else [value]
            if isinstance(value, list) != type_.endswith("[]"):
                raise Refused(f"invalid {type_} property {name!r}: {value!r}")
            if not all(isinstance(each, str if type_.startswith("text") else float | int) for each in values):
                raise Refused(f"invalid {type_} property {name!r}: {value!r}")

    def _count(self, uid: UUID) -> None:
        counts: Counter[str] = Counter()
        for name, made in self._class.properties.items():
            if made.get("indexSearchable") and name in self._properties[uid]:
                counts.update(_tokens(made["tokenization"], self._properties[uid][name]))
        self._counts[uid] = counts

    # ---- Reading ----

    def properties(self, uid: UUID) -> dict[str, Any]:
        return self._properties[uid]

    def vector(self, uid: UUID) -> np.ndarray[Any, Any]:
        return self._vectors[uid]

    def ids(self, filters: base_pb2.Filters | None) -> list[UUID]:
        """Those that pass, in the order of ids."""
        with self._lock:
            every = set(self._properties)
            return sorted(every if filters is None else self._passing(filters, every))

    def nearest(self, query: np.ndarray[Any, Any], passing: list[UUID] | None) -> list[tuple[UUID, float]]:
        """All that pass with their distances, least first; equal ones in an order that says nothing."""
        with self._lock:
            if self._stacked is None:
                ids = sorted(self._vectors, key=lambda uid: uid.int % 1_009)
                self._stacked = ids, np.stack([self._vectors[uid] for uid in ids]) if ids else np.empty((0, 0))
            ids, rows = self._stacked
        if not ids:
            return []
        if rows.shape[1] != len(query):
            raise Refused(f"vector search: vector lengths don't match: {rows.shape[1]} vs {len(query)}")
        distances = 1.0 - rows @ (query / np.linalg.norm(query))
        allowed = None if passing is None else set(passing)
        order = np.argsort(distances, kind="stable")
        return [(ids[i], float(distances[i])) for i in order if allowed is None or ids[i] in allowed]

    def bm25(self, query: str, names: list[str], passing: list[UUID] | None) -> list[tuple[UUID, float]]:
        """All that pass and share a term with the query, best first."""
        for name in names:
            if not self._class.properties.get(name, {}).get("indexSearchable"):
                raise Refused(f"{name!r} has no searchable index")
        (name,) = names
        terms = set(_tokens(self._class.properties[name]["tokenization"], query))
        with self._lock:
            counts = dict(self._counts)
        allowed = set(counts) if passing is None else set(passing)
        average = sum(each.total() for each in counts.values()) / max(1, len(counts))
        score = self._scorer(counts, terms, average)
        found = [(uid, score(counts[uid])) for uid in allowed if counts[uid].keys() & terms]
        return sorted(found, key=lambda each: (-each[1], each[0].int % 1_009))

    def _scorer(
        self, counts: dict[UUID, Counter[str]], terms: set[str], average: float
    ) -> Callable[[Counter[str]], float]:
        settings = self._class.config["invertedIndexConfig"]["bm25"]
        n, k1, b = len(counts), settings["k1"], settings["b"]
        having = {term: sum(term in each for each in counts.values()) for term in terms}
        idf = {term: math.log(1 + (n - df + 0.5) / (df + 0.5)) for term, df in having.items()}

        def score(one: Counter[str]) -> float:
            penalty = k1 * (1 - b + b * one.total() / average)
            return sum(idf[term] * one[term] / (one[term] + penalty) for term in terms if term in one)

        return score

    # ---- Filters ----

    def _passing(self, filters: base_pb2.Filters, every: set[UUID]) -> set[UUID]:
        if filters.operator in (Operators.OPERATOR_AND, Operators.OPERATOR_OR):
            parts = [self._passing(each, every) for each in filters.filters]
            if not parts:
                raise Refused("an operator without operands")
            return set.intersection(*parts) if filters.operator == Operators.OPERATOR_AND else set.union(*parts)
        name = filters.target.property
        if name == "_id":
            return every & {UUID(text) for text in _texts(filters)}
        made = self._class.properties.get(name)
        if made is None:
            raise Refused(f"no such prop with name {name!r} found in class in the schema")
        return self._of_property(filters, name, made, every)

    def _of_property(
        self, filters: base_pb2.Filters, name: str, made: dict[str, Any], every: set[UUID]
    ) -> set[UUID]:
        is_text = made["dataType"][0].startswith("text")
        if filters.operator in _RANGES:
            holds = _RANGES[filters.operator]
            bound = _bound(filters, is_text)
            if not (made.get("indexRangeFilters") or made.get("indexFilterable", True)):
                raise Refused(f"searching by property {name!r} requires an inverted index")
            return {uid for uid in every for value in self._values(uid, name) if holds(_ordered(value), bound)}
        if not is_text or not made.get("indexFilterable", True):
            raise Refused(f"filtering by property {name!r} requires a filterable inverted index")
        wanted = {token for text in _texts(filters) for token in _tokens(made["tokenization"], text)}
        has = {uid for uid in every if any(value.strip() in wanted for value in self._values(uid, name))}
        return every - has if filters.operator == Operators.OPERATOR_NOT_EQUAL else has

    def _values(self, uid: UUID, name: str) -> list[Any]:
        value = self._properties[uid].get(name, [])
        return value if isinstance(value, list) else [value]


def _texts(filters: base_pb2.Filters) -> list[str]:
    value = filters.WhichOneof("test_value")
    if filters.operator == Operators.OPERATOR_CONTAINS_ANY and value == "value_text_array":
        return list(filters.value_text_array.values)
    if filters.operator in (Operators.OPERATOR_EQUAL, Operators.OPERATOR_NOT_EQUAL) and value == "value_text":
        return [filters.value_text]
    raise Refused(f"data type filter cannot use {value!r} with operator {filters.operator}")


def _bound(filters: base_pb2.Filters, is_text: bool) -> bytes | float:
    wanted = "value_text" if is_text else "value_number"
    if filters.WhichOneof("test_value") != wanted:
        raise Refused(f"data type filter cannot use {filters.WhichOneof('test_value')!r}, use {wanted!r} instead")
    return filters.value_text.strip().encode() if is_text else filters.value_number


def _ordered(value: str | float) -> bytes | float:
    """Text has the order of its bytes."""
    return value.strip().encode() if isinstance(value, str) else value
