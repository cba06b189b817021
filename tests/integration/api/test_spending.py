"""Money over HTTP: who spent what, budgets, plans, named keys; through a real house on a provider that costs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from litestar.testing import TestClient
from paid_house import PROVIDER, PaidHouse, open_paid_house

from embedhouse.api.app import create_app
from embedhouse.domain.reports import IndexPlan
from embedhouse.settings import Settings

Client = TestClient[Any] | httpx.Client
_PATIENCE_S = 30.0


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., tuple[PaidHouse, TestClient[Any]]]]:
    clients: list[TestClient[Any]] = []

    def start(**given: object) -> tuple[PaidHouse, TestClient[Any]]:
        house = open_paid_house(tmp_path / "house", **given)
        client = TestClient(create_app(house, house.settings), base_url="http://127.0.0.1:7700")
        client.__enter__()
        clients.append(client)
        return house, client

    yield start
    for client in clients:
        client.__exit__(None, None, None)


def _key(house: PaidHouse, name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {house.keys.create(name).key}"}


def _upsert(client: Client, headers: dict[str, str], id: str, words: int, wait: str = "indexed") -> Any:
    text = " ".join(f"{id}{number}" for number in range(words))
    body = {"documents": [{"id": id, "text": text}], "wait": wait}
    return client.post("/collections/notes/documents", json=body, headers=headers)


def _until_clean(client: Client, headers: dict[str, str]) -> None:
    until = time.monotonic() + _PATIENCE_S
    while not client.get("/status", headers=headers).json()["clean"]:
        assert time.monotonic() < until


def _tokens(client: Client, headers: dict[str, str], by: str, **wanted: str) -> dict[str, int]:
    response = client.get("/usage", params={"by": by, **wanted}, headers=headers)
    assert response.status_code == 200, response.text
    return {row["group"]: row["tokens"] for row in response.json()["rows"]}


def _by_caller(client: Client, headers: dict[str, str], **wanted: str) -> dict[str, int]:
    """Tokens of each caller; those without a name are the server's own, from when it warms up."""
    return {name: tokens for name, tokens in _tokens(client, headers, "caller", **wanted).items() if name}


def test_usage_rows_name_caller_and_collection(serve: Any) -> None:
    house, client = serve()
    alice, bob = _key(house, "alice"), _key(house, "bob")
    client.post("/collections", json={"name": "notes"}, headers=alice).raise_for_status()
    assert _upsert(client, alice, "a", 5).status_code == 200
    assert _upsert(client, bob, "b", 7, wait="accepted").json()["pending_chunks"] == 1
    _until_clean(client, bob)
    client.post("/search", json={"collection": "notes", "text": "three new words"}, headers=alice)
    client.post("/embed", json={"text": "two words"}, headers=bob).raise_for_status()
    client.post("/v1/embeddings", json={"model": "m", "input": "one"}, headers=bob).raise_for_status()
    assert _by_caller(client, alice) == {"alice": 8, "bob": 10}
    assert _tokens(client, alice, "collection")["notes"] == 15
    assert _tokens(client, alice, "collection", caller="bob") == {"": 3, "notes": 7}
    assert list(_tokens(client, alice, "model")) == [f"{PROVIDER}:hash"]


def test_usage_rows_are_one_a_request(serve: Any) -> None:
    house, client = serve()
    ids = [client.post("/embed", json={"text": text}).headers["x-request-id"] for text in ("a b", "c", "a b")]
    house.meter.flush()
    with house._parts.database.read() as ledger:
        rows = ledger.exec_driver_sql("SELECT request_id, tokens, cached_items FROM usage").all()
    found = {row.request_id: (row.tokens, row.cached_items) for row in rows if row.request_id}
    assert found == {ids[0]: (2, 0), ids[1]: (1, 0), ids[2]: (0, 1)}


def test_index_over_http_is_on_the_callers_account(start_server: Any, tmp_path: Path) -> None:
    opened: list[PaidHouse] = []

    def open_house(settings: Settings) -> PaidHouse:
        opened.append(open_paid_house(settings.home))
        return opened[-1]

    (tmp_path / "a.txt").write_text("one two three")
    body = {"paths": [str(tmp_path / "a.txt")]}
    with start_server(open_house, Settings(home=tmp_path / "house")) as server:
        alice = _key(opened[0], "alice")
        with httpx.Client(base_url=server.url, timeout=_PATIENCE_S) as client:
            plan = _last(client.post("/collections/notes/index-plan", json=body, headers=alice))
            found = msgspec.convert(plan["report"], IndexPlan)
            assert (found.new, found.uncached_chunks) == (1, 1)
            assert not any("one two three" in text for text in opened[0].provider.calls)
            done = _last(client.post("/collections/notes/index", json=body, headers=alice))
            assert done["report"]["write"]["tokens"] == found.tokens
            assert _by_caller(client, alice, collection="notes") == {"alice": found.tokens}


def _last(response: Any) -> Any:
    assert response.status_code == 200, response.text
    return msgspec.json.decode(response.content.splitlines()[-1])


def test_budget_over_http_refuses_bulk_and_lets_queries_go_on(serve: Any) -> None:
    _, client = serve(budgets=[{"usd": 0.01, "per": "day", "collection": "notes"}])
    client.post("/collections", json={"name": "notes"}).raise_for_status()
    assert _upsert(client, {}, "a", 9).status_code == 200
    refused = _upsert(client, {}, "b", 9)
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "budget_exceeded")
    assert "0.01 USD a day for collection notes" in refused.json()["error"]["message"]
    assert 0 < int(refused.headers["retry-after"]) <= 86_400
    searched = client.post("/search", json={"collection": "notes", "text": "something new"})
    assert searched.status_code == 200
    (budget,) = client.get("/status").json()["budgets"]
    assert (budget["collection"], budget["warns"]) == ("notes", True)


@pytest.mark.parametrize(
    "wanted", [{"by": "colour"}, {"since": "yesterday"}, {"until": "2026-13-01"}, {"since": "'; DROP TABLE usage"}]
)
def test_usage_refuses_what_it_cannot_read(serve: Any, wanted: dict[str, str]) -> None:
    _, client = serve()
    response = client.get("/usage", params=wanted)
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_input")


def test_revoked_key_is_refused_and_its_usage_stays(serve: Any) -> None:
    house, client = serve()
    alice, bob = _key(house, "alice"), _key(house, "bob")
    client.post("/embed", json={"text": "a b"}, headers=alice).raise_for_status()
    house.keys.revoke("alice")
    assert client.get("/usage", headers=alice).status_code == 401
    assert _by_caller(client, bob) == {"alice": 2}
