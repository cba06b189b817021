"""What it costs that a store of sparse vectors keeps each text's BM25 weights as they were when it was written.

    python benchmarks/bench_frozen_length.py [--sets scifact,cranfield] [--out FILE]

A BM25 weight depends on the average length of the corpus, which moves while the corpus grows. Each set is written
in batches, in several orders, and searched when all of it is there: against exact BM25, with the average of the
whole corpus in every weight. Ways to choose the average of a batch: that of everything written so far, the batch
included (`now`: what the adapter of Pinecone does); as it was when the number of texts last doubled (`doubled`);
that of the first batch, for ever (`first`). No store is needed.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from ir_measures import nDCG

from embedhouse.domain.collections import LexicalSettings
from embedhouse.indexes.bm25 import Bm25Encoder, SparseVector
from embedhouse.ports import TermCounts, TermFrequencies
from machine import DATA, versions, write_result

BATCH = 64
SEED = 7
DEPTH = 100
PACKAGES = ("embedhouse", "numpy", "pystemmer", "ir-measures")
ORDERS: dict[str, Callable[[list[TermCounts]], list[int]]] = {
    "as given": lambda texts: list(range(len(texts))),
    "shuffled": lambda texts: random.Random(SEED).sample(range(len(texts)), len(texts)),
    "shortest first": lambda texts: sorted(range(len(texts)), key=lambda i: texts[i].length),
    "longest first": lambda texts: sorted(range(len(texts)), key=lambda i: -texts[i].length),
}
WAYS = ("now", "doubled", "first")
Floats = npt.NDArray[np.float64]


class JudgedSet:
    """A set in BEIR's layout, as terms."""

    def __init__(self, name: str, encoder: Bm25Encoder) -> None:
        documents = _lines(DATA / name / "corpus.jsonl")
        judged = (DATA / name / "qrels" / "test.tsv").read_text("utf-8").splitlines()[1:]
        rows = [line.split("\t") for line in judged]
        self.ids = [str(one["_id"]) for one in documents]
        self.texts = [encoder.count(f"{one.get('title', '')} {one['text']}") for one in documents]
        self.qrels: dict[str, dict[str, int]] = {}
        for query, document, grade in rows:
            self.qrels.setdefault(query, {})[document] = int(grade)
        wanted = [one for one in _lines(DATA / name / "queries.jsonl") if one["_id"] in self.qrels]
        self.queries = {str(one["_id"]): encoder.query_terms(str(one["text"])) for one in wanted}


def _lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def averages(texts: Sequence[TermCounts], order: Sequence[int], way: str) -> Floats:
    """The average length in each text's weights, (n_texts,), in terms."""
    found = np.zeros(len(texts))
    lengths = np.array([texts[i].length for i in order], np.float64)
    so_far = np.cumsum(lengths) / np.arange(1, len(lengths) + 1)
    for start in range(0, len(order), BATCH):
        end = min(start + BATCH, len(order))
        last = {"now": end, "doubled": max(BATCH, 2 ** (end.bit_length() - 1)), "first": BATCH}[way]
        found[list(order[start:end])] = so_far[min(last, end) - 1]
    return found


class Postings:
    """Every text's weights by term."""

    def __init__(self, vectors: Sequence[SparseVector]) -> None:
        terms = np.array([term for vector in vectors for term in vector.indices], np.int64)
        owners = np.repeat(np.arange(len(vectors)), [len(vector.indices) for vector in vectors])
        weights = np.array([weight for vector in vectors for weight in vector.values])
        by_term = np.argsort(terms, kind="stable")
        self._terms, self._owners, self._weights = terms[by_term], owners[by_term], weights[by_term]
        self._n = len(vectors)

    def frequencies(self, terms: Sequence[int]) -> TermFrequencies:
        counts = {term: self._range(term) for term in terms}
        known = {term: stop - start for term, (start, stop) in counts.items()}
        return TermFrequencies(documents=self._n, length=0, documents_with=known)

    def scores(self, query: SparseVector) -> Floats:
        """(n_texts,)"""
        found = np.zeros(self._n)
        for term, weight in zip(query.indices, query.values, strict=True):
            start, stop = self._range(term)
            found[self._owners[start:stop]] += weight * self._weights[start:stop]
        return found

    def _range(self, term: int) -> tuple[int, int]:
        start, stop = np.searchsorted(self._terms, [term, term + 1])
        return int(start), int(stop)


def compare(judged: JudgedSet, encoder: Bm25Encoder) -> Iterator[dict[str, object]]:
    """One row for each order and way."""
    whole = np.full(len(judged.texts), np.mean([text.length for text in judged.texts]))
    exact = searched(judged, encoder, whole)
    yield {"order": "any", "average": "of the whole (exact)", "nDCG@10": round(quality(judged, exact), 4)}
    for order_name, order_of in ORDERS.items():
        order = order_of(judged.texts)
        for way in WAYS:
            used = averages(judged.texts, order, way)
            found = searched(judged, encoder, used)
            yield {
                "order": order_name,
                "average": way,
                "nDCG@10": round(quality(judged, found), 4),
                "same best 10": round(float(np.mean([_overlap(found[q], exact[q]) for q in exact])), 4),
                "mean error of the average": round(float(np.mean(np.abs(used / whole - 1))), 4),
                "mean error of a score": round(float(np.mean([_error(found[q], exact[q]) for q in exact])), 5),
            }


def searched(judged: JudgedSet, encoder: Bm25Encoder, lengths: Floats) -> dict[str, Floats]:
    """Each query's scores of all texts, (n_texts,)."""
    pairs = zip(judged.texts, lengths.tolist(), strict=True)
    postings = Postings([encoder.document(text, average) for text, average in pairs])
    asked = {name: encoder.query(postings.frequencies(terms), 1_000) for name, terms in judged.queries.items()}
    return {name: postings.scores(query) for name, query in asked.items()}


def quality(judged: JudgedSet, found: dict[str, Floats]) -> float:
    """nDCG@10 over all queries."""
    run = {name: {judged.ids[i]: float(scores[i]) for i in _best(scores, DEPTH)} for name, scores in found.items()}
    return float((nDCG @ 10).calc_aggregate(judged.qrels, run))


def _best(scores: Floats, k: int) -> list[int]:
    return [int(i) for i in np.argsort(-scores, kind="stable")[:k] if scores[i] > 0]


def _overlap(found: Floats, exact: Floats) -> float:
    best = _best(exact, 10)
    return len(set(_best(found, 10)) & set(best)) / max(1, len(best))


def _error(found: Floats, exact: Floats) -> float:
    best = _best(exact, DEPTH)
    return float(np.mean(np.abs(found[best] / exact[best] - 1))) if best else 0.0


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", default="scifact,cranfield")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    encoder = Bm25Encoder(LexicalSettings())
    sets = {}
    for name in given.sets.split(","):
        judged = JudgedSet(name, encoder)
        sets[name] = {"texts": len(judged.texts), "queries": len(judged.queries), "rows": []}
        for row in compare(judged, encoder):
            print(name, row)
            sets[name]["rows"].append(row)  # type: ignore[attr-defined]
    settings = {"batch": BATCH, "seed": SEED, "versions": versions(PACKAGES)}
    write_result("frozen-length", {**settings, "sets": sets}, given.out)


if __name__ == "__main__":
    main()
