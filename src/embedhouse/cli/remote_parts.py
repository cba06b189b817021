"""The house's parts behind a running server: collections, documents, search, models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import msgspec

from embedhouse.cli.wire import Wire, path
from embedhouse.domain.deadline import Deadline
from embedhouse.domain.documents import Document, Metadata
from embedhouse.domain.hits import SearchQuery, SearchResult
from embedhouse.domain.namespaces import Namespaces
from embedhouse.domain.reports import (
    CollectionInfo,
    DocumentPage,
    DocumentView,
    Embedded,
    ModelInfo,
    Progress,
    SimilarPair,
    SpaceInfo,
    TokenVectors,
    Wait,
    WriteReport,
)
from embedhouse.domain.spending import UsageBy, UsageReport
from embedhouse.domain.verification import DeadLetterInfo

__all__ = [
    "OnProgress",
    "RemoteCollections",
    "RemoteDeadLetters",
    "RemoteDocuments",
    "RemoteModels",
    "RemoteSearch",
    "RemoteSpaces",
    "RemoteUsage",
]

OnProgress = Callable[[Progress], None]
# Named here, because inside the classes `list` is a method.
_Collections = list[CollectionInfo]
_Vector = list[float]
_TokenVectors = list[TokenVectors]
_Matrix = list[list[float]]
_Models = list[ModelInfo]
_Spaces = list[SpaceInfo]
_Letters = list[DeadLetterInfo]


class _Similarities(msgspec.Struct):
    similarities: _Matrix


class RemoteCollections:
    """As `House.collections`."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def create(self, name: str, **options: Any) -> CollectionInfo:
        """Make a collection; CollectionExists if it is there."""
        return self._wire.call("POST", "/collections", CollectionInfo, body=_given(name=name, **options))

    def get(self, name: str) -> CollectionInfo:
        """One collection as it is now."""
        return self._wire.call("GET", path("collections", name), CollectionInfo)

    def list(self) -> _Collections:
        """Every collection, by name."""
        return self._wire.call("GET", "/collections", dict[str, _Collections])["collections"]

    def delete(self, name: str) -> None:
        """Delete a collection with everything in it."""
        self._wire.call("DELETE", path("collections", name), object)

    def compact(self, name: str, *, progress: OnProgress | None = None) -> None:
        """Build the index anew beside the old one, and swap."""
        self._wire.follow(path("collections", name, "compact"), {}, object, progress)


class RemoteDocuments:
    """As `House.documents`."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def upsert(
        self,
        collection: str,
        documents: Sequence[Document],
        *,
        wait: Wait = "indexed",
        namespace: str | None = None,
    ) -> WriteReport:
        """Add or replace documents."""
        body = _given(documents=documents, wait=wait, namespace=namespace)
        return self._wire.call("POST", path("collections", collection, "documents"), WriteReport, body=body)

    def update_metadata(
        self,
        collection: str,
        id: str,
        metadata: Metadata,
        *,
        replace: bool = False,
        namespace: str | None = None,
    ) -> None:
        """Change metadata without embedding anything."""
        body = {"metadata": metadata, "replace": replace}
        route = path("collections", collection, "documents", id)
        self._wire.call("PATCH", route, object, body=body, query={"namespace": namespace})

    def delete(
        self,
        collection: str,
        *,
        ids: Sequence[str] | None = None,
        filter: dict[str, Any] | None = None,
        namespace: str | None = None,
    ) -> int:
        """Delete by ids, or by filter; the number of documents that went."""
        body = _given(ids=ids, filter=filter, namespace=namespace)
        route = path("collections", collection, "delete-documents")
        return self._wire.call("POST", route, dict[str, int], body=body)["deleted"]

    def get(self, collection: str, id: str, *, namespace: str | None = None) -> DocumentView:
        """One document with its text."""
        route = path("collections", collection, "documents", id)
        return self._wire.call("GET", route, DocumentView, query={"namespace": namespace})

    def list(
        self,
        collection: str,
        *,
        filter: dict[str, Any] | None = None,
        limit: int = 100,
        after: str = "",
        with_text: bool = False,
        namespaces: Namespaces = None,
    ) -> DocumentPage:
        """A page of documents by namespace and id."""
        query: dict[str, object] = {"limit": limit, "after": after or None, "text": str(with_text).lower()}
        query["namespace"] = namespaces
        if filter is not None:
            query["filter"] = msgspec.json.encode(filter).decode()
        return self._wire.call("GET", path("collections", collection, "documents"), DocumentPage, query=query)

    def vector(
        self,
        collection: str,
        id: str,
        *,
        kind: Literal["mean", "centroid"] = "mean",
        namespace: str | None = None,
    ) -> _Vector:
        """The document's own vector."""
        route = path("collections", collection, "vectors", id)
        query = {"kind": kind, "namespace": namespace}
        return self._wire.call("GET", route, dict[str, _Vector], query=query)["vector"]


