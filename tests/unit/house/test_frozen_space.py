"""A provider changes its model under the same name: what a house does from then on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from drifting import PROVIDED, DriftingEmbedder
from fake_house import open_fake_house

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.documents import Document
from embedhouse.domain.errors import (
    BudgetExceeded,
    DeadlineExceeded,
    EmbedhouseError,
    InvalidText,
    ModelError,
    NotFound,
    ProviderRateLimited,
    ProviderRefused,
    ProviderUnauthorized,
    ProviderUnavailable,
    SpaceFrozen,
)
from embedhouse.house import House
from embedhouse.telemetry import COUNTERS

DOWN = ProviderUnavailable(provider="drifting", reason="connection refused")
NO_VECTOR = [
    DOWN,
    ProviderRateLimited(provider="drifting", reason="429", waited_s=60),
    ProviderUnauthorized(provider="drifting", reason="401", remedy="Set a key."),
    BudgetExceeded(budget="1 USD a day for everything", spent="1.00", resets_at="2026-01-01T00:00:00+00:00"),
]


@pytest.fixture
def embedder() -> DriftingEmbedder:
    return DriftingEmbedder()


@pytest.fixture
def house(tmp_path: Path, embedder: DriftingEmbedder) -> Iterator[House]:
    with open_fake_house(tmp_path, embedder, canary_hours=24) as opened:
        opened.collections.create("notes")
        opened.documents.upsert("notes", [_document("a", "A zebra at the river."), _document("b", "A bank.")])
        opened.search("notes", "a known query")
        yield opened


@pytest.fixture
def drifted(house: House, embedder: DriftingEmbedder) -> House:
    """The same house after the provider has changed its model and the canary has found out."""
    _take_canary(house)
    embedder.version = "another model"
    _take_canary(house)
    return house


def _document(document_id: str, text: str) -> Document:
    return Document(id=document_id, text=text)


def _wait_until(reached: Callable[[], bool]) -> None:
    until = time.monotonic() + 20
    while not reached():
        assert time.monotonic() < until
        time.sleep(0.02)


def _take_canary(house: House) -> None:
    states = house._parts.spaces
    assert states is not None
    for guarded in states.watched().values():
        states.check(guarded, Deadline.never())


def test_frozen_space_shows_in_the_status(drifted: House) -> None:
    status = drifted.status()
    (space,) = status.spaces
    assert (status.clean, space.frozen, space.model, space.space) == (False, True, "words-1", PROVIDED.fingerprint)
    assert "1 - cosine" in space.reason
    assert space.frozen_at is not None


def test_write_into_a_frozen_space_waits_and_is_no_dead_letter(drifted: House, embedder: DriftingEmbedder) -> None:
    with pytest.raises(SpaceFrozen):
        drifted.documents.upsert("notes", [_document("c", "Another zebra.")])
    info = drifted.collections.get("notes")
    assert (info.documents, info.pending_chunks, info.dead_letters) == (3, 1, 0)
    embedder.version = ""
    drifted.spaces.unfreeze("words-1")
    drifted.index_waiting()
    drifted.documents.upsert("notes", [_document("d", "Yet another.")])
    drifted.documents.upsert("notes", [_document("c", "Another zebra.")])
    _wait_until(lambda: drifted.collections.get("notes").pending_chunks == 0)
    assert {hit.document_id for hit in drifted.search("notes", "zebra", mode="lexical").hits} == {"a", "c"}


def test_cached_text_goes_into_a_frozen_space(drifted: House) -> None:
    assert drifted.documents.upsert("notes", [_document("same", "A bank.")]).added == 1
    assert drifted.collections.get("notes").pending_chunks == 0


def test_deletes_and_metadata_go_on_in_a_frozen_space(drifted: House) -> None:
    drifted.documents.update_metadata("notes", "a", {"year": 2024})
    assert drifted.documents.delete("notes", ids=["b"]) == 1
    assert [view.id for view in drifted.documents.list("notes", filter={"year": 2024}).documents] == ["a"]


def test_cached_query_is_answered_as_ever(drifted: House) -> None:
    found = drifted.search("notes", "a known query")
    assert (found.mode, found.degraded, len(found.hits)) == ("hybrid", "", 2)
    assert drifted.search("notes", "a known query", mode="dense").mode == "dense"


def test_uncached_query_is_answered_by_words_and_says_so(drifted: House, embedder: DriftingEmbedder) -> None:
    before, asked = COUNTERS.snapshot().get("searches_degraded", 0), len(embedder.calls)
    found = drifted.search("notes", "zebra", explain=True)
    assert [hit.document_id for hit in found.hits] == ["a"]
    assert (found.mode, found.space) == ("lexical", PROVIDED.fingerprint)
    assert "does not return the vectors any more" in found.degraded
    assert "unfreeze words-1" in found.degraded
    assert found.hits[0].explain is not None
    assert found.hits[0].explain.fusion == "lexical"
    assert COUNTERS.snapshot()["searches_degraded"] == before + 1
    assert len(embedder.calls) == asked
    with pytest.raises(SpaceFrozen):
        drifted.search("notes", "zebra", mode="dense")
    assert drifted.search("notes", "zebra", mode="lexical").degraded == ""


def test_embedding_with_a_frozen_model_is_refused(drifted: House) -> None:
    with pytest.raises(SpaceFrozen):
        drifted.models.embed(["new"])
    assert drifted.models.embed(["a known query"], role="query").usage.cached_texts == 1


def test_searches_by_documents_need_no_model(drifted: House) -> None:
    assert [hit.document_id for hit in drifted.search.more_like("notes", "a").hits] == ["b"]


@pytest.mark.parametrize("error", NO_VECTOR, ids=lambda error: error.code)
def test_provider_that_does_not_answer_leaves_words(
    house: House, embedder: DriftingEmbedder, error: EmbedhouseError
) -> None:
    embedder.error = error
    found = house.search("notes", "zebra")
    assert ([hit.document_id for hit in found.hits], found.degraded) == (["a"], str(error))
    with pytest.raises(type(error)):
        house.search("notes", "zebra", mode="dense")
    embedder.error = None
    assert house.search("notes", "zebra").degraded == ""


def test_slow_provider_leaves_time_for_words(house: House, embedder: DriftingEmbedder) -> None:
    embedder.error = DeadlineExceeded(timeout_s=1, doing="waiting for the provider")
    found = house.search("notes", "zebra", deadline=Deadline(30))
    assert ([hit.document_id for hit in found.hits], found.mode) == (["a"], "lexical")


@pytest.mark.parametrize(
    "error", [ProviderRefused(provider="p", reason="400"), InvalidText(where="of the query", reason="no")]
)
def test_what_is_wrong_with_the_query_is_an_error(
    house: House, embedder: DriftingEmbedder, error: EmbedhouseError
) -> None:
    embedder.error = error
    with pytest.raises(type(error)):
        house.search("notes", "zebra")


def test_provider_that_is_down_at_the_canary_freezes_nothing(house: House, embedder: DriftingEmbedder) -> None:
    _take_canary(house)
    embedder.error = DOWN
    with pytest.raises(ProviderUnavailable):
        _take_canary(house)
    embedder.error = None
    assert not house.status().spaces[0].frozen
    assert house.documents.upsert("notes", [_document("c", "Fresh.")]).added == 1


def test_evaluation_does_not_measure_half_a_search(drifted: House, tmp_path: Path) -> None:
    (tmp_path / "queries.jsonl").write_text('{"_id": "q", "text": "zebra"}\n')
    (tmp_path / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\nq\ta\t1\n")
    with pytest.raises(ModelError, match="only be answered by words"):
        drifted.evaluate("notes", tmp_path / "queries.jsonl", tmp_path / "qrels.tsv")
    found = drifted.evaluate("notes", tmp_path / "queries.jsonl", tmp_path / "qrels.tsv", mode="lexical")
    assert found.measures["RR@10"] == 1


def test_unfreeze_takes_the_old_model_back_alone(drifted: House, embedder: DriftingEmbedder) -> None:
    with pytest.raises(NotFound):
        drifted.spaces.unfreeze("some other model")
    with pytest.raises(SpaceFrozen):
        drifted.spaces.unfreeze("words-1")
    assert drifted.status().spaces[0].frozen
    embedder.version = ""
    (space,) = drifted.spaces.unfreeze("drifting:words-1")
    assert (space.frozen, space.reason) == (False, "")
    assert drifted.status().clean
    assert drifted.search("notes", "zebra").degraded == ""


def test_unfreeze_can_accept_what_the_model_is_now(drifted: House) -> None:
    (space,) = drifted.spaces.unfreeze("words-1", accept=True)
    assert not space.frozen
    _take_canary(drifted)
    assert drifted.search("notes", "zebra").degraded == ""


def test_watch_checks_what_collections_use_at_once(tmp_path: Path, embedder: DriftingEmbedder) -> None:
    with open_fake_house(tmp_path, embedder, canary_hours=24) as house:
        house.collections.create("notes")
        _take_canary(house)
    embedder.version = "another model"
    with open_fake_house(tmp_path, embedder, canary_hours=24) as house:
        house.spaces.keep_watch()
        _wait_until(lambda: house.spaces.any_frozen)
        with pytest.raises(SpaceFrozen):
            house.models.embed(["new"])
