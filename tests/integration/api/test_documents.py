"""Documents over HTTP."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest


def url(id: str, family: str = "documents") -> str:
    return f"/collections/notes/{family}/{quote(id, safe='')}"


def test_upsert_reports_what_was_added(client: Any, notes: Any) -> None:
    body = {"documents": [{"id": "new", "text": "new text"}, {"id": "docs/river.md", "text": "changed"}]}
    report = client.post("/collections/notes/documents", json=body).json()
    assert (report["added"], report["updated"], report["failures"]) == (1, 1, [])


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        ({"id": "bad"}, "invalid_input"),
        ({"id": "bad", "text": 5}, "invalid_input"),
        ({"id": "bad", "text": "   "}, "invalid_text"),
        ({"id": "bad", "text": "nul \x00"}, "invalid_text"),
        ({"id": "bad", "text": "x" * 2_001}, "too_large"),
        ({"id": "bad", "text": "fine", "metadata": [1]}, "invalid_input"),
    ],
)
def test_upsert_refuses_one_document_and_takes_the_rest(client: Any, notes: Any, bad: Any, code: str) -> None:
    body = {"documents": [bad, {"id": "good", "text": "good text"}]}
    report = client.post("/collections/notes/documents", json=body).json()
    assert [(one["id"], one["code"]) for one in report["failures"]] == [("bad", code)]
    assert client.get(url("good")).json()["text"] == "good text"


@pytest.mark.parametrize("place", ["id", "text", "title", "metadata"])
def test_upsert_refuses_a_lone_surrogate_and_takes_the_rest(client: Any, notes: Any, place: str) -> None:
    bad = {"id": '"bad"', "text": '"some text"', "title": '""', "metadata": "{}"}
    bad[place] = '{"key": "\\ud800"}' if place == "metadata" else '"x\\ud800"'
    one = ",".join(f'"{name}": {value}' for name, value in bad.items())
    body = '{"documents": [{' + one + '}, {"id": "good", "text": "good text"}]}'
    response = client.post(
        "/collections/notes/documents", content=body, headers={"Content-Type": "application/json"}
    )
    assert [one["code"] for one in response.json()["failures"]] == ["invalid_text"]
    assert client.get(url("good")).status_code == 200


def test_upsert_over_the_batch_limit_is_refused(client: Any, notes: Any) -> None:
    body = {"documents": [{"id": str(n), "text": "text"} for n in range(6)]}
    response = client.post("/collections/notes/documents", json=body)
    assert (response.status_code, response.json()["error"]["code"]) == (413, "too_large")


def test_upsert_over_the_body_limit_is_refused(client: Any, notes: Any) -> None:
    body = {"documents": [{"id": "a", "text": "x" * 100_000}]}
    response = client.post("/collections/notes/documents", json=body)
    assert (response.status_code, response.json()["error"]["code"]) == (413, "too_large")


def test_upsert_into_an_unknown_collection_is_not_found(client: Any) -> None:
    response = client.post("/collections/nowhere/documents", json={"documents": [{"id": "a", "text": "b"}]})
    assert (response.status_code, response.json()["error"]["code"]) == (404, "unknown_collection")


def test_get_finds_ids_with_slashes_and_quotes(client: Any, notes: Any) -> None:
    assert [client.get(url(one)).json()["id"] for one in notes.ids] == notes.ids


@pytest.mark.parametrize("id", ["%2F", "100%", "a?b#c", "ü 🦀", "a+b", "delete", "..x", "x/", "/", "///"])
def test_get_finds_what_was_put_in_under_any_id(client: Any, notes: Any, id: str) -> None:
    client.post("/collections/notes/documents", json={"documents": [{"id": id, "text": "some text"}]})
    assert client.get(url(id)).json()["id"] == id
    assert len(client.get(url(id, "vectors")).json()["vector"]) == 8
    assert client.delete(url(id)).json() == {"deleted": 1}


def test_get_takes_slashes_as_they_are(client: Any, notes: Any) -> None:
    assert client.get("/collections/notes/documents/docs/river.md").json()["id"] == "docs/river.md"


def test_get_of_an_unknown_document_names_it(client: Any, notes: Any) -> None:
    error = client.get(url("no such")).json()["error"]
    assert (error["code"], error["fields"]) == ("unknown_document", {"collection": "notes", "id": "no such"})


def test_list_pages_in_id_order(client: Any, notes: Any) -> None:
    first = client.get("/collections/notes/documents", params={"limit": 2}).json()
    second = client.get("/collections/notes/documents", params={"limit": 2, "after": first["next"]}).json()
    assert [one["id"] for page in (first, second) for one in page["documents"]] == sorted(notes.ids)
    assert second["next"] is None


def test_list_filters_and_leaves_texts_out_unless_asked(client: Any, notes: Any) -> None:
    params = {"filter": '{"kind": "nature"}'}
    short = client.get("/collections/notes/documents", params=params).json()["documents"]
    long = client.get("/collections/notes/documents", params={**params, "text": "true"}).json()["documents"]
    assert [(one["id"], one["text"]) for one in short] == [("docs/river.md", "")]
    assert [one["text"] for one in long] == ["the river bank is muddy"]


@pytest.mark.parametrize("text", ["{", "[1]", "5", '{"kind": {"$regex": "x"}}'])
def test_list_with_a_bad_filter_is_refused(client: Any, notes: Any, text: str) -> None:
    response = client.get("/collections/notes/documents", params={"filter": text})
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_filter")


def test_patch_merges_metadata_and_null_deletes_a_key(client: Any, notes: Any) -> None:
    answer = client.patch(url("docs/river.md"), json={"metadata": {"year": None, "wet": True}}).json()
    assert (answer["metadata"], answer["text"]) == ({"kind": "nature", "wet": True}, "")


def test_patch_replaces_metadata_when_told(client: Any, notes: Any) -> None:
    answer = client.patch(url("docs/river.md"), json={"metadata": {"a": 1}, "replace": True}).json()
    assert answer["metadata"] == {"a": 1}


def test_delete_of_an_unknown_document_is_not_found(client: Any, notes: Any) -> None:
    assert client.delete(url("no such")).status_code == 404


def test_delete_documents_takes_ids_or_a_filter(client: Any, notes: Any) -> None:
    by_ids = client.post("/collections/notes/delete-documents", json={"ids": ["docs/river.md", "no such"]})
    by_filter = client.post("/collections/notes/delete-documents", json={"filter": {"kind": "money"}})
    assert (by_ids.json(), by_filter.json()) == ({"deleted": 1}, {"deleted": 1})


def test_delete_documents_without_a_condition_deletes_nothing(client: Any, notes: Any) -> None:
    assert client.post("/collections/notes/delete-documents", json={}).status_code == 400
    assert len(client.get("/collections/notes/documents").json()["documents"]) == 3
