"""A small server of Elasticsearch's or OpenSearch's protocol in this process, which checks each request's form.

It takes what the adapter sends and nothing else: an unknown path, parameter or key is answered with 400 and kept in
`complaints`. Documents are seen by searches after a refresh, as on the real server.
"""

from __future__ import annotations

import base64
import json
import re
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

from elasticsearch_queries import BadForm, NotThere, Scorer, StoredIndex, need
from redis_server import free_port

Answer = tuple[int, Any]

_SEARCH_KEYS = {"query", "sort", "_source", "size", "docvalue_fields", "search_after", "track_total_hits", "fields"}


def error(status: int, kind: str, reason: str) -> Answer:
    body = {"type": kind, "reason": reason}
    return status, {"error": {"root_cause": [body], **body}, "status": status}


class ElasticsearchStub:
    """`with ElasticsearchStub(...) as stub: stub.url`. `answer_first`: may answer instead, given method, path and
    body. `reject`: may refuse one operation of a bulk request, given its id: status, kind, reason."""

    def __init__(self, version: str = "9.1.0", *, product: str = "elasticsearch", secret: str = "") -> None:
        self.version = version
        self.product = product
        self.secret = secret
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.indices: dict[str, StoredIndex] = {}
        self.complaints: list[str] = []
        self.requests: list[tuple[str, str]] = []
        self.answer_first: Callable[[str, str, Any], Answer | None] = lambda method, path, body: None
        self.reject: Callable[[str], tuple[int, str, str] | None] = lambda key: None
        self.lock = threading.RLock()
        self._server: _Server | None = None
        self._polls = 0

    @property
    def opensearch(self) -> bool:
        return self.product == "opensearch"

    def start(self) -> None:
        if self._server is None:
            self._server = _Server(("127.0.0.1", self.port), _Request)
            self._server.stub = self
            threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Connections that are open are cut."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server.cut()
            self._server = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def make_foreign(self, name: str) -> Callable[[], bool]:
        """An index of that name that somebody else made; whether it is as it was."""
        self.indices[name] = StoredIndex({}, {}, {"_meta": {"made_by": "somebody else"}}, {"1": {"theirs": 1}})

        def untouched() -> bool:
            left = self.indices.get(name)
            return left is not None and left.documents == {"1": {"theirs": 1}}

        return untouched

    # ---- Requests ------------------------------------------------------------------------------------------------

    def answer(self, method: str, target: str, headers: Any, raw: bytes) -> Answer:
        parts = urlsplit(target)
        path, params = parts.path, dict(parse_qsl(parts.query))
        with self.lock:
            self.requests.append((method, path))
            try:
                if refusal := self._refused(headers):
                    return refusal
                body = (
                    [json.loads(line) for line in raw.splitlines()]
                    if path == "/_bulk"
                    else json.loads(raw or b"{}")
                )
                return self.answer_first(method, path, body) or self._route(method, path, params, body)
            except (BadForm, KeyError, ValueError, TypeError) as wrong:
                self.complaints.append(f"{method} {target}: {wrong!r}")
                return error(400, "illegal_argument_exception", repr(wrong))

    def _refused(self, headers: Any) -> Answer | None:
        if self.secret:
            basic = base64.b64encode(self.secret.encode()).decode()
            if headers.get("authorization") not in (f"Basic {basic}", f"ApiKey {self.secret}"):
                return error(401, "security_exception", "unable to authenticate")
        if not self.opensearch and self.version.startswith("8"):
            forms = headers.get("accept", "") + headers.get("content-type", "")
            if "compatible-with=9" in forms:
                return error(400, "media_type_header_exception", "Accept version must be either version 8 or 7")
        return None

    def _route(self, method: str, path: str, params: dict[str, str], body: Any) -> Answer:
        routes: list[tuple[str, Callable[..., Answer], set[str]]] = [
            (r"GET /", self._about, set()),
            (r"(?:PUT|POST) /_bulk", self._bulk, {"require_alias"}),
            (r"GET /_tasks/(node:1)", self._task, set()),
            (r"GET /([a-z0-9_]+)", self._describe, set()),
            (r"PUT /([a-z0-9_]+)", self._create, set()),
            (r"DELETE /([a-z0-9_]+)", self._delete, {"ignore_unavailable"}),
            (r"POST /([a-z0-9_]+)/_refresh", self._refresh, set()),
            (r"GET /([a-z0-9_]+)/_count", self._count, set()),
            (r"GET /([a-z0-9_]+)/_stats/store", self._stats, set()),
            (r"POST /([a-z0-9_]+)/_forcemerge", self._merge, {"max_num_segments", "wait_for_completion"}),
            (r"POST /([a-z0-9_]+)/_search", self._search, {"search_type", "allow_partial_search_results"}),
        ]
        for form, answer, known in routes:
            if found := re.fullmatch(form, f"{method} {path}"):
                need(set(params) == known, f"parameters {params}")
                return answer(*found.groups(), *([body] if body else []))
        raise BadForm("an unknown path")

    def _named(self, name: str) -> tuple[str, StoredIndex] | None:
        for real, index in self.indices.items():
            if real == name or name in index.aliases:
                return real, index
        return None

    def _index(self, name: str) -> StoredIndex:
        found = self._named(name)
        if found is None:
            raise NotThere(name)
        return found[1]

    # ---- Indices -------------------------------------------------------------------------------------------------

    def _about(self) -> Answer:
        flavour = {"distribution": "opensearch"} if self.opensearch else {"build_flavor": "default"}
        return 200, {"version": {"number": self.version, **flavour}}

    def _describe(self, name: str) -> Answer:
        found = self._named(name)
        if found is None:
            return error(404, "index_not_found_exception", f"no such index [{name}]")
        real, index = found
        described = {"aliases": index.aliases, "mappings": index.mappings, "settings": {"index": index.settings}}
        return 200, {real: described}

    def _create(self, name: str, body: Any) -> Answer:
        if self._named(name):
            return error(400, "resource_already_exists_exception", f"index [{name}] already exists")
        need(set(body) == {"aliases", "settings", "mappings"}, "the body of a new index")
        need(body["mappings"]["dynamic"] is False, "fields are not guessed")
        vector = body["mappings"]["properties"].get("v")
        if vector:
            need(vector["type"] == ("knn_vector" if self.opensearch else "dense_vector"), "the vector's type")
            need(self.opensearch == (body["settings"]["index"].get("knn") is True), "index.knn")
        self.indices[name] = StoredIndex(body["aliases"], body["settings"]["index"], body["mappings"])
        return 200, {"acknowledged": True}

    def _delete(self, name: str) -> Answer:
        need(name in self.indices, "an alias cannot be deleted")
        del self.indices[name]
        return 200, {"acknowledged": True}

    def _refresh(self, name: str) -> Answer:
        index = self._index(name)
        index.visible = dict(index.documents)
        return 200, {"_shards": {"failed": 0}}

    def _count(self, name: str) -> Answer:
        return 200, {"count": len(self._index(name).visible)}

    def _stats(self, name: str) -> Answer:
        self._index(name)
        return 200, {"_shards": {"total": 1}, "_all": {"primaries": {"store": {"size_in_bytes": 4096}}}}

    def _merge(self, name: str) -> Answer:
        self._index(name)
        self._polls = 0
        return 200, {"task": "node:1"}

    def _task(self, name: str) -> Answer:
        self._polls += 1
        return 200, {"completed": self._polls > 1, "task": {}}

    # ---- Documents -----------------------------------------------------------------------------------------------

    def _bulk(self, lines: list[Any]) -> Answer:
        items, at = [], 0
        while at < len(lines):
            ((operation, meta),) = lines[at].items()
            payload = None if operation == "delete" else lines[at + 1]
            at += 1 if payload is None else 2
            need(set(meta) == {"_index", "_id"}, f"a bulk operation with {sorted(meta)}")
            items.append({operation: self._operate(operation, meta, payload)})
        return 200, {
            "errors": any(item["status"] >= 300 for each in items for item in each.values()),
            "items": items,
        }

    def _operate(self, operation: str, meta: dict[str, str], payload: Any) -> dict[str, Any]:
        alias, key = meta["_index"], meta["_id"]
        found = self._named(alias)
        if found is None or alias not in found[1].aliases:
            return _item_error(404, "index_not_found_exception", f"no such index [{alias}] and [require_alias]")
        if refusal := self.reject(key):
            return _item_error(*refusal)
        index = found[1]
        there = key in index.documents
        if operation == "delete":
            index.documents.pop(key, None)
            return {"status": 200 if there else 404, "result": "deleted" if there else "not_found"}
        if operation == "update":
            need(set(payload) == {"doc"}, "a partial document")
            if not there:
                return _item_error(404, "document_missing_exception", f"[{key}]: document missing")
            self._check_document(index, {**index.documents[key], **payload["doc"]}, key)
            index.documents[key] = {**index.documents[key], **payload["doc"]}
            return {"status": 200, "result": "updated"}
        need(operation == "index", f"operation {operation}")
        self._check_document(index, payload, key)
        index.documents[key] = payload
        return {"status": 201, "result": "created"}

    def _check_document(self, index: StoredIndex, source: dict[str, Any], key: str) -> None:
        need(set(source) == set(index.fields), f"fields {sorted(source)}")
        need(source["i"] == int(key), "the key")
        need(
            isinstance(source["r"], list) and len(source["r"]) <= 1, "numbers are a list, so that they are replaced"
        )
        if "v" in source:
            length = sum(x * x for x in source["v"])
            need(abs(length - 1) < 1e-4, "the vector is of length 1")

    def _search(self, name: str, body: Any) -> Answer:
        need(set(body) <= _SEARCH_KEYS and body["track_total_hits"] is False, f"a search with {sorted(body)}")
        need(body["size"] <= 10_000, "10 000 hits at most")
        index = self._index(name)
        numbers = self.version.split(".")
        scorer = Scorer(index, self.opensearch, (int(numbers[0]), int(numbers[1])))
        scores = scorer.scores(body["query"])
        by_score = body["sort"] == ["_score", {"i": "asc"}]
        need(by_score or body["sort"] == [{"i": "asc"}], "the order")
        rows = sorted((*((-score,) if by_score else ()), int(key)) for key, score in scores.items())
        if after := body.get("search_after"):
            rows = [row for row in rows if row > ((-after[0], after[1]) if by_score else (after[0],))]
        hits = [self._hit(index, row, body) for row in rows[: body["size"]]]
        return 200, {"timed_out": False, "_shards": {"failed": 0}, "hits": {"hits": hits}}

    def _hit(self, index: StoredIndex, row: tuple[Any, ...], body: Any) -> dict[str, Any]:
        key = str(row[-1])
        source = index.visible[key]
        hit: dict[str, Any] = {"_id": key, "_score": -row[0] if len(row) > 1 else None}
        hit["sort"] = [-row[0], row[1]] if len(row) > 1 else [row[0]]
        if body.get("docvalue_fields"):
            hit["fields"] = {name: [source[name]] for name in body["docvalue_fields"]}
        if body.get("fields"):
            need(not self.opensearch, "vectors are no fields there")
            hit["fields"] = {name: source[name] for name in body["fields"]}
        if body["_source"]:
            need(self.opensearch, "_source has no vectors there")
            hit["_source"] = {name: source[name] for name in body["_source"]}
        return hit


