"""Export and import through a running server: its paths, for callers on its machine alone."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pyarrow.parquet as parquet
import pytest
from fake_house import SPACE, HashEmbedder, open_fake_house
from litestar.testing import TestClient

from embedhouse.api.app import create_app
from embedhouse.api.server import HouseServer
from embedhouse.cli.remote import RemoteHouse
from embedhouse.domain.documents import Document
from embedhouse.domain.errors import Conflict, SpaceMismatch, UnknownCollection, UnreadableSource
from embedhouse.domain.reports import Progress
from embedhouse.settings import load_settings


@contextlib.contextmanager
def _served(home: Path, embedder: HashEmbedder | None = None) -> Iterator[RemoteHouse]:
    settings = load_settings({"home": home, "port": 0, "offline": True}, {})
    ready = threading.Event()
    server = HouseServer(lambda _: open_fake_house(home, embedder), settings, on_ready=lambda _: ready.set())
    thread = threading.Thread(target=server.run_until_stopped)
    thread.start()
    try:
        assert ready.wait(20)
        with RemoteHouse(server.url, settings) as house:
            yield house
    finally:
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[RemoteHouse]:
    """A house behind a server, with 100 documents in "notes"."""
    with _served(tmp_path / "first") as house:
        house.collections.create("notes")
        house.documents.upsert("notes", [Document(id=f"d{n}", text=f"A text, number {n}.") for n in range(100)])
        yield house


def test_export_and_import_go_through_servers(served: RemoteHouse, tmp_path: Path) -> None:
    steps: list[Progress] = []
    report = served.export("notes", tmp_path / "out", progress=steps.append)
    assert (report.documents, report.to) == (100, str(tmp_path / "out"))
    assert (steps[-1].stage, steps[-1].done, steps[-1].total) == ("export", 100, 100)
    embedder = HashEmbedder()
    with _served(tmp_path / "second", embedder) as other:
        embedded = len(embedder.calls)  # the server warms the model up
        imported = other.import_(tmp_path / "out", "copies")
        assert (imported.collection, imported.write.added, imported.write.tokens) == ("copies", 100, 0)
        assert len(embedder.calls) - embedded <= 1
        wanted = [hit.text for hit in served.search("notes", "number 17").hits]
        assert [hit.text for hit in other.search("copies", "number 17").hits] == wanted


def test_export_over_http_raises_what_the_house_raises(served: RemoteHouse, tmp_path: Path) -> None:
    with pytest.raises(UnknownCollection):
        served.export("nothing", tmp_path / "out")
    served.export("notes", tmp_path / "out")
    with pytest.raises(Conflict, match="is there already"):
        served.export("notes", tmp_path / "out")
    assert served.export("notes", tmp_path / "out", overwrite=True).documents == 100
    with pytest.raises(UnreadableSource, match=r"no manifest\.json"):
        served.import_(tmp_path)


def test_export_of_one_namespace_over_http_holds_no_other(served: RemoteHouse, tmp_path: Path) -> None:
    assert served.export("notes", tmp_path / "all", namespaces=["default"]).documents == 100
    assert served.export("notes", tmp_path / "none", namespaces=["tenant-b"]).documents == 0
    assert parquet.read_table(tmp_path / "none" / "chunks.parquet").num_rows == 0


@pytest.mark.parametrize(
    ("route", "body"),
    [
        ("/collections/notes/export", {"to": "relative/path"}),
        ("/collections/notes/export", {"to": "/nul\0byte"}),
        ("/collections/notes/export", {}),
        ("/collections/notes/export", {"to": "/x", "surprise": 1}),
        ("/import", {"folder": "relative"}),
        ("/import", {"folder": 7}),
    ],
)
def test_bad_request_is_refused(served: RemoteHouse, route: str, body: object) -> None:
    response = httpx.post(served.url + route, json=body)
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_input")


@pytest.mark.parametrize(
    ("route", "body"), [("/collections/notes/export", {"to": "/tmp/x"}), ("/import", {"folder": "/tmp/x"})]
)
def test_callers_from_other_machines_are_refused(tmp_path: Path, route: str, body: object) -> None:
    settings = load_settings({"home": tmp_path, "host": "0.0.0.0", "api_key": "k", "offline": True}, {})
    app = create_app(open_fake_house(tmp_path), settings)
    answer = app.asgi_handler

    async def from_elsewhere(scope: Any, receive: Any, send: Any) -> None:
        scope["client"] = ("10.0.0.7", 1234)
        await answer(scope, receive, send)

    app.asgi_handler = from_elsewhere
    with TestClient(app) as client:
        response = client.post(route, json=body, headers={"Authorization": "Bearer k"})
    assert (response.status_code, response.json()["error"]["code"]) == (403, "forbidden")


def test_import_of_a_foreign_space_over_http_is_a_conflict(served: RemoteHouse, tmp_path: Path) -> None:
    served.export("notes", tmp_path / "out")
    foreign = HashEmbedder(msgspec.structs.replace(SPACE, revision="2"))
    with _served(tmp_path / "second", foreign) as other, pytest.raises(SpaceMismatch):
        other.import_(tmp_path / "out")
