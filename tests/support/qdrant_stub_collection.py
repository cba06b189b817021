"""One collection of the Qdrant stub: requests of the REST API, answered by a shard of Qdrant's own engine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import qdrant_edge as engine
from qdrant_client import models

__all__ = ["Answer", "Refusal", "StubCollection"]

_MOST_INDEXED = 60
_GRAPH = {"m": 16, "ef_construct": 100, "full_scan_threshold": 10_000}
_OPTIMIZERS = {
    "deleted_threshold": 0.2,
    "vacuum_min_vector_number": 1_000,
    "default_segment_number": 0,
    "flush_interval_sec": 5,
}


class Refusal(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Answer(NamedTuple):
    """What the server answers, and what it finds wrong with the request all the same."""

    result: Any
    complaints: list[str]


class StubCollection:
    """`wanted`: as it was asked for."""

    def __init__(self, folder: Path, wanted: models.CreateCollection) -> None:
        self.wanted = wanted
        self.schema: dict[str, dict[str, Any]] = {}
        self.status = "green"
        vectors = wanted.vectors if isinstance(wanted.vectors, dict) else {}
        for params in vectors.values():
            if not 1 <= params.size <= 65_536:
                raise Refusal(422, "Validation error in JSON body: size must be from 1 to 65536")
        folder.mkdir(parents=True)
        # The engine by itself needs a vector; points may lack it.
        kept = _vectors(vectors) or {"none": engine.EdgeVectorParams(size=1, distance=engine.Distance.Dot)}
        self._shard = engine.EdgeShard.create(str(folder), engine.EdgeConfig(vectors=kept))

    def close(self) -> None:
        self._shard.close()

    def answer(self, method: str, parts: list[str], body: Any) -> Answer:
        """The result of a request whose path goes on so after the collection's name."""
        complaints = [f"filters by {field!r}, which no index covers" for field in self._unindexed(body)]
        match method, parts:
            case "GET", []:
                return Answer(self._info(), [])
            case "PATCH", []:
                models.UpdateCollection.model_validate(body)
                self.status = "green"
                return Answer(True, [])
            case "PUT", ["index"]:
                return self._index(models.CreateFieldIndex.model_validate(body))
            case "PUT", ["points"]:
                return self._upsert(models.PointsList.model_validate(body))
            case "POST", ["points"]:
                return self._retrieve(models.PointRequest.model_validate(body))
            case "POST", ["points", "delete"]:
                return self._delete(models.PointIdsList.model_validate(body))
            case "POST", ["points", "batch"]:
                return self._batch(models.UpdateOperations.model_validate(body))
            case "POST", ["points", "query"]:
                return Answer(self._query(models.QueryRequest.model_validate(body), body), complaints)
            case "POST", ["points", "scroll"]:
                return Answer(self._scroll(models.ScrollRequest.model_validate(body)), complaints)
            case "POST", ["points", "count"]:
                return Answer(self._count(models.CountRequest.model_validate(body)), complaints)
            case "POST", ["facet"]:
                return Answer(self._facet(models.FacetRequest.model_validate(body), body), complaints)
        raise Refusal(404, "no such route")

    def _unindexed(self, body: Any) -> list[str]:
        """As a server in strict mode: a filter needs an index, as far as the client may make them."""
        asked = body.get("filter") if isinstance(body, dict) else None
        if asked is None or len(self.schema) >= _MOST_INDEXED:
            return []
        return sorted(set(_fields_of(asked)) - set(self.schema))

    def _info(self) -> dict[str, Any]:
        info = self._shard.info()
        return {
            "status": self.status,
            "optimizer_status": "ok",
            "indexed_vectors_count": info.indexed_vectors_count,
            "points_count": info.points_count,
            "segments_count": info.segments_count,
            "config": {
                "params": {
                    "vectors": self.wanted.model_dump(mode="json", exclude_none=True).get("vectors") or {},
                    "shard_number": self.wanted.shard_number or 1,
                    "replication_factor": self.wanted.replication_factor or 1,
                    "write_consistency_factor": self.wanted.write_consistency_factor or 1,
                },
                "hnsw_config": _GRAPH,
                "optimizer_config": _OPTIMIZERS,
                **({"metadata": self.wanted.metadata} if self.wanted.metadata else {}),
            },
            "payload_schema": self.schema,
        }

    # ---- Writes ------------------------------------------------------------------------------------------------

    def _index(self, wanted: models.CreateFieldIndex) -> Answer:
        schema, params = wanted.field_schema, engine.KeywordIndexParams(enable_hnsw=False)
        if isinstance(schema, models.TextIndexParams):
            assert schema.scoring is True
            params = engine.TextIndexParams(
                tokenizer=engine.TokenizerType.Whitespace,
                lowercase=schema.lowercase,
                scoring=True,
                enable_hnsw=False,
            )
        elif isinstance(schema, models.FloatIndexParams):
            params = engine.FloatIndexParams(enable_hnsw=False)
        elif not isinstance(schema, models.KeywordIndexParams):
            raise Refusal(422, f"the stub has no index of this kind: {schema}")
        self._shard.update(engine.UpdateOperation.create_field_index(wanted.field_name, params))
        shown = schema.model_dump(mode="json", exclude_none=True)
        self.schema[wanted.field_name] = {"data_type": shown["type"], "params": shown, "points": 0}
        return _done()

    def _upsert(self, wanted: models.PointsList) -> Answer:
        if not wanted.points:
            raise Refusal(422, "Validation error in JSON body: points: Empty update request")
        sizes = self._sizes()
        points = []
        for point in wanted.points:
            vector = point.vector if isinstance(point.vector, dict) else {}
            if {name: len(values) for name, values in vector.items()} != sizes:
                raise Refusal(400, "Wrong input: Vector dimension error")
            points.append(engine.Point(point.id, vector, point.payload))
        self._shard.update(engine.UpdateOperation.upsert_points(points))
        return _done()

    def _sizes(self) -> dict[str, int]:
        vectors = self.wanted.vectors
        return {name: params.size for name, params in vectors.items()} if isinstance(vectors, dict) else {}

    def _delete(self, wanted: models.PointIdsList) -> Answer:
        self._shard.update(engine.UpdateOperation.delete_points(list(wanted.points)))
        return _done()

    def _batch(self, wanted: models.UpdateOperations) -> Answer:
        for operation in wanted.operations:
            if not isinstance(operation, models.SetPayloadOperation):
                raise Refusal(422, "the stub takes payloads alone in a batch")
            change = operation.set_payload
            assert change.filter is not None
            only = condition(change.filter.model_dump(mode="json", exclude_none=True))
            self._shard.update(engine.UpdateOperation.set_payload_by_filter(only, change.payload))
        return Answer([{"operation_id": 1, "status": "completed"} for _ in wanted.operations], [])

    # ---- Reads -------------------------------------------------------------------------------------------------

    def _query(self, wanted: models.QueryRequest, body: dict[str, Any]) -> dict[str, Any]:
        if wanted.using in self._sizes():
            query = engine.Query.Nearest(_nearest(body["query"]), wanted.using)
        else:
            query = self._text_query(body["query"]["text"], str(wanted.using))
        asked = wanted.params
        params = engine.SearchParams(
            hnsw_ef=asked.hnsw_ef if asked else None, exact=bool(asked and asked.exact), quantization=None
        )
        found = self._shard.query(
            engine.QueryRequest(
                limit=wanted.limit or 10,
                query=query,
                filter=condition(body["filter"]) if body.get("filter") else None,
                params=params,
                with_payload=wanted.with_payload or False,
            )
        )
        return {"points": [{"version": 1, "score": p.score, "id": p.id, "payload": p.payload} for p in found]}

    def _text_query(self, text: dict[str, Any], field: str) -> Any:
        if not self.schema.get(field, {}).get("params", {}).get("scoring"):
            raise Refusal(400, f"Bad request: no text index with scoring on {field}")
        scoring = text["scoring"]["bm25"]
        return engine.TextQuery(field, text["query"], engine.Bm25Params(k=scoring["k"], b=scoring["b"]))

    def _retrieve(self, wanted: models.PointRequest) -> Answer:
        records = self._shard.retrieve(
            list(wanted.ids), with_payload=wanted.with_payload or False, with_vector=wanted.with_vector or False
        )
        return Answer([{"id": r.id, "payload": r.payload, "vector": r.vector} for r in records], [])

    def _scroll(self, wanted: models.ScrollRequest) -> dict[str, Any]:
        request = engine.ScrollRequest(
            offset=wanted.offset, limit=wanted.limit or 10, with_payload=False, with_vector=False
        )
        page, after = self._shard.scroll(request)
        return {"points": [{"id": record.id} for record in page], "next_page_offset": after}

    def _count(self, wanted: models.CountRequest) -> dict[str, Any]:
        return {"count": self._shard.count(engine.CountRequest(exact=bool(wanted.exact)))}

    def _facet(self, wanted: models.FacetRequest, body: dict[str, Any]) -> dict[str, Any]:
        if self.schema.get(wanted.key, {}).get("data_type") != "keyword":
            raise Refusal(400, f"Bad request: facets need a keyword index on {wanted.key}")
        request = engine.FacetRequest(
            wanted.key,
            limit=wanted.limit or 10,
            exact=bool(wanted.exact),
            filter=condition(body["filter"]) if body.get("filter") else None,
        )
        return {"hits": [{"value": str(hit.value), "count": hit.count} for hit in self._shard.facet(request).hits]}


