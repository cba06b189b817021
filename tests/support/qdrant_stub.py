"""Qdrant's REST API over HTTP on a free port of 127.0.0.1, for the official client. Behind it is Qdrant's own
engine in the process, a shard for each collection.

    with QdrantStub(folder) as server:
        store = QdrantStore.connect(server.settings(), owner=OWNER)

Every body must have the form that the API's own schema gives it (the client's models, which allow no unknown
field); a request of another form is answered with 400 and kept in `complaints`, and so is a write that does not
wait, and a filter on a field that no index covers. `faults` are those of the next requests: a status,
`STATUS:REASON`, `hang`.
"""

from __future__ import annotations

import json
import re
import socket
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple, Self
from urllib.parse import parse_qs, unquote, urlsplit

import pydantic
from qdrant_client import models
from qdrant_stub_collection import Refusal, StubCollection

from embedhouse.domain.stores import Option, StoreSettings

__all__ = ["QdrantStub", "Seen", "foreign_collection"]

_HANG_S = 30.0
_WRITES = {"points", "delete", "batch", "index"}


class Seen(NamedTuple):
    """A request as it came in."""

    method: str
    path: str
    query: dict[str, list[str]]
    body: Any


class QdrantStub:
    """A server whose collections stay while it is stopped and started again. `key`, `read_only_key`: what it asks
    for, if anything."""

    def __init__(self, folder: Path, *, version: str = "1.20.0", key: str = "", read_only_key: str = "") -> None:
        self.version = version
        self.key = key
        self.read_only_key = read_only_key
        self.seen: list[Seen] = []
        self.complaints: list[str] = []
        self.faults: deque[str] = deque()
        self.collections: dict[str, StubCollection] = {}
        self.aliases: dict[str, str] = {}
        self.port = 0
        self._folder = folder
        self._lock = threading.RLock()
        self._server: _Server | None = None
        self._gone = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def settings(self, **options: Option) -> StoreSettings:
        return StoreSettings(kind="qdrant", url=self.url, api_key=self.key, options=options)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        for collection in self.collections.values():
            collection.close()

    def start(self) -> None:
        """Listen, on the port of before if there was one."""
        if self._server is None:
            self._gone.clear()
            self._server = _Server(self.port, self)
            self.port = self._server.server_address[1]
            threading.Thread(target=self._server.serve_forever, args=(0.02,), name="qdrant-stub").start()

    def stop(self) -> None:
        """Be a dead server: connections are cut, and nobody listens."""
        if self._server is not None:
            self._gone.set()
            self._server.shutdown()
            self._server.server_close()
            self._server.cut_connections()
            self._server = None

    def bodies(self, method: str, path_end: str) -> list[Any]:
        """Those of the requests whose path ends so."""
        return [seen.body for seen in self.seen if seen.method == method and seen.path.endswith(path_end)]

    # ---- Requests ----------------------------------------------------------------------------------------------

    def answer(self, seen: Seen, key: str) -> tuple[int, Any]:
        """Status and body."""
        self.seen.append(seen)
        fault = self.faults.popleft() if self.faults else ""
        if fault == "hang":
            self._gone.wait(_HANG_S)
            return 500, _error("stopped")
        if fault:
            status, _, reason = fault.partition(":")
            return int(status), _error(reason or "a fault")
        if (self.key or self.read_only_key) and key not in (self.key, self.read_only_key):
            return 401, "Must provide an API key or an Authorization bearer token"
        try:
            with self._lock:
                return 200, self._route(seen, may_write=not self.key or key == self.key)
        except Refusal as refusal:
            return refusal.status, _error(str(refusal))
        except pydantic.ValidationError as error:
            self.complaints.append(f"{seen.method} {seen.path}: {error}")
            return 400, _error(f"Format error in JSON body: {error}")

    def _route(self, seen: Seen, *, may_write: bool) -> Any:
        parts = [unquote(part) for part in seen.path.strip("/").split("/")]
        if parts == [""]:
            return {"title": "qdrant - vector search engine", "version": self.version, "commit": None}
        reads = seen.method == "GET" or (parts[-1] in ("query", "scroll", "count", "facet"))
        reads = reads or (seen.method == "POST" and parts[-1] == "points")
        if not may_write and not reads:
            raise Refusal(403, "Forbidden: Write access is required")
        if not reads and len(parts) > 2 and parts[-1] in _WRITES and seen.query.get("wait") != ["true"]:
            self.complaints.append(f"{seen.method} {seen.path} does not wait")
        return {"result": self._result(seen, parts), "status": "ok", "time": 0.001}

    def _result(self, seen: Seen, parts: list[str]) -> Any:
        match seen.method, parts:
            case "GET", ["aliases"]:
                return {
                    "aliases": [{"alias_name": a, "collection_name": c} for a, c in sorted(self.aliases.items())]
                }
            case "POST", ["collections", "aliases"]:
                return self._change_aliases(models.ChangeAliasesOperation.model_validate(seen.body))
            case "PUT", ["collections", name]:
                return self._create(name, models.CreateCollection.model_validate(seen.body))
            case "DELETE", ["collections", name]:
                return self._delete(name)
            case _, ["collections", name, *rest]:
                found = self._found(name).answer(seen.method, rest, seen.body)
                self.complaints += found.complaints
                return found.result
        raise Refusal(404, "no such route")

    def _found(self, name: str) -> StubCollection:
        found = self.collections.get(self.aliases.get(name, name))
        if found is None:
            raise Refusal(404, f"Not found: Collection `{name}` doesn't exist!")
        return found

    def _create(self, name: str, wanted: models.CreateCollection) -> bool:
        if name in self.collections or name in self.aliases:
            raise Refusal(409, f"Wrong input: Collection `{name}` already exists!")
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,255}", name):
            raise Refusal(422, f"collection name {name!r}")
        self.collections[name] = StubCollection(self._folder / f"{name}-{len(self.seen)}", wanted)
        return True

    def _delete(self, name: str) -> bool:
        gone = self.collections.pop(name, None)
        if gone is not None:
            gone.close()
            self.aliases = {alias: of for alias, of in self.aliases.items() if of != name}
        return gone is not None

    def _change_aliases(self, wanted: models.ChangeAliasesOperation) -> bool:
        for action in wanted.actions:
            if isinstance(action, models.CreateAliasOperation):
                name, alias = action.create_alias.collection_name, action.create_alias.alias_name
                if name not in self.collections or alias in self.collections:
                    raise Refusal(404 if name not in self.collections else 409, f"alias {alias} of {name}")
                self.aliases[alias] = name
            elif isinstance(action, models.DeleteAliasOperation):
                self.aliases.pop(action.delete_alias.alias_name, None)
            else:
                raise Refusal(422, "aliases are not renamed here")
        return True


