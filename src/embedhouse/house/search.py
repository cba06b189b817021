"""`house.search`: ask a collection."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Connection

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.errors import InvalidInput, NotFound
from embedhouse.domain.hits import SearchQuery, SearchResult
from embedhouse.domain.models import attributed, attribution
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
        """Hits, best first. `fields` are those of SearchQuery: k, mode, fusion, filter, documents, explain.

        Errors: UnknownCollection, InvalidText, InvalidInput, InvalidFilter, TooLarge, SpaceMismatch.
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
        result = self._ask(opened, lambda parts: Searcher(parts).search(asked, deadline), deadline, served)
        return msgspec.structs.replace(result, generation=served.opened.generation.id)

    def more_like(
        self,
        collection: str,
        document_id: str,
        *,
        k: int = 10,
        filter: dict[str, Any] | None = None,
        documents: bool = True,
        deadline: Deadline | None = None,
    ) -> SearchResult:
        """What is nearest in meaning to a document, itself left out. Errors: UnknownDocument."""
        within = deadline or Deadline.never()
        wanted = Wanted(liked=[document_id], k=k, filter=filter, documents=documents)
        opened = self._shelf.get(collection)
        return self._ask(opened, lambda parts: Recommender(parts).recommend(wanted, within), within)

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
        deadline: Deadline | None = None,
    ) -> SearchResult:
        """Documents near those liked and away from those disliked. Errors: UnknownDocument, InvalidInput."""
        within = deadline or Deadline.never()
        wanted = Wanted(liked=liked, disliked=disliked, k=k, filter=filter, documents=documents, strategy=strategy)
        opened = self._shelf.get(collection)
        return self._ask(opened, lambda parts: Recommender(parts).recommend(wanted, within), within)

    def near_duplicates(
        self,
        collection: str,
        *,
        threshold: float = 0.95,
        limit: int = 1000,
        deadline: Deadline | None = None,
    ) -> list[SimilarPair]:
        """Pairs of documents whose vectors have at least this cosine, most similar first."""
        within = deadline or Deadline.never()
        opened = self._shelf.get(collection)
        ids = self._document_ids(opened)
        return self._ask(opened, lambda parts: near_duplicates(parts, ids, threshold, limit, within), within)

    def _ask(
        self,
        opened: OpenCollection,
        question: Callable[[SearchParts], Result],
        deadline: Deadline,
        served: ServedGeneration | None = None,
    ) -> Result:
        def answer(live: OpenGeneration, index: Index) -> Result:
            with self._shelf.parts.database.read() as ledger:
                return question(self._parts(live, index, ledger))

        with attributed(collection=opened.collection.name):
            return opened.ask(answer, deadline, served)

    def _parts(self, opened: OpenGeneration, index: Index, ledger: Connection) -> SearchParts:
        reader = LedgerReader(ledger, opened.generation.id)
        return SearchParts(
            collection=opened.collection.name,
            index=index,
            embedder=LazyEmbedder(opened),
            chunks=reader,
            background=reader,
            analyzer=get_analyzer(opened.generation.lexical.analyzer),
            executor=self._executor,
        )

    def _document_ids(self, opened: OpenCollection) -> Iterator[str]:
        after = ""
        while True:
            with self._shelf.parts.database.read() as ledger:
                page = documents.ids_after(ledger, opened.collection.id, after, _IDS_PER_PAGE)
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
