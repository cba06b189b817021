"""`house.search`: ask a collection."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Connection

from embedhouse.domain.binding import one_namespace, visible_namespaces
from embedhouse.domain.deadline import Deadline
from embedhouse.domain.errors import InvalidInput, NotFound
from embedhouse.domain.hits import SearchQuery, SearchResult
from embedhouse.domain.models import attributed, attribution
from embedhouse.domain.namespaces import Namespaces, Place
from embedhouse.domain.reports import SimilarPair
from embedhouse.house.lazy_embedder import LazyEmbedder
from embedhouse.house.ledger_reader import LedgerReader
from embedhouse.house.shelf import Shelf
from embedhouse.indexes.analyzer import get_analyzer
from embedhouse.indexing.open_collection import OpenCollection
from embedhouse.indexing.open_generation import OpenGeneration
from embedhouse.indexing.served import ServedGeneration
from embedhouse.ledger import documents
from embedhouse.ledger.builds import ShadowQuery
from embedhouse.lifecycle.shadowing import Shadowing, compared
from embedhouse.lifecycle.splitting import generation_for
from embedhouse.ports import Index
from embedhouse.search.near_duplicates import near_duplicates
from embedhouse.search.parts import SearchParts
from embedhouse.search.recommend import Recommender, Strategy, Wanted
from embedhouse.search.searcher import Searcher

__all__ = ["Search"]

Result = TypeVar("Result")

_IDS_PER_PAGE = 5000
_SHADOW_TIMEOUT_S = 30.0


class Search:
    """Searches, called like a function: `house.search("docs", "how to rotate keys", k=5)`. Thread-safe."""

    def __init__(self, shelf: Shelf, executor: Executor) -> None:
        self._shelf = shelf
        self._executor = executor
        self._shadowing = Shadowing(shelf.parts.database, executor)

    def __call__(
        self, collection: str, query: str | SearchQuery, *, deadline: Deadline | None = None, **fields: Any
    ) -> SearchResult:
        """Hits, best first. `fields` are those of SearchQuery: k, mode, fusion, filter, documents, explain,
        namespaces.

        Errors: UnknownCollection, InvalidText, InvalidInput, InvalidFilter, TooLarge, SpaceMismatch; Forbidden for
        namespaces that are not the caller's.
        """
        asked = _query(query, fields)
        within = deadline or Deadline.never()
        opened = self._shelf.get(collection)
        answers = generation_for(opened, attribution().caller)
        result = self._search(opened, answers, asked, within)
        shadow = opened.shadow
        if shadow is not None and shadow.build is not None and answers is not shadow:
            self._shadowing.maybe(
                shadow.opened.generation.id,
                shadow.build.shadow_share,
                lambda: self._compared(opened, shadow, asked, result),
            )
        return result

    def on(
        self, generation: int, collection: str, query: SearchQuery, *, deadline: Deadline | None = None
    ) -> SearchResult:
        """The same by a generation that need not be live. Errors: also NotFound."""
        opened = self._shelf.get(collection)
        served = opened.generation(generation)
        if served is None:
            raise NotFound(what=f"Generation {generation} of collection {collection!r}")
        return self._search(opened, served, query, deadline or Deadline.never())

    def flush(self) -> None:
        """Write what the shadow showed to the ledger."""
        self._shadowing.flush()

    def _compared(
        self, opened: OpenCollection, shadow: ServedGeneration, asked: SearchQuery, live: SearchResult
    ) -> ShadowQuery:
        return compared(asked.text, live, self._search(opened, shadow, asked, Deadline(_SHADOW_TIMEOUT_S)))

    def _search(
        self, opened: OpenCollection, served: ServedGeneration, asked: SearchQuery, deadline: Deadline
    ) -> SearchResult:
        seen = visible_namespaces(asked.namespaces)
        result = self._ask(opened, lambda parts: Searcher(parts).search(asked, deadline), seen, deadline, served)
        return msgspec.structs.replace(result, generation=served.opened.generation.id)

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
        deadline: Deadline | None = None,
    ) -> SearchResult:
        """What is nearest in meaning to a document, itself left out. Namespaces are as in `recommend`. Errors:
        UnknownDocument, Forbidden."""
        return self.recommend(
            collection,
            liked=[document_id],
            k=k,
            filter=filter,
            documents=documents,
            namespace=namespace,
            namespaces=namespaces,
            deadline=deadline,
        )

    def recommend(
        self,
        collection: str,
        *,
        liked: Sequence[str],
        disliked: Sequence[str] = (),
        k: int = 10,
        filter: dict[str, Any] | None = None,
        documents: bool = True,
        strategy: Strategy = "average",
        namespace: str | None = None,
        namespaces: Namespaces = None,
        deadline: Deadline | None = None,
    ) -> SearchResult:
        """Documents near those liked and away from those disliked, which are all of `namespace` (else of the only
        one that is searched, else as in Documents.get); `namespaces` are searched. Errors: UnknownDocument,
        InvalidInput, Forbidden."""
        within = deadline or Deadline.never()
        seen = visible_namespaces(namespaces)
        if namespace is None and namespaces is not None and len(namespaces) == 1:
            namespace = namespaces[0]
        examples = one_namespace(namespace)
        wanted = Wanted(
            liked=liked,
            disliked=disliked,
            k=k,
            filter=filter,
            documents=documents,
            strategy=strategy,
            namespace=examples,
        )
        opened = self._shelf.get(collection)
        return self._ask(opened, lambda parts: Recommender(parts).recommend(wanted, within), seen, within)

    def near_duplicates(
        self,
        collection: str,
        *,
        threshold: float = 0.95,
        limit: int = 1000,
        namespaces: Namespaces = None,
        deadline: Deadline | None = None,
    ) -> list[SimilarPair]:
        """Pairs of documents of these namespaces whose vectors have at least this cosine, most similar first."""
        within = deadline or Deadline.never()
        seen = visible_namespaces(namespaces)
        opened = self._shelf.get(collection)
        places = self._places(opened, seen)
        return self._ask(
            opened, lambda parts: near_duplicates(parts, places, threshold, limit, within), seen, within
        )

    def _ask(
        self,
        opened: OpenCollection,
        question: Callable[[SearchParts], Result],
        namespaces: Namespaces,
        deadline: Deadline,
        served: ServedGeneration | None = None,
    ) -> Result:
        def answer(live: OpenGeneration, index: Index) -> Result:
            with self._shelf.parts.database.read() as ledger:
                return question(self._parts(live, index, ledger, namespaces))

        with attributed(collection=opened.collection.name):
            return opened.ask(answer, deadline, served)

    def _parts(
        self, opened: OpenGeneration, index: Index, ledger: Connection, namespaces: Namespaces
    ) -> SearchParts:
        reader = LedgerReader(ledger, opened.generation.id, namespaces)
        return SearchParts(
            collection=opened.collection.name,
            index=index,
            embedder=LazyEmbedder(opened, namespaces),
            chunks=reader,
            background=reader,
            analyzer=get_analyzer(opened.generation.lexical.analyzer),
            executor=self._executor,
            namespaces=namespaces,
        )

    def _places(self, opened: OpenCollection, namespaces: Namespaces) -> Iterator[Place]:
        after: Place | None = None
        while True:
            with self._shelf.parts.database.read() as ledger:
                page = documents.places_after(ledger, opened.collection.id, after, _IDS_PER_PAGE, namespaces)
            yield from page
            if len(page) < _IDS_PER_PAGE:
                return
            after = page[-1]


def _query(query: str | SearchQuery, fields: dict[str, Any]) -> SearchQuery:
    try:
        if isinstance(query, SearchQuery):
            return msgspec.structs.replace(query, **fields)
        return SearchQuery(text=query, **fields)
    except (TypeError, AttributeError) as error:
        raise InvalidInput(reason=f"{error}. A search takes: {', '.join(SearchQuery.__struct_fields__)}.") from None
