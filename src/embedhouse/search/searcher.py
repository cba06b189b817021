"""One search: both sides at once, fusion, the ledger's word on what is current, hits."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout

import msgspec

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.embeddings import Vectors
from embedhouse.domain.filters import Filter, parse_filter
from embedhouse.domain.hits import Hit, Mode, SearchQuery, SearchResult
from embedhouse.ports import Candidates
from embedhouse.search.answering import Answering, Shape
from embedhouse.search.embedding import NotEmbedded, embed_or_degrade, embed_query
from embedhouse.search.fusion import Fused, Side, fuse
from embedhouse.search.highlights import highlighter_of
from embedhouse.search.limits import check_capabilities, check_query
from embedhouse.search.parts import SearchParts
from embedhouse.search.scoring import alone, background_cosine, exact_dense
from embedhouse.search.sides import Found, Merged, fetch
from embedhouse.telemetry import Trace

__all__ = ["Searcher"]


class Searcher:
    """Searches one generation. Thread-safe, as its parts are."""

    def __init__(self, parts: SearchParts) -> None:
        self._parts = parts

    def search(self, query: SearchQuery, deadline: Deadline) -> SearchResult:
        """The `k` best chunks or documents, best first, equal scores by id.

        Scores: the fused score of a hybrid search; the cosine or BM25 score where one side alone was run. A hybrid
        search whose query cannot be embedded is answered by words, and says so in `degraded`.
        Errors: InvalidText, InvalidInput, TooLarge, InvalidFilter, CapabilityMissing before work starts;
        DeadlineExceeded, Cancelled, Overloaded, IndexDamaged.
        """
        check_query(query)
        mode = _mode_run(query)
        only = None if query.filter is None else parse_filter(query.filter)
        check_capabilities(self._parts.index.capabilities, mode, only)
        trace = Trace()
        degraded = ""
        try:
            hits = self._hits(query, _Plan(query, mode, only), trace, deadline)
        except NotEmbedded as error:
            mode, degraded = "lexical", str(error.reason)
            hits = self._hits(query, _Plan(query, mode, only), trace, deadline)
        return SearchResult(
            hits=hits,
            mode=mode,
            space=self._parts.embedder.space.fingerprint,
            took_ms=trace.took_ms,
            timings_ms=trace.timings_ms,
            degraded=degraded,
        )

    def _hits(self, query: SearchQuery, plan: _Plan, trace: Trace, deadline: Deadline) -> list[Hit]:
        deadline.check("starting the search")
        with trace.stage("tokenise"):
            terms = frozenset(self._parts.analyzer.terms(query.text))
        shape = Shape(
            k=query.k,
            documents=query.documents,
            explain=query.explain,
            highlight=highlighter_of(self._parts.analyzer).of(terms),
            fusion=query.fusion.kind if plan.mode == "hybrid" else plan.mode,
        )
        question = _TextQuestion(self._parts, plan, trace, deadline)
        return Answering(self._parts, trace, deadline).hits(question, shape)


class _Plan(msgspec.Struct, frozen=True):
    """A checked query: the mode that is run, and the parsed filter."""

    query: SearchQuery
    mode: Mode
    only: Filter | None


def _mode_run(query: SearchQuery) -> Mode:
    """A side of weight 0 is not run, so hybrid with one weight alone is that side's mode."""
    if query.mode != "hybrid":
        return query.mode
    if query.fusion.lexical_weight == 0:
        return "dense"
    return "lexical" if query.fusion.dense_weight == 0 else "hybrid"


class _TextQuestion:
    """Candidates of a text query, from one side or both."""

    def __init__(self, parts: SearchParts, plan: _Plan, trace: Trace, deadline: Deadline) -> None:
        self._parts = parts
        self._plan = plan
        self._trace = trace
        self._deadline = deadline
        self._embedded: Vectors | None = None

    def find(self, depth: int) -> Found:
        """What the sides that are run have found."""
        if self._plan.mode == "dense":
            return Found(dense=self._dense(depth))
        if self._plan.mode == "lexical":
            return Found(lexical=self._lexical(depth))
        if self._parts.index.capabilities.remote:
            return self._both_at_once(depth)
        # An index in this process holds the interpreter's lock: handing that between threads costs more than it
        # saves.
        return Found(lexical=self._lexical(depth), dense=self._dense(depth))

    def _both_at_once(self, depth: int) -> Found:
        lexical = self._parts.executor.submit(self._lexical, depth)
        try:
            dense = self._dense(depth)
        except BaseException:
            lexical.cancel()
            raise
        return Found(dense=dense, lexical=self._finished(lexical))

    def complete(self, merged: Merged) -> Merged:
        """With the exact dense score of what only the lexical side found."""
        if self._plan.mode != "hybrid":
            return merged
        return msgspec.structs.replace(merged, dense=self._exact(merged))

    def _exact(self, merged: Merged) -> Side:
        return exact_dense(merged, self._vector(), self._parts, self._deadline)

    def score(self, merged: Merged) -> Fused:
        """Fused as the query says; the side's own scores where one side alone was run."""
        if self._plan.mode != "hybrid":
            return alone(merged, self._plan.mode)
        background = background_cosine(self._vector(), self._parts.background)
        return fuse(merged.dense, merged.lexical, self._plan.query.fusion, background)

    def _finished(self, lexical: Future[Candidates]) -> Candidates:
        remaining_s = self._deadline.remaining_s
        try:
            return lexical.result(None if remaining_s == float("inf") else remaining_s)
        except FutureTimeout:
            lexical.cancel()
            self._deadline.check("searching by words")
            raise

    def _vector(self) -> Vectors:
        if self._embedded is None:
            self._deadline.check("embedding the query")
            embed = embed_or_degrade if self._plan.mode == "hybrid" else embed_query
            with self._trace.stage("embed"):
                self._embedded = embed(self._parts.embedder, self._plan.query.text, self._deadline)
        return self._embedded

    def _dense(self, depth: int) -> Candidates:
        vector, plan = self._vector(), self._plan
        self._deadline.check("searching by meaning")
        with self._trace.stage("dense"):
            return self._enough(
                lambda k: self._parts.index.search_dense(
                    vector,
                    k,
                    plan.only,
                    self._deadline,
                    namespaces=self._parts.namespaces,
                    documents=plan.query.documents,
                ),
                depth,
            )

    def _lexical(self, depth: int) -> Candidates:
        plan = self._plan
        self._deadline.check("searching by words")
        with self._trace.stage("lexical"):
            return self._enough(
                lambda k: self._parts.index.search_lexical(
                    plan.query.text,
                    k,
                    plan.only,
                    self._deadline,
                    namespaces=self._parts.namespaces,
                    documents=plan.query.documents,
                ),
                depth,
            )

    def _enough(self, search: Callable[[int], Candidates], depth: int) -> Candidates:
        return fetch(search, depth, self._plan.query.k, documents=self._plan.query.documents)
