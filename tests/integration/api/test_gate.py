"""Who may ask, how much, and in which shape a refusal comes."""

from __future__ import annotations

import threading
from typing import Any

import msgspec
import pytest

from embedhouse.api.gate import check_listening, is_loopback
from embedhouse.domain.errors import InvalidSetting
from embedhouse.settings import Settings


@pytest.fixture
def keyed(house: Any, settings: Settings, make_client: Any) -> Any:
    with make_client(house, msgspec.structs.replace(settings, api_key="sésame")) as client:
        yield client


KEY = "sésame".encode()


@pytest.mark.parametrize("path", ["/collections", "/status", "/openapi.json", "/v1/models", "/no/such/route"])
def test_key_is_needed(keyed: Any, path: str) -> None:
    response = keyed.get(path)
    assert (response.status_code, response.headers["www-authenticate"]) == (401, "Bearer")


@pytest.mark.parametrize("path", ["/health", "/"])
def test_key_is_not_needed_for_health_and_the_page(keyed: Any, path: str) -> None:
    assert keyed.get(path).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [{"Authorization": b"Bearer " + KEY}, {"authorization": b"bearer " + KEY}, {"X-Api-Key": KEY}],
)
def test_key_opens_under_either_header_and_from_any_host(keyed: Any, headers: Any) -> None:
    headers = {**headers, "Host": "house.example", "Origin": "https://elsewhere.example"}
    assert keyed.get("/collections", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer wrong"},
        {"Authorization": b"Basic " + KEY},
        {"Authorization": KEY},
        {"X-Api-Key": ""},
    ],
)
def test_key_that_is_wrong_is_refused(keyed: Any, headers: Any) -> None:
    response = keyed.get("/collections", headers=headers)
    assert (response.status_code, response.json()["error"]["code"]) == (401, "unauthorized")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:1", "[::1]:7700", "127.1.2.3"])
def test_loopback_hosts_are_served_without_a_key(client: Any, host: str) -> None:
    assert client.get("/collections", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:7700", "127.0.0.1.evil.example", "10.0.0.1:7700", ""]
)
def test_other_hosts_are_refused_without_a_key(client: Any, host: str) -> None:
    response = client.get("/collections", headers={"Host": host})
    assert (response.status_code, response.json()["error"]["code"]) == (403, "forbidden")


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://127.0.0.1:3000", "http://localhost:7700"]
)
def test_pages_of_other_origins_cannot_write(client: Any, house: Any, origin: str) -> None:
    response = client.post("/collections", json={"name": "notes"}, headers={"Origin": origin})
    assert response.status_code == 403
    assert house.store == {}
    assert "access-control-allow-origin" not in response.headers


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_pages_of_other_sites_cannot_load_answers(client: Any, site: str) -> None:
    assert client.get("/collections", headers={"Sec-Fetch-Site": site}).status_code == 403


def test_own_page_may_write(client: Any) -> None:
    headers = {"Origin": "http://127.0.0.1:7700", "Sec-Fetch-Site": "same-origin"}
    assert client.post("/collections", json={"name": "notes"}, headers=headers).status_code == 201


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("::1", True), ("LocalHost", True), ("0.0.0.0", False), ("house", False), ("", False)],
)
def test_is_loopback_knows_this_machine(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_listening_beyond_loopback_needs_a_key() -> None:
    check_listening(Settings(host="0.0.0.0", api_key="key"), lambda: False)
    check_listening(Settings(host="0.0.0.0"), lambda: True)
    with pytest.raises(InvalidSetting, match="embedhouse key create"):
        check_listening(Settings(host="0.0.0.0"), lambda: False)


def test_named_keys_open_and_name_the_caller(client: Any, house: Any) -> None:
    house.keys.names = {b"eh_a": "alice", b"eh_b": "bob"}
    for key, name in (("eh_a", "alice"), ("eh_b", "bob")):
        response = client.get("/usage", headers={"Authorization": f"Bearer {key}"})
        assert response.json()["rows"][0]["group"] == f"{name}/True"


def test_named_key_makes_keys_needed_on_loopback_too(client: Any, house: Any) -> None:
    assert client.get("/collections").status_code == 200
    house.keys.names = {b"eh_a": "alice"}
    for headers in ({}, {"X-Api-Key": "eh_b"}, {"Authorization": "Bearer "}):
        response = client.get("/collections", headers=headers)
        assert (response.status_code, response.json()["error"]["code"]) == (401, "unauthorized")
        assert "eh_" not in response.text


def test_key_of_the_settings_stays_beside_named_ones(keyed: Any, house: Any) -> None:
    house.keys.names = {b"eh_a": "alice"}
    found = {}
    for key in (KEY, b"eh_a"):
        response = keyed.get("/usage", headers={"X-Api-Key": key})
        found[key] = response.json()["rows"][0]["group"]
    assert found == {KEY: "default/True", b"eh_a": "alice/True"}


def test_house_that_listens_beyond_loopback_is_never_open(house: Any, settings: Settings, make_client: Any) -> None:
    house.keys.names = {b"eh_a": "alice"}
    with make_client(house, msgspec.structs.replace(settings, host="0.0.0.0")) as client:
        assert client.get("/collections", headers={"X-Api-Key": "eh_a"}).status_code == 200
        house.keys.names = {}  # the last key was revoked
        assert client.get("/collections", headers={"X-Api-Key": "eh_a"}).status_code == 401
        assert client.get("/collections", headers={"Host": "localhost"}).status_code == 401


def test_requests_have_ids_of_their_own(client: Any) -> None:
    ids = {client.get("/collections").headers["x-request-id"] for _ in range(3)}
    assert len(ids) == 3


def test_requests_over_the_limit_are_told_when_to_come_back(
    house: Any, settings: Settings, make_client: Any
) -> None:
    with make_client(house, msgspec.structs.replace(settings, max_concurrency=2)) as client:
        client.post("/collections", json={"name": "notes"})
        house.gate.clear()
        body = {"collection": "notes", "text": "river"}
        under_way = [
            threading.Thread(target=client.post, args=("/search",), kwargs={"json": body}) for _ in range(2)
        ]
        for thread in under_way:
            thread.start()
            house.waiting.acquire(timeout=5)
        refused = client.get("/collections")
        healthy = client.get("/health")
        house.gate.set()
        for thread in under_way:
            thread.join()
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "overloaded")
    assert refused.headers["retry-after"] == "1"
    assert healthy.status_code == 200


def test_time_limit_stops_the_house_too(house: Any, settings: Settings, make_client: Any) -> None:
    with make_client(house, msgspec.structs.replace(settings, request_timeout_s=0.1)) as client:
        client.post("/collections", json={"name": "notes"})
        house.gate.clear()
        response = client.post("/search", json={"collection": "notes", "text": "river"})
    assert (response.status_code, response.json()["error"]["code"]) == (504, "deadline_exceeded")
    assert house.stopped_by


def test_closing_the_application_closes_the_house(house: Any, settings: Settings, make_client: Any) -> None:
    with make_client(house, settings):
        assert not house.closed
    assert house.closed
