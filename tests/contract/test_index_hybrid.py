"""Both sides together: a hybrid search is the fusion of what each side finds by itself."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
from index_cases import DIMENSIONS, NEVER, TEXTS, Subject, entry, keys_of, reference, vectors_of, write
from stores_under_test import StoreUnderTest

from embedhouse.domain.filters import Filter, parse_filter
from embedhouse.domain.hits import FusionName, FusionSettings
from embedhouse.ports import Index, IndexEntry, IndexSpec
from embedhouse.search.fusion import Side, best_first, fuse
from embedhouse.search.sides import Found, merge

pytestmark = pytest.mark.needs("dense", "lexical")

KINDS: list[FusionName] = ["convex", "rrf", "tmm", "minmax"]


def _batch() -> list[IndexEntry]:
    return [
        entry(key, f"{TEXTS[key % 9]} word{key % 7}", metadata={"third": key % 3 == 0}) for key in range(1, 150)
    ]


def _hybrid(index: Index, text: str, depth: int, kind: FusionName, only: Filter | None = None) -> dict[int, float]:
    """Key -> fused score, best first, as the searcher fuses: what only words found has its exact cosine."""
    vector = vectors_of(1, 321)[0]
    merged = merge(
        Found(
            dense=index.search_dense(vector, depth, only, NEVER),
            lexical=index.search_lexical(text, depth, only, NEVER),
        ),
        documents=False,
    )
    keys = np.where(merged.dense_keys >= 0, merged.dense_keys, merged.lexical_keys)
    scores = merged.dense.scores.copy()
    missing = ~merged.dense.found
    exact = index.dense_scores(vector, keys[missing].tolist(), NEVER)
    scores[missing] = [exact[key] for key in keys[missing].tolist()]
    fused = fuse(Side(scores, merged.dense.ranks), merged.lexical, FusionSettings(kind=kind), background=0.1)
    return {int(keys[row]): float(fused.scores[row]) for row in best_first(fused.scores)}


@pytest.mark.needs("bm25", "ties")
def test_index_hybrid_is_the_fusion_of_its_sides(subject: Subject) -> None:
    batch = _batch()
    write(subject.index, *batch)
    subject.settle()
    exact = reference(batch)
    for kind in KINDS:
        found = _hybrid(subject.index, "energy cells word3", 150, kind)
        expected = _hybrid(exact, "energy cells word3", 150, kind)
        assert found.keys() == expected.keys(), kind
        scores = [found[key] for key in expected]
        assert scores == pytest.approx(list(expected.values()), abs=10 * subject.tolerance), kind


@pytest.mark.needs("bm25", "ties", "filters")
def test_index_hybrid_keeps_to_the_filter_on_both_sides(subject: Subject) -> None:
    batch = _batch()
    write(subject.index, *batch)
    subject.settle()
    only = parse_filter({"third": True})
    found = _hybrid(subject.index, "energy cells word3", 150, "convex", only)
    expected = _hybrid(reference(batch), "energy cells word3", 150, "convex", only)
    assert found.keys() == expected.keys()
    assert all(key % 3 == 0 for key in found)


def test_index_has_a_dense_score_for_whatever_words_find(subject: Subject) -> None:
    write(subject.index, *_batch())
    subject.settle()
    vector = vectors_of(1, 321)[0]
    by_words = keys_of(subject.index.search_lexical("energy", 100, None, NEVER))
    by_meaning = subject.index.search_dense(vector, 150, None, NEVER)
    scores = dict(zip(keys_of(by_meaning), by_meaning.scores.tolist(), strict=True))
    exact = subject.index.dense_scores(vector, by_words, NEVER)
    assert exact == pytest.approx({key: scores[key] for key in by_words}, abs=subject.tolerance)


@pytest.mark.parametrize("side", ["dense", "lexical"])
def test_index_of_one_side_answers_for_that_side(
    able: StoreUnderTest, spec: IndexSpec, side: Literal["dense", "lexical"]
) -> None:
    half = IndexSpec(name=spec.name, dimensions=DIMENSIONS, lexical=spec.lexical, sides=side)
    subject = Subject(able, half)
    write(subject.index, entry(1, "alpha", metadata={"a": 1}), entry(2, "beta", metadata={"a": 2}))
    subject.settle()
    if side == "dense":
        found = subject.index.search_dense(vectors_of(1, 2)[0], 1, None, NEVER)
    else:
        found = subject.index.search_lexical("beta", 1, None, NEVER)
    assert (keys_of(found), found.document_ids) == ([2], ["doc-2"])
    subject.index.write(deletes=[2], deadline=NEVER)
    assert list(subject.index.keys()) == [1]
    subject.remove()