class RemoteSearch:
    """As `House.search`."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def __call__(
        self, collection: str, query: str | SearchQuery, *, deadline: Deadline | None = None, **fields: Any
    ) -> SearchResult:
        """Search one collection. The server's own time limit holds, whatever the deadline."""
        asked = query if isinstance(query, SearchQuery) else SearchQuery(text=query)
        asked = msgspec.structs.replace(asked, **fields)
        body = {"collection": collection, **msgspec.structs.asdict(asked)}
        return self._wire.call("POST", "/search", SearchResult, body=_given(**body))

    def more_like(
        self,
        collection: str,
        document_id: str,
        *,
        k: int = 10,
        filter: dict[str, Any] | None = None,
        documents: bool = True,
        namespace: str | None = None,
        namespaces: Namespaces = None,
    ) -> SearchResult:
        """Documents like one that is there."""
        body = _given(document_id=document_id, k=k, filter=filter, documents=documents)
        body |= _given(namespace=namespace, namespaces=namespaces)
        return self._wire.call("POST", path("collections", collection, "more-like"), SearchResult, body=body)

    def recommend(
        self,
        collection: str,
        *,
        liked: Sequence[str],
        disliked: Sequence[str] = (),
        k: int = 10,
        filter: dict[str, Any] | None = None,
        namespace: str | None = None,
        namespaces: Namespaces = None,
    ) -> SearchResult:
        """Documents near the liked ones and far from the disliked ones."""
        body = _given(liked=liked, disliked=disliked, k=k, filter=filter)
        body |= _given(namespace=namespace, namespaces=namespaces)
        return self._wire.call("POST", path("collections", collection, "recommend"), SearchResult, body=body)

    def near_duplicates(
        self, collection: str, *, threshold: float = 0.95, limit: int = 1000, namespaces: Namespaces = None
    ) -> list[SimilarPair]:
        """Pairs of documents that say nearly the same."""
        query = {"threshold": threshold, "limit": limit, "namespace": namespaces}
        route = path("collections", collection, "near-duplicates")
        return self._wire.call("GET", route, dict[str, list[SimilarPair]], query=query)["pairs"]


class RemoteModels:
    """As `House.models`."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def embed(self, texts: Sequence[str], **options: Any) -> Embedded:
        """Embeddings of texts."""
        answer = self._wire.call("POST", "/embed", Embedded, body=_given(texts=texts, **options))
        if options.get("granularity") != "token":
            return answer
        # JSON does not say which record it is; what was asked for does.
        return msgspec.structs.replace(answer, embeddings=msgspec.convert(answer.embeddings, _TokenVectors))

    def similarity(self, a: Sequence[str], b: Sequence[str], **options: Any) -> _Matrix:
        """Cosines: a row for each of `a`."""
        return self._wire.call("POST", "/similarity", _Similarities, body=_given(a=a, b=b, **options)).similarities

    def list(self) -> _Models:
        """Models on the server's machine."""
        return self._wire.call("GET", "/models", dict[str, _Models])["models"]


class RemoteSpaces:
    """As `House.spaces`."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def unfreeze(self, model: str, *, accept: bool = False) -> _Spaces:
        """Let the frozen spaces of a model be written again."""
        body = {"model": model, "accept": accept}
        return self._wire.call("POST", "/models/unfreeze", dict[str, _Spaces], body=body)["spaces"]


class RemoteUsage:
    """As `House.usage`."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def report(self, by: UsageBy = "day", **wanted: str | None) -> UsageReport:
        """What embeddings took."""
        return self._wire.call("GET", "/usage", UsageReport, query={"by": by, **wanted})


class RemoteDeadLetters:
    """As `House.dead_letters`."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def list(self, collection: str) -> _Letters:
        """What failed for good."""
        route = path("collections", collection, "dead-letters")
        return self._wire.call("GET", route, dict[str, _Letters])["dead_letters"]

    def retry(self, collection: str, ids: Sequence[str] | None = None) -> int:
        """Index these again, or all."""
        return self._done(collection, "retry", ids)

    def drop(self, collection: str, ids: Sequence[str] | None = None) -> int:
        """Forget these, or all."""
        return self._done(collection, "drop", ids)

    def _done(self, collection: str, what: str, ids: Sequence[str] | None) -> int:
        route = path("collections", collection, "dead-letters", what)
        return self._wire.call("POST", route, dict[str, int], body=_given(ids=ids))["count"]


def _given(**fields: object) -> dict[str, object]:
    return {name: value for name, value in fields.items() if value is not None}