def _item_error(status: int, kind: str, reason: str) -> dict[str, Any]:
    return {"status": status, "error": {"type": kind, "reason": reason}}


class _Server(ThreadingHTTPServer):
    stub: ElasticsearchStub
    daemon_threads = True

    def __init__(self, *arguments: Any) -> None:
        self._open: list[socket.socket] = []
        super().__init__(*arguments)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.append(request)
        super().process_request(request, client_address)

    def cut(self) -> None:
        for connection in self._open:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news."""


class _Request(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    # One write for an answer: two would wait for the client's acknowledgement in between.
    wbufsize = -1

    def _serve(self) -> None:
        raw = self.rfile.read(int(self.headers.get("content-length") or 0))
        stub = self.server.stub
        try:
            status, body = stub.answer(self.command, self.path, self.headers, raw)
        except NotThere as missing:
            status, body = error(404, "index_not_found_exception", f"no such index [{missing}]")
        encoded = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(encoded)))
        if not stub.opensearch:
            self.send_header("X-Elastic-Product", "Elasticsearch")
        self.end_headers()
        self.wfile.write(encoded)

    do_GET = do_PUT = do_POST = do_DELETE = _serve  # noqa: N815

    def log_message(self, format: str, *arguments: Any) -> None:
        """Quiet."""
