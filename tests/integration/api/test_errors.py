"""Errors that no route raises on purpose have the same shape."""

from __future__ import annotations

from typing import Any

import pytest

JSON = {"Content-Type": "application/json"}


def test_unknown_route_is_not_found_in_the_common_shape(client: Any) -> None:
    response = client.get("/no/such/route")
    assert response.status_code == 404
    assert response.json()["error"]["code"] == "not_found"


def test_wrong_method_names_those_that_are_right(client: Any) -> None:
    response = client.put("/collections")
    assert (response.status_code, response.json()["error"]["code"]) == (405, "method_not_allowed")
    assert "POST" in response.headers["allow"]


@pytest.mark.parametrize(
    ("content", "code", "part"),
    [
        (b"", "invalid_input", "missing"),
        (b"{", "invalid_input", "line 1"),
        (b'{"text": NaN}', "invalid_input", "NaN"),
        (b'{"text": "\xff"}', "invalid_input", "UTF-8"),
        (b"[" * 100_000, "invalid_input", "deep"),
        (b'{"text": "\\ud800"}', "invalid_text", "surrogate"),
        (b'"text"', "invalid_input", "object"),
        (b"null", "invalid_input", "missing"),
    ],
)
def test_body_that_cannot_be_read_says_why(client: Any, content: bytes, code: str, part: str) -> None:
    response = client.post("/embed", content=content, headers=JSON)
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (400, code)
    assert part in error["message"]


def test_unexpected_errors_show_nothing_of_the_inside(client: Any, house: Any) -> None:
    house.collections.list = lambda **_: 1 / 0
    response = client.get("/collections")
    assert response.status_code == 500
    assert response.json()["error"] == {
        "code": "internal",
        "message": "Something went wrong inside Embedhouse. The server's log has the details.",
        "fields": {},
    }


def test_errors_under_v1_have_the_shape_of_openai(client: Any) -> None:
    for response in (client.get("/v1/nothing"), client.post("/v1/embeddings", json={"model": "x"})):
        assert set(response.json()["error"]) == {"message", "type", "param", "code"}


def test_message_with_a_lone_surrogate_can_be_sent(client: Any, house: Any) -> None:
    def get(name: str, **_: Any) -> Any:
        house.documents_of("\ud800")

    house.collections.get = get
    assert client.get("/collections/notes").json()["error"]["fields"] == {"name": "?"}


def test_every_response_has_its_time(client: Any) -> None:
    for path in ("/health", "/collections", "/no/such/route"):
        assert "total;dur=" in client.get(path).headers["server-timing"]
