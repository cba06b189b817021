"""How an index is laid out on a server of Elasticsearch or OpenSearch, and how it is known to be the house's."""

from __future__ import annotations

from typing import Any

import msgspec

from embedhouse.domain.errors import StoreRefused
from embedhouse.indexes.elasticsearch.filters import NAMESPACE, RANGES, TERMS
from embedhouse.indexes.elasticsearch.forms import VECTOR, Quantization, SearchForms
from embedhouse.ports import IndexSpec

__all__ = [
    "DOCUMENT",
    "KEY",
    "TEXT",
    "Layout",
    "check_limits",
    "creation",
    "described_by",
    "marked",
    "range_fields",
]

KEY = "i"
"""The field with the key, by which equal scores are ordered."""
DOCUMENT = "d"
"""The field with the document's id."""
TEXT = "t"
"""The field with the text's terms, a space between each two."""

_MARK = "embedhouse"
_FORM = 1
_FIELDS_LIMIT = 2_000
_BM25 = "house_bm25"
_SPACES = "house_terms"


class Layout(msgspec.Struct, frozen=True, kw_only=True):
    """What the store's options say about new indexes."""

    shards: int
    replicas: int
    quantization: Quantization


def described_by(spec: IndexSpec, owner: str) -> dict[str, Any]:
    """What the mark of an index must say for it to be the one that `spec` means."""
    return {
        "owner": owner,
        "index": spec.name,
        "form": _FORM,
        "dimensions": spec.dimensions,
        "sides": spec.sides,
        "lexical": msgspec.to_builtins(spec.lexical),
    }


def marked(described: dict[str, Any]) -> dict[str, Any]:
    """The mark of an index as the server describes it; empty where it is not the house's."""
    meta = (described.get("mappings") or {}).get("_meta") or {}
    found = meta.get(_MARK)
    return found if isinstance(found, dict) else {}


def range_fields(described: dict[str, Any]) -> set[str]:
    """The range fields that an index has."""
    fields = (described.get("mappings") or {}).get("properties") or {}
    return set((fields.get(RANGES) or {}).get("properties") or {})


def creation(spec: IndexSpec, alias: str, owner: str, layout: Layout, forms: SearchForms) -> dict[str, Any]:
    """The body of the request that makes the index."""
    settings: dict[str, Any] = {
        "number_of_shards": layout.shards,
        "number_of_replicas": layout.replicas,
        "mapping": {"total_fields": {"limit": _FIELDS_LIMIT}},
        "similarity": {_BM25: {"type": "BM25", "k1": spec.lexical.k1, "b": spec.lexical.b}},
        "analysis": {"analyzer": {_SPACES: {"type": "custom", "tokenizer": "whitespace"}}},
        **(forms.settings() if spec.sides != "lexical" else {}),
    }
    return {
        "aliases": {alias: {"is_write_index": True}},
        "settings": {"index": settings},
        "mappings": {
            "dynamic": False,
            "_meta": {_MARK: {**described_by(spec, owner), "quantization": layout.quantization}},
            "dynamic_templates": [{"numbers": {"path_match": f"{RANGES}.*", "mapping": {"type": "double"}}}],
            "properties": _fields(spec, layout, forms),
        },
    }


def check_limits(spec: IndexSpec, store: str, layout: Layout, forms: SearchForms) -> None:
    """Errors: StoreRefused for what this version cannot keep."""
    if spec.sides == "lexical":
        return
    if spec.dimensions > forms.most_dimensions:
        raise StoreRefused(
            store=store,
            reason=f"{forms.product} takes vectors of {forms.most_dimensions} dimensions, not {spec.dimensions}",
            remedy="Use a model with fewer, or one whose vectors can be cut, with --dimensions.",
        )
    reason = forms.refuses(layout.quantization, spec.dimensions)
    if reason:
        remedy = "Set the store's option quantization to another one of none, int8, int4, bbq."
        raise StoreRefused(store=store, reason=reason, remedy=remedy)


def _fields(spec: IndexSpec, layout: Layout, forms: SearchForms) -> dict[str, Any]:
    fields: dict[str, Any] = {
        KEY: {"type": "long"},
        DOCUMENT: {"type": "keyword", "index": False},
        NAMESPACE: {"type": "keyword"},
        TERMS: {"type": "keyword"},
        RANGES: {"type": "object", "dynamic": True},
    }
    if spec.sides != "dense":
        fields[TEXT] = {"type": "text", "analyzer": _SPACES, "similarity": _BM25, "index_options": "freqs"}
    if spec.sides != "lexical":
        fields[VECTOR] = forms.vector_field(spec.dimensions, layout.quantization)
    return fields
