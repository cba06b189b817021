"""Pinecone's control and data planes (API 2026-07) over HTTP, for the official client, on a free port of 127.0.0.1.

    with PineconeStub() as stub:
        client = pinecone.Pinecone(api_key=stub.key, host=stub.url)

It checks the form of every request, enforces the documented limits, and can lag: searches and look-ups then see a
write only after `search_lag_s` and `fetch_lag_s`. A request of a wrong form is answered with 400 and kept in
`complaints`. `faults` are those of the next requests: a status, `429:SECONDS`, `cut` or `hang`.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

from pinecone_stub_data import Refusal, StubIndex, check

from embedhouse.domain.stores import Option, StoreSettings

__all__ = ["PineconeStub", "Seen"]

API_VERSION = "2026-07"
_LONGEST_ADDRESS = 8_000
_HANG_S = 6.0


class Seen:
    """A request as it came in, and what became of it."""

    def __init__(self, method: str, path: str, query: dict[str, list[str]], body: Any) -> None:
        self.method = method
        self.path = path
        self.query = query
        self.body = body
        self.status = 0


class PineconeStub:
    """All of a project's indexes. They stay while the server is stopped and started again."""

    def __init__(self) -> None:
        self.key = "pcsk-stub-0123456789-secret"
        self.indexes: dict[str, StubIndex] = {}
        self.seen: list[Seen] = []
        self.complaints: list[str] = []
        self.faults: deque[str] = deque()
        self.describes_until_ready = 0
        self.search_lag_s = 0.0
        self.fetch_lag_s = 0.0
        self.sends_positions = True
        self.lock = threading.RLock()
        self.port = 0
        self._server: _Server | None = None
        self._gone = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Listen, on the port of before if there was one; nothing if it does already."""
        if self._server is not None:
            return
        self._gone.clear()
        self._server = _Server(("127.0.0.1", self.port), _Handler, self)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), name="pinecone-stub").start()

    def stop(self) -> None:
        """Be a dead server: connections are cut, and nobody listens."""
        if self._server is not None:
            self._gone.set()
            self._server.shutdown()
            self._server.server_close()
            self._server.cut_connections()
            self._server = None

    def settings(self, **options: Option) -> StoreSettings:
        """Those of a store on it whose indexes are called docs-DIMENSIONS."""
        return StoreSettings(kind="pinecone", url=f"{self.url}/docs", api_key=self.key, options=options)

    def make_foreign(self, name: str, dimension: int) -> Callable[[], bool]:
        """Somebody else's index with a record; whether it is as it was."""
        index = self.make_index(name, dimension)
        record = {"id": "theirs", "values": [1.0] * dimension}
        index.answer("POST", ["vectors", "upsert"], {}, {"vectors": [record], "namespace": "theirs"})
        return lambda: (
            self.indexes[name] is index
            and set(index.spaces) == {"theirs"}
            and index.spaces["theirs"].searches.catch_up().records == {"theirs": record}
        )

    def requests(self, path_end: str) -> list[Seen]:
        """Those whose path ends so."""
        return [one for one in self.seen if one.path.endswith(path_end)]

    def make_index(self, name: str, dimension: int, metric: str = "dotproduct", **fields: Any) -> StubIndex:
        """As somebody else would make it."""
        made = StubIndex(
            self, name, {"_values": {"type": "dense_vector", "dimension": dimension, "metric": metric}}
        )
        for field, value in fields.items():
            setattr(made, field, value)
        self.indexes[name] = made
        return made

    # ---- Requests ----------------------------------------------------------------------------------------------

    def answer(self, seen: Seen, headers: Any) -> tuple[int, Any, dict[str, str]]:
        """Status, body and headers."""
        if headers.get("Api-Key") != self.key:
            return 401, _error("UNAUTHENTICATED", "Invalid API Key"), {}
        try:
            check(headers.get("X-Pinecone-Api-Version") == API_VERSION, "the API's version is missing")
            with self.lock:
                return self._route(seen)
        except Refusal as refusal:
            if refusal.status == 400:
                self.complaints.append(f"{seen.method} {seen.path}: {refusal}")
            return refusal.status, _error(refusal.code, str(refusal)), {}

    def _route(self, seen: Seen) -> tuple[int, Any, dict[str, str]]:
        parts = [unquote(part) for part in seen.path.strip("/").split("/")]
        if parts[0] == "indexes":
            return self._control(seen, parts[1:])
        check(parts[0] == "data" and len(parts) > 2, "no such route")
        index = self.indexes.get(parts[1])
        if index is None:
            raise Refusal(404, "NOT_FOUND", "no such index")
        return index.answer(seen.method, parts[2:], seen.query, seen.body)

    def _control(self, seen: Seen, parts: list[str]) -> tuple[int, Any, dict[str, str]]:
        if seen.method == "POST" and not parts:
            return 201, self._create(seen.body), {}
        if seen.method == "GET" and not parts:
            return 200, {"indexes": [index.model() for index in self.indexes.values()]}, {}
        if parts[0] not in self.indexes:
            raise Refusal(404, "NOT_FOUND", f"Resource {parts[0]} not found")
        check(seen.method == "GET", f"the house does not {seen.method} an index")
        self.indexes[parts[0]].describes += 1
        return 200, self.indexes[parts[0]].model(), {}

    def _create(self, body: Any) -> Any:
        known = {"name", "schema", "deployment", "deletion_protection", "tags"}
        check(isinstance(body, dict) and set(body) <= known, f"unknown fields in {sorted(body)}")
        name, fields = body["name"], body["schema"]["fields"]
        if name in self.indexes:
            raise Refusal(409, "ALREADY_EXISTS", "Resource already exists")
        place = body["deployment"]
        check(place["deployment_type"] == "managed", "serverless is what the house makes")
        if (place["cloud"], place["region"]) not in {("aws", "us-east-1"), ("gcp", "us-central1")}:
            raise Refusal(404, "NOT_FOUND", f"Resource cloud: {place['cloud']} region: {place['region']} not found")
        check(set(fields) == {"_values"} and fields["_values"]["type"] == "dense_vector", "one dense field")
        check(1 <= fields["_values"]["dimension"] <= 20_000, "dimension out of range")
        check(fields["_values"]["metric"] in ("cosine", "dotproduct", "euclidean"), "unknown metric")
        made = StubIndex(self, name, fields)
        made.tags = body.get("tags")
        made.deployment = place | {"environment": "aped-0000"}
        made.deletion_protection = body.get("deletion_protection", "disabled")
        self.indexes[name] = made
        return made.model()


