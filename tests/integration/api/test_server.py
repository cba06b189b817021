"""The server itself, over real sockets."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from embedhouse.api.server import HouseServer, serve
from embedhouse.domain.errors import (
    HouseLocked,
    InvalidSetting,
    ProviderUnavailable,
    SpaceFrozen,
    UnknownModel,
)
from embedhouse.settings import Settings

NOTES = {"collection": "notes", "text": "river"}
FROZEN = SpaceFrozen(model="openai:small", space="f" * 12, reason="its vectors differ")
DOWN = ProviderUnavailable(provider="openai", reason="connection refused")
MISSING = UnknownModel(name="no/such", reason="it is not there")


def lines(response: httpx.Response) -> list[Any]:
    return [json.loads(line) for line in response.text.splitlines()]


def test_health_answers_before_the_house_is_open(house: Any, settings: Settings) -> None:
    may_open = threading.Event()
    server = HouseServer(lambda _: house if may_open.wait(10) else None, settings_on_free_port(settings))
    thread = threading.Thread(target=server.run_until_stopped)
    thread.start()
    try:
        wait_for(lambda: answers(server.url))
        early = {path: httpx.get(server.url + path).status_code for path in ("/ready", "/collections")}
        may_open.set()
        wait_for(lambda: httpx.get(server.url + "/ready").status_code == 200)
        late = httpx.get(server.url + "/collections").status_code
    finally:
        server.should_exit = True
        thread.join(10)
    assert early == {"/ready": 503, "/collections": 503}
    assert late == 200


@pytest.mark.parametrize(("error", "status"), [(FROZEN, 200), (DOWN, 200), (MISSING, 503)])
def test_server_without_vectors_is_ready_to_answer_by_words(
    house: Any, settings: Settings, start_server: Any, error: Exception, status: int
) -> None:
    def embed(*_: Any, **__: Any) -> Any:
        raise error

    house.models.embed = embed
    with start_server(lambda _: house, settings) as server:
        wait_for(lambda: str(error) in httpx.get(server.url + "/ready").json()["reason"])
        assert httpx.get(server.url + "/ready").status_code == status


def settings_on_free_port(settings: Settings) -> Settings:
    return Settings(port=0, request_timeout_s=settings.request_timeout_s)


def answers(url: str) -> bool:
    try:
        return httpx.get(url + "/health").json() == {"status": "ok"}
    except httpx.HTTPError:
        return False


def wait_for(condition: Any) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_status_names_the_server(server: HouseServer) -> None:
    assert httpx.get(server.url + "/status").json()["server"] == server.url


def test_ids_survive_a_real_request_line(server: HouseServer) -> None:
    httpx.post(server.url + "/collections", json={"name": "notes"})
    for name, encoded in [("%2F", "%252F"), ("//", "%2F%2F"), ("..", "%2E%2E"), ("a b?c", "a%20b%3Fc")]:
        body = {"documents": [{"id": name, "text": "some text"}]}
        httpx.post(server.url + "/collections/notes/documents", json=body)
        # Through http.client, which sends the path as it stands.
        connection = http.client.HTTPConnection(urlsplit(server.url).netloc)
        connection.request("GET", f"/collections/notes/documents/{encoded}")
        assert json.loads(connection.getresponse().read())["id"] == name
        connection.close()


def test_client_that_goes_away_cancels_its_search(server: HouseServer, house: Any) -> None:
    httpx.post(server.url + "/collections", json={"name": "notes"})
    house.gate.clear()
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(server.url + "/search", json=NOTES, timeout=0.3)
    wait_for(lambda: house.stopped_by == ["cancelled"])


def test_index_streams_progress_and_then_the_report(server: HouseServer) -> None:
    response = httpx.post(server.url + "/collections/notes/index", json={"paths": ["/somewhere"]})
    *progress, last = lines(response)
    assert response.headers["content-type"].startswith("application/x-ndjson")
    assert progress[0]["progress"]["unit"] == "chunks"
    assert last["report"]["documents"] == 3


def test_index_of_a_missing_path_is_an_ordinary_error(server: HouseServer) -> None:
    response = httpx.post(server.url + "/collections/notes/index", json={"paths": ["/missing"]})
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_input")


def test_index_that_breaks_half_way_ends_in_an_error(server: HouseServer) -> None:
    response = httpx.post(server.url + "/collections/notes/index", json={"paths": ["/broken"]})
    assert lines(response)[-1]["error"]["code"] == "internal"
    assert "secret" not in response.text


def test_index_stops_when_its_client_goes_away(server: HouseServer, house: Any) -> None:
    house.gate.clear()
    with httpx.stream("POST", server.url + "/collections/notes/index", json={"paths": ["/x"]}) as response:
        next(response.iter_lines())
    wait_for(lambda: house.stopped_by == ["cancelled"])


def test_compact_ends_in_the_collection(server: HouseServer) -> None:
    httpx.post(server.url + "/collections", json={"name": "notes"})
    answer = lines(httpx.post(server.url + "/collections/notes/compact", json={}))
    assert answer[-1]["report"]["name"] == "notes"


def test_stop_finishes_what_is_under_way_and_closes_the_house(
    house: Any, settings: Settings, start_server: Any
) -> None:
    answers: list[httpx.Response] = []
    with start_server(lambda _: house, settings) as server:
        httpx.post(server.url + "/collections", json={"name": "notes"})
        house.gate.clear()
        ask = threading.Thread(target=lambda: answers.append(httpx.post(server.url + "/search", json=NOTES)))
        ask.start()
        house.waiting.acquire(timeout=5)
        server.should_exit = True
        time.sleep(0.3)
        assert not house.closed
        house.gate.set()
        ask.join(5)
    assert answers[0].status_code == 200
    assert house.closed


def test_stop_ends_an_index_that_is_under_way(house: Any, settings: Settings, start_server: Any) -> None:
    found: list[Any] = []
    with start_server(lambda _: house, settings) as server:
        house.gate.clear()
        url = server.url + "/collections/notes/index"
        ask = threading.Thread(target=lambda: found.extend(lines(httpx.post(url, json={"paths": ["/x"]}))))
        ask.start()
        house.waiting.acquire(timeout=5)
        server.should_exit = True
        ask.join(5)
    assert found[-1]["error"]["code"] == "cancelled"


def test_house_that_does_not_open_stops_the_server_with_its_error(settings: Settings) -> None:
    def locked(_: Settings) -> Any:
        raise HouseLocked(home="/home", pid=1)

    with pytest.raises(HouseLocked):
        serve(locked, settings_on_free_port(settings))


def test_port_in_use_is_a_setting_that_is_not_valid(server: HouseServer, house: Any) -> None:
    port = urlsplit(server.url).port
    with pytest.raises(InvalidSetting, match="port"):
        serve(lambda _: house, Settings(port=port or 0))


def test_serve_beyond_loopback_without_a_key_is_refused(house: Any, tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match="API key"):
        serve(lambda _: house, Settings(host="0.0.0.0", port=0, home=tmp_path))


def test_answers_are_not_held_back_for_acknowledgements(server: HouseServer) -> None:
    # asyncio switches Nagle's algorithm off only where the socket names its protocol.
    assert server.listening.proto == socket.IPPROTO_TCP
