"""Searches, embeddings and collections over HTTP."""

from __future__ import annotations

from typing import Any

import pytest


def search(client: Any, **body: Any) -> Any:
    return client.post("/search", json={"collection": "notes", "text": "river bank", **body})


def test_search_by_url_and_by_body_agree(client: Any, notes: Any) -> None:
    by_body = search(client, k=2, explain=True).json()
    params = {"collection": "notes", "q": "river bank", "k": 2, "explain": "true"}
    assert client.get("/search", params=params).json() == by_body
    assert by_body["hits"][0]["document_id"] == "docs/river.md"
    assert by_body["hits"][0]["explain"]["dense"]["weight"] == 0.5


def test_search_filters(client: Any, notes: Any) -> None:
    params = {"collection": "notes", "q": "bank", "filter": '{"kind": "money"}'}
    assert [one["document_id"] for one in client.get("/search", params=params).json()["hits"]] == ['a "quoted" id']


def test_search_reports_its_stages_in_server_timing(client: Any, notes: Any) -> None:
    timing = search(client).headers["server-timing"]
    assert "embed;dur=1.50" in timing
    assert "lexical;dur=0.30" in timing
    assert "total;dur=" in timing


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"collection": "nowhere"}, 404, "unknown_collection"),
        ({"text": "  "}, 400, "invalid_text"),
        ({"text": "x" * 2_001}, 413, "too_large"),
        ({"k": 0}, 400, "invalid_input"),
        ({"k": 1_000_000}, 413, "too_large"),
        ({"k": "many"}, 400, "invalid_input"),
        ({"mode": "psychic"}, 400, "invalid_input"),
        ({"filter": {"kind": {"$regex": "x"}}}, 400, "invalid_filter"),
        ({"filter": "kind"}, 400, "invalid_input"),
        ({"kk": 5}, 400, "invalid_input"),
        ({"fusion": {"kind": "magic"}}, 400, "invalid_input"),
    ],
)
def test_search_refuses_what_it_cannot_use(client: Any, notes: Any, change: Any, status: int, code: str) -> None:
    response = search(client, **change)
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)
    assert response.json()["error"]["message"]


def test_search_names_the_field_that_is_wrong(client: Any, notes: Any) -> None:
    assert "k" in search(client, k="many").json()["error"]["message"]
    assert "kk" in search(client, kk=5).json()["error"]["message"]


def test_search_without_a_query_names_what_is_missing(client: Any, notes: Any) -> None:
    response = client.get("/search", params={"collection": "notes"})
    assert response.status_code == 400
    assert "'q'" in response.json()["error"]["message"]


def test_more_like_recommend_and_near_duplicates_answer(client: Any, notes: Any) -> None:
    more = client.post("/collections/notes/more-like", json={"document_id": "docs/river.md"})
    recommended = client.post("/collections/notes/recommend", json={"liked": ["docs/river.md"]})
    pairs = client.get("/collections/notes/near-duplicates", params={"threshold": 0.9})
    assert [more.status_code, recommended.status_code, pairs.status_code] == [200, 200, 200]
    pair = {"a": "a", "b": "b", "score": 0.99, "a_namespace": "default", "b_namespace": "default"}
    assert pairs.json() == {"pairs": [pair]}


def test_more_like_an_unknown_document_is_not_found(client: Any, notes: Any) -> None:
    response = client.post("/collections/notes/more-like", json={"document_id": "none"})
    assert (response.status_code, response.json()["error"]["code"]) == (404, "unknown_document")


@pytest.mark.parametrize("granularity", ["text", "token", "sparse"])
def test_embed_answers_in_order_with_space_and_usage(client: Any, granularity: str) -> None:
    answer = client.post("/embed", json={"texts": ["one", "two"], "granularity": granularity}).json()
    assert len(answer["embeddings"]) == 2
    assert (answer["space"], answer["usage"]["texts"]) == ("f" * 64, 2)


def test_embed_takes_a_single_text(client: Any) -> None:
    single = client.post("/embed", json={"text": "one"}).json()["embeddings"]
    assert single == client.post("/embed", json={"texts": ["one"]}).json()["embeddings"]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 400, "invalid_input"),
        ({"texts": []}, 400, "invalid_input"),
        ({"text": ""}, 400, "invalid_text"),
        ({"texts": ["x"] * 6}, 413, "too_large"),
        ({"text": "x", "role": "king"}, 400, "invalid_input"),
        ({"text": "x", "model": "no/such"}, 404, "unknown_model"),
    ],
)
def test_embed_refuses_what_it_cannot_use(client: Any, body: Any, status: int, code: str) -> None:
    response = client.post("/embed", json=body)
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)


def test_similarity_has_a_row_for_each_of_a(client: Any) -> None:
    rows = client.post("/similarity", json={"a": ["x", "y"], "b": ["x", "y", "z"]}).json()["similarities"]
    assert [len(row) for row in rows] == [3, 3]
    assert rows[0][0] == pytest.approx(1.0)


def test_collections_are_made_listed_looked_at_and_deleted(client: Any) -> None:
    made = client.post("/collections", json={"name": "notes", "chunking": {"max_tokens": 100}})
    assert made.status_code == 201
    assert [one["name"] for one in client.get("/collections").json()["collections"]] == ["notes"]
    assert client.get("/collections/notes").json() == made.json()
    assert client.delete("/collections/notes").status_code == 204
    assert client.get("/collections/notes").status_code == 404


def test_create_collection_twice_conflicts_unless_it_may_exist(client: Any) -> None:
    client.post("/collections", json={"name": "notes"})
    again = client.post("/collections", json={"name": "notes"})
    assert (again.status_code, again.json()["error"]["code"]) == (409, "collection_exists")
    assert client.post("/collections", json={"name": "notes", "exist_ok": True}).status_code == 201


def test_models_are_listed(client: Any) -> None:
    assert client.get("/models").json()["models"][0]["revision"] == "main"
