"""The searcher over a tiny generation whose every score can be computed by hand."""

import math
import threading

import pytest

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.errors import (
    Cancelled,
    CapabilityMissing,
    DeadlineExceeded,
    InvalidFilter,
    InvalidInput,
    InvalidText,
    TooLarge,
)
from embedhouse.domain.hits import FusionSettings, SearchQuery
from embedhouse.search.searcher import Searcher


def found(generation, text, **fields):
    result = Searcher(generation.parts).search(SearchQuery(text=text, **fields), Deadline.never())
    return [hit.chunk_id for hit in result.hits]


def search(generation, text, **fields):
    return Searcher(generation.parts).search(SearchQuery(text=text, **fields), Deadline.never())


def test_search_dense_orders_by_cosine_and_scores_with_it(generation):
    generation.add("far", "x", 60)
    generation.add("near", "y", 10)
    result = search(generation, generation.ask("q"), mode="dense")
    assert [hit.document_id for hit in result.hits] == ["near", "far"]
    assert result.hits[0].score == pytest.approx(math.cos(math.radians(10)), abs=1e-6)
    assert result.mode == "dense"


def test_search_lexical_never_calls_the_model(generation):
    generation.add("a", "red fox", 0)
    generation.add("b", "blue fox", 0)
    result = search(generation, "red fox", mode="lexical")
    assert [(hit.document_id, hit.score) for hit in result.hits] == [("a", 2.0), ("b", 1.0)]
    assert generation.embedder.calls == []
    assert "embed" not in result.timings_ms


@pytest.mark.parametrize(("weights", "mode"), [((1.0, 0.0), "dense"), ((0.0, 1.0), "lexical")])
def test_search_with_weight_zero_does_not_run_that_side(generation, weights, mode):
    generation.add("a", "red fox", 0)
    fusion = FusionSettings(dense_weight=weights[0], lexical_weight=weights[1])
    result = search(generation, generation.ask("red fox"), fusion=fusion)
    assert {side for side, _ in generation.index.asked} == {mode}
    assert result.mode == mode


def test_search_hybrid_embeds_once_as_a_query_in_the_interactive_lane(generation):
    generation.add("a", "red fox", 0)
    search(generation, generation.ask("red"))
    assert generation.embedder.calls == [(["red"], "query", "interactive")]


def test_search_hybrid_adds_normalised_sides(generation):
    generation.add("both", "red fox", 0)
    generation.add("words", "red fox den", 90)
    generation.add("meaning", "vulpes", 60)
    hits = search(generation, generation.ask("red fox"), explain=True).hits
    scores = {hit.document_id: hit.score for hit in hits}
    assert scores == pytest.approx({"both": 1.0, "words": 0.5, "meaning": 0.25}, abs=1e-6)
    explain = hits[0].explain
    assert (explain.fusion, explain.dense.rank, explain.lexical.rank) == ("convex", 1, 1)
    assert explain.lexical.score == 2.0


def test_search_hybrid_scores_lexical_finds_with_their_exact_cosine(generation):
    for n in range(150):
        generation.add(f"near{n:03}", "other", n / 10)
    generation.add("words", "red", 45)
    hit = next(
        hit
        for hit in search(generation, generation.ask("red"), k=20, explain=True).hits
        if hit.document_id == "words"
    )
    assert hit.explain.dense.rank is None
    assert hit.explain.dense.score == pytest.approx(math.cos(math.radians(45)), abs=1e-6)


def test_search_hybrid_without_a_word_in_common_keeps_the_dense_order(generation):
    for n in range(30):
        generation.add(f"d{n:02}", "text", 6 * n)
    query = generation.ask("nothing")
    assert found(generation, query, k=30) == found(generation, query, k=30, mode="dense")


def test_search_breaks_ties_by_chunk_id_even_beyond_the_first_fetch(generation):
    for n in reversed(range(300)):
        generation.add(f"d{n:03}", "same", 30)
    expected = [f"d{n:03}#0" for n in range(3)]
    query = generation.ask("same")
    assert found(generation, query, k=3) == expected
    assert found(generation, query, k=3, mode="dense") == expected
    assert found(generation, query, k=3, mode="lexical") == expected


def test_search_drops_what_the_ledger_no_longer_holds_and_fills_up(generation):
    keys = [generation.add(f"d{n:03}", "red", n / 10) for n in range(250)]
    for key in keys[:120]:
        generation.forget(key)
    assert found(generation, generation.ask("red"), k=3) == ["d120#0", "d121#0", "d122#0"]


def test_search_documents_does_not_lose_a_document_whose_old_chunk_is_stale(generation):
    old = generation.add("doc", "red", 0)
    generation.forget(old)
    generation.add("doc", "red", 20, ordinal=1)
    generation.add("other", "red", 40)
    assert found(generation, generation.ask("red"), documents=True) == ["doc#1", "other#0"]


