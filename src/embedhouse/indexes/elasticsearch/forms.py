"""What Elasticsearch and OpenSearch say differently: the vector's field, the search in its graph, exact scores.

Both keep the vectors themselves beside quantised copies: the graph is walked over the copies, and whatever it finds
is scored again, exactly, in the same request. So a score is the exact cosine with either, and quantisation costs
only recall, for which more candidates are taken the coarser the copies are.
"""

from __future__ import annotations

from typing import Any, Literal, Protocol

import msgspec

from embedhouse.domain.collections import LexicalSettings
from embedhouse.domain.embeddings import Vectors

__all__ = [
    "MOST_CANDIDATES",
    "VECTOR",
    "ElasticsearchForms",
    "OpenSearchForms",
    "Quantization",
    "SearchForms",
    "unit",
]

Quantization = Literal["none", "int8", "int4", "bbq"]

VECTOR = "v"
"""The field with the vector."""
MOST_CANDIDATES = 10_000
"""Both servers take no more, of each shard."""

_LEAST_CANDIDATES = 256
_CANDIDATES_PER_HIT: dict[str, int] = {"none": 1, "int8": 2, "int4": 3, "bbq": 6}
_GRAPH = {"m": 16, "ef_construction": 200}
_COSINE_FROM = 1.0
"""What is added to a cosine to make it a score, which must not be negative."""

Query = dict[str, Any]


class SearchForms(Protocol):
    """One product's forms, for one version."""

    @property
    def product(self) -> str:
        """Its name."""
        ...

    @property
    def most_dimensions(self) -> int:
        """The longest vector that it takes."""
        ...

    def refuses(self, quantization: Quantization, dimensions: int) -> str:
        """Why it cannot keep such vectors so; nothing where it can."""
        ...

    def vector_field(self, dimensions: int, quantization: Quantization) -> Query:
        """The field's mapping."""
        ...

    def settings(self) -> dict[str, Any]:
        """Settings of an index that has such a field."""
        ...

    def nearest(self, vector: list[float], wanted: int, quantization: Quantization, only: list[Query]) -> Query:
        """The query for at least `wanted` of the nearest of those that match `only`, by the graph."""
        ...

    def by_cosine(self, query: Query, vector: list[float]) -> Query:
        """The same matches, scored by 1 + their exact cosine."""
        ...

    def bm25_boost(self, lexical: LexicalSettings) -> float:
        """What makes the server's BM25 that of the house, whose numerator has the factor k1 + 1."""
        ...

    def reading_vectors(self) -> dict[str, Any]:
        """What a search's body says to get the vectors of its hits."""
        ...

    def vector_of(self, hit: dict[str, Any]) -> list[float]:
        """The vector of such a hit."""
        ...


def candidates(wanted: int, quantization: Quantization) -> int:
    """How many the graph is asked for, of each shard."""
    return min(MOST_CANDIDATES, max(_LEAST_CANDIDATES, wanted * _CANDIDATES_PER_HIT[quantization]))


def unit(vector: Vectors) -> list[float]:
    """The vector at length 1, with as many digits as float32 holds of one: half the bytes of the full form."""
    exact = vector.astype("float64")
    found: list[float] = (exact / (exact @ exact) ** 0.5).round(8).tolist()
    return found


