"""qdrant-client's in-memory mode, made to answer as a server does where the two differ."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import httpx
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import UnexpectedResponse

__all__ = ["LocalQdrant"]


class LocalQdrant(QdrantClient):
    """It splits text at every sign and lowers it, whatever the index says; so each term goes in as hexadecimal
    digits. What is missing is an answer 404."""

    def __init__(self) -> None:
        super().__init__(":memory:")
        # It says once that indexes and search parameters have no effect here.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            vectors = {"v": models.VectorParams(size=1, distance=models.Distance.COSINE)}
            super().create_collection("warm", vectors_config=vectors)
            super().create_payload_index("warm", "a", models.KeywordIndexParams(type="keyword"))
            super().query_points("warm", [1.0], using="v", search_params=models.SearchParams(exact=True))
            super().delete_collection("warm")

    def get_collection(self, collection_name: str, **kwargs: Any) -> models.CollectionInfo:
        try:
            return super().get_collection(collection_name, **kwargs)
        except ValueError as error:
            raise UnexpectedResponse(404, "Not Found", str(error).encode(), httpx.Headers()) from error

    def create_payload_index(
        self, collection_name: str, field_name: str, field_schema: Any = None, **kwargs: Any
    ) -> models.UpdateResult:
        if isinstance(field_schema, models.TextIndexParams):
            assert field_schema.tokenizer == models.TokenizerType.WHITESPACE
            assert field_schema.lowercase is False
            field_schema = models.TextIndexParams(type="text", scoring=True)
        return super().create_payload_index(collection_name, field_name, field_schema, **kwargs)

    def upsert(
        self, collection_name: str, points: Sequence[models.PointStruct], **kwargs: Any
    ) -> models.UpdateResult:
        plain = [_with_plain_text(point) for point in points]
        return super().upsert(collection_name, plain, **kwargs)

    def query_points(self, collection_name: str, query: Any = None, **kwargs: Any) -> models.QueryResponse:
        if isinstance(query, models.TextQuery):
            text = query.text.model_copy(update={"query": _plain(query.text.query)})
            query = models.TextQuery(text=text)
        return super().query_points(collection_name, query, **kwargs)


def _with_plain_text(point: models.PointStruct) -> models.PointStruct:
    payload = dict(point.payload or {})
    if "t" in payload:
        payload["t"] = _plain(payload["t"])
    return models.PointStruct(id=point.id, vector=point.vector, payload=payload)


def _plain(terms: str) -> str:
    return " ".join(term.encode().hex() for term in terms.split(" ") if term)