def _error(code: str, message: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": message}, "status": 0}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], handler: type[_Handler], stub: PineconeStub) -> None:
        self.stub = stub
        self._open: set[socket.socket] = set()
        super().__init__(address, handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        request, address = super().get_request()
        self._open.add(request)
        return request, address

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def cut_connections(self) -> None:
        for request in list(self._open):
            self.shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is none."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def _do(self) -> None:
        stub = self.server.stub
        parts = urlsplit(self.path)
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        seen = Seen(self.command, parts.path, parse_qs(parts.query), json.loads(raw) if raw else None)
        stub.seen.append(seen)
        fault = stub.faults.popleft() if stub.faults else ""
        if fault in ("cut", "hang"):
            stub._gone.wait(_HANG_S if fault == "hang" else 0)
            self.close_connection = True
            return
        if fault:
            status, _, seconds = fault.partition(":")
            self._send(seen, int(status), _error("FAULT", "on demand"), {"Retry-After": seconds} if seconds else {})
        elif len(self.path) > _LONGEST_ADDRESS:
            self._send(seen, 414, _error("URI_TOO_LONG", "the address is too long"), {})
        elif len(raw) > 2_000_000:
            stub.complaints.append(f"{seen.path}: {len(raw)} bytes")
            self._send(seen, 413, _error("TOO_LARGE", "the request is over 2 MB"), {})
        else:
            self._send(seen, *stub.answer(seen, self.headers))

    do_GET = do_POST = do_DELETE = do_PATCH = _do  # noqa: N815

    def _send(self, seen: Seen, status: int, body: Any, headers: dict[str, str]) -> None:
        raw = json.dumps(body).encode()
        if len(raw) > 4_000_000 and "/query" in seen.path:
            status, raw = 400, json.dumps(_error("TOO_LARGE", "the result is over 4 MB")).encode()
        seen.status = status
        self.send_response(status)
        for name, value in {**headers, "Content-Type": "application/json", "Content-Length": str(len(raw))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


def wait_until(holds: Any, timeout_s: float = 10.0) -> None:
    """Return once `holds()`; fail after the time."""
    end = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.01)
