"""The page and the OpenAPI document: complete, and without a foreign host."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from typing import Any

import pytest

ENTRIES = sorted(
    (entry for entry in files("embedhouse.ui").iterdir() if entry.name.endswith((".html", ".css", ".js", ".svg"))),
    key=lambda entry: entry.name,
)
BY_NAME = {entry.name: entry.read_text() for entry in ENTRIES}


@pytest.fixture
def document(client: Any) -> Any:
    return client.get("/openapi.json").json()


@pytest.mark.parametrize("name", sorted(BY_NAME))
def test_page_file_is_served_under_a_strict_policy(client: Any, name: str) -> None:
    response = client.get("/" if name == "index.html" else f"/ui/{name}")
    assert (response.status_code, response.text) == (200, BY_NAME[name])
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert "unsafe" not in response.headers["content-security-policy"]
    assert response.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("name", sorted(BY_NAME))
def test_page_file_names_no_foreign_host(name: str) -> None:
    without_namespaces = BY_NAME[name].replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"(https?:)?//[a-z0-9-]+\.[a-z]", without_namespaces)


@pytest.mark.parametrize("name", sorted(BY_NAME))
def test_page_file_never_makes_markup_from_text(name: str) -> None:
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b| on\w+=\"|style=\"", BY_NAME[name]
    )


def test_page_loads_only_files_that_are_served(client: Any) -> None:
    named = set(re.findall(r"/ui/[\w.]+", " ".join(BY_NAME.values())))
    named |= {f"/ui/{name}" for name in re.findall(r'from "\./([\w.]+)"', " ".join(BY_NAME.values()))}
    assert len(named) > 5
    assert {path: client.get(path).status_code for path in named} == dict.fromkeys(named, 200)


@pytest.mark.parametrize("name", ["__init__.py", "..%2Fapi%2Fgate.py", "none.js"])
def test_page_serves_nothing_else(client: Any, name: str) -> None:
    assert client.get(f"/ui/{name}").status_code == 404


def operations(document: Any) -> Any:
    return [
        (f"{method} {path}", operation)
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if method in ("get", "post", "patch", "put", "delete")
    ]


def test_openapi_describes_every_operation(document: Any) -> None:
    for label, operation in operations(document):
        assert operation["summary"], label
        assert operation["description"], label
        assert operation["tags"], label
        assert len(operation["responses"]) > (0 if label.endswith("health") else 1), label


def test_openapi_declares_errors_in_the_shape_that_they_have(document: Any) -> None:
    for label, operation in operations(document):
        shape = "OpenAIError" if "/v1/" in label else "ErrorBody"
        for status, response in operation["responses"].items():
            if int(status) >= 400 and not label.endswith("/ready"):
                schema = response["content"]["application/json"]["schema"]
                assert schema == {"$ref": f"#/components/schemas/{shape}"}, (label, status)


def test_openapi_names_the_ways_to_send_the_key(document: Any) -> None:
    assert set(document["components"]["securitySchemes"]) == {"bearer", "key"}
    open_to_all = [label for label, operation in operations(document) if operation.get("security") == [{}]]
    assert open_to_all == ["get /health", "get /ready"]


def test_openapi_references_resolve(document: Any) -> None:
    named = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document)))
    assert named <= set(document["components"]["schemas"])


def test_openapi_lists_every_route_of_the_application(client: Any, document: Any) -> None:
    served = {re.sub(r":\w+}", "}", route.path) for route in client.app.routes}
    assert served - {"/", "/ui/{name}", "/openapi.json"} == set(document["paths"])