class ElasticsearchForms(msgspec.Struct, frozen=True):
    """Elasticsearch 8.12 and later."""

    version: tuple[int, int]
    product: str = "Elasticsearch"
    most_dimensions: int = 4096

    def refuses(self, quantization: Quantization, dimensions: int) -> str:
        """int4 came with 8.15, bbq with 8.16."""
        needed = {"int4": (8, 15), "bbq": (8, 16)}.get(quantization, (8, 12))
        if self.version < needed:
            return f"quantization {quantization} needs version {needed[0]}.{needed[1]}"
        if quantization == "int4" and dimensions % 2:
            return f"quantization int4 needs an even number of dimensions, not {dimensions}"
        if quantization == "bbq" and dimensions < 64:
            return f"quantization bbq needs 64 dimensions, not {dimensions}"
        return ""

    def vector_field(self, dimensions: int, quantization: Quantization) -> Query:
        """dense_vector, in an HNSW graph."""
        kind = "hnsw" if quantization == "none" else f"{quantization}_hnsw"
        graph = {"type": kind, **_GRAPH}
        return {
            "type": "dense_vector",
            "dims": dimensions,
            "index": True,
            "similarity": "dot_product",
            "index_options": graph,
        }

    def settings(self) -> dict[str, Any]:
        """None."""
        return {}

    def nearest(self, vector: list[float], wanted: int, quantization: Quantization, only: list[Query]) -> Query:
        """The knn query; it gives all candidates of each shard, for which later versions must be asked."""
        n = candidates(wanted, quantization)
        query: Query = {"field": VECTOR, "query_vector": vector, "num_candidates": n}
        if self.version >= (8, 15):
            query["k"] = n
        if only:
            query["filter"] = only
        return {"knn": query}

    def by_cosine(self, query: Query, vector: list[float]) -> Query:
        """By Painless; rounding must not make a score negative."""
        source = f"Math.max(dotProduct(params.q, '{VECTOR}') + {_COSINE_FROM}, 0)"
        return {"script_score": {"query": query, "script": {"source": source, "params": {"q": vector}}}}

    def bm25_boost(self, lexical: LexicalSettings) -> float:
        """Elasticsearch kept the factor when Lucene dropped it (LegacyBM25Similarity)."""
        return 1.0

    def reading_vectors(self) -> dict[str, Any]:
        """As a field: from 9.2 on, `_source` has no vectors."""
        return {"_source": False, "fields": [VECTOR]}

    def vector_of(self, hit: dict[str, Any]) -> list[float]:
        """From the fields."""
        found: list[float] = hit["fields"][VECTOR]
        return found


class OpenSearchForms(msgspec.Struct, frozen=True):
    """OpenSearch 2.17 and later, with its k-NN plugin."""

    version: tuple[int, int]
    product: str = "OpenSearch"
    most_dimensions: int = 16_000

    def refuses(self, quantization: Quantization, dimensions: int) -> str:
        """Nothing."""
        return ""

    def vector_field(self, dimensions: int, quantization: Quantization) -> Query:
        """knn_vector: with Lucene's graph, also over int8 copies; with Faiss's where they are coarser."""
        field: Query = {"type": "knn_vector", "dimension": dimensions}
        levels = {"int4": "8x", "bbq": "32x"}
        if quantization in levels:
            on_disk = {"mode": "on_disk", "compression_level": levels[quantization]}
            return {**field, "space_type": "innerproduct", **on_disk}
        parameters: Query = dict(_GRAPH)
        if quantization == "int8":
            parameters["encoder"] = {"name": "sq"}
        method = {"name": "hnsw", "engine": "lucene", "space_type": "cosinesimil", "parameters": parameters}
        return {**field, "method": method}

    def settings(self) -> dict[str, Any]:
        """The plugin's graphs are to be built."""
        return {"knn": True}

    def nearest(self, vector: list[float], wanted: int, quantization: Quantization, only: list[Query]) -> Query:
        """The knn query of the plugin, filtered while it walks the graph."""
        query: Query = {"vector": vector, "k": candidates(wanted, quantization)}
        if only:
            query["filter"] = {"bool": {"filter": only}}
        return {"knn": {VECTOR: query}}

    def by_cosine(self, query: Query, vector: list[float]) -> Query:
        """By the plugin's own functions in Painless, which mean the same in all versions; `knn_score` does not."""
        source = f"Math.max(cosineSimilarity(params.q, doc['{VECTOR}']) + {_COSINE_FROM}, 0)"
        return {"script_score": {"query": query, "script": {"source": source, "params": {"q": vector}}}}

    def bm25_boost(self, lexical: LexicalSettings) -> float:
        """Version 3 dropped the factor, as Lucene did."""
        return 1.0 if self.version < (3, 0) else lexical.k1 + 1

    def reading_vectors(self) -> dict[str, Any]:
        """From `_source`: the plugin's fields cannot be asked for."""
        return {"_source": [VECTOR]}

    def vector_of(self, hit: dict[str, Any]) -> list[float]:
        """From `_source`."""
        found: list[float] = hit["_source"][VECTOR]
        return found
