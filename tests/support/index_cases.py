"""What the contract tests of indexes share: an index to test, small data, short ways to ask."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from stores_under_test import GAPS, StoreUnderTest

from embedhouse.domain.collections import LexicalSettings
from embedhouse.domain.deadline import Deadline
from embedhouse.domain.filters import parse_filter
from embedhouse.indexes.memory import MemoryIndex
from embedhouse.ports import Candidates, Index, IndexEntry, IndexSpec

DIMENSIONS = 32
LEXICAL = LexicalSettings()
NEVER = Deadline.never()

TEXTS = [
    "The interleukin IL-2 activates T cells",
    "Interleukin receptors, and two ways to use them",
    "Cells of the immune system divide; dividing cells need energy",
    "energy energy energy",
    "A short note",
    "IT departments buy energy, not it",
    "Version v1.2.3 of the C++ library snake_case",
    "東京タワーの高さ",
    "naïve café",
]


class Subject:
    """An index under test, and its store. `settle` is what a backend does between writing and searching at rest."""

    def __init__(self, under_test: StoreUnderTest, spec: IndexSpec) -> None:
        self.under_test = under_test
        self.spec = spec
        self.index: Index = under_test.store.open(spec)

    @property
    def tolerance(self) -> float:
        return self.under_test.tolerance

    def settle(self) -> None:
        if self.under_test.settles:
            self.index.optimise()
            self.reopen()

    def reopen(self) -> None:
        self.index.close()
        self.index = self.under_test.store.open(self.spec)

    def remove(self) -> None:
        self.index.close()
        self.under_test.store.drop(self.spec.name)


def skip_gaps(request: pytest.FixtureRequest, gaps: dict[str, str]) -> None:
    """Skip a test that is, or that needs, what the store lacks; the reason is the store's."""
    unknown = [gap for gap in gaps if gap not in GAPS and not gap.startswith("test_")]
    assert not unknown, f"not a gap that the suite knows: {unknown}"
    needs = [need for mark in request.node.iter_markers("needs") for need in mark.args]
    assert set(needs) <= set(GAPS), f"not a capability that the suite knows: {needs}"
    for need in [*needs, getattr(request.node, "originalname", "")]:
        if need in gaps:
            pytest.skip(gaps[need])


def vectors_of(n: int, seed: int = 0) -> np.ndarray[Any, np.dtype[np.float32]]:
    """(n, DIMENSIONS) float32 rows around a few centres, as embeddings lie; L2-normalised."""
    random = np.random.default_rng(seed)
    centres = random.standard_normal((40, DIMENSIONS))
    rows = centres[random.integers(40, size=n)] + 0.6 * random.standard_normal((n, DIMENSIONS))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def entry(key: int, text: str = "plain words", seed: int | None = None, **fields: Any) -> IndexEntry:
    vector = fields.pop("vector", None)
    return IndexEntry(
        key=key,
        document_id=fields.pop("document_id", f"doc-{key}"),
        vector=vectors_of(1, key if seed is None else seed)[0] if vector is None else vector,
        text=text,
        metadata=fields.pop("metadata", {}),
    )


def write(index: Index, *entries: IndexEntry) -> None:
    index.write(upserts=entries, deadline=NEVER)


def keys_of(found: Candidates) -> list[int]:
    return [int(key) for key in found.keys]


def dense(index: Index, k: int = 10, raw: dict[str, Any] | None = None, seed: int = 999) -> Candidates:
    return index.search_dense(vectors_of(1, seed)[0], k, None if raw is None else parse_filter(raw), NEVER)


def lexical(index: Index, text: str, k: int = 10, raw: dict[str, Any] | None = None) -> Candidates:
    return index.search_lexical(text, k, None if raw is None else parse_filter(raw), NEVER)


def reference(entries: Sequence[IndexEntry]) -> MemoryIndex:
    """The exact index over the same entries."""
    index = MemoryIndex(dimensions=DIMENSIONS, lexical=LEXICAL)
    write(index, *entries)
    return index


def same_dense(found: Candidates, expected: Candidates, subject: Subject) -> None:
    """The same candidates in the same order, but for those whose scores the store cannot tell apart."""
    scores = dict(zip(keys_of(expected), expected.scores.tolist(), strict=True))
    assert sorted(keys_of(found)) == sorted(scores)
    assert [scores[key] for key in keys_of(found)] == pytest.approx(expected.scores, abs=2 * subject.tolerance)
    assert found.scores == pytest.approx(expected.scores, abs=subject.tolerance)
    assert found.document_ids == [f"doc-{key}" for key in keys_of(found)]


def same_lexical(found: Candidates, expected: Candidates, subject: Subject) -> None:
    """The same candidates in the same order with the same scores."""
    assert keys_of(found) == keys_of(expected)
    assert found.document_ids == expected.document_ids
    assert np.allclose(found.scores, expected.scores, rtol=subject.under_test.bm25_tolerance)
