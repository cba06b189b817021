"""The same cases through the shell, HTTP and Python: same answers, same errors."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from embedhouse.domain import errors

from .conftest import ALL_IDS
from .doors import Door

pytestmark = [pytest.mark.model, pytest.mark.timeout(300)]


def _found(result: dict[str, Any]) -> list[str]:
    return [hit["document_id"] for hit in result["hits"]]


def test_index_reports_every_document_and_nothing_the_second_time(door: Door, corpus: Path) -> None:
    report = door.index("notes", corpus)
    assert (report["documents"], report["write"]["unchanged"]) == (len(ALL_IDS), len(ALL_IDS))
    assert (report["write"]["added"], report["write"]["tokens"], report["write"]["failures"]) == (0, 0, [])
    assert door.ids("notes") == ALL_IDS


@pytest.mark.parametrize(
    ("mode", "text", "wanted"),
    [
        ("dense", "when do I have to move out of my apartment?", "flat.md"),
        ("lexical", "E119", "flat.md"),
        ("hybrid", "lice on my plants", "garden.md"),
    ],
)
def test_search_finds_the_right_document(door: Door, mode: str, text: str, wanted: str) -> None:
    result = door.search("notes", text, mode=mode, k=3)
    assert _found(result)[0] == wanted
    assert result["mode"] == mode
    assert len(result["space"]) == 64
    hit = result["hits"][0]
    assert {"chunk_id", "score", "text", "metadata", "title", "highlights"} <= hit.keys()
    scores = [hit["score"] for hit in result["hits"]]
    assert scores == sorted(scores, reverse=True)


def test_search_for_documents_gives_each_one_once(door: Door) -> None:
    found = _found(door.search("notes", "the front door", documents=True, k=100))
    assert sorted(found) == ALL_IDS


@pytest.mark.parametrize(
    ("filter", "wanted"),
    [
        ({"floor": {"$gte": 1}}, ["r1"]),
        ({"open": {"$ne": True}, "floor": {"$exists": True}}, ["r/2 \"x'"]),
        ({"tags": {"$in": ["urgent"]}}, ["r3"]),
        ({"$or": [{"floor": 2}, {"format": "text"}]}, ["bread.txt", "letters/ämter & co.txt", "r1"]),
        ({"floor": 99}, []),
        ({"path": 'it\'s "quoted" \\ {$}'}, []),
    ],
)
def test_search_with_a_filter_sees_nothing_else(door: Door, filter: dict[str, Any], wanted: list[str]) -> None:
    result = door.search("notes", "what is broken?", filter=filter, documents=True, k=100)
    assert sorted(_found(result)) == wanted


def test_search_explains_how_scores_are_joined(door: Door) -> None:
    hit = door.search("notes", "error of the boiler", explain=True, k=1)["hits"][0]
    sides = [hit["explain"]["dense"], hit["explain"]["lexical"]]
    assert math.isclose(hit["score"], sum(side["weight"] * side["normalised"] for side in sides), rel_tol=1e-5)
    assert [side["rank"] for side in sides] == [1, 1]


def test_document_comes_back_as_it_went_in(door: Door, corpus: Path) -> None:
    view = door.document("notes", "garden.md")
    assert view["text"] == (corpus / "garden.md").read_text(encoding="utf-8")
    assert view["title"] == "The garden"
    assert view["metadata"]["format"] == "markdown"


def test_document_with_quotes_and_slashes_in_its_id_can_be_changed_and_found(door: Door) -> None:
    document_id = "r/2 \"x'"
    door.update_metadata("notes", document_id, {"seen": "2026-05-01", "open": None})
    assert door.document("notes", document_id)["metadata"] == {"floor": 0, "seen": "2026-05-01"}
    result = door.search("notes", "door", filter={"seen": {"$gt": "2026-04-30T23:00:00Z"}})
    assert _found(result) == [document_id]
    door.update_metadata("notes", document_id, {"seen": None, "open": False})


def test_delete_takes_documents_out_of_every_answer(door: Door, tmp_path: Path) -> None:
    (tmp_path / "kept.txt").write_text("A heron stands in the pond.")
    (tmp_path / "gone.txt").write_text("A heron eats the goldfish.")
    (tmp_path / "late.txt").write_text("The heron flies away.")
    door.index("birds", tmp_path)
    assert door.delete("birds", ids=["gone.txt"]) == 1
    assert door.delete("birds", filter={"path": "late.txt"}) == 1
    assert _found(door.search("birds", "heron")) == ["kept.txt"]
    assert door.ids("birds") == ["kept.txt"]


def test_embed_gives_unit_vectors_of_one_space(door: Door) -> None:
    answer = door.embed(["a river", "a stream"], role="query")
    assert [len(vector) for vector in answer["embeddings"]] == [384, 384]
    assert all(math.isclose(math.hypot(*vector), 1.0, rel_tol=1e-3) for vector in answer["embeddings"])
    assert answer["space"] == door.search("notes", "x")["space"]
    assert answer["usage"]["texts"] == 2


def test_embed_tells_two_banks_apart(door: Door) -> None:
    answer = door.embed(["the river bank", "a bank deposit"], granularity="token")
    banks = [one["vectors"][one["tokens"].index("bank")] for one in answer["embeddings"]]
    assert (
        math.sumprod(*banks) if hasattr(math, "sumprod") else sum(a * b for a, b in zip(*banks, strict=True)) < 0.9
    )
    first = answer["embeddings"][0]
    start, end = first["offsets"][first["tokens"].index("bank")]
    assert "the river bank"[start:end] == "bank"


def test_embed_gives_weights_of_words(door: Door) -> None:
    weights = door.embed(["rivers and a river"], granularity="sparse")["embeddings"][0]
    assert list(weights) == ["river"]


def test_status_says_that_all_is_in_its_place(door: Door) -> None:
    report = door.status()
    assert report["clean"] is True
    notes = next(one for one in report["collections"] if one["name"] == "notes")
    assert (notes["documents"], notes["pending_chunks"], notes["dead_letters"]) == (len(ALL_IDS), 0, 0)


REFUSED: list[tuple[type[errors.EmbedhouseError], str, dict[str, Any]]] = [
    (errors.UnknownCollection, "words", {"collection": "nowhere"}),
    (errors.InvalidInput, "words", {"k": 0}),
    (errors.InvalidInput, "words", {"k": -1}),
    (errors.TooLarge, "words", {"k": 1_000_000}),
    (errors.InvalidText, "", {}),
    (errors.InvalidText, " \t ", {}),
    (errors.InvalidFilter, "words", {"filter": {"floor": {"$near": 1}}}),
    (errors.InvalidFilter, "words", {"filter": {"floor": {"$gt": [1]}}}),
    (errors.InvalidFilter, "words", {"filter": {"$or": "floor"}}),
]


@pytest.mark.parametrize(("kind", "text", "fields"), REFUSED, ids=lambda value: str(value)[:40])
def test_search_refuses_bad_input_with_the_same_error(
    door: Door, kind: type[errors.EmbedhouseError], text: str, fields: dict[str, Any]
) -> None:
    given = {"collection": "notes", **fields}
    with pytest.raises(kind) as caught:
        door.search(given.pop("collection"), text, **given)
    assert type(caught.value) is kind
    assert len(str(caught.value)) > 20


def test_index_of_a_missing_folder_is_not_found(door: Door, tmp_path: Path) -> None:
    with pytest.raises(errors.NotFound, match="nothing-here"):
        door.index("notes", tmp_path / "nothing-here")


def test_document_that_is_not_there_is_named(door: Door) -> None:
    with pytest.raises(errors.UnknownDocument, match=r"no\.md"):
        door.document("notes", "no.md")


def test_embed_refuses_empty_text(door: Door) -> None:
    with pytest.raises(errors.InvalidText):
        door.embed(["fine", "  "])
