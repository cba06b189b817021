"""API keys that are bound to namespaces: which routes they may use. What nobody has decided on is refused."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from litestar import get

from embedhouse.api.app import create_app
from embedhouse.api.bound_keys import OPEN_TO_BOUND_KEYS, REFUSED_TO_BOUND_KEYS
from embedhouse.api.reference import openapi_document
from embedhouse.domain.binding import check_unbound
from embedhouse.domain.models import attribution

BOUND, FREE = {"X-Api-Key": "eh_bound"}, {"X-Api-Key": "eh_free"}
ROUTES = sorted(
    (method.upper(), path)
    for path, operations in msgspec.json.decode(openapi_document())["paths"].items()
    for method in operations
)


@pytest.fixture
def keyed_house(house: Any) -> Any:
    house.keys.names = {b"eh_bound": "tenant", b"eh_free": "admin"}
    house.keys.bound = {"tenant": ["acme"]}
    return house


def test_every_route_is_decided_on() -> None:
    decided = OPEN_TO_BOUND_KEYS | REFUSED_TO_BOUND_KEYS
    assert set(ROUTES) <= decided
    assert not OPEN_TO_BOUND_KEYS & REFUSED_TO_BOUND_KEYS
    pages = {("GET", path) for path in ("/", "/ui/{name}", "/openapi.json")}
    assert decided <= set(ROUTES) | pages


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_bound_key_uses_what_is_open_to_it_and_nothing_else(
    client: Any, keyed_house: Any, notes: Any, method: str, path: str
) -> None:
    url = path.replace("{name}", "notes").replace("{id}", "docs%2Friver.md").replace("{source}", "files")
    response = client.request(method, url, headers=BOUND, json=None if method == "GET" else {})
    assert (response.status_code == 403) == ((method, path) in REFUSED_TO_BOUND_KEYS)
    assert ("bound to namespaces" in response.text) == (response.status_code == 403)
    assert "bound to namespaces" not in client.request(method, url, headers=FREE, json={}).text


@pytest.fixture
def notes(client: Any, keyed_house: Any) -> None:
    client.post("/collections", headers=FREE, json={"name": "notes"}).raise_for_status()
    document = {"id": "docs/river.md", "text": "the river bank is muddy"}
    sent = client.post("/collections/notes/documents", headers=FREE, json={"documents": [document]})
    sent.raise_for_status()


def test_route_that_nobody_decided_on_is_refused(keyed_house: Any, settings: Any) -> None:
    @get("/collections/{name:str}/secrets", sync_to_thread=False)
    def secrets() -> str:
        return "of all"

    from litestar.testing import TestClient

    app = create_app(keyed_house, settings)
    app.register(secrets)
    with TestClient(app, base_url="http://127.0.0.1:7700") as client:
        assert client.get("/collections/notes/secrets", headers=FREE).status_code == 200
        assert client.get("/collections/notes/secrets", headers=BOUND).status_code == 403


def test_request_is_bound_as_its_key_is(client: Any, keyed_house: Any, notes: Any) -> None:
    seen = []
    keyed_house.search = lambda *_, **__: seen.append(attribution()) or check_unbound("This")  # type: ignore[func-returns-value]
    for headers in (BOUND, FREE):
        client.post("/search", headers=headers, json={"collection": "notes", "text": "river"})
    assert [each.namespaces for each in seen] == [("acme",), None]
    assert [each.caller for each in seen] == ["tenant", "admin"]