def test_search_documents_keeps_the_best_chunk_of_each(generation):
    generation.add("a", "x", 50)
    generation.add("a", "x", 10, ordinal=1)
    generation.add("b", "x", 20)
    result = search(generation, generation.ask("q"), documents=True, explain=True)
    assert [hit.chunk_id for hit in result.hits] == ["a#1", "b#0"]
    assert [hit.explain.dense.rank for hit in result.hits] == [1, 2]


def test_search_documents_fetches_on_until_k_documents(generation):
    for n in range(500):
        generation.add("long", "red", n / 100, ordinal=n)
    for n in range(5):
        generation.add(f"short{n}", "red blue" if n else "red", 30 + n)
    result = search(generation, generation.ask("red"), k=4, documents=True)
    assert [hit.document_id for hit in result.hits] == ["long", "short0", "short1", "short2"]


def test_search_filters_on_metadata(generation):
    generation.add("a", "red", 0, year=2020)
    generation.add("b", "red", 10, year=2021)
    assert found(generation, generation.ask("red"), filter={"year": 2021}) == ["b#0"]


def test_search_shows_text_and_metadata_from_the_ledger(generation):
    generation.add("a", "A Red fox", 0, year=2020)
    hit = search(generation, generation.ask("red")).hits[0]
    assert (hit.text, hit.title, hit.metadata, hit.start, hit.end) == ("A Red fox", "About a", {"year": 2020}, 0, 9)
    assert [hit.text[start:end] for start, end in hit.highlights] == ["Red"]


def test_search_of_an_empty_generation_finds_nothing(generation):
    assert found(generation, generation.ask("red")) == []


def test_search_times_every_stage(generation):
    generation.add("a", "red", 0)
    result = search(generation, generation.ask("red"))
    assert set(result.timings_ms) == {"tokenise", "embed", "dense", "lexical", "fuse", "read"}
    assert result.space == generation.embedder.space.fingerprint


@pytest.mark.parametrize("text", ["", " \n", "a\x00b", "\ud800"])
def test_search_refuses_text_that_cannot_be_embedded(generation, text):
    with pytest.raises(InvalidText):
        search(generation, text)


@pytest.mark.parametrize(
    "fields",
    [
        {"k": 0},
        {"k": -1},
        {"k": True},
        {"mode": "both"},
        {"fusion": FusionSettings(kind="sum")},
        {"fusion": FusionSettings(dense_weight=math.nan)},
        {"fusion": FusionSettings(dense_weight=-1)},
        {"fusion": FusionSettings(dense_weight=math.inf)},
        {"fusion": FusionSettings(dense_weight=0, lexical_weight=0)},
        {"fusion": FusionSettings(rrf_k=0)},
        {"fusion": FusionSettings(floor=math.nan)},
        {"fusion": FusionSettings(floor="none")},
    ],
)
def test_search_refuses_settings_without_a_meaning(generation, fields):
    with pytest.raises(InvalidInput):
        search(generation, "red", **fields)


def test_search_refuses_more_than_a_thousand_hits(generation):
    with pytest.raises(TooLarge):
        search(generation, "red", k=1_000_000)


def test_search_refuses_an_unknown_operator(generation):
    with pytest.raises(InvalidFilter):
        search(generation, "red", filter={"year": {"$near": 2020}})


def test_search_by_words_needs_an_index_that_has_them(generation):
    generation.index.lexical = False
    with pytest.raises(CapabilityMissing):
        search(generation, "red")
    assert generation.embedder.calls == []


def test_search_stops_at_its_deadline(generation):
    generation.add("a", "red", 0)
    with pytest.raises(DeadlineExceeded):
        Searcher(generation.parts).search(SearchQuery(text=generation.ask("red")), Deadline(0.0))


def test_search_stops_when_its_caller_went_away(generation):
    deadline = Deadline.never()
    deadline.cancel()
    with pytest.raises(Cancelled):
        Searcher(generation.parts).search(SearchQuery(text=generation.ask("red")), deadline)
    assert generation.embedder.calls == []


def test_search_asks_both_sides_at_once_where_the_index_waits_for_others(generation, monkeypatch):
    generation.add("a", "red fox", 0)
    generation.index.waits = True
    meeting = threading.Barrier(2, timeout=10)

    def met(search):
        def after_meeting(*given, **fields):
            meeting.wait()
            return search(*given, **fields)

        return after_meeting

    for name in ("search_dense", "search_lexical"):
        monkeypatch.setattr(generation.index, name, met(getattr(generation.index, name)))
    assert [hit.document_id for hit in search(generation, generation.ask("red")).hits] == ["a"]


@pytest.mark.parametrize("waits", [False, True])
def test_search_hybrid_is_the_same_at_once_and_one_after_the_other(generation, waits):
    for number in range(20):
        generation.add(f"d{number}", "red fox" if number % 3 else "blue fox", 9.0 * number)
    generation.index.waits = waits
    hits = search(generation, generation.ask("red fox", 20.0)).hits
    assert [hit.document_id for hit in hits][:3] == ["d2", "d1", "d4"]
