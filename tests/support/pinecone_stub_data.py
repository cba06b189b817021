"""The data plane of one stub index: records in namespaces, seen late if the stub lags."""

from __future__ import annotations

import json
import math
import time
from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pinecone_stub import PineconeStub

__all__ = ["Refusal", "StubIndex", "check", "matches_filter"]

Record = dict[str, Any]
Answer = tuple[int, Any, dict[str, str]]

_ORDERS = {"$gt": "__gt__", "$gte": "__ge__", "$lt": "__lt__", "$lte": "__le__"}


class Refusal(Exception):
    """An answer other than 200."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


def check(holds: object, complaint: str) -> None:
    if not holds:
        raise Refusal(400, "INVALID_ARGUMENT", complaint)


class View:
    """What one kind of request sees of a namespace."""

    def __init__(self) -> None:
        self.records: dict[str, Record] = {}
        self.position = 0
        self._waiting: deque[tuple[float, int, dict[str, Record | None]]] = deque()
        self._dense: tuple[list[str], np.ndarray[Any, Any]] | None = None
        self._terms: dict[int, list[tuple[str, float]]] | None = None

    def send(self, due: float, position: int, changes: dict[str, Record | None]) -> None:
        self._waiting.append((due, position, changes))

    def catch_up(self) -> View:
        while self._waiting and self._waiting[0][0] <= time.monotonic():
            _, self.position, changes = self._waiting.popleft()
            self._dense = self._terms = None
            for id_, record in changes.items():
                self.records.pop(id_, None)
                if record is not None:
                    self.records[id_] = record
        return self

    def scores(self, dense: list[float], sparse: Record | None) -> dict[str, float]:
        if self._dense is None:
            ids = list(self.records)
            self._dense = ids, np.array([self.records[id_]["values"] for id_ in ids], np.float32)
            self._terms = {}
            for id_ in ids:
                held = self.records[id_].get("sparseValues") or {"indices": [], "values": []}
                for term, weight in zip(held["indices"], held["values"], strict=True):
                    self._terms.setdefault(term, []).append((id_, weight))
        ids, matrix = self._dense
        scores = dict(zip(ids, (matrix @ np.array(dense, np.float32)).tolist(), strict=True)) if ids else {}
        if sparse is not None:
            assert self._terms is not None
            for term, weight in zip(sparse["indices"], sparse["values"], strict=True):
                for id_, other in self._terms.get(term, ()):
                    scores[id_] += weight * other
        return scores


class Space:
    """One namespace: written once, seen by searches and by look-ups."""

    def __init__(self) -> None:
        self.searches = View()
        self.lookups = View()
        self.position = 0


class StubIndex:
    def __init__(self, stub: PineconeStub, name: str, fields: dict[str, Any]) -> None:
        self.stub = stub
        self.name = name
        self.fields = fields
        self.deployment: Record = {
            "deployment_type": "managed",
            "cloud": "aws",
            "region": "us-east-1",
            "environment": "aped-0000",
        }
        self.tags: dict[str, str] | None = None
        self.deletion_protection = "disabled"
        self.state = ""
        self.describes = 0
        self.spaces: dict[str, Space] = {}

    @property
    def dimension(self) -> int:
        return int(self.fields["_values"]["dimension"])

    def model(self) -> Record:
        ready = self.describes >= self.stub.describes_until_ready and not self.state
        return {
            "name": self.name,
            # As an emulator says it: without a scheme.
            "host": f"127.0.0.1:{self.stub.port}/data/{self.name}" if ready else None,
            "status": {"ready": ready, "state": self.state or ("Ready" if ready else "Initializing")},
            "schema": {"fields": self.fields},
            "deployment": self.deployment,
            "deletion_protection": self.deletion_protection,
            "tags": self.tags,
        }

    def answer(self, method: str, parts: list[str], query: dict[str, list[str]], body: Any) -> Answer:
        routes = {
            ("POST", "vectors/upsert"): self._upsert,
            ("POST", "vectors/delete"): self._delete,
            ("POST", "query"): self._query,
            ("POST", "describe_index_stats"): self._stats,
            ("POST", "namespaces"): self._make_space,
        }
        path = "/".join(parts)
        if (method, path) in routes:
            return routes[method, path](body)
        if method == "GET" and path == "vectors/fetch":
            return self._fetch(query)
        if method == "GET" and path == "vectors/list":
            return self._list(query)
        check(parts[0] == "namespaces", f"no such route: {method} {path}")
        return self._list_spaces(query) if len(parts) == 1 else self._one_space(method, parts[1])

    # ---- Writing -----------------------------------------------------------------------------------------------

    def _send(self, space: Space, changes: dict[str, Record | None]) -> dict[str, str]:
        space.position += 1
        now = time.monotonic()
        space.searches.send(now + self.stub.search_lag_s, space.position, changes)
        space.lookups.send(now + self.stub.fetch_lag_s, space.position, changes)
        return {"x-pinecone-request-lsn": str(space.position)} if self.stub.sends_positions else {}

    def _upsert(self, body: Any) -> Answer:
        check(set(body) == {"vectors", "namespace"}, f"fields {sorted(body)}")
        check(1 <= len(body["vectors"]) <= 1_000, f"{len(body['vectors'])} records in a request")
        for record in body["vectors"]:
            self._check_record(record)
        ids = [record["id"] for record in body["vectors"]]
        check(len(ids) == len(set(ids)), "an id stands twice in a request")
        space = self.spaces.setdefault(_space_name(body["namespace"]), Space())
        headers = self._send(space, {record["id"]: record for record in body["vectors"]})
        return 200, {"upsertedCount": len(ids)}, headers

    def _check_record(self, record: Record) -> None:
        check(set(record) <= {"id", "values", "sparseValues", "metadata"}, f"fields {sorted(record)}")
        check(_is_id(record["id"]), "an id is 1 to 512 characters of ASCII")
        check(len(record["values"]) == self.dimension, f"Vector dimension {len(record['values'])} does not match")
        check(all(map(math.isfinite, record["values"])) and any(record["values"]), "a vector has a direction")
        if "sparseValues" in record:
            _check_sparse(record["sparseValues"])
        _check_metadata(record.get("metadata", {}))

    def _delete(self, body: Any) -> Answer:
        check(set(body) == {"ids", "namespace"}, f"fields {sorted(body)}")
        check(1 <= len(body["ids"]) <= 1_000, f"{len(body['ids'])} ids in a deletion")
        space = self._space(_space_name(body["namespace"]))
        return 200, {}, self._send(space, dict.fromkeys(body["ids"]))

    # ---- Reading -----------------------------------------------------------------------------------------------

    def _query(self, body: Any) -> Answer:
        known = {"topK", "includeValues", "includeMetadata", "namespace", "vector", "filter", "sparseVector"}
        check(set(body) <= known, f"fields {sorted(body)}")
        most = 1_000 if body["includeValues"] or body["includeMetadata"] else 10_000
        check(1 <= body["topK"] <= most, f"topK is {body['topK']}, at most {most}")
        check(len(body["vector"]) == self.dimension, "Query vector dimension does not match")
        sparse = body.get("sparseVector")
        if sparse is not None:
            _check_sparse(sparse)
            check(
                self.fields["_values"]["metric"] == "dotproduct",
                "Index configuration does not support sparse values",
            )
        check(sparse is not None or any(body["vector"]), "Dense vectors must contain at least one non-zero value")
        space = self.spaces.get(_space_name(body["namespace"]))
        view = (space or Space()).searches.catch_up()
        _check_filter(body.get("filter"))
        passing = (
            (score, id_)
            for id_, score in view.scores(body["vector"], sparse).items()
            if matches_filter(body.get("filter"), view.records[id_].get("metadata", {}))
        )
        best = sorted(passing, key=lambda one: -one[0])[: body["topK"]]
        matches = [_match(view.records[id_], score, body) for score, id_ in best]
        headers = {"x-pinecone-max-indexed-lsn": str(view.position)} if self.stub.sends_positions else {}
        return 200, {"matches": matches, "namespace": body["namespace"], "usage": {"readUnits": 1}}, headers

    def _fetch(self, query: dict[str, list[str]]) -> Answer:
        ids = query.get("ids", [])
        check(1 <= len(ids) <= 1_000 and all(map(_is_id, ids)), f"{len(ids)} ids in a look-up")
        space = self.spaces.get(_space_name(query["namespace"][0]), Space())
        held = space.lookups.catch_up().records
        return (
            200,
            {"vectors": {id_: held[id_] for id_ in ids if id_ in held}, "namespace": query["namespace"][0]},
            {},
        )

    def _list(self, query: dict[str, list[str]]) -> Answer:
        limit = int(query.get("limit", ["100"])[0])
        check(1 <= limit <= 100, f"limit is {limit}")
        ids = sorted(self._space(_space_name(query["namespace"][0])).lookups.catch_up().records)
        page, after = _page(ids, limit, query)
        return 200, {"vectors": [{"id": id_} for id_ in page], "namespace": query["namespace"][0], **after}, {}

    def _stats(self, body: Any) -> Answer:
        check(body == {}, "serverless indexes have no statistics by filter")
        counts = {name: len(space.searches.catch_up().records) for name, space in self.spaces.items()}
        return (
            200,
            {
                "namespaces": {name: {"vectorCount": count} for name, count in counts.items()},
                "dimension": self.dimension,
                "totalVectorCount": sum(counts.values()),
            },
            {},
        )

    # ---- Namespaces --------------------------------------------------------------------------------------------

    def _space(self, name: str) -> Space:
        if name not in self.spaces:
            raise Refusal(404, "NOT_FOUND", "Namespace not found")
        return self.spaces[name]

    def _make_space(self, body: Any) -> Answer:
        check(set(body) == {"name"}, f"fields {sorted(body)}")
        if _space_name(body["name"]) in self.spaces:
            raise Refusal(409, "ALREADY_EXISTS", "Namespace already exists")
        self.spaces[body["name"]] = Space()
        return 201, _described(body["name"], Space()), {}

    def _one_space(self, method: str, name: str) -> Answer:
        space = self._space(name)
        if method == "GET":
            return 200, _described(name, space), {}
        check(method == "DELETE", f"no such route: {method} a namespace")
        del self.spaces[name]
        return 202, {}, {}

    def _list_spaces(self, query: dict[str, list[str]]) -> Answer:
        limit = int(query.get("limit", ["100"])[0])
        check(1 <= limit <= 100, f"limit is {limit}")
        prefix = query.get("prefix", [""])[0]
        names = sorted(name for name in self.spaces if name.startswith(prefix))
        page, after = _page(names, limit, query)
        found = [_described(name, self.spaces[name]) for name in page]
        return 200, {"namespaces": found, "total_count": len(names), **after}, {}


def _described(name: str, space: Space) -> Record:
    return {"name": name, "record_count": str(len(space.searches.catch_up().records))}


def _page(names: list[str], limit: int, query: dict[str, list[str]]) -> tuple[list[str], Record]:
    after = query.get("paginationToken", [""])[0]
    rest = [name for name in names if name > after]
    more = {"pagination": {"next": rest[limit - 1]}} if len(rest) > limit else {}
    return rest[:limit], more


def _match(record: Record, score: float, body: Record) -> Record:
    found: Record = {
        "id": record["id"],
        "score": score,
        "values": record["values"] if body["includeValues"] else [],
    }
    if body["includeMetadata"]:
        found["metadata"] = record.get("metadata", {})
    return found


def _is_id(id_: object) -> bool:
    return isinstance(id_, str) and 1 <= len(id_) <= 512 and id_.isascii() and "\x00" not in id_


def _space_name(name: object) -> str:
    check(isinstance(name, str) and 1 <= len(name) <= 512 and name.isascii(), "a namespace's name")
    return str(name)


def _check_sparse(sparse: Record) -> None:
    check(set(sparse) == {"indices", "values"}, f"fields {sorted(sparse)}")
    indices, values = sparse["indices"], sparse["values"]
    check(1 <= len(indices) == len(values) <= 1_000, f"{len(indices)} sparse values")
    check(len(set(indices)) == len(indices), "Sparse vector indices must be unique")
    check(all(isinstance(index, int) and 0 <= index < 2**32 for index in indices), "an index is a uint32")
    check(all(math.isfinite(value) and value for value in values), "sparse values are finite and not 0")


def _check_metadata(metadata: Record) -> None:
    compact = json.dumps(metadata, ensure_ascii=False, separators=(",", ":")).encode()
    check(len(compact) <= 40_960, f"metadata of {len(compact)} bytes is over 40 KB")
    for key, value in metadata.items():
        check(key and not key.startswith("$"), f"metadata key {key!r}")
        is_list = isinstance(value, list) and all(isinstance(item, str) for item in value)
        check(is_list or isinstance(value, str | bool | int | float), f"metadata value of {key!r}")
        texts = value if isinstance(value, list) else [value] if isinstance(value, str) else []
        check(all("\x00" not in text for text in texts), f"NUL in the metadata of {key!r}")


def _check_filter(condition: Any) -> None:
    if condition is None:
        return
    check(isinstance(condition, dict) and condition, "an empty filter")
    for key, value in condition.items():
        if key in ("$and", "$or"):
            check(isinstance(value, list) and value, f"{key} takes a list")
            for part in value:
                _check_filter(part)
            continue
        check(not key.startswith("$"), f"unknown operator {key}")
        check(isinstance(value, dict) and len(value) == 1, "one operator for a field")
        ((operator, operand),) = value.items()
        _check_operand(operator, operand)


def _check_operand(operator: str, operand: Any) -> None:
    if operator in ("$in", "$nin"):
        check(isinstance(operand, list) and 1 <= len(operand) <= 10_000, f"{operator} takes 1 to 10 000 values")
        check(all(isinstance(one, str | int | float) for one in operand), f"{operator} takes strings and numbers")
    elif operator == "$exists":
        check(isinstance(operand, bool), "$exists takes true or false")
    elif operator in _ORDERS:
        check(isinstance(operand, int | float) and not isinstance(operand, bool), f"{operator} takes a number")
    else:
        check(operator in ("$eq", "$ne"), f"unknown operator {operator}")


def matches_filter(condition: Any, metadata: Record) -> bool:
    """What Pinecone's filters mean."""
    if condition is None:
        return True
    return all(_holds(key, value, metadata) for key, value in condition.items())


def _holds(key: str, value: Any, metadata: Record) -> bool:
    if key == "$and":
        return all(matches_filter(part, metadata) for part in value)
    if key == "$or":
        return any(matches_filter(part, metadata) for part in value)
    ((operator, operand),) = value.items()
    if operator == "$exists":
        return (key in metadata) is operand
    held = metadata.get(key)
    items = held if isinstance(held, list) else [] if held is None else [held]
    if operator in ("$in", "$nin"):
        wanted = set(operand)
        return any(item in wanted for item in items) is (operator == "$in")
    if operator in ("$eq", "$ne"):
        return (operand in items) is (operator == "$eq")
    return isinstance(held, int | float) and bool(getattr(float(held), _ORDERS[operator])(float(operand)))
