"""Emptiness, paging, odd ids, texts and metadata, and what an index says of itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from index_cases import NEVER, Subject, dense, entry, keys_of, lexical, vectors_of, write

from embedhouse.domain.filters import parse_filter


def test_index_without_entries_answers_with_nothing(subject: Subject) -> None:
    subject.settle()
    found = dense(subject.index)
    assert keys_of(found) == []
    assert found.document_ids == []
    assert found.exhausted
    assert list(subject.index.keys()) == []
    assert subject.index.vectors([1]) == {}
    assert subject.index.vectors([]) == {}
    assert subject.index.dense_scores(vectors_of(1)[0], [], NEVER) == {}
    assert subject.index.info().count == 0


@pytest.mark.needs("lexical", "filters")
def test_index_without_entries_answers_words_and_filters_with_nothing(subject: Subject) -> None:
    for found in (lexical(subject.index, "alpha"), dense(subject.index, raw={"a": 1})):
        assert keys_of(found) == []
        assert found.exhausted


ODD_IDS = ["a/b\\c", 'it\'s "quoted"', "ünïcödé 🙂", " ", "#1\n\t", "-1", "null", "%s{}$1?*", "東京", "x" * 1024]


@pytest.mark.needs("large_keys")
def test_index_keeps_large_keys(subject: Subject) -> None:
    keys = [1, 2, 2**31, 2**53 - 1, 2**53 + 1, 2**62, 2**63 - 1]
    write(subject.index, *(entry(key) for key in keys))
    subject.settle()
    assert sorted(keys_of(dense(subject.index))) == keys
    assert list(subject.index.keys()) == keys
    assert sorted(subject.index.vectors(keys)) == keys
    subject.index.write(deletes=[2**53 + 1, 2**63 - 1], deadline=NEVER)
    assert list(subject.index.keys()) == [1, 2, 2**31, 2**53 - 1, 2**62]


def test_index_keeps_odd_document_ids(subject: Subject) -> None:
    write(subject.index, *(entry(key, document_id=name) for key, name in enumerate(ODD_IDS, start=1)))
    subject.settle()
    found = dense(subject.index, 50)
    assert dict(zip(keys_of(found), found.document_ids, strict=True)) == dict(enumerate(ODD_IDS, start=1))


@pytest.mark.needs("lexical")
def test_index_takes_odd_texts(subject: Subject) -> None:
    texts = [
        "nul \x00 byte",
        "'; drop table x; --",
        "🙂🙃",
        "\u202eright to left",
        "a" * 20_000,
        "x " * 5_000,
        "\ufeffbom",
    ]
    write(subject.index, *(entry(key, f"{text} common") for key, text in enumerate(texts, start=1)))
    subject.settle()
    assert sorted(keys_of(lexical(subject.index, "common", 20))) == list(range(1, len(texts) + 1))


@pytest.mark.needs("filters")
def test_index_takes_odd_metadata(subject: Subject) -> None:
    odd: list[dict[str, Any]] = [
        {"nul": "a\x00b"},
        {"'; drop table x; --": "\\"},
        {"🙂": "🙃", "deep": {"a": {"b": [{"c": "東京"}]}}},
        {"long": "y" * 20_000},
        {"many": list(range(300))},
        {f"field{n}": n for n in range(70)},
        {"$set": 1, "a.b": {"c.d": 2}, "": {"": ""}},
    ]
    write(subject.index, *(entry(key, metadata=metadata) for key, metadata in enumerate(odd, start=1)))
    subject.settle()
    asked: list[tuple[dict[str, Any], list[int]]] = [
        ({"nul": "a\x00b"}, [1]),
        ({"'; drop table x; --": "\\"}, [2]),
        ({"🙂": "🙃"}, [3]),
        ({"deep.a.b.c": "東京"}, [3]),
        ({"long": "y" * 20_000}, [4]),
        ({"many": {"$gt": 298}}, [5]),
        ({"field69": {"$gte": 69}}, [6]),
        ({"a.b.c.d": 2}, [7]),
    ]
    for raw, expected in asked:
        assert keys_of(dense(subject.index, 20, raw)) == expected, raw


def test_index_keys_are_ascending_over_many_pages(subject: Subject) -> None:
    keys = [int(key) for key in np.random.default_rng(1).permutation(np.arange(1, 2_501) * 7)]
    vector = vectors_of(1)[0]
    write(subject.index, *(entry(key, "", vector=vector) for key in keys))
    subject.settle()
    assert list(subject.index.keys()) == sorted(keys)
    assert subject.index.info().count == 2_500
    assert len(subject.index.vectors(keys)) == 2_500


def test_index_flush_keeps_everything_readable(subject: Subject) -> None:
    write(subject.index, entry(1, "alpha"))
    subject.index.flush()
    assert keys_of(dense(subject.index)) == [1]


def test_index_declares_what_it_supports(subject: Subject) -> None:
    capabilities, gaps = subject.index.capabilities, subject.under_test.gaps
    for name in ("dense", "lexical", "filters", "partial_metadata"):
        assert getattr(capabilities, name) == (name not in gaps), name


@pytest.mark.needs("filters")
def test_index_pages_through_all_that_a_filter_leaves(subject: Subject) -> None:
    write(subject.index, *(entry(key, metadata={"odd": key % 2}) for key in range(1, 121)))
    subject.settle()
    query, only = vectors_of(1, 999)[0], parse_filter({"odd": 1})
    everything = subject.index.search_dense(query, 60, only, NEVER)
    assert sorted(keys_of(everything)) == list(range(1, 121, 2))
    for k in (1, 7, 30, 59):
        some = subject.index.search_dense(query, k, only, NEVER)
        assert keys_of(some) == keys_of(everything)[:k]
        assert not some.exhausted
    assert subject.index.search_dense(query, 200, only, NEVER).exhausted
