import math

import pytest

from embedhouse.domain.collections import LexicalSettings
from embedhouse.indexes.bm25 import Bm25Encoder, SparseVector, term_id
from embedhouse.ports import TermFrequencies

SIMPLE = LexicalSettings(analyzer="simple", k1=1.2, b=0.75)


@pytest.fixture
def encoder() -> Bm25Encoder:
    return Bm25Encoder(SIMPLE)


def frequencies(documents: int, **counts: int) -> TermFrequencies:
    return TermFrequencies(
        documents=documents, length=0, documents_with={term_id(term): count for term, count in counts.items()}
    )


def test_term_id_is_the_same_in_every_process() -> None:
    assert [term_id("cat"), term_id("東京"), term_id("")] == [1787499195, 3179978821, 309448485]


def test_count_says_how_often_each_term_stands(encoder: Bm25Encoder) -> None:
    counted = encoder.count("cat dog cat")
    assert counted.length == 3
    assert counted.counts == {term_id("cat"): 2, term_id("dog"): 1}
    assert list(counted.counts) == sorted(counted.counts)


def test_count_of_nothing_is_empty(encoder: Bm25Encoder) -> None:
    counted = encoder.count(" ... ")
    assert (dict(counted.counts), counted.length) == ({}, 0)
    assert encoder.document(counted, 3.0) == SparseVector([], [])


def test_document_weights_follow_the_formula(encoder: Bm25Encoder) -> None:
    weights = encoder.document(encoder.count("cat dog cat"), average_length=6)
    penalty = 1.2 * (1 - 0.75 + 0.75 * 3 / 6)
    expected = {term_id("cat"): 2 * 2.2 / (2 + penalty), term_id("dog"): 2.2 / (1 + penalty)}
    assert dict(zip(weights.indices, weights.values, strict=True)) == pytest.approx(expected)


def test_document_weights_of_the_first_of_all_texts_are_finite(encoder: Bm25Encoder) -> None:
    assert encoder.document(encoder.count("cat"), average_length=0).values == [pytest.approx(1.0)]


def test_query_weights_are_the_inverse_frequencies(encoder: Bm25Encoder) -> None:
    query = encoder.query(frequencies(10, cat=1, dog=10, unknown=0), limit=100)
    expected = {term_id("cat"): math.log(1 + 9.5 / 1.5), term_id("dog"): math.log(1 + 0.5 / 10.5)}
    assert dict(zip(query.indices, query.values, strict=True)) == pytest.approx(expected)
    assert query.indices == sorted(query.indices)


def test_query_keeps_its_rarest_terms(encoder: Bm25Encoder) -> None:
    query = encoder.query(frequencies(10, cat=1, dog=10, bird=2), limit=2)
    assert set(query.indices) == {term_id("cat"), term_id("bird")}


def test_query_weights_stay_above_zero_while_counts_move(encoder: Bm25Encoder) -> None:
    assert min(encoder.query(frequencies(3, cat=5), limit=10).values) > 0
