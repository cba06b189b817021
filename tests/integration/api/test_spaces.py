"""Spaces over HTTP: every answer with a vector names its own; prompts and roles pass; frozen models."""

from __future__ import annotations

from typing import Any

import pytest

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
SPACE = "f" * 64


def test_every_answer_names_its_space(client: Any) -> None:
    client.post("/collections", json={"name": "notes"})
    document = {"id": "a", "text": "The river bank."}
    client.post("/collections/notes/documents", json={"documents": [document]})
    answers = [
        client.post("/embed", json={"text": "x"}),
        client.post("/similarity", json={"a": ["x"], "b": ["y"]}),
        client.post("/search", json={"collection": "notes", "text": "river"}),
        client.get("/search", params={"collection": "notes", "q": "river"}),
        client.get("/collections/notes/vectors/a"),
        client.get("/collections/notes"),
    ]
    assert [answer.json()["space"] for answer in answers] == [SPACE] * len(answers)
    openai = client.post("/v1/embeddings", json={"input": "x", "model": MODEL})
    assert (openai.headers["x-embedhouse-space"], set(openai.json())) == (
        SPACE,
        {"object", "data", "model", "usage"},
    )


def test_search_says_whether_it_was_degraded(client: Any) -> None:
    client.post("/collections", json={"name": "notes"})
    assert client.post("/search", json={"collection": "notes", "text": "x"}).json()["degraded"] == ""


def test_collection_takes_prompts_and_shows_them(client: Any) -> None:
    prompts = {"query": "query: ", "document": "passage: "}
    made = client.post("/collections", json={"name": "notes", "prompts": prompts})
    assert (made.status_code, made.json()["prompts"]) == (201, prompts)
    wrong = client.post("/collections", json={"name": "more", "prompts": {"title": "x"}})
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (400, "invalid_input")


def test_similarity_passes_the_role_on(client: Any, house: Any) -> None:
    assert client.post("/similarity", json={"a": ["x"], "b": ["y"], "role": "query"}).status_code == 200
    assert house.asked["role"] == "query"
    assert client.post("/similarity", json={"a": ["x"], "b": ["y"], "role": "title"}).status_code == 400


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"model": MODEL, "accept": True}, 200),
        ({"model": MODEL}, 409),
        ({"model": "openai:none"}, 404),
        ({}, 400),
    ],
)
def test_unfreeze_answers_with_the_spaces_or_says_why_not(client: Any, body: Any, status: int) -> None:
    answer = client.post("/models/unfreeze", json=body)
    assert answer.status_code == status
    if status == 200:
        assert [space["frozen"] for space in answer.json()["spaces"]] == [False]
    if status == 409:
        assert answer.json()["error"]["code"] == "space_frozen"
