"""A search: what is asked and what comes back."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from embedhouse.domain.documents import Metadata
from embedhouse.domain.namespaces import DEFAULT_NAMESPACE

__all__ = ["Explanation", "FusionName", "FusionSettings", "Hit", "Mode", "SearchQuery", "SearchResult", "SideScore"]

Mode = Literal["hybrid", "dense", "lexical"]
FusionName = Literal["convex", "tmm", "minmax", "dbsf", "rrf", "logodds"]


class FusionSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How the two sides become one ranking. A side of weight 0 is not run at all.

    `floor`: the cosine that is worth nothing to `convex`: "background" (the query's average cosine with the whole
    generation) or a number.
    """

    kind: FusionName = "convex"
    dense_weight: float = 0.5
    lexical_weight: float = 0.5
    rrf_k: int = 60
    floor: Literal["background"] | float = "background"


class SearchQuery(msgspec.Struct, frozen=True, kw_only=True):
    """One search. `filter` is in the Mongo form; `documents` asks for whole documents, best chunk each.
    `namespaces`: those that are searched; None: all that the caller may see."""

    text: str
    k: int = 10
    mode: Mode = "hybrid"
    fusion: FusionSettings = FusionSettings()
    filter: dict[str, Any] | None = None
    documents: bool = False
    explain: bool = False
    namespaces: list[str] | None = None


class SideScore(msgspec.Struct, frozen=True, kw_only=True):
    """One side's view of a hit. `rank` is from 1; None where that side did not find the hit by itself."""

    score: float
    rank: int | None
    normalised: float
    weight: float


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """Why a hit stands where it stands: fused = sum of weight * normalised (rrf: of weight / (k + rank))."""

    fusion: str
    dense: SideScore | None = None
    lexical: SideScore | None = None


class Hit(msgspec.Struct, frozen=True, kw_only=True):
    """A chunk or document found. `score` is higher-is-better; ties are broken by id.

    `highlights` are character spans in `text` of the words that matched.
    """

    document_id: str
    chunk_id: str
    score: float
    text: str
    title: str = ""
    source: str = ""
    metadata: Metadata = {}
    start: int = 0
    end: int = 0
    headings: tuple[str, ...] = ()
    highlights: list[tuple[int, int]] = []
    explain: Explanation | None = None
    namespace: str = DEFAULT_NAMESPACE


class SearchResult(msgspec.Struct, frozen=True, kw_only=True):
    """Hits, best first. `timings_ms` holds each stage: tokenise, embed, dense, lexical, fuse, read.

    `generation`: the one that answered. `degraded` is empty, or says why a hybrid search was answered by words
    alone; `mode` is then "lexical".
    """

    hits: list[Hit]
    mode: Mode
    space: str
    generation: int = 0
    took_ms: float
    timings_ms: dict[str, float] = {}
    degraded: str = ""
