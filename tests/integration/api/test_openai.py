"""OpenAI's routes, without its client."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest

MODEL = "sentence-transformers/all-MiniLM-L6-v2"


def embeddings(client: Any, **body: Any) -> Any:
    return client.post("/v1/embeddings", json={"model": MODEL, **body})


@pytest.mark.parametrize(
    ("given", "count"),
    [("one text", 1), (["one", "two"], 2), ([101, 102], 1), ([[101], [102, 103]], 2)],
)
def test_embeddings_takes_every_kind_of_input(client: Any, given: Any, count: int) -> None:
    answer = embeddings(client, input=given).json()
    assert [one["index"] for one in answer["data"]] == list(range(count))
    assert (answer["object"], answer["model"]) == ("list", MODEL)
    assert answer["usage"]["prompt_tokens"] == answer["usage"]["total_tokens"] > 0


def test_embeddings_in_base64_are_the_same_floats(client: Any) -> None:
    floats = embeddings(client, input="text").json()["data"][0]["embedding"]
    encoded = embeddings(client, input="text", encoding_format="base64").json()["data"][0]["embedding"]
    assert np.frombuffer(base64.b64decode(encoded), dtype="<f4").tolist() == floats


def test_embeddings_takes_dimensions_and_fields_that_have_no_effect(client: Any) -> None:
    answer = embeddings(client, input="text", dimensions=4, user="me", something_new=True).json()
    assert len(answer["data"][0]["embedding"]) == 4


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"input": ""}, 400, "invalid_text"),
        ({"input": []}, 400, "invalid_input"),
        ({"input": [[]]}, 400, "invalid_input"),
        ({"input": ["a", 1]}, 400, "invalid_input"),
        ({"input": [-1]}, 400, "invalid_input"),
        ({"input": ["a"] * 6}, 413, "too_large"),
        ({"input": "a", "dimensions": 0}, 400, "invalid_input"),
        ({"input": "a", "model": "gpt-9"}, 404, "model_not_found"),
        ({"input": "a", "encoding_format": "int4"}, 400, "invalid_input"),
    ],
)
def test_embeddings_refuses_in_the_shape_of_openai(client: Any, body: Any, status: int, code: str) -> None:
    response = embeddings(client, **body)
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["type"]) == (status, code, "invalid_request_error")


@pytest.mark.parametrize("path", [MODEL, MODEL.replace("/", "%2F")])
def test_model_is_found_by_name(client: Any, path: str) -> None:
    assert client.get(f"/v1/models/{path}").json()["id"] == MODEL


def test_model_that_is_not_here_is_not_found(client: Any) -> None:
    response = client.get("/v1/models/gpt-9")
    assert (response.status_code, response.json()["error"]["code"]) == (404, "model_not_found")


def test_models_are_listed(client: Any) -> None:
    assert client.get("/v1/models").json()["data"][0]["object"] == "model"