def condition(raw: dict[str, Any]) -> Any:
    """A filter, or a condition in one, as the engine's."""
    if "has_id" in raw:
        return engine.HasIdCondition(set(raw["has_id"]))
    if "key" not in raw:
        parts = {
            name: [condition(part) for part in raw[name]] for name in ("must", "should", "must_not") if name in raw
        }
        return engine.Filter(**parts)
    if "range" in raw:
        bounds = {op: float(bound) for op, bound in raw["range"].items() if bound is not None}
        return engine.FieldCondition(raw["key"], range=engine.RangeFloat(**bounds))
    match = raw["match"]
    found = engine.MatchAny(match["any"]) if "any" in match else engine.MatchValue(match["value"])
    return engine.FieldCondition(raw["key"], match=found)


def _fields_of(raw: dict[str, Any]) -> Iterator[str]:
    if "key" in raw:
        yield raw["key"]
    for name in ("must", "should", "must_not"):
        for part in raw.get(name) or []:
            yield from _fields_of(part)


def _nearest(query: Any) -> list[float]:
    return list(query["nearest"] if isinstance(query, dict) else query)


def _vectors(wanted: dict[str, models.VectorParams]) -> dict[str, Any]:
    distances = {"Cosine": engine.Distance.Cosine, "Dot": engine.Distance.Dot}
    return {
        name: engine.EdgeVectorParams(
            size=params.size,
            distance=distances[str(params.distance.value)],
            datatype=engine.VectorStorageDatatype.Float16 if params.datatype == models.Datatype.FLOAT16 else None,
        )
        for name, params in wanted.items()
    }


def _done() -> Answer:
    return Answer({"operation_id": 1, "status": "completed"}, [])
