"""Requests to Pinecone: its limits, its faults, and its eventual consistency."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from pinecone_house import NEVER, QUERY, SPEC, House, entry, house_on, keys_of, vector

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.errors import (
    Cancelled,
    DeadlineExceeded,
    EmbedhouseError,
    InvalidFilter,
    StoreRefused,
    StoreUnauthorized,
    StoreUnavailable,
    TooLarge,
)
from embedhouse.domain.filters import parse_filter
from embedhouse.indexes.bm25 import term_id
from embedhouse.indexes.memory import MemoryIndex
from embedhouse.indexes.pinecone import connection as pinecone_connection
from embedhouse.indexes.pinecone import searches as pinecone_searches
from embedhouse.indexes.pinecone.index import PineconeIndex

HEAVY = [f"{n:03}" + "n" * 250 for n in range(140)]
"""38 KB of metadata, as it is kept."""


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with house_on(tmp_path) as made:
        yield made
        assert made.stub.complaints == []


@pytest.fixture
def index(house: House) -> PineconeIndex:
    return house.store().open(SPEC)


# ---- Eventual consistency ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("sends_positions", [True, False])
@pytest.mark.parametrize(("search_lag_s", "fetch_lag_s"), [(0.3, 0.0), (0.0, 0.3)])
def test_write_returns_when_searches_and_lookups_see_it(
    house: House, index: PineconeIndex, sends_positions: bool, search_lag_s: float, fetch_lag_s: float
) -> None:
    house.stub.sends_positions = sends_positions
    house.stub.search_lag_s, house.stub.fetch_lag_s = search_lag_s, fetch_lag_s
    began = time.monotonic()
    index.write(upserts=[entry(1, "cat"), entry(2, "dog")], deadline=NEVER)
    assert time.monotonic() - began >= 0.3
    assert keys_of(index.search_lexical("cat", 5, None, NEVER)) == [1]
    assert sorted(keys_of(index.search_dense(QUERY, 5, None, NEVER))) == [1, 2]
    assert sorted(index.vectors([1, 2])) == [1, 2]
    assert list(index.keys()) == [1, 2]


@pytest.mark.parametrize("sends_positions", [True, False])
def test_replacing_and_deleting_return_when_searches_see_it(
    house: House, index: PineconeIndex, sends_positions: bool
) -> None:
    house.stub.sends_positions = sends_positions
    index.write(upserts=[entry(1, "cat"), entry(2, "cat"), entry(3, "cat")], deadline=NEVER)
    house.stub.search_lag_s = house.stub.fetch_lag_s = 0.25
    index.write(upserts=[entry(1, "dog")], deletes=[2], metadata=[(3, {"year": 7})], deadline=NEVER)
    assert keys_of(index.search_lexical("cat", 5, None, NEVER)) == [3]
    assert keys_of(index.search_lexical("dog", 5, None, NEVER)) == [1]
    assert keys_of(index.search_dense(QUERY, 5, parse_filter({"year": 7}), NEVER)) == [3]
    assert list(index.vectors([2])) == []
    index.write(deletes=[1, 3], deadline=NEVER)
    assert keys_of(index.search_dense(QUERY, 5, None, NEVER)) == []


def test_write_that_searches_do_not_see_in_time_says_that_it_is_stored(house: House, index: PineconeIndex) -> None:
    house.stub.search_lag_s = 1.0
    with pytest.raises(DeadlineExceeded, match="waiting until searches of Pinecone see what was written"):
        index.write(upserts=[entry(1, "cat")], deadline=Deadline(0.4))
    time.sleep(0.8)
    assert keys_of(index.search_lexical("cat", 5, None, NEVER)) == [1]
    house.stub.search_lag_s = 0.0
    index.write(upserts=[entry(1, "cat")], deadline=NEVER)
    assert house.statistics.frequencies(SPEC.name, [term_id("cat")]).documents_with == {term_id("cat"): 1}


def test_write_without_a_deadline_does_not_wait_for_ever(house: House) -> None:
    index = house.store(settle_s=0.3).open(SPEC)
    house.stub.search_lag_s = 30.0
    with pytest.raises(StoreUnavailable, match="is stored, but its searches do not see it yet"):
        index.write(upserts=[entry(1)], deadline=NEVER)


# ---- Limits ------------------------------------------------------------------------------------------------------


def test_metadata_over_the_limit_is_refused_by_document_before_anything_is_sent(
    house: House, index: PineconeIndex
) -> None:
    sent = len(house.stub.seen)
    with pytest.raises(TooLarge, match=r"chunk 2 \(document 'doc-2'\).*limit is 40960 bytes"):
        index.write(upserts=[entry(1), entry(2, notes=["x" * 250 + str(n) for n in range(200)])], deadline=NEVER)
    assert len(house.stub.seen) == sent
    assert house.statistics.frequencies(SPEC.name, []).documents == 0
    index.write(upserts=[entry(1)], deadline=NEVER)


def test_a_long_document_id_is_kept_up_to_the_limit(house: House, index: PineconeIndex) -> None:
    long_id = "日本/" * 5_000
    index.write(upserts=[entry(1, document_id=long_id)], deadline=NEVER)
    assert index.search_dense(QUERY, 5, None, NEVER).document_ids == [long_id]
    with pytest.raises(TooLarge, match="a shorter id") as caught:
        index.write(upserts=[entry(2, document_id=long_id * 2)], deadline=NEVER)
    assert len(str(caught.value)) < 500


def test_odd_document_ids_come_back_as_they_were(house: House, index: PineconeIndex) -> None:
    odd = ["a\x00b", "a\\0b", "\\", "日本 語", " "]
    entries = [entry(key, document_id=id_) for key, id_ in enumerate(odd, 1)]
    index.write(upserts=entries, deadline=NEVER)
    index.write(metadata=[(1, {"year": 1})], deadline=NEVER)
    found = index.search_dense(QUERY, 9, None, NEVER)
    assert dict(zip(keys_of(found), found.document_ids, strict=True)) == dict(enumerate(odd, 1))


def test_metadata_that_is_replaced_keeps_to_the_limit(house: House, index: PineconeIndex) -> None:
    index.write(upserts=[entry(1, year=1)], deadline=NEVER)
    with pytest.raises(TooLarge, match="chunk 1"):
        index.write(metadata=[(1, {"notes": [f"{n}" * 100 for n in range(200)]})], deadline=NEVER)
    assert keys_of(index.search_dense(QUERY, 5, parse_filter({"year": 1}), NEVER)) == [1]


def test_a_text_of_too_many_words_is_refused_by_document(house: House, index: PineconeIndex) -> None:
    with pytest.raises(TooLarge, match=r"different words of chunk 2 .*1001"):
        index.write(upserts=[entry(1), entry(2, " ".join(f"word{n}" for n in range(1_001)))], deadline=NEVER)
    index.write(upserts=[entry(2, " ".join(f"word{n}" for n in range(1_000)))], deadline=NEVER)
    assert keys_of(index.search_lexical("word999", 5, None, NEVER)) == [2]


def test_a_query_of_very_many_words_keeps_to_the_limit(house: House, index: PineconeIndex) -> None:
    for key in (1, 2):
        words = " ".join(f"word{n}x{key}" for n in range(900))
        index.write(upserts=[entry(key, words)], deadline=NEVER)
    query = " ".join(f"word{n}x{key}" for n in range(900) for key in (1, 2))
    assert sorted(keys_of(index.search_lexical(query, 5, None, NEVER))) == [1, 2]
    index.search_lexical("word " * 50_000, 5, None, NEVER)


def test_large_writes_go_in_requests_within_the_limits(house: House, index: PineconeIndex) -> None:
    many = [entry(key) for key in range(1, 2_502)]
    index.write(upserts=many, deadline=NEVER)
    sizes = [len(seen.body["vectors"]) for seen in house.stub.requests("/vectors/upsert")]
    assert sizes == [1_000, 1_000, 501]
    assert len(index.vectors(range(1, 2_502))) == 2_501
    index.write(deletes=range(1, 2_501), deadline=NEVER)
    assert [len(seen.body["ids"]) for seen in house.stub.requests("/vectors/delete")] == [1_000, 1_000, 500]
    assert list(index.keys()) == [2_501]


def test_heavy_records_go_in_requests_of_at_most_two_megabytes(house: House, index: PineconeIndex) -> None:
    index.write(upserts=[entry(key, notes=HEAVY) for key in range(1, 101)], deadline=NEVER)
    assert len(house.stub.requests("/vectors/upsert")) == 2
    assert sorted(index.keys()) == list(range(1, 101))


def test_documents_of_a_search_whose_answer_would_be_too_large_are_read_apart(
    house: House, index: PineconeIndex
) -> None:
    index.write(upserts=[entry(key, notes=HEAVY) for key in range(1, 151)], deadline=NEVER)
    found = index.search_dense(QUERY, 140, None, NEVER)
    assert found.document_ids == [f"doc-{key}" for key in keys_of(found)]
    assert len(found.keys) == 140


def test_a_search_for_more_than_a_thousand_names_their_documents(house: House, index: PineconeIndex) -> None:
    index.write(upserts=[entry(key, "cat") for key in range(1, 1_501)], deadline=NEVER)
    found = index.search_dense(QUERY, 1_400, None, NEVER)
    assert found.document_ids == [f"doc-{key}" for key in keys_of(found)]
    assert (len(set(keys_of(found))), found.exhausted) == (1_400, False)
    assert keys_of(index.search_lexical("cat", 1_400, None, NEVER)) == list(range(1, 1_401))
    assert max(seen.body["topK"] for seen in house.stub.requests("/query")) <= 10_000


def test_a_search_for_more_than_pinecone_gives_says_that_there_is_no_more(
    house: House, index: PineconeIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pinecone_searches, "MOST_FOUND", 50)
    index.write(upserts=[entry(key) for key in range(1, 101)], deadline=NEVER)
    found = index.search_dense(QUERY, 80, None, NEVER)
    assert (len(found.keys), found.exhausted) == (50, True)


def test_an_order_of_strings_that_too_many_may_pass_is_refused(
    house: House, index: PineconeIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.write(upserts=[entry(key, url=f"https://{key:03}") for key in range(1, 101)], deadline=NEVER)
    some = parse_filter({"url": {"$gte": "https://090"}})
    exact = [key for key in keys_of(index.search_dense(QUERY, 100, None, NEVER)) if key >= 90]
    assert keys_of(index.search_dense(QUERY, 20, some, NEVER)) == exact
    monkeypatch.setattr(pinecone_searches, "MOST_FOUND", 50)
    with pytest.raises(InvalidFilter, match="cannot order strings"):
        index.search_dense(QUERY, 20, parse_filter({"url": {"$gt": "https://100"}}), NEVER)


# ---- Faults ------------------------------------------------------------------------------------------------------


def test_a_rate_limit_is_waited_for_as_long_as_the_server_asks(house: House, index: PineconeIndex) -> None:
    house.stub.faults.extend(["429:0.3", "429"])
    began = time.monotonic()
    index.write(upserts=[entry(1)], deadline=NEVER)
    assert time.monotonic() - began >= 0.3
    assert [seen.status for seen in house.stub.requests("/vectors/upsert")] == [429, 429, 200]


def test_a_rate_limit_beyond_the_deadline_is_not_waited_for(house: House, index: PineconeIndex) -> None:
    house.stub.faults.append("429:20")
    began = time.monotonic()
    with pytest.raises((StoreUnavailable, DeadlineExceeded)):
        index.search_dense(QUERY, 5, None, Deadline(1.0), namespaces=["default"])
    assert time.monotonic() - began < 5
    assert [seen.status for seen in house.stub.requests("/query")] == [429]


def test_an_outage_is_tried_a_few_times_by_us_and_never_by_the_client(
    house: House, index: PineconeIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pinecone_connection, "_FIRST_WAIT_S", 0.01)
    house.stub.faults.extend(["503"] * 20)
    with pytest.raises(StoreUnavailable, match=r"Pinecone 'docs' cannot be reached"):
        index.search_dense(QUERY, 5, None, NEVER, namespaces=["default"])
    assert len(house.stub.requests("/query")) == 5


def test_the_making_of_an_index_is_not_retried_by_the_client(house: House) -> None:
    house.stub.faults.extend(["503"] * 5)
    with pytest.raises(StoreUnavailable):
        house.store().open(SPEC)
    assert len(house.stub.seen) == 5


@pytest.mark.parametrize("fault", ["cut", "500", "503", "504", "408"])
def test_a_write_that_was_cut_off_is_sent_again(house: House, index: PineconeIndex, fault: str) -> None:
    house.stub.faults.append(fault)
    index.write(upserts=[entry(1, "cat")], deadline=NEVER)
    assert keys_of(index.search_lexical("cat", 5, None, NEVER)) == [1]


@pytest.mark.parametrize("namespaces", [None, ["default"]])
def test_a_server_that_hangs_costs_no_more_than_the_deadline(
    house: House, index: PineconeIndex, namespaces: list[str] | None
) -> None:
    house.stub.faults.append("hang")
    began = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        index.search_dense(QUERY, 5, None, Deadline(0.5), namespaces=namespaces)
    assert time.monotonic() - began < 5


def test_a_cancelled_search_asks_nothing(house: House, index: PineconeIndex) -> None:
    asked = len(house.stub.seen)
    deadline = Deadline(5)
    deadline.cancel()
    with pytest.raises(Cancelled):
        index.search_dense(QUERY, 5, None, deadline, namespaces=["default"])
    assert len(house.stub.seen) == asked


@pytest.mark.parametrize(
    ("fault", "error", "remedy"),
    [
        ("401", StoreUnauthorized, "PINECONE_API_KEY"),
        ("402", StoreRefused, "bill"),
        ("403", StoreRefused, "limit of the plan"),
        ("400", StoreRefused, "update the package"),
    ],
)
def test_a_refusal_names_its_remedy_and_is_not_tried_again(
    house: House, index: PineconeIndex, fault: str, error: type[EmbedhouseError], remedy: str
) -> None:
    house.stub.faults.append(fault)
    with pytest.raises(error, match=remedy):
        index.write(upserts=[entry(1)], deadline=NEVER)
    assert [seen.status for seen in house.stub.requests("/vectors/upsert")] == [int(fault)]


def test_a_write_repeated_after_a_failure_is_counted_once(
    house: House, index: PineconeIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.write(upserts=[entry(1, "cat"), entry(2, "dog")], deadline=NEVER)
    house.stub.faults.append("403")
    with pytest.raises(StoreRefused):
        index.write(upserts=[entry(1, "bird cat"), entry(3, "cat")], deletes=[2], deadline=NEVER)
    for _ in range(2):
        index.write(upserts=[entry(1, "bird cat"), entry(3, "cat")], deletes=[2], deadline=NEVER)
    found = house.statistics.frequencies(SPEC.name, [term_id(word) for word in ("cat", "dog", "bird")])
    assert (found.documents, found.length) == (2, 3)
    assert found.documents_with == {term_id("cat"): 2, term_id("bird"): 1}


# ---- Scores ------------------------------------------------------------------------------------------------------


def test_lexical_scores_of_one_write_are_bm25_over_all_namespaces(house: House, index: PineconeIndex) -> None:
    texts = ["cat and dog", "cats cat cat cat", "a bird in the hand and two in the bush", "dog"]
    entries = [entry(key, text) for key, text in enumerate(texts, 1)]
    exact = MemoryIndex(dimensions=4, lexical=SPEC.lexical)
    exact.write(upserts=entries, deadline=NEVER)
    index.write(upserts=entries, deadline=NEVER)
    for query in ("cat dog", "bird bush", "CATS", "nothing"):
        found, expected = (some.search_lexical(query, 5, None, NEVER) for some in (index, exact))
        assert keys_of(found) == keys_of(expected)
        assert found.scores == pytest.approx(expected.scores, rel=1e-6)


def test_weights_keep_the_average_length_of_their_time(house: House, index: PineconeIndex) -> None:
    index.write(upserts=[entry(1, "cat " * 4)], deadline=NEVER)
    index.write(upserts=[entry(2, "cat " * 4), entry(3, "dog " * 40)], deadline=NEVER)
    found = index.search_lexical("cat", 5, None, NEVER)
    assert keys_of(found) == [2, 1]  # the same text: written when the average was longer, it counts as shorter
    rebuilt = house.store().open(msgspec.structs.replace(SPEC, name="indexes/5/rebuilt"))
    rebuilt.write(upserts=[entry(1, "cat " * 4), entry(2, "cat " * 4), entry(3, "dog " * 40)], deadline=NEVER)
    again = rebuilt.search_lexical("cat", 5, None, NEVER)
    assert keys_of(again) == [1, 2]
    assert again.scores[0] == again.scores[1]


def test_dense_scores_of_keys_that_a_search_passes_over_are_looked_up(
    house: House, index: PineconeIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.write(upserts=[entry(key) for key in range(1, 6)], deadline=NEVER)
    exact = {key: float(QUERY @ vector(key) / np.linalg.norm(vector(key))) for key in (1, 4)}
    assert index.dense_scores(QUERY, [1, 4, 99], NEVER) == pytest.approx(exact, abs=1e-6)
    monkeypatch.setattr(pinecone_searches.Searches, "of_keys", lambda *_: [])
    assert index.dense_scores(QUERY, [1, 4, 99], NEVER) == pytest.approx(exact, abs=1e-6)