def foreign_collection(url: str, key: str, name: str) -> Callable[[], bool]:
    """Somebody else's collection with a point; whether it is as it was."""
    from qdrant_client import QdrantClient

    headers = {"api-key": key} if key else {}

    def client() -> QdrantClient:
        return QdrantClient(url=url, headers=headers, check_compatibility=False)

    with_one = client()
    vectors = {"theirs": models.VectorParams(size=2, distance=models.Distance.DOT)}
    with_one.create_collection(name, vectors_config=vectors)
    with_one.upsert(name, [models.PointStruct(id=7, vector={"theirs": [1.0, 2.0]}, payload={"a": 1})], wait=True)
    with_one.close()

    def untouched() -> bool:
        again = client()
        try:
            points = again.retrieve(name, [7], with_payload=True)
            return again.count(name).count == 1 and points[0].payload == {"a": 1}
        finally:
            again.close()

    return untouched


def _error(reason: str) -> dict[str, Any]:
    return {"status": {"error": reason}, "time": 0.001}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, port: int, stub: QdrantStub) -> None:
        self.stub = stub
        self._open: set[socket.socket] = set()
        super().__init__(("127.0.0.1", port), _Handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        self._open.add(connection)
        return connection, address

    def cut_connections(self) -> None:
        for connection in self._open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hung up is no error of the server's."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def _handle(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        parts = urlsplit(self.path)
        seen = Seen(self.command, parts.path, parse_qs(parts.query), body)
        status, answer = self.server.stub.answer(seen, self.headers.get("api-key") or "")
        data = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_PUT = do_POST = do_DELETE = do_PATCH = _handle  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is logged."""
