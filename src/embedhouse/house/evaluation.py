"""`house.evaluate`: judged queries against a collection."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from pathlib import Path

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.errors import ModelError
from embedhouse.domain.hits import FusionSettings, Mode, SearchQuery, SearchResult
from embedhouse.domain.reports import Progress
from embedhouse.evaluation.judgements import Run, read_qrels, read_queries, read_run, write_run
from embedhouse.evaluation.measures import parse_measures
from embedhouse.evaluation.scoring import Evaluation, evaluate

__all__ = ["Evaluating"]

_DEFAULT_K = 100


class Evaluating:
    """One evaluation: reads what is judged, makes or reads a run, scores it."""

    def __init__(self, search: Callable[..., SearchResult], queries: Path, qrels: Path, measures: str) -> None:
        self._search = search
        self._measures = parse_measures(measures)
        self._queries = read_queries(queries)
        self._qrels = read_qrels(qrels)

    def by(self, search: Callable[..., SearchResult]) -> Evaluating:
        """The same queries and judgements, asked elsewhere."""
        other = copy(self)
        other._search = search
        return other

    def run(
        self,
        collection: str,
        mode: Mode,
        k: int | None,
        fusion: FusionSettings,
        progress: Callable[[Progress], None] | None,
        deadline: Deadline,
    ) -> Run:
        """The best documents of every judged query: query id -> document id -> score."""
        judged = [query_id for query_id in self._queries if self._qrels.get(query_id)]
        wanted = k or max([_DEFAULT_K, *(measure.params.get("cutoff", 0) for measure in self._measures)])
        run: Run = {}
        for done, query_id in enumerate(judged, 1):
            query = SearchQuery(text=self._queries[query_id], k=wanted, mode=mode, fusion=fusion, documents=True)
            result = self._search(collection, query, deadline=deadline)
            if result.degraded:
                # Half a search would be measured as if it were a whole one.
                raise ModelError(reason=f"Query {query_id!r} could only be answered by words: {result.degraded}")
            run[query_id] = {hit.document_id: hit.score for hit in result.hits}
            if progress is not None:
                progress(Progress(stage="evaluate", done=done, total=len(judged), unit="queries"))
        return run

    def read(self, path: Path) -> Run:
        """A run in TREC form from a file."""
        return read_run(path)

    def score(self, run: Run, run_out: Path | None) -> Evaluation:
        """Measure the run, and write it in TREC form where a path is given."""
        if run_out is not None:
            write_run(run_out, run)
        return evaluate(self._qrels, run, self._measures)
