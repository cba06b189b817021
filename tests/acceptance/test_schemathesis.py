"""Requests made up from the OpenAPI document: whatever is sent, nothing answers 5xx or in an undeclared shape."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from embedhouse.api.reference import openapi_document

from .serving import serving

pytestmark = pytest.mark.model

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
SCHEMA = schemathesis.openapi.from_dict(json.loads(openapi_document()))
OPERATIONS = [found.ok() for found in SCHEMA.get_all_operations()]
VALID, WRONG = GenerationMode.POSITIVE, GenerationMode.NEGATIVE
# Only a body or a query can be wrong: any text is a valid segment of a path.
CASES = [
    pytest.param(operation, mode, id=f"{operation.label} {mode.value}")
    for operation in OPERATIONS
    for mode in ([VALID, WRONG] if operation.body or operation.query else [VALID])
]
DOCUMENTS = [
    {"id": "notes/rivers.md", "text": "Rivers flow to the sea.", "metadata": {"year": 2020}},
    {"id": 'a "quoted" id', "text": "The river bank is muddy.", "metadata": {"year": 2021}},
]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory, default_model_folder: Path) -> Iterator[str]:
    """A server with a collection, which most requests are about."""
    with serving(tmp_path_factory.mktemp("schemathesis"), default_model_folder) as url:
        httpx.post(f"{url}/collections", json={"name": "notes"}, timeout=30).raise_for_status()
        body = {"documents": DOCUMENTS}
        httpx.post(f"{url}/collections/notes/documents", json=body, timeout=30).raise_for_status()
        yield url


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    """One connection for all requests."""
    with requests.Session() as session:
        yield session


def aim(case: Any, folder: Path) -> None:
    """Send most requests to what exists, and keep indexing and exporting away from the real disk."""
    parameters = case.path_parameters or {}
    if (
        len(parameters) + len(case.path) > len("/collections/{name}") + 1
        and len(str(parameters.get("name", ""))) % 2
    ):
        parameters["name"] = "notes"
    body = case.body
    if isinstance(body, dict) and isinstance(body.get("paths"), list):
        body["paths"] = [str(folder / "not-there") for _ in body["paths"]]
    if isinstance(body, dict):
        body |= {name: str(folder / "exported") for name in ("to", "folder") if isinstance(body.get(name), str)}
    if isinstance(body, dict) and case.path == "/search" and len(str(body.get("collection"))) % 2:
        body["collection"] = "notes"


def try_out(operation: Any, mode: GenerationMode, examples: int, request: pytest.FixtureRequest) -> None:
    """Send made-up requests: valid ones, or ones with something wrong."""
    url, session = request.getfixturevalue("url"), request.getfixturevalue("session")
    folder = request.getfixturevalue("tmp_path_factory").getbasetemp()

    @settings(max_examples=examples, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode))
    def run(case: Any) -> None:
        aim(case, folder)
        case.call_and_validate(base_url=url, checks=CHECKS, session=session, timeout=60)

    run()


@pytest.mark.parametrize(("operation", "mode"), CASES)
def test_api_keeps_its_promises(operation: Any, mode: GenerationMode, request: pytest.FixtureRequest) -> None:
    try_out(operation, mode, 4, request)


@pytest.mark.full
@pytest.mark.parametrize(("operation", "mode"), CASES)
def test_api_keeps_its_promises_at_length(
    operation: Any, mode: GenerationMode, request: pytest.FixtureRequest
) -> None:
    try_out(operation, mode, 100, request)
